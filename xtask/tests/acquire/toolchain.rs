//! Finding tools, and what is told when they are missing, too old, or cannot be installed.

use crate::scene::Scene;
use xtask::{
    error::Failure,
    toolchain::{
        Toolchain, install,
        needs::Purpose,
        version::{Minimum, Version},
    },
};

const BUILD: &[Purpose] = &[Purpose::Source, Purpose::Build];

fn find(scene: &Scene) -> Result<Toolchain, String> {
    Toolchain::find(&scene.machine(), &scene.cache(), Minimum::default()).map_err(|error| {
        assert_eq!(Failure::of(&error), Failure::Environment);
        format!("{error:#}")
    })
}

#[test]
fn the_newest_complete_llvm_is_taken() {
    let scene = Scene::new();
    scene.with_toolchain().with_llvm("-19", "19.1.7").with_llvm("-23", "23.0.0").without("ld.lld-23");
    let toolchain = find(&scene).unwrap();
    assert_eq!(toolchain.llvm.suffix, "-22");
    assert_eq!(toolchain.llvm.version, Version([22, 1, 8]));
}

#[test]
fn an_llvm_without_a_suffix_serves_as_well() {
    let scene = Scene::new();
    scene.with_toolchain().without("clang-22").with_llvm("", "18.1.0");
    assert_eq!(find(&scene).unwrap().llvm.suffix, "");
}

#[test]
fn a_clang_that_is_too_old_is_told_with_both_versions() {
    let scene = Scene::new();
    scene.with_toolchain().without("clang-22").with_llvm("", "14.0.6");
    let error = find(&scene).unwrap_err();
    assert!(error.contains("bin/clang is 14.0.6, but 17.0.1 or newer is needed"), "{error}");
}

#[test]
fn a_rustc_that_is_too_old_is_told_with_both_versions() {
    let scene = Scene::new();
    scene.with_toolchain().with_rust("1.63.0");
    let error = find(&scene).unwrap_err();
    assert!(error.contains("bin/rustc is 1.63.0, but 1.85.0 or newer is needed"), "{error}");
}

#[test]
fn a_rustc_without_its_librarys_source_does_not_serve() {
    let scene = Scene::new();
    scene.with_toolchain();
    std::fs::remove_dir_all(scene.path("rust")).unwrap();
    let error = find(&scene).unwrap_err();
    assert!(error.contains("(1.96.0) comes without its library's source"), "{error}");
}

#[test]
fn a_source_below_usr_src_belongs_to_the_rustc_of_its_version() {
    let scene = Scene::new();
    scene.with_toolchain();
    std::fs::remove_dir_all(scene.path("rust")).unwrap();
    scene.file("usr/src/rustc-1.95.0/library/core/src/lib.rs", "");
    assert!(find(&scene).is_err());
    scene.file("usr/src/rustc-1.96.0/library/core/src/lib.rs", "");
    assert_eq!(find(&scene).unwrap().rust.library, scene.path("usr/src/rustc-1.96.0/library"));
}

#[test]
fn a_bindgen_that_is_too_old_is_told_and_the_cached_one_is_taken() {
    let scene = Scene::new();
    scene.with_toolchain().tool("bindgen", "echo 'bindgen 0.60.1'");
    let error = find(&scene).unwrap_err();
    assert!(error.contains("bin/bindgen is 0.60.1, but 0.71.1 or newer is needed"), "{error}");

    scene.tool("bindgen-cached", "echo 'bindgen 0.72.1'");
    let cached = scene.cache().join("tools/bindgen-0.72.1/bin");
    std::fs::create_dir_all(&cached).unwrap();
    std::fs::rename(scene.path("bin/bindgen-cached"), cached.join("bindgen")).unwrap();
    assert_eq!(find(&scene).unwrap().bindgen, cached.join("bindgen"));
}

#[test]
fn a_new_compiler_is_another_toolchain() {
    let scene = Scene::new();
    scene.with_toolchain();
    let key = find(&scene).unwrap().key();
    assert_eq!(find(&scene).unwrap().key(), key);
    scene.with_llvm("-22", "22.1.9");
    assert_ne!(find(&scene).unwrap().key(), key);
}

#[test]
fn an_ordinary_user_is_told_what_to_ask_for() {
    let scene = Scene::new();
    scene.with_toolchain().without("bc").tool("apt-get", "exit 1").tool("apt-cache", "exit 1");
    let error = install::ensure_on(&scene.ctx(), &scene.machine(), BUILD, Minimum::default()).unwrap_err();
    assert_eq!(Failure::of(&error).exit_code(), 2);
    let error = format!("{error:#}");
    assert!(error.contains("there is no bc (alternatively, any bc in PATH)"), "{error}");
    assert!(error.contains("neither root nor passwordless sudo"), "{error}");
    assert!(error.contains("sudo apt-get install --no-install-recommends bc"), "{error}");
}

#[test]
fn nothing_is_installed_where_that_is_forbidden() {
    let scene = Scene::new();
    scene
        .with_toolchain()
        .without("bc")
        .tool("apt-get", "touch $SCENE/called")
        .tool("apt-cache", "touch $SCENE/called");
    let mut ctx = scene.ctx();
    ctx.no_install = true;
    let mut machine = scene.machine();
    machine.is_root = true;
    let error = install::ensure_on(&ctx, &machine, BUILD, Minimum::default()).unwrap_err();
    assert!(format!("{error:#}").contains("--no-install is given"), "{error:#}");
    assert!(!scene.path("called").exists());
}

#[test]
fn what_is_missing_is_installed_through_sudo_that_asks_for_nothing() {
    let scene = Scene::new();
    scene
        .with_toolchain()
        .without("bc")
        .tool("apt-cache", "echo Package: found")
        .tool("bc-to-be", "echo 'bc 1.07.1'")
        .tool("apt-get", "echo \"$@\" >> $SCENE/calls; cp $SCENE/bin/bc-to-be $SCENE/bin/bc")
        .tool("sudo", "shift; [ $1 = true ] && exit 0; echo sudo >> $SCENE/calls; exec env \"$@\"");
    install::ensure_on(&scene.ctx(), &scene.machine(), BUILD, Minimum::default()).unwrap();
    let calls = std::fs::read_to_string(scene.path("calls")).unwrap();
    assert!(calls.starts_with("sudo\n--yes "), "{calls}");
    assert!(calls.trim_end().ends_with("install --no-install-recommends bc"), "{calls}");
}

#[test]
fn a_package_the_archive_lacks_is_named_with_what_else_would_do() {
    let scene = Scene::new();
    scene.with_toolchain().without("clang-22").tool("apt-get", "").tool("apt-cache", "exit 100");
    let mut machine = scene.machine();
    machine.is_root = true;
    let error = install::ensure_on(&scene.ctx(), &machine, BUILD, Minimum::default()).unwrap_err();
    assert_eq!(Failure::of(&error).exit_code(), 2);
    let error = format!("{error:#}");
    assert!(error.contains("the archive of this machine has no clang-22 lld-22"), "{error}");
    assert!(error.contains("any clang 17.0.1 or newer in PATH"), "{error}");
}

#[test]
fn an_archive_that_has_only_an_older_choice_serves() {
    let scene = Scene::new();
    scene
        .with_toolchain()
        .without("clang-22")
        .tool("apt-cache", "for last; do :; done; case $last in *-19) echo found;; *) exit 100;; esac")
        .tool("apt-get", "echo \"$@\" >> $SCENE/calls");
    let mut machine = scene.machine();
    machine.is_root = true;
    // The fake installs nothing, which is told too.
    let error = install::ensure_on(&scene.ctx(), &machine, BUILD, Minimum::default()).unwrap_err();
    assert!(format!("{error:#}").contains("what was installed does not bring it"), "{error:#}");
    let calls = std::fs::read_to_string(scene.path("calls")).unwrap();
    assert!(calls.contains("install --no-install-recommends clang-19 libclang1-19 lld-19 llvm-19"), "{calls}");
}

#[test]
fn a_mirror_that_does_not_answer_is_told_with_the_command() {
    let scene = Scene::new();
    scene
        .with_toolchain()
        .without("bc")
        .tool("apt-cache", "exit 100")
        .tool("apt-get", "echo 'E: Could not resolve host' >&2; exit 100");
    let mut machine = scene.machine();
    machine.is_root = true;
    let error = install::ensure_on(&scene.ctx(), &machine, BUILD, Minimum::default()).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("apt-get --yes") && error.contains("Could not resolve host"), "{error}");
}
