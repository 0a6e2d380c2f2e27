//! `series check`: one finding for each thing that is wrong.

use std::fs;

use crate::lab::{LOOP_C, Lab, OUR_DRIVER};

#[test]
fn a_fit_series_has_no_findings_and_is_counted() {
    let lab = Lab::new();
    lab.assert_clean();
    let report = lab.check();
    assert_eq!((report.patches, report.mirrored, report.c_lines), (4, 2, 1));
}

#[test]
fn no_series_at_all_is_fit() {
    let lab = Lab::bare();
    lab.assert_clean();
}

#[test]
fn a_check_changes_nothing() {
    let lab = Lab::new();
    lab.edit(OUR_DRIVER, "driver 3", "driver three");
    lab.check();
    assert_eq!(lab.changed(), [OUR_DRIVER]);
}

#[test]
fn an_edited_rust_file_is_shown_with_the_diff_that_mends_it() {
    let lab = Lab::new();
    lab.edit(OUR_DRIVER, "driver 3", "driver three");
    let finding = lab.finding();
    assert!(finding.starts_with("rust/loopfs/loopfs.rs: not what the patches add"), "{finding}");
    assert!(finding.contains("\n-// driver three\n+// driver 3\n"), "{finding}");
}

#[test]
fn a_missing_rust_file_is_named() {
    let lab = Lab::new();
    fs::remove_file(lab.path(OUR_DRIVER)).unwrap();
    assert!(lab.finding().starts_with("rust/loopfs/loopfs.rs: missing"));
}

#[test]
fn an_extra_rust_file_is_named() {
    let lab = Lab::new();
    lab.write("rust/kernel/extra.rs", "");
    assert!(lab.finding().starts_with("rust/kernel/extra.rs: extra"));
}

#[test]
fn something_that_is_not_rust_among_the_mirrored_files_is_named() {
    let lab = Lab::new();
    lab.write("rust/loopfs/Makefile", "");
    assert!(lab.finding().starts_with("rust/loopfs/Makefile: not a Rust file"));
}

#[test]
fn the_host_crate_is_none_of_its_business() {
    let lab = Lab::new();
    lab.write("rust/host/src/lib.rs", "");
    lab.assert_clean();
}

#[test]
fn a_patch_edited_by_hand_is_shown_with_the_diff_that_mends_it() {
    let lab = Lab::new();
    lab.edit(&lab.patch("0001"), "| 2 +-", "| 3 +-");
    let finding = lab.finding();
    assert!(
        finding.contains("-drivers/block/loop.c") || finding.contains("- drivers/block/loop.c | 3 +-"),
        "{finding}"
    );
    assert!(finding.contains("+ drivers/block/loop.c | 2 +-"), "{finding}");
}

#[test]
fn a_sign_off_and_an_author_are_for_the_submitter_to_give() {
    let lab = Lab::new();
    lab.edit(&lab.patch("0001"), "needed.\n", "needed.\n\nSigned-off-by: A <a@example.org>\n");
    lab.edit(&lab.patch("0001"), "From: loopfs developers <loopfs@localhost>", "From: A <a@example.org>");
    let findings: Vec<String> = lab.check().findings.iter().map(ToString::to_string).collect();
    assert!(findings[0].contains("it is by `A <a@example.org>`"), "{findings:?}");
    assert!(findings[1].contains("Signed-off-by: A <a@example.org>"), "{findings:?}");
    lab.refresh().unwrap();
    lab.assert_clean();
    assert_eq!(lab.changed(), [""; 0]);
}

#[test]
fn a_note_left_in_the_patch_file_is_found_and_refresh_saves_it() {
    let lab = Lab::new();
    lab.edit(&lab.patch("0001"), "---\n drivers", "---\nv2: counted twice\n\n drivers");
    assert!(lab.check().findings[0].to_string().contains("text under its `---`"));
    lab.refresh().unwrap();
    lab.assert_clean();
    assert_eq!(lab.read("patches/0001-loop-count-the-opens.notes"), "v2: counted twice\n");
}

#[test]
fn a_cover_letter_that_counts_other_lines_is_found_and_refresh_mends_it() {
    let lab = Lab::new();
    let head = "   patch                                            C  loopfs rust/   Rust";
    let cover = format!("loop: private devices\n\n{head}\n   loop: count the opens +7\n\nThe rest.\n");
    lab.write("patches/0000-cover-letter.txt", &cover);
    let finding = lab.finding();
    assert!(finding.contains("its table of lines is not that of the patches"), "{finding}");
    assert!(finding.contains("\n-   loop: count the opens +7\n"), "{finding}");
    lab.refresh().unwrap();
    lab.assert_clean();
    let mended = lab.read("patches/0000-cover-letter.txt");
    assert!(mended.starts_with(&cover[..cover.find("   loop: count").unwrap()]), "{mended}");
    assert!(mended.ends_with("\n\nThe rest.\n"), "{mended}");
}

#[test]
fn a_note_without_a_patch_is_found() {
    let lab = Lab::new();
    lab.write("patches/0002-gone.notes", "v2\n");
    assert!(lab.finding().contains("0002-gone.notes belongs to no patch"));
}

#[test]
fn a_stray_file_is_found() {
    let lab = Lab::new();
    lab.write("patches/fix.diff", "");
    assert!(lab.finding().contains("fix.diff is neither"));
}

/// A lab with a group of fixes that ends with the patch `last`.
fn with_fixes(last: &str) -> Lab {
    let lab = Lab::new();
    lab.dev.read(["reset", "-q", "--hard", "base"]).unwrap();
    lab.commit("loop: mend the opens", &[(LOOP_C, |text| text.replace("loop 4\n", "loop 4 mended\n"))]);
    let message = "loop: mend the opens\n\nBecause.\n\nFixes: 123456789abc (\"loop: open\")\n";
    lab.dev.feed(["commit", "-q", "--amend", "-F", "-"], message.as_bytes()).unwrap();
    lab.commit("loop: count again", &[(LOOP_C, |text| text.replace("loop 8\n", "loop 8 counted\n"))]);
    lab.import();
    let group = format!("[[group]]\nname = \"fixes\"\nlast = {last:?}\ncover = \"fixes-cover-letter.txt\"\n");
    lab.write("patches/groups.toml", &group);
    lab.write("patches/fixes-cover-letter.txt", "loop: mend\n\nIt is mended.\n");
    lab
}

#[test]
fn a_group_has_a_last_patch_and_a_cover_letter() {
    let lab = with_fixes("loop-mend-the-opens");
    lab.assert_clean();
    lab.edit("patches/groups.toml", "mend-the-opens", "mend-all");
    assert!(lab.finding().starts_with("patches/groups.toml: the group fixes ends with loop-mend-all, which is not"));
    lab.edit("patches/groups.toml", "mend-all", "mend-the-opens");
    for cover in ["", "loop: mend\n", "loop: mend\nIt is mended.\n", "\n\nIt is mended.\n", "loop: mend\n\n\n"] {
        lab.write("patches/fixes-cover-letter.txt", cover);
        assert!(lab.finding().starts_with("patches/fixes-cover-letter.txt: the cover letter of the group fixes needs"));
    }
    fs::remove_file(lab.path("patches/fixes-cover-letter.txt")).unwrap();
    assert!(lab.finding().starts_with("patches/fixes-cover-letter.txt: the cover letter of the group fixes needs"));
}

#[test]
fn each_patch_of_the_group_of_fixes_names_what_it_fixes() {
    let lab = with_fixes("loop-count-again");
    assert!(lab.finding().starts_with("patches/0002-loop-count-again.patch: it has no `Fixes:` line"));
    lab.edit("patches/groups.toml", "\"fixes\"", "\"early\"");
    lab.assert_clean();
}

#[test]
fn a_cover_letter_of_no_group_is_a_stray_file() {
    let lab = with_fixes("loop-mend-the-opens");
    lab.write("patches/other-cover-letter.txt", "loop: mend\n\nIt is mended.\n");
    assert!(lab.finding().contains("other-cover-letter.txt is neither"));
}

#[test]
fn a_list_of_groups_that_cannot_be_read_is_found() {
    let lab = Lab::new();
    lab.write("patches/groups.toml", "[[group]]\nname = \"fixes\"\n");
    let finding = lab.finding();
    assert!(
        finding.starts_with("patches: groups.toml is wrong") && finding.contains("missing field `last`"),
        "{finding}"
    );
}

#[test]
fn a_file_name_that_is_not_the_subjects_is_found() {
    let lab = Lab::new();
    fs::rename(lab.path(&lab.patch("0004")), lab.path("patches/0004-wip.patch")).unwrap();
    assert!(lab.finding().contains("should be named 0004-loopfs-limit-the-devices.patch"));
}

#[test]
fn subjects_have_a_form() {
    for (subject, complaint) in [
        ("no subsystem here", "is not of the form"),
        ("loop: do it.", "ends with a full stop"),
        (
            "loop: a subject that goes on and on and on and on and on and on and on and on and on",
            "characters; 75 are shown",
        ),
    ] {
        let lab = Lab::bare();
        lab.commit(subject, &[(LOOP_C, |text| text + "// x\n")]);
        lab.import();
        assert!(lab.finding().contains(complaint), "{}", lab.finding());
    }
}

#[test]
fn a_patch_without_a_message_is_found() {
    let lab = Lab::new();
    lab.dev.read(["commit", "-q", "--amend", "-m", "loopfs: limit the devices"]).unwrap();
    lab.import();
    assert!(lab.finding().contains("it has no message"));
}

#[test]
fn an_added_file_without_a_license_is_found() {
    let lab = Lab::bare();
    lab.commit("loop: add", &[("drivers/block/new.c", |_| "int a;\n".to_owned())]);
    lab.import();
    assert!(lab.finding().contains("drivers/block/new.c does not start with an SPDX-License-Identifier"));
}

#[test]
fn an_example_that_does_not_fit_on_top_is_named() {
    let lab = Lab::new();
    let patches = lab.patches();
    let text = lab.read(&format!("patches/{}", patches[0]));
    lab.write("patches/example/once-more.patch", &text);
    let finding = lab.finding();
    assert!(finding.starts_with("patches/example/once-more.patch: "), "{finding}");
    assert!(finding.ends_with("on top of the series"), "{finding}");
}
