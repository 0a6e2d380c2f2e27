//! The work tree that is built.

use std::{fs, time::SystemTime};

use crate::lab::{DRIVER, LOOP_C, Lab, OUR_DRIVER, write};
use xtask::{
    error::Failure,
    git::Git,
    series::tree::{self, Tree},
};

fn prepare(lab: &Lab) -> Tree {
    tree::prepare_tree(&lab.ctx, &lab.base).unwrap()
}

fn text(tree: &Tree, path: &str) -> String {
    fs::read_to_string(tree.path.join(path)).unwrap()
}

fn modified(tree: &Tree, path: &str) -> SystemTime {
    fs::metadata(tree.path.join(path)).unwrap().modified().unwrap()
}

fn git(tree: &Tree) -> Git {
    Git::new(&tree.path, false)
}

#[test]
fn the_tree_holds_the_base_and_the_series_one_commit_a_patch() {
    let lab = Lab::new();
    let tree = prepare(&lab);
    assert!(text(&tree, DRIVER).contains("// limit\n"));
    assert!(tree.path.join("init/untouched.c").exists());
    assert!(tree.edited.is_empty());
    let subjects = git(&tree).read(["log", "--format=%s", "base..loopfs"]).unwrap();
    assert_eq!(subjects.lines().count(), 4);
    assert_eq!(git(&tree).line(["status", "--porcelain"]).unwrap(), "");
    assert_eq!(git(&tree).line(["rev-parse", "HEAD"]).unwrap(), tree.commit);
}

#[test]
fn the_same_series_gives_the_same_commit_and_key_elsewhere() {
    let (one, other) = (Lab::new(), Lab::new());
    let (one, other) = (prepare(&one), prepare(&other));
    assert_eq!((one.commit.clone(), one.content_key.clone()), (other.commit.clone(), other.content_key.clone()));
}

#[test]
fn preparing_again_touches_no_file() {
    let lab = Lab::new();
    let tree = prepare(&lab);
    let before = (modified(&tree, DRIVER), modified(&tree, LOOP_C));
    drop(tree);
    let tree = prepare(&lab);
    assert_eq!((modified(&tree, DRIVER), modified(&tree, LOOP_C)), before);
}

#[test]
fn an_edit_in_rust_is_laid_over_the_tree_and_goes_when_it_is_undone() {
    let lab = Lab::new();
    let tree = prepare(&lab);
    let (key, commit, old) = (tree.content_key.clone(), tree.commit.clone(), modified(&tree, LOOP_C));
    drop(tree);

    lab.edit(OUR_DRIVER, "driver 3", "driver three");
    lab.write("rust/loopfs/new.rs", "// new\n");
    let tree = prepare(&lab);
    assert!(text(&tree, DRIVER).contains("driver three"));
    assert_eq!(text(&tree, "drivers/block/loopfs/new.rs"), "// new\n");
    assert_eq!(tree.edited, [DRIVER, "drivers/block/loopfs/new.rs"]);
    assert_ne!(tree.content_key, key);
    assert_eq!(tree.commit, commit);
    assert_eq!(modified(&tree, LOOP_C), old, "a file that did not change was written");
    let edited = (modified(&tree, DRIVER), tree.content_key.clone());
    drop(tree);

    let tree = prepare(&lab);
    assert_eq!((modified(&tree, DRIVER), tree.content_key.clone()), edited);
    drop(tree);

    lab.edit(OUR_DRIVER, "driver three", "driver 3");
    fs::remove_file(lab.path("rust/loopfs/new.rs")).unwrap();
    let tree = prepare(&lab);
    assert!(text(&tree, DRIVER).contains("driver 3\n"));
    assert!(!tree.path.join("drivers/block/loopfs/new.rs").exists());
    assert_eq!(tree.content_key, key);
}

#[test]
fn a_deleted_rust_file_is_deleted_in_the_tree() {
    let lab = Lab::new();
    drop(prepare(&lab));
    fs::remove_file(lab.path("rust/kernel/inode.rs")).unwrap();
    let tree = prepare(&lab);
    assert!(!tree.path.join("rust/kernel/inode.rs").exists());
    assert_eq!(tree.edited, ["rust/kernel/inode.rs"]);
}

#[test]
fn a_changed_series_writes_only_the_files_that_differ() {
    let lab = Lab::new();
    let tree = prepare(&lab);
    let old = (modified(&tree, LOOP_C), modified(&tree, "init/untouched.c"));
    drop(tree);
    lab.commit("loopfs: log", &[(DRIVER, |text| text + "// log\n")]);
    lab.import();
    let tree = prepare(&lab);
    assert!(text(&tree, DRIVER).ends_with("// log\n"));
    assert_eq!((modified(&tree, LOOP_C), modified(&tree, "init/untouched.c")), old);
}

#[test]
fn a_prefix_is_its_own_tree() {
    let lab = Lab::new();
    drop(prepare(&lab));
    for (count, exists) in [(0, false), (3, true), (2, false), (4, true)] {
        let tree = tree::prepare_prefix(&lab.ctx, &lab.base, count).unwrap();
        assert_eq!(tree.path.join(DRIVER).exists(), exists, "after {count} patches");
        let commits = git(&tree).line(["rev-list", "--count", "base..HEAD"]).unwrap();
        assert_eq!(commits, count.to_string());
    }
    let error = tree::prepare_prefix(&lab.ctx, &lab.base, 5).unwrap_err();
    assert!(format!("{error:#}").contains("the series has 4 patches"), "{error:#}");
}

#[test]
fn work_in_the_tree_is_built_as_it_is_while_the_series_stays() {
    let lab = Lab::new();
    let tree = prepare(&lab);
    let key = tree.content_key.clone();
    write(&tree.path, LOOP_C, "mine\n");
    drop(tree);
    let tree = prepare(&lab);
    assert_eq!(text(&tree, LOOP_C), "mine\n");
    assert_ne!(tree.content_key, key);
    assert_eq!(tree.edited, [LOOP_C]);
    let with_one_edit = tree.content_key.clone();
    write(&tree.path, "drivers/block/loopfs/untold.rs", "// new\n");
    drop(tree);
    assert_ne!(prepare(&lab).content_key, with_one_edit, "a file git was not told of is built too");
}

#[test]
fn work_in_the_tree_stops_a_move_and_is_kept() {
    type Work = fn(&Tree);
    let kinds: [(&str, Work); 3] = [
        ("an edit", |tree| write(&tree.path, LOOP_C, "mine\n")),
        ("a staged edit", |tree| {
            write(&tree.path, LOOP_C, "mine\n");
            git(tree).read(["add", "--force", LOOP_C]).unwrap();
        }),
        ("a commit", |tree| {
            write(&tree.path, LOOP_C, "mine\n");
            git(tree).read(["commit", "-qam", "loop: mine"]).unwrap();
        }),
    ];
    for (kind, work) in kinds {
        let lab = Lab::new();
        let tree = prepare(&lab);
        work(&tree);
        let path = tree.path.clone();
        drop(tree);
        lab.commit("loopfs: log", &[(DRIVER, |text| text + "// log\n")]);
        lab.import();
        let error = tree::prepare_tree(&lab.ctx, &lab.base).unwrap_err();
        assert_eq!(Failure::of(&error), Failure::Series, "{kind}");
        let told = format!("{error:#}");
        for hint in ["the tree is left alone", "series refresh", "tree --discard"] {
            assert!(told.contains(hint), "{kind}: {told}");
        }

        write(&path, "drivers/block/loopfs/mine.c", "mine too\n");
        let kept = tree::discard(&lab.ctx, &lab.base).unwrap().unwrap();
        assert!(!path.join("drivers/block/loopfs/mine.c").exists(), "{kind}");
        let tree = prepare(&lab);
        assert!(text(&tree, DRIVER).ends_with("// log\n"), "{kind}");
        assert_eq!(git(&tree).read(["show", &format!("{kept}:{LOOP_C}")]).unwrap(), "mine\n", "{kind}");
        let kept = git(&tree).read(["show", &format!("{kept}:drivers/block/loopfs/mine.c")]).unwrap();
        assert_eq!(kept, "mine too\n", "{kind}");
        drop(tree);
        assert_eq!(tree::discard(&lab.ctx, &lab.base).unwrap(), None, "{kind}");
    }
}

#[test]
fn a_file_git_does_not_know_is_not_overwritten_by_one_the_series_adds() {
    // The second is one that the kernel's ignore rules name, so that it does not count as work.
    for (path, told) in [("drivers/block/notes.c", "the tree is left alone"), ("init/a.o", "would be overwritten")] {
        let lab = Lab::new();
        let tree = prepare(&lab);
        write(&tree.path, path, "mine\n");
        drop(tree);
        lab.commit("loop: add notes", &[(path, |_| "// SPDX-License-Identifier: GPL-2.0\n".to_owned())]);
        lab.import();
        let error = tree::prepare_tree(&lab.ctx, &lab.base).unwrap_err();
        assert!(format!("{error:#}").contains(told), "{error:#}");
    }
}

#[test]
fn a_move_that_died_half_way_is_finished() {
    let lab = Lab::new();
    let tree = prepare(&lab);
    let (path, commit) = (tree.path.clone(), tree.commit.clone());
    drop(tree);
    lab.commit("loopfs: log", &[(DRIVER, |text| text + "// log\n")]);
    lab.import();
    // As if the run had died after it had written a file, and before it moved the branch.
    let git = Git::new(&path, false);
    git.read(["update-ref", "refs/loopfs/moving", &format!("{commit}^{{tree}}")]).unwrap();
    write(&path, DRIVER, "half a fi");
    write(&path, ".git/index.lock", "");
    let tree = prepare(&lab);
    assert!(text(&tree, DRIVER).ends_with("// log\n"));
    assert_eq!(git.line(["status", "--porcelain"]).unwrap(), "");
}

#[test]
fn notes_are_shown_by_git_log() {
    let lab = Lab::new();
    lab.write("patches/0004-loopfs-limit-the-devices.notes", "v3: inclusive\n");
    let tree = prepare(&lab);
    assert_eq!(git(&tree).read(["notes", "show", "HEAD"]).unwrap(), "v3: inclusive\n");
}

#[test]
fn the_base_repository_is_never_written_to() {
    let lab = Lab::new();
    let list = || lab.dev.read(["for-each-ref"]).unwrap() + &lab.dev.read(["count-objects", "-v"]).unwrap();
    let before = list();
    drop(prepare(&lab));
    lab.check();
    lab.edit(OUR_DRIVER, "driver 3", "driver three");
    lab.refresh().unwrap();
    assert_eq!(list(), before);
}
