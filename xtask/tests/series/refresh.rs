//! Edits flow back into the patches.

use std::fs;

use crate::lab::{DRIVER, LOOP_C, Lab, OUR_DRIVER, write};
use xtask::{
    error::Failure,
    git::Git,
    series::{
        refresh::{self, Options, Prefer},
        tree,
    },
};

fn options() -> Options {
    Options::default()
}

/// The work tree, made and let go of.
fn work_tree(lab: &Lab) -> Git {
    Git::new(&tree::prepare_tree(&lab.ctx, &lab.base).unwrap().path, false)
}

#[test]
fn nothing_to_do_changes_nothing() {
    let lab = Lab::new();
    lab.refresh().unwrap();
    assert_eq!(lab.changed(), [""; 0]);
}

#[test]
fn an_edited_line_goes_into_the_patch_that_introduced_it() {
    let lab = Lab::new();
    lab.edit(OUR_DRIVER, "// limit", "// the limit");
    lab.refresh().unwrap();
    assert_eq!(lab.changed(), ["patches/0004-loopfs-limit-the-devices.patch", OUR_DRIVER]);
    assert!(lab.read(&lab.patch("0004")).contains("+// the limit\n"));
    lab.assert_clean();
}

#[test]
fn edits_of_several_patches_lines_are_told_apart() {
    let lab = Lab::new();
    lab.edit(OUR_DRIVER, "driver 2\n", "driver two\n");
    lab.edit(OUR_DRIVER, "// limit", "// the limit");
    lab.edit("rust/kernel/inode.rs", "inode 10\n", "inode ten\n");
    lab.refresh().unwrap();
    assert!(lab.read(&lab.patch("0002")).contains("+// inode ten\n"));
    assert!(lab.read(&lab.patch("0003")).contains("+// driver two\n"));
    assert!(lab.read(&lab.patch("0004")).contains("+// the limit\n"));
    assert!(!lab.changed().contains(&lab.patch("0001")));
    lab.assert_clean();
}

#[test]
fn patches_of_other_files_keep_every_byte() {
    let lab = Lab::new();
    lab.edit("rust/kernel/inode.rs", "inode 1\n", "inode one\n// and a line\n");
    lab.refresh().unwrap();
    assert_eq!(lab.changed(), ["patches/0002-rust-fs-add-inodes.patch", "rust/kernel/inode.rs"]);
}

#[test]
fn a_new_file_goes_to_the_patch_that_declares_its_module() {
    let lab = Lab::new();
    lab.edit("rust/kernel/inode.rs", "inode 10\n", "inode 10\npub mod name;\n");
    lab.write("rust/kernel/inode/name.rs", "// SPDX-License-Identifier: GPL-2.0\n");
    lab.write("rust/loopfs/control.rs", "// SPDX-License-Identifier: GPL-2.0\n");
    lab.refresh().unwrap();
    assert!(lab.read(&lab.patch("0002")).contains("b/rust/kernel/inode/name.rs\nnew file mode"));
    assert!(lab.read(&lab.patch("0004")).contains("b/drivers/block/loopfs/control.rs\nnew file mode"));
    lab.assert_clean();
}

#[test]
fn a_deleted_file_leaves_the_patch_that_added_it() {
    let lab = Lab::new();
    fs::remove_file(lab.path("rust/kernel/inode.rs")).unwrap();
    lab.refresh().unwrap();
    assert!(!lab.read(&lab.patch("0002")).contains("inode.rs"));
    lab.assert_clean();
}

#[test]
fn edits_can_be_sent_into_one_patch() {
    let lab = Lab::new();
    lab.edit(OUR_DRIVER, "driver 2\n", "driver two\n");
    refresh::refresh(&lab.ctx, &lab.base, None, Options { into: Some(4), ..options() }).unwrap();
    assert!(lab.read(&lab.patch("0004")).contains("-// driver 2\n+// driver two\n"));
    assert!(!lab.changed().contains(&lab.patch("0003")));
    let error = refresh::refresh(&lab.ctx, &lab.base, None, Options { into: Some(5), ..options() }).unwrap_err();
    assert!(format!("{error:#}").contains("there is no patch 5"), "{error:#}");
}

#[test]
fn rust_is_written_anew_where_only_patches_moved_on() {
    let lab = Lab::new();
    lab.edit(&lab.patch("0004"), "+// limit", "+// bound");
    lab.refresh().unwrap();
    assert!(lab.read(OUR_DRIVER).contains("// bound\n"));
    lab.assert_clean();
}

#[test]
fn rust_is_written_anew_where_there_is_none() {
    let lab = Lab::new();
    fs::remove_dir_all(lab.path("rust")).unwrap();
    lab.refresh().unwrap();
    assert_eq!(lab.changed(), [""; 0]);
}

#[test]
fn a_file_changed_on_both_sides_stops_until_one_is_preferred() {
    for (prefer, limit) in [(Prefer::Rust, "// from rust\n"), (Prefer::Patches, "// from patches\n")] {
        let lab = Lab::new();
        lab.edit(&lab.patch("0004"), "+// limit", "+// from patches");
        lab.edit(OUR_DRIVER, "// limit", "// from rust");
        let before = (lab.read(OUR_DRIVER), lab.read(&lab.patch("0004")));
        let error = lab.refresh().unwrap_err();
        assert_eq!(Failure::of(&error), Failure::Series);
        assert!(format!("{error:#}").contains("--prefer rust"), "{error:#}");
        assert_eq!((lab.read(OUR_DRIVER), lab.read(&lab.patch("0004"))), before);
        refresh::refresh(&lab.ctx, &lab.base, None, Options { prefer: Some(prefer), ..options() }).unwrap();
        assert!(lab.read(OUR_DRIVER).contains(limit));
        lab.assert_clean();
    }
}

#[test]
fn a_commit_in_the_work_tree_becomes_a_patch_and_a_fixup_joins_its_own() {
    let lab = Lab::new();
    let work = work_tree(&lab);
    let loop_c = fs::read_to_string(work.dir().join(LOOP_C)).unwrap();
    write(work.dir(), LOOP_C, &loop_c.replace("counted", "counted twice"));
    work.read(["commit", "-qam", "fixup! loop: count the opens"]).unwrap();
    let driver = fs::read_to_string(work.dir().join(DRIVER)).unwrap();
    write(work.dir(), DRIVER, &(driver + "// log\n"));
    work.read(["commit", "-qam", "loopfs: log\n\nTo see it.\n\n---\nnew in v2"]).unwrap();
    lab.refresh().unwrap();
    assert_eq!(
        lab.changed(),
        [
            "patches/0001-loop-count-the-opens.patch",
            OUR_DRIVER,
            "patches/0005-loopfs-log.notes",
            "patches/0005-loopfs-log.patch"
        ]
    );
    assert!(lab.read(&lab.patch("0001")).contains("+// loop 2 counted twice\n"));
    assert_eq!(lab.read("patches/0005-loopfs-log.notes"), "new in v2\n");
    lab.assert_clean();
    // The work tree has followed: nothing stands in the way of the next move.
    let work = work_tree(&lab);
    assert_eq!(work.line(["status", "--porcelain"]).unwrap(), "");
    assert_eq!(work.line(["rev-list", "--count", "base..HEAD"]).unwrap(), "5");
}

#[test]
fn an_edit_in_the_work_tree_is_folded_in_and_its_file_is_not_written_again() {
    let lab = Lab::new();
    let work = work_tree(&lab);
    let file = work.dir().join(LOOP_C);
    let text = fs::read_to_string(&file).unwrap();
    write(work.dir(), LOOP_C, &text.replace("counted", "counted twice"));
    let modified = || fs::metadata(&file).unwrap().modified().unwrap();
    let before = modified();
    lab.refresh().unwrap();
    assert_eq!(lab.changed(), ["patches/0001-loop-count-the-opens.patch"]);
    assert_eq!(modified(), before);
    assert_eq!(work.line(["status", "--porcelain"]).unwrap(), "");
}

#[test]
fn a_new_file_in_the_work_tree_is_folded_in_although_git_ignores_it() {
    let lab = Lab::new();
    let work = work_tree(&lab);
    write(work.dir(), "drivers/block/loopfs/helper.c", "// SPDX-License-Identifier: GPL-2.0\n");
    write(work.dir(), "drivers/block/loopfs/helper.o", "not a source");
    lab.refresh().unwrap();
    assert!(lab.read(&lab.patch("0004")).contains("b/drivers/block/loopfs/helper.c\nnew file mode"));
    assert_eq!(lab.changed(), ["patches/0004-loopfs-limit-the-devices.patch"]);
    lab.assert_clean();
}

#[test]
fn an_edit_in_the_work_tree_never_undoes_what_patches_have_gained_since() {
    let lab = Lab::new();
    let work = work_tree(&lab);
    let text = fs::read_to_string(work.dir().join(LOOP_C)).unwrap();
    write(work.dir(), LOOP_C, &text.replace("loop 9\n", "loop nine\n"));
    lab.edit(&lab.patch("0001"), "+// loop 2 counted", "+// loop 2 recounted");
    let before = lab.read(&lab.patch("0001"));
    let error = lab.refresh().unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Series);
    assert!(format!("{error:#}").contains("loop.c changed in patches/ and the work tree"), "{error:#}");
    assert_eq!(lab.read(&lab.patch("0001")), before);
    assert!(fs::read_to_string(work.dir().join(LOOP_C)).unwrap().contains("loop nine"));
}

#[test]
fn an_edit_no_patch_is_concerned_with_asks_for_one() {
    let lab = Lab::new();
    let work = work_tree(&lab);
    write(work.dir(), "init/untouched.c", "// SPDX-License-Identifier: GPL-2.0\nint touched;\n");
    let error = lab.refresh().unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Series);
    assert!(format!("{error:#}").contains("no patch touches init/untouched.c"), "{error:#}");
    assert_eq!(lab.changed(), [""; 0]);
    refresh::refresh(&lab.ctx, &lab.base, None, Options { into: Some(2), ..options() }).unwrap();
    assert_eq!(lab.changed(), ["patches/0002-rust-fs-add-inodes.patch"]);
}

#[test]
fn a_series_rearranged_in_the_work_tree_is_taken_over_with_its_notes() {
    let lab = Lab::new();
    lab.write("patches/0002-rust-fs-add-inodes.notes", "v2: inodes\n");
    lab.save();
    let work = work_tree(&lab);
    let at = |n: u32| work.line(["rev-parse", &format!("HEAD~{n}")]).unwrap();
    let picks = [at(2), at(3), at(1), at(0)];
    work.read(["reset", "-q", "--hard", "base"]).unwrap();
    for pick in picks {
        work.read(["cherry-pick", &pick]).unwrap();
        if work.line(["log", "-1", "--format=%s"]).unwrap().starts_with("rust: fs") {
            work.read(["notes", "copy", &pick, "HEAD"]).unwrap();
        }
    }
    lab.refresh().unwrap();
    assert!(lab.patch("add-inodes").contains("0001-"));
    assert!(lab.patch("count-the-opens").contains("0002-"));
    assert_eq!(lab.read("patches/0001-rust-fs-add-inodes.notes"), "v2: inodes\n");
    assert!(!lab.path("patches/0002-rust-fs-add-inodes.notes").exists());
    lab.assert_clean();
}

#[test]
fn commits_in_the_work_tree_go_onto_a_series_that_changed_meanwhile() {
    let lab = Lab::new();
    let work = work_tree(&lab);
    write(work.dir(), "init/new.c", "// SPDX-License-Identifier: GPL-2.0\n");
    work.read(["add", "-f", "init/new.c"]).unwrap();
    work.read(["commit", "-qm", "init: add\n\nWhy."]).unwrap();
    lab.edit(&lab.patch("0004"), "+// limit", "+// bound");
    lab.refresh().unwrap();
    assert!(lab.path("patches/0005-init-add.patch").exists());
    assert!(lab.read(OUR_DRIVER).contains("// bound\n"));
    lab.assert_clean();
}

/// An edit of the third patch's line that the fourth has changed as well, so that folding it conflicts.
fn conflict() -> Lab {
    let lab = Lab::new();
    lab.commit("loopfs: reword", &[(DRIVER, |text| text.replace("driver 3\n", "driver 3 reworded\n"))]);
    lab.import();
    lab.save();
    lab.edit(OUR_DRIVER, "driver 3 reworded\n", "driver 3 edited\n");
    let error = refresh::refresh(&lab.ctx, &lab.base, None, Options { into: Some(3), ..options() }).unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Series);
    let told = format!("{error:#}");
    for hint in [DRIVER, "--continue", "--abort", "git add -f"] {
        assert!(told.contains(hint), "{told}");
    }
    assert_eq!(lab.changed(), [OUR_DRIVER], "a stopped refresh has written something");
    lab
}

/// The repository a stopped refresh is resolved in.
fn stopped(lab: &Lab) -> Git {
    Git::new(xtask::series::folder::state_dir(&lab.ctx).join("refresh/linux"), false)
}

fn resolve(lab: &Lab, text: &str) {
    let git = stopped(lab);
    let file = fs::read_to_string(git.dir().join(DRIVER)).unwrap();
    assert!(file.contains("<<<<<<<"), "{file}");
    let start = file.find("<<<<<<<").unwrap();
    let end = file.find(">>>>>>>").unwrap();
    let end = end + file[end..].find('\n').unwrap() + 1;
    write(git.dir(), DRIVER, &format!("{}{text}{}", &file[..start], &file[end..]));
    git.read(["add", "--sparse", "--force", DRIVER]).unwrap();
}

#[test]
fn a_conflict_stops_and_is_continued_after_it_was_resolved() {
    let lab = conflict();
    let error = lab.refresh().unwrap_err();
    assert!(format!("{error:#}").contains("a refresh has stopped at a conflict"), "{error:#}");
    let error = refresh::resume(&lab.ctx, &lab.base).unwrap_err();
    assert!(format!("{error:#}").contains("meets a conflict"), "an unresolved conflict was accepted: {error:#}");

    // First the third patch gets the edit, then the fifth meets it.
    resolve(&lab, "// driver 3 edited\n");
    if refresh::resume(&lab.ctx, &lab.base).is_err() {
        resolve(&lab, "// driver 3 edited, reworded\n");
        refresh::resume(&lab.ctx, &lab.base).unwrap();
    }
    lab.assert_clean();
    assert!(lab.read(&lab.patch("0003")).contains("+// driver 3 edited\n"));
    assert!(refresh::resume(&lab.ctx, &lab.base).is_err(), "it is over");
}

#[test]
fn a_conflict_can_be_aborted_without_a_trace() {
    let lab = conflict();
    refresh::abort(&lab.ctx).unwrap();
    assert_eq!(lab.changed(), [OUR_DRIVER]);
    assert!(!stopped(&lab).dir().exists());
    assert!(format!("{:#}", refresh::abort(&lab.ctx).unwrap_err()).contains("nothing to abort"));
    // The edit is still there, and can go where it fits.
    lab.refresh().unwrap();
    lab.assert_clean();
}

#[test]
fn a_refresh_is_not_continued_over_files_edited_meanwhile() {
    let lab = conflict();
    resolve(&lab, "// driver 3 edited\n");
    lab.edit(OUR_DRIVER, "driver 5\n", "driver five\n");
    let error = refresh::resume(&lab.ctx, &lab.base).unwrap_err();
    assert!(format!("{error:#}").contains("have changed since the refresh stopped"), "{error:#}");
    assert!(lab.read(OUR_DRIVER).contains("driver five\n"));
}

#[test]
fn what_a_killed_refresh_left_does_not_stop_the_next() {
    let lab = Lab::new();
    let left = stopped(&lab);
    fs::create_dir_all(left.dir()).unwrap();
    left.read(["init", "-q"]).unwrap();
    lab.edit(OUR_DRIVER, "// limit", "// the limit");
    lab.refresh().unwrap();
    lab.assert_clean();
    assert!(!left.dir().exists());
}

#[test]
fn the_series_is_carried_over_to_another_base_by_a_three_way_merge() {
    let lab = Lab::new();
    lab.dev.read(["checkout", "-q", "-b", "next", "base"]).unwrap();
    lab.commit("loop: reword", &[(LOOP_C, |text| text.replace("loop 4\n", "loop four\n"))]);
    let next = xtask::source::Base::at(lab.dev.dir(), "next", false).unwrap();
    let error = refresh::refresh(&lab.ctx, &next, Some(&lab.base), options()).unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Series);
    assert!(format!("{error:#}").contains("--three-way"), "{error:#}");
    let three_way = Options { three_way: true, ..options() };
    refresh::refresh(&lab.ctx, &next, Some(&lab.base), three_way).unwrap();
    let report = xtask::series::check::check(&lab.ctx, &next).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert_eq!(lab.changed(), ["patches/0001-loop-count-the-opens.patch"]);
}

#[test]
fn a_three_way_merge_that_conflicts_is_resolved_and_continued() {
    let lab = Lab::new();
    lab.dev.read(["checkout", "-q", "-b", "next", "base"]).unwrap();
    lab.commit("loop: reword", &[(LOOP_C, |text| text.replace("loop 2\n", "loop two\n"))]);
    let next = xtask::source::Base::at(lab.dev.dir(), "next", false).unwrap();
    let three_way = Options { three_way: true, ..options() };
    let error = refresh::refresh(&lab.ctx, &next, Some(&lab.base), three_way).unwrap_err();
    assert!(format!("{error:#}").contains("carrying the series over meets a conflict"), "{error:#}");
    let git = stopped(&lab);
    let text = "// SPDX-License-Identifier: GPL-2.0\n// loop 1\n// loop two counted\n";
    write(git.dir(), LOOP_C, text);
    git.read(["add", "--sparse", "--force", LOOP_C]).unwrap();
    refresh::resume(&lab.ctx, &next).unwrap();
    let report = xtask::series::check::check(&lab.ctx, &next).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}
