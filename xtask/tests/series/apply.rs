//! Patches become commits.

use std::fs;

use crate::lab::{LOOP_C, Lab};
use xtask::{
    error::Failure,
    series::{
        apply::{self, Input, Rejected, Why},
        other_bases::{self, Candidate},
        scratch::Scratch,
        status,
    },
    source::spec::Conflict,
};

fn inputs(lab: &Lab) -> Vec<Input> {
    lab.patches()
        .into_iter()
        .filter(|name| name.ends_with(".patch"))
        .map(|name| Input { text: lab.read(&format!("patches/{name}")), name })
        .collect()
}

fn commits(lab: &Lab) -> Vec<String> {
    let scratch = Scratch::new(&lab.ctx, &[&lab.base.repo]).unwrap();
    apply::am(&scratch, &lab.base.commit, &inputs(lab)).unwrap()
}

#[test]
fn the_same_patches_give_the_same_commits_again() {
    let lab = Lab::new();
    let first = commits(&lab);
    assert_eq!(first.len(), 4);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(commits(&lab), first);
}

#[test]
fn only_the_touched_files_are_checked_out() {
    let lab = Lab::new();
    let scratch = Scratch::new(&lab.ctx, &[&lab.base.repo]).unwrap();
    apply::am(&scratch, &lab.base.commit, &inputs(&lab)).unwrap();
    assert!(scratch.path().join(LOOP_C).exists());
    assert!(!scratch.path().join("init/untouched.c").exists());
    assert!(!scratch.path().join("Makefile").exists());
}

#[test]
fn a_temporary_repository_is_gone_afterwards() {
    let lab = Lab::new();
    commits(&lab);
    let left: Vec<_> = fs::read_dir(lab.ctx.cache().join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_a_killed_run_left_a_day_ago_is_removed() {
    let lab = Lab::new();
    let (old, new) = (lab.ctx.cache().join("tmp/series-old"), lab.ctx.cache().join("tmp/series-new"));
    for dir in [&old, &new] {
        fs::create_dir_all(dir).unwrap();
    }
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
    fs::File::open(&old).unwrap().set_modified(yesterday).unwrap();
    commits(&lab);
    assert!(!old.exists() && new.exists());
}

#[test]
fn a_patch_that_does_not_fit_is_told_with_file_and_hunk() {
    let lab = Lab::new();
    lab.edit(&lab.patch("loop-count"), "// loop 1\n", "// another 1\n");
    let scratch = Scratch::new(&lab.ctx, &[&lab.base.repo]).unwrap();
    let error = apply::am(&scratch, &lab.base.commit, &inputs(&lab)).unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Series);
    let rejected = error.downcast_ref::<Rejected>().unwrap();
    assert_eq!(rejected.patch, "0001-loop-count-the-opens.patch");
    assert_eq!(rejected.places.len(), 1);
    assert_eq!(rejected.places[0].file, LOOP_C);
    assert!(matches!(rejected.places[0].why, Why::Hunk { number: 1, of: 1, .. }));
    let told = format!("{error:#}");
    assert!(told.contains("drivers/block/loop.c: hunk 1 of 1 (`@@ -1,6 +1,6 @@`)"), "{told}");
    assert!(told.contains("|-// loop 2\n"), "{told}");
}

#[test]
fn a_patch_for_a_file_that_is_not_there_and_one_that_adds_what_is_there_say_so() {
    let lab = Lab::new();
    lab.commit("loopfs: add the driver again", &[("drivers/block/x.c", |_| "// SPDX\n".to_owned())]);
    lab.import();
    fs::remove_file(lab.path(&lab.patch("0003"))).unwrap();
    let twice = lab.read(&lab.patch("0005")).replace("+// SPDX", "+// again");
    lab.write("patches/0006-loopfs-add-the-driver-twice.patch", &twice);
    let status = status::status(&lab.ctx, &lab.base, None).unwrap();
    let detail = |name: &str| {
        let row = status.patches.iter().find(|row| row.name.starts_with(name)).unwrap();
        row.detail.clone().unwrap_or_default()
    };
    assert!(detail("0004").contains("drivers/block/loopfs/loopfs.rs: the tree has no such file"), "{status}");
    assert!(detail("0006").contains("drivers/block/x.c: the tree has this file already"), "{status}");
}

#[test]
fn status_tells_the_class_of_each_patch_and_counts() {
    let lab = Lab::new();
    let text = status::status(&lab.ctx, &lab.base, None).unwrap().to_string();
    assert!(text.contains("0001-loop-count-the-opens.patch      applies      +1 -1\n"), "{text}");
    assert!(text.ends_with("4 patches on Linux 7.3.4: 4 applies"), "{text}");
}

#[test]
fn on_another_base_a_patch_may_need_a_three_way_merge_or_conflict() {
    let lab = Lab::new();
    lab.dev.read(["checkout", "-q", "-b", "next", "base"]).unwrap();
    // Near enough to upset the context of the first patch; the second patch's own lines are gone.
    lab.commit("loop: reword", &[(LOOP_C, |text| text.replace("loop 4\n", "loop four\n"))]);
    lab.commit("rust: reword", &[("rust/kernel/lib.rs", |text| text.replace("lib 5\n", "lib 5 x\n// lib 5 y\n"))]);
    let next = xtask::source::Base::at(lab.dev.dir(), "next", false).unwrap();
    let status = status::status(&lab.ctx, &next, Some(&lab.base)).unwrap();
    let classes: Vec<&str> = status.patches.iter().map(|row| row.class.as_str()).collect();
    assert_eq!(classes, ["three-way", "conflicts", "applies", "applies"], "{status}");
    assert!(!status.is_clean());
}

#[test]
fn a_patch_behind_one_that_conflicts_is_judged_by_its_own_changes() {
    let lab = Lab::bare();
    lab.commit("loop: two", &[(LOOP_C, |text| text.replace("loop 2\n", "loop two\n"))]);
    lab.commit("loop: still two", &[(LOOP_C, |text| text.replace("loop two\n", "loop zwei\n"))]);
    lab.commit("loop: nine", &[(LOOP_C, |text| text.replace("loop 9\n", "loop nine\n"))]);
    lab.import();
    lab.save();
    lab.dev.read(["checkout", "-q", "-b", "next", "base"]).unwrap();
    lab.commit("loop: reword", &[(LOOP_C, |text| text.replace("loop 2\n", "loop deux\n"))]);
    let next = xtask::source::Base::at(lab.dev.dir(), "next", false).unwrap();
    let candidate = |known: &[&str]| Candidate {
        name: "next".to_owned(),
        base: Ok(next.clone()),
        known: known
            .iter()
            .map(|patch| Conflict { patch: (*patch).to_owned(), reason: "it says deux".to_owned().try_into().unwrap() })
            .collect(),
    };
    let meet = |known: &[&str]| other_bases::meet(&lab.ctx, &lab.base, [candidate(known)]).unwrap();
    let meetings = meet(&[]);
    let text = meetings[0].to_string();
    assert!(text.starts_with("next (Linux 7.3.4): 2 patches apply, 0 by a three-way merge, 1 do not"), "{text}");
    assert!(text.contains("conflicts  0001-loop-two.patch\n") && text.contains("`@@ -1,6 +1,6 @@`"), "{text}");
    assert_eq!(other_bases::failure(&meetings), Some(Failure::Series));

    let meetings = meet(&["loop-two"]);
    assert!(meetings[0].to_string().contains("0001-loop-two.patch\n    it says deux"), "{}", meetings[0]);
    assert_eq!(other_bases::failure(&meetings), None);
    let meetings = meet(&["loop-two", "loop-nine"]);
    assert_eq!(meetings[0].faults, ["patches/base.toml: loop-nine goes onto next now: take its conflict out"]);
}

#[test]
fn a_base_that_cannot_be_had_is_told_and_the_others_are_tried() {
    let lab = Lab::new();
    let missing = Err(anyhow::anyhow!("no source of Linux 7.2.12 can be had"));
    let others = [("7.2", missing), ("7.3.4", Ok(lab.base.clone()))];
    let others = others.map(|(name, base)| Candidate { name: name.to_owned(), base, known: Vec::new() });
    let meetings = other_bases::meet(&lab.ctx, &lab.base, others).unwrap();
    assert!(
        meetings[0].to_string().contains("7.2: cannot be had here\n  no source of Linux 7.2.12"),
        "{}",
        meetings[0]
    );
    assert!(meetings[1].to_string().contains("4 patches apply, 0 by"), "{}", meetings[1]);
    assert_eq!(other_bases::failure(&meetings), Some(Failure::Environment));
    assert_eq!(other_bases::failure(&meetings[1..]), None);
}
