//! Building, with a make that is a script.

use std::{fs, path::PathBuf, sync::Barrier};

use crate::{
    fake_build::{COMPILES, build, scene},
    scene::{Scene, outcome},
};
use xtask::error::Failure;

fn targets(scene: &Scene) -> Vec<String> {
    fs::read_to_string(scene.path("targets")).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn with_nothing_changed_no_make_is_started() {
    let scene = scene();
    let first = build(&scene, "a").unwrap();
    assert_eq!(fs::read_to_string(&first.vmlinux).unwrap(), "elf\n");
    assert_eq!(fs::read_to_string(&first.system_map).unwrap(), "map\n");
    assert!(fs::read_to_string(&first.config).unwrap().contains("CONFIG_TINY=y\n"));
    assert_eq!(targets(&scene), ["allnoconfig", "vmlinux"]);

    assert_eq!(build(&scene, "a").unwrap(), first);
    assert_eq!(targets(&scene).len(), 2);

    assert_ne!(build(&scene, "b").unwrap().key, first.key);
    assert_eq!(targets(&scene).len(), 4);
}

#[test]
fn objects_are_kept_for_the_next_build_until_the_toolchain_changes() {
    let scene = scene();
    scene.file("compile", &format!("[ -e .main.o.cmd ] && touch $SCENE/incremental; {COMPILES}"));
    build(&scene, "a").unwrap();
    build(&scene, "b").unwrap();
    assert!(scene.path("incremental").exists());

    fs::remove_file(scene.path("incremental")).unwrap();
    scene.with_rust("1.97.0");
    build(&scene, "b").unwrap();
    assert!(!scene.path("incremental").exists());
}

#[test]
fn a_lost_symbol_is_an_error_before_anything_is_compiled() {
    let scene = scene();
    scene.file("forced", "CONFIG_SWAP=n\n");
    let error = build(&scene, "a").unwrap_err();
    assert_eq!(Failure::of(&error).exit_code(), 3);
    let error = format!("{error:#}");
    assert!(error.contains("CONFIG_SWAP=y, wanted by the case swap_is_refused, is n"), "{error}");
    assert!(error.contains("init/Kconfig: depends on MMU"), "{error}");
    assert_eq!(targets(&scene), ["allnoconfig"]);
}

#[test]
fn a_kernel_that_cannot_have_rust_says_why() {
    let scene = scene();
    scene.file("forced", "CONFIG_RUST=n\n");
    let error = format!("{:#}", build(&scene, "a").unwrap_err());
    assert!(error.contains("*** Rust is not available here"), "{error}");
}

#[test]
fn a_compilers_error_is_told_with_the_log_and_leaves_no_kernel() {
    let scene = scene();
    scene.file(
        "compile",
        "echo '  CC      init/main.o'\necho 'init/main.c:7:1: error: no such thing'\n\
         echo 'make[1]: *** [Makefile:1: init/main.o] Error 1'; exit 2",
    );
    let error = build(&scene, "a").unwrap_err();
    assert_eq!(Failure::of(&error).exit_code(), 3);
    let error = format!("{error:#}");
    assert!(error.contains("init/main.c:7:1: error: no such thing"), "{error}");
    assert!(!error.contains("make[1]"), "{error}");
    let log = PathBuf::from(error.rsplit("The whole log is ").next().unwrap());
    assert!(fs::read_to_string(log).unwrap().contains("  CC      init/main.o\n"));
    assert!(scene.cached("kernel/default").is_empty());
    scene.file("compile", COMPILES);
    build(&scene, "a").unwrap();
}

#[test]
fn a_full_disk_while_building_is_told_with_what_to_do() {
    let scene = scene();
    scene.file("compile", "echo 'error: cannot write: No space left on device (os error 28)'; exit 2");
    let error = build(&scene, "a").unwrap_err();
    assert_eq!(Failure::of(&error).exit_code(), 2);
    assert!(format!("{error:#}").contains("is full: free some space there, or set LOOPFS_CACHE"), "{error:#}");
}

#[test]
fn a_make_that_says_it_worked_but_made_nothing_is_not_believed() {
    let scene = scene();
    scene.file("compile", "true");
    assert!(build(&scene, "a").is_err());
    assert!(scene.cached("kernel/default").is_empty());
}

#[test]
fn two_runs_at_once_compile_once() {
    let scene = scene();
    scene.file("compile", &format!("sleep 1; {COMPILES}"));
    let start = Barrier::new(2);
    let both = std::thread::scope(|scope| {
        let run = || {
            start.wait();
            build(&scene, "a").unwrap()
        };
        let other = scope.spawn(run);
        [run(), other.join().unwrap()]
    });
    assert_eq!(both[0], both[1]);
    assert_eq!(targets(&scene), ["allnoconfig", "vmlinux"]);
}

#[test]
fn a_cache_in_a_path_with_spaces_is_refused_before_anything_is_done() {
    let scene = scene();
    scene.tool("suite", "echo '[]'").tool("cargo", r#"echo "{\"executable\":\"$SCENE/bin/suite\"}""#);
    let mut command = scene.xtask();
    let (told, code) = outcome(command.env("LOOPFS_CACHE", scene.path("my cache")).arg("build"));
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("LOOPFS_CACHE") && told.contains("' '"), "{told}");
    assert!(!scene.path("my cache").exists());
}

#[test]
fn the_environment_of_a_person_does_not_reach_make() {
    let scene = scene();
    scene.file("compile", &format!("echo \"$KCFLAGS$LLVM$RUSTFLAGS$LD_LIBRARY_PATH\" > $SCENE/leaked; {COMPILES}"));
    // What cargo sets for this test is there to leak.
    assert!(std::env::var_os("LD_LIBRARY_PATH").is_some());
    build(&scene, "a").unwrap();
    assert_eq!(fs::read_to_string(scene.path("leaked")).unwrap(), "\n");
}
