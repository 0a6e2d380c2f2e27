//! Holds the suite's order of locks against the comment in the series.

use std::{fs, path::Path, process::Command};

use loopfs_selftests::lock_order::LOCKS;

const PRIVATE_C: &str = "drivers/block/loopfs/private.c";

/// `private.c` as the series leaves it: it is new there, so that no kernel's tree is needed.
fn private_c() -> String {
    let patches = Path::new(env!("CARGO_MANIFEST_DIR")).join("../patches").canonicalize().unwrap();
    let entries = fs::read_dir(patches).unwrap().map(|entry| entry.unwrap().path());
    let mut patches: Vec<_> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "patch")).collect();
    patches.sort();
    let tree = tempfile::tempdir().unwrap();
    let applied = Command::new("git")
        .args(["apply", &format!("--include={PRIVATE_C}")])
        .args(patches)
        .current_dir(tree.path())
        .env("GIT_CEILING_DIRECTORIES", tree.path())
        .output()
        .unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    fs::read_to_string(tree.path().join(PRIVATE_C)).unwrap()
}

#[test]
fn the_suite_has_the_locks_of_the_comment_in_its_order() {
    let source = private_c();
    let (_, order) = source.split_once("order of locks").expect("private.c says nothing about the order of locks");
    let (order, _) = order.split_once("*/").unwrap();
    // A lock is the first word of a line of the list, or one more after a comma.
    let lines = order.lines().skip(1).filter_map(|line| line.strip_prefix(" *   "));
    let names: Vec<&str> = lines
        .map(|line| line.split('\t').next().unwrap())
        .flat_map(|names| names.split(", "))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, LOCKS.map(|lock| lock.name));
}
