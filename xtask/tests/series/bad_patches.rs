//! Files that are no fit patches, each told by name and none of them harmful.

use std::fs;

use crate::lab::{DRIVER, LOOP_C, Lab};
use xtask::{
    error::Failure,
    series::{status, tree},
};

/// The class that `series status` gives the patch `name`, after checking that nothing takes the series.
fn class(lab: &Lab, name: &str) -> String {
    let status = status::status(&lab.ctx, &lab.base, None).unwrap();
    assert!(!status.is_clean());
    let error = tree::prepare_tree(&lab.ctx, &lab.base).unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Series, "{error:#}");
    assert!(!lab.check().findings.is_empty());
    let error = lab.refresh().unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Series, "{error:#}");
    status.patches.iter().find(|row| row.name.contains(name)).unwrap().class.clone()
}

fn rewrite(lab: &Lab, name: &str, change: impl FnOnce(String) -> String) {
    let path = lab.patch(name);
    lab.write(&path, &change(lab.read(&path)));
}

#[test]
fn crlf_line_ends() {
    let lab = Lab::new();
    rewrite(&lab, "0002", |text| text.replace('\n', "\r\n"));
    assert_eq!(class(&lab, "0002"), "crlf");
    assert!(lab.finding().contains("0002-rust-fs-add-inodes.patch: line 1 ends in CR LF"));
}

#[test]
fn crlf_line_ends_in_the_diff_only() {
    let lab = Lab::new();
    rewrite(&lab, "0003", |text| text.replace("// driver 4\n", "// driver 4\r\n"));
    assert_eq!(class(&lab, "0003"), "crlf");
}

#[test]
fn a_wrapped_line() {
    let lab = Lab::new();
    rewrite(&lab, "0001", |text| text.replace("+// loop 2 counted", "+// loop 2\ncounted"));
    assert_eq!(class(&lab, "0001"), "mangled");
    assert!(lab.finding().contains("does not fit the counts of `@@ -1,6 +1,6 @@"), "{}", lab.finding());
}

#[test]
fn a_truncated_file() {
    let lab = Lab::new();
    rewrite(&lab, "0002", |text| text[..text.len() - 40].to_owned());
    assert_eq!(class(&lab, "0002"), "mangled");
    assert!(lab.finding().contains("ends before its lines are complete"), "{}", lab.finding());
}

#[test]
fn a_binary_hunk() {
    let lab = Lab::new();
    rewrite(&lab, "0002", |text| {
        text + "diff --git a/logo.bin b/logo.bin\nnew file mode 100644\nindex 0000000..1111111\n\
                GIT binary patch\nliteral 3\nKcmZQzWMT#Y01f~L\n\nliteral 0\nHcmV?d00001\n\n"
    });
    assert_eq!(class(&lab, "0002"), "binary");
    assert!(lab.finding().contains("logo.bin is changed by a binary hunk"));
}

#[test]
fn a_rename() {
    let lab = Lab::new();
    rewrite(&lab, "0002", |text| {
        text + "diff --git a/init/untouched.c b/init/other.c\nsimilarity index 100%\n\
                rename from init/untouched.c\nrename to init/other.c\n"
    });
    assert_eq!(class(&lab, "0002"), "rename");
    assert!(lab.finding().contains("init/other.c is a rename or copy"));
}

#[test]
fn a_change_of_mode() {
    let lab = Lab::new();
    rewrite(&lab, "0002", |text| {
        text + "diff --git a/init/untouched.c b/init/untouched.c\nold mode 100644\nnew mode 100755\n"
    });
    assert_eq!(class(&lab, "0002"), "mode-change");
    assert!(lab.finding().contains("init/untouched.c has mode 100755"));
}

#[test]
fn a_new_file_that_can_be_executed() {
    let lab = Lab::new();
    rewrite(&lab, "0003", |text| text.replacen("new file mode 100644", "new file mode 100755", 1));
    assert_eq!(class(&lab, "0003"), "mode-change");
}

#[test]
fn a_file_that_is_no_patch() {
    for text in ["", "hello\n", "From: me\nSubject: [PATCH] x\nDate: now\n\nno diff\n---\n", "%PDF-1.4\n\0\u{fffd}"] {
        let lab = Lab::new();
        rewrite(&lab, "0002", |_| text.to_owned());
        assert_eq!(class(&lab, "0002"), "not-a-patch", "{text:?}");
    }
}

#[test]
fn bytes_that_are_no_text() {
    let lab = Lab::new();
    fs::write(lab.path(&lab.patch("0002")), [0xff, 0xfe, 0x00, 0x80, b'\n']).unwrap();
    assert_eq!(class(&lab, "0002"), "not-a-patch");
}

#[test]
fn patches_out_of_order() {
    let lab = Lab::new();
    let (third, fourth) = (lab.patch("0003"), lab.patch("0004"));
    fs::rename(lab.path(&third), lab.path("patches/swap")).unwrap();
    fs::rename(lab.path(&fourth), lab.path("patches/0003-loopfs-limit-the-devices.patch")).unwrap();
    fs::rename(lab.path("patches/swap"), lab.path("patches/0004-loopfs-add-the-driver.patch")).unwrap();
    assert_eq!(class(&lab, "loopfs-limit"), "conflicts");
    assert!(lab.finding().contains(&format!("{DRIVER}: the tree has no such file")), "{}", lab.finding());
}

#[test]
fn a_gap_in_the_numbers() {
    let lab = Lab::new();
    fs::rename(lab.path(&lab.patch("0004")), lab.path("patches/0005-loopfs-limit-the-devices.patch")).unwrap();
    let status = status::status(&lab.ctx, &lab.base, None).unwrap();
    assert_eq!(status.patches[3].class, "gap");
    let error = tree::prepare_tree(&lab.ctx, &lab.base).unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Series);
    assert!(format!("{error:#}").contains("stands where number 0004 is due"), "{error:#}");
    let findings = lab.check().findings;
    assert!(findings[0].to_string().contains("stands where number 0004 is due"));
    // That much a refresh mends by itself.
    lab.refresh().unwrap();
    lab.assert_clean();
    assert!(lab.path("patches/0004-loopfs-limit-the-devices.patch").exists());
}

#[test]
fn a_number_used_twice() {
    let lab = Lab::new();
    lab.write("patches/0002-another.patch", &lab.read(&lab.patch("0002")));
    assert!(lab.check().findings[0].to_string().contains("or a number twice"));
}

#[test]
fn a_patch_with_an_added_missing_context_line_is_never_applied_with_fuzz() {
    let lab = Lab::new();
    rewrite(&lab, "0001", |text| {
        text.replace("@@ -1,6 +1,6 @@", "@@ -1,7 +1,7 @@").replace(" // loop 5\n", " // loop 5\n // elsewhere\n")
    });
    let finding = lab.finding();
    assert!(finding.contains(&format!("{LOOP_C}: hunk 1 of 1")), "{finding}");
}
