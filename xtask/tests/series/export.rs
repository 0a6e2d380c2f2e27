//! Commits become files.

use crate::lab::{DRIVER, LOOP_C, Lab, OUR_DRIVER};
use xtask::{error::Failure, series::import};

#[test]
fn a_series_becomes_numbered_patches_and_mirrored_rust_files() {
    let lab = Lab::new();
    assert_eq!(
        lab.patches(),
        [
            "0001-loop-count-the-opens.patch",
            "0002-rust-fs-add-inodes.patch",
            "0003-loopfs-add-the-driver.patch",
            "0004-loopfs-limit-the-devices.patch"
        ]
    );
    assert!(lab.read(OUR_DRIVER).contains("// driver 8\n// limit\n"));
    assert!(lab.read("rust/kernel/inode.rs").contains("// inode 1\n"));
    assert!(!lab.path("rust/kernel/lib.rs").exists(), "lib.rs is changed, not added");
    assert!(!lab.path("rust/loopfs/Makefile").exists(), "only Rust is mirrored");
    lab.assert_clean();
}

#[test]
fn patches_name_nobody_and_carry_no_sign_off() {
    let lab = Lab::bare();
    lab.commit("loop: add\n\nSigned-off-by: A Person <a@example.org>", &[(LOOP_C, |text| text + "// x\n")]);
    lab.dev.read(["commit", "-q", "--amend", "--no-edit", "--author=A Person <a@example.org>", "-s"]).unwrap();
    lab.import();
    let text = lab.read(&lab.patch("loop-add"));
    assert!(text.contains("\nFrom: loopfs developers <loopfs@localhost>\n"), "{text}");
    assert!(!text.contains("Signed-off-by") && !text.contains("a@example.org"), "{text}");
    lab.assert_clean();
}

#[test]
fn a_second_export_changes_nothing() {
    let lab = Lab::new();
    lab.import();
    assert_eq!(lab.changed(), [""; 0]);
}

#[test]
fn text_under_the_cut_of_a_commit_message_becomes_the_note() {
    let lab = Lab::bare();
    lab.commit("loop: add\n\nWhy.\n\n---\nv2: renamed, é\n  - more", &[(LOOP_C, |text| text + "// x\n")]);
    lab.import();
    assert_eq!(lab.patches(), ["0001-loop-add.notes", "0001-loop-add.patch"]);
    assert!(lab.read("patches/0001-loop-add.notes").starts_with("v2: renamed, é\n  - more\n"));
    assert!(!lab.read("patches/0001-loop-add.patch").contains("v2"));
    lab.assert_clean();
}

#[test]
fn a_git_note_becomes_the_note() {
    let lab = Lab::bare();
    lab.commit("loop: add", &[(LOOP_C, |text| text + "// x\n")]);
    lab.dev.read(["notes", "add", "-m", "v2: rebased"]).unwrap();
    lab.import();
    assert_eq!(lab.read("patches/0001-loop-add.notes"), "v2: rebased\n");
}

#[test]
fn a_note_follows_its_patch_when_the_series_is_renumbered() {
    let lab = Lab::new();
    lab.write("patches/0004-loopfs-limit-the-devices.notes", "v3: the limit is inclusive\n");
    lab.dev.read(["reset", "-q", "--hard", "HEAD~"]).unwrap();
    lab.commit("loopfs: log", &[(DRIVER, |text| text.replace("driver 2\n", "driver 2\n// log\n"))]);
    lab.commit("loopfs: limit the devices", &[(DRIVER, |text| text.replace("driver 8\n", "driver 8\n// limit\n"))]);
    lab.import();
    assert_eq!(lab.read("patches/0005-loopfs-limit-the-devices.notes"), "v3: the limit is inclusive\n");
    assert!(!lab.path("patches/0004-loopfs-limit-the-devices.notes").exists());
    lab.assert_clean();
}

#[test]
fn a_note_follows_a_patch_that_only_got_another_subject() {
    let lab = Lab::new();
    lab.write("patches/0004-loopfs-limit-the-devices.notes", "v3\n");
    lab.dev.read(["commit", "-q", "--amend", "-m", "loopfs: bound the devices\n\nWhy."]).unwrap();
    lab.import();
    assert_eq!(lab.read("patches/0004-loopfs-bound-the-devices.notes"), "v3\n");
}

#[test]
fn an_export_that_would_lose_a_note_writes_nothing() {
    let lab = Lab::new();
    lab.write("patches/0004-loopfs-limit-the-devices.notes", "v3\n");
    lab.save();
    lab.dev.read(["reset", "-q", "--hard", "HEAD~"]).unwrap();
    let error = import::from_branch(&lab.ctx, lab.dev.dir(), "base", "loopfs").unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Series);
    assert!(format!("{error:#}").contains("patches/0004-loopfs-limit-the-devices.notes"), "{error:#}");
    assert_eq!(lab.changed(), [""; 0]);
}

#[test]
fn a_merge_is_refused() {
    let lab = Lab::new();
    lab.dev.read(["checkout", "-q", "-b", "side", "base"]).unwrap();
    lab.commit("init: side", &[("init/side.c", |_| "// SPDX\n".to_owned())]);
    lab.dev.read(["checkout", "-q", "loopfs"]).unwrap();
    lab.dev.read(["merge", "-q", "--no-edit", "side"]).unwrap();
    let error = import::from_branch(&lab.ctx, lab.dev.dir(), "base", "loopfs").unwrap_err();
    assert!(format!("{error:#}").contains("is a merge"), "{error:#}");
    assert_eq!(lab.changed(), [""; 0]);
}

#[test]
fn an_empty_commit_is_refused() {
    let lab = Lab::new();
    lab.dev.read(["commit", "-q", "--allow-empty", "-m", "loop: nothing"]).unwrap();
    let error = import::from_branch(&lab.ctx, lab.dev.dir(), "base", "loopfs").unwrap_err();
    assert!(format!("{error:#}").contains("is empty: drop it"), "{error:#}");
}

#[test]
fn an_added_rust_file_without_a_place_in_rust_is_refused() {
    let lab = Lab::new();
    lab.commit("samples: add", &[("samples/rust/a.rs", |_| "// SPDX-License-Identifier: GPL-2.0\n".to_owned())]);
    let error = import::from_branch(&lab.ctx, lab.dev.dir(), "base", "loopfs").unwrap_err();
    assert!(format!("{error:#}").contains("samples/rust/a.rs"), "{error:#}");
}

#[test]
fn an_unknown_branch_is_named() {
    let lab = Lab::new();
    let error = import::from_branch(&lab.ctx, lab.dev.dir(), "base", "no-such").unwrap_err();
    assert!(format!("{error:#}").contains("no commit `no-such`"), "{error:#}");
}
