//! A kernel build of which every part is a script.

use std::fs;

use crate::scene::Scene;
use xtask::{
    kernel::{
        self, Built, Request,
        config::{Flavour, Wanted},
    },
    toolchain::{Toolchain, version::Minimum},
};

/// A make that takes `KCONFIG_ALLCONFIG` as the configuration and does `$SCENE/compile` for vmlinux.
const MAKE: &str = r#"
[ "$1" = --version ] && echo 'GNU Make 4.3' && exit
for word; do
    case $word in O=*) out=${word#O=};; esac
    target=$word
done
echo $target >> $SCENE/targets
case $target in
allnoconfig) cat "$KCONFIG_ALLCONFIG" $SCENE/forced > $out/.config;;
rustavailable) echo '*** Rust is not available here' >&2; exit 1;;
vmlinux) cd $out && . $SCENE/compile;;
esac
"#;

/// A build that works.
pub(crate) const COMPILES: &str =
    "echo '  CC      init/main.o'; touch .main.o.cmd; echo elf > vmlinux; echo map > System.map";

/// A small kernel tree, and every tool to build it.
pub(crate) fn scene() -> Scene {
    let scene = Scene::new();
    scene.with_toolchain().tool("make", MAKE);
    for name in ["kernel/configs/tiny-base.config", "kernel/configs/tiny.config", "arch/x86/configs/tiny.config"] {
        scene.file(&format!("tree/{name}"), "CONFIG_TINY=y\n");
    }
    scene.file("tree/init/Kconfig", "config SWAP\n\tbool\n\tdepends on MMU\n");
    scene.file("compile", COMPILES);
    // What Kconfig has the last word on.
    scene.file("forced", "");
    fs::create_dir(scene.cache()).unwrap();
    scene
}

/// Builds that tree, whose content `tree_key` stands for.
pub(crate) fn build(scene: &Scene, tree_key: &str) -> anyhow::Result<Built> {
    let toolchain = Toolchain::find(&scene.machine(), &scene.cache(), Minimum::default()).unwrap();
    let mut wanted = Wanted::default();
    wanted.set("SWAP", "y", "the case swap_is_refused");
    wanted.set("RUST", "y", "ci/kconfig/base.config:1");
    let request = Request { flavour: Flavour::Default, tree: &scene.path("tree"), tree_key, wanted: &wanted };
    kernel::build(&scene.ctx(), &toolchain, &request)
}
