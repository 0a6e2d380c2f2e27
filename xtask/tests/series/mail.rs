//! The series as mails.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::lab::{DRIVER, Lab, write};
use clap::ValueEnum as _;
use xtask::{
    error::Failure,
    mail::{
        self, Order, Written,
        gate::Gate,
        people::{People, Person},
    },
    source::Base,
    verify::evidence,
};

const COVER: &str = "loop: private devices\n\nWhat it is for — and why.\n";
const EXCEPTION: &str =
    "[[exception]]\npatch = \"loopfs-limit-the-devices\"\nkind = \"LIMIT\"\nreason = \"it is one\"\n";
const TABLE: &str = "| patch | cases |";

/// A lab whose series is ready for mailing.
fn ready() -> Lab {
    let lab = Lab::new();
    lab.write("patches/0000-cover-letter.txt", COVER);
    lab.write("patches/checkpatch.toml", EXCEPTION);
    lab.write("patches/0002-rust-fs-add-inodes.notes", "Tested with inodes.\n");
    verified(&lab);
    lab
}

/// The patches as they are were verified, and all is committed.
fn verified(lab: &Lab) {
    evidence::keep(lab.ctx.root(), &lab.base, TABLE).unwrap();
    lab.save();
}

fn order(lab: &Lab) -> Order {
    Order {
        version: 1,
        rfc: false,
        sign_off: true,
        submitter: "Ada Löwe <ada@kernel.org>".parse().unwrap(),
        also: People::default(),
        folder: folder(lab),
        skip: BTreeSet::new(),
        force: false,
    }
}

fn folder(lab: &Lab) -> PathBuf {
    lab.ctx.cache().join("out going")
}

fn send(lab: &Lab, order: &Order) -> anyhow::Result<Written> {
    mail::write(&lab.ctx, &lab.base, order)
}

fn text(written: &Written, name: &str) -> String {
    fs::read_to_string(written.folder.join(name)).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What the gates say of a series that is not let through.
fn refusal(lab: &Lab, order: &Order) -> String {
    let before = folder(lab).exists().then(|| names(&folder(lab)));
    let error = send(lab, order).unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Series, "{error:#}");
    assert_eq!(folder(lab).exists().then(|| names(&folder(lab))), before, "something was written");
    format!("{error:#}")
}

#[test]
fn the_mails_are_the_cover_letter_and_the_patches_by_the_submitter() {
    let lab = ready();
    let written = send(&lab, &order(&lab)).unwrap();
    assert_eq!(
        names(&written.folder),
        [
            "series.mbox",
            "v1-0000-cover-letter.patch",
            "v1-0001-loop-count-the-opens.patch",
            "v1-0002-rust-fs-add-inodes.patch",
            "v1-0003-loopfs-add-the-driver.patch",
            "v1-0004-loopfs-limit-the-devices.patch"
        ]
    );
    let second = text(&written, "v1-0002-rust-fs-add-inodes.patch");
    for part in [
        "\nFrom: =?UTF-8?q?Ada_L=C3=B6we?= <ada@kernel.org>\n",
        "\nSubject: [PATCH 2/4] rust: fs: add inodes\n",
        "\nTo: =?UTF-8?q?Bj=C3=B6rn=2C_R=2E?= <rust@kernel.org>\n",
        "\nCc: linux-block@vger.kernel.org\n",
        "\nBecause it is needed.\n\nSigned-off-by: Ada Löwe <ada@kernel.org>\n---\nTested with inodes.\n\n rust/",
    ] {
        assert!(second.contains(part), "{part:?} is not in\n{second}");
    }
    assert!(!second.contains("loopfs developers"), "{second}");
    let cover = text(&written, "v1-0000-cover-letter.patch");
    for part in ["[PATCH 0/4] loop: private devices", "and why.\n", "| patch | cases |", " files changed, "] {
        assert!(cover.contains(part), "{part:?} is not in\n{cover}");
    }
    assert!(!cover.contains("base-commit"), "an import is no official base:\n{cover}");
}

#[test]
fn plain_git_am_takes_the_files_and_the_mailbox() {
    let lab = ready();
    let written = send(&lab, &order(&lab)).unwrap();
    let patches: Vec<PathBuf> = names(&written.folder)
        .into_iter()
        .filter(|name| name.ends_with(".patch") && !name.contains("cover"))
        .map(|name| written.folder.join(name))
        .collect();
    lab.dev.read(["checkout", "-q", "-b", "maintainer", "base"]).unwrap();
    assert!(lab.dev.command().args(["am", "-q"]).args(&patches).status().unwrap().success());
    let theirs = lab.dev.line(["rev-parse", "HEAD^{tree}"]).unwrap();
    assert_eq!(theirs, lab.dev.line(["rev-parse", "loopfs^{tree}"]).unwrap());
    let last = lab.dev.read(["log", "-1", "--format=%an <%ae>%n%B"]).unwrap();
    assert!(last.starts_with("Ada Löwe <ada@kernel.org>\nloopfs: limit the devices\n"), "{last}");
    assert!(last.contains("Signed-off-by: Ada Löwe <ada@kernel.org>"), "{last}");

    // The mailbox splits into as many mails as there are files.
    let split = lab.ctx.cache().join("split");
    fs::create_dir_all(&split).unwrap();
    let output = format!("-o{}", split.display());
    lab.dev.read(["mailsplit", &output, written.mailbox.to_str().unwrap()]).unwrap();
    assert_eq!(names(&split).len(), 5);
}

#[test]
fn every_gate_closes_on_its_own_fault_and_can_be_switched_off() {
    type Spoil = fn(&Lab, &mut Order);
    let faults: &[(Gate, &str, Spoil)] = &[
        (Gate::Series, "rust/loopfs/loopfs.rs: not what the patches add", |lab, _| {
            lab.edit("rust/loopfs/loopfs.rs", "driver 3", "driver three");
            lab.save();
        }),
        (Gate::Committed, "patches/0002", |lab, _| {
            lab.write("patches/0002-rust-fs-add-inodes.notes", "Tested twice.\n");
        }),
        (Gate::Submitter, "cannot receive answers", |_, order| order.submitter = "A <a@localhost>".parse().unwrap()),
        (Gate::SignOff, "nobody has signed off", |_, order| order.sign_off = false),
        (Gate::Cover, "still has `EDITME`", |lab, _| {
            lab.write("patches/0000-cover-letter.txt", "loop: x\n\nEDITME\n");
            lab.save();
        }),
        (Gate::Changelog, "no line `Changes in v2`", |_, order| order.version = 2),
        (Gate::Checkpatch, "0004-loopfs-limit-the-devices.patch: CHECK:LIMIT: Avoid limit", |lab, _| {
            lab.write("patches/checkpatch.toml", "");
            lab.save();
        }),
    ];
    for (gate, told, spoil) in faults {
        let lab = ready();
        let mut order = order(&lab);
        spoil(&lab, &mut order);
        let refusal = refusal(&lab, &order);
        assert!(refusal.contains(told), "{gate}: {refusal}");
        let closed = refusal.lines().filter(|line| line.ends_with(" CLOSED")).count();
        assert_eq!(closed, 1, "{gate}: {refusal}");
        assert!(refusal.contains(&format!("{:<12} CLOSED", gate.to_string())), "{refusal}");
        order.skip.insert(*gate);
        send(&lab, &order).unwrap_or_else(|error| panic!("{gate}: {error:#}"));
    }
}

#[test]
fn a_series_that_was_not_verified_is_not_mailed() {
    let lab = ready();
    lab.edit("rust/loopfs/loopfs.rs", "// limit", "// limited");
    lab.refresh().unwrap();
    lab.save();
    let error = refusal(&lab, &order(&lab));
    assert!(error.contains("verified     CLOSED"), "{error}");
    assert!(error.contains("not verified as they are now"), "{error}");
    fs::remove_file(lab.ctx.root().join("patches/evidence.txt")).unwrap();
    lab.save();
    assert!(refusal(&lab, &order(&lab)).contains("never verified"));
    let skip = BTreeSet::from([Gate::Verified]);
    let written = send(&lab, &Order { skip, ..order(&lab) }).unwrap();
    assert!(!text(&written, "v1-0000-cover-letter.patch").contains("What was built"));
}

#[test]
fn without_a_sign_off_nobodys_is_made_up() {
    let lab = ready();
    let order = Order { sign_off: false, skip: BTreeSet::from([Gate::SignOff]), ..order(&lab) };
    let written = send(&lab, &order).unwrap();
    for name in names(&written.folder) {
        assert!(!text(&written, &name).contains("Signed-off-by"), "{name}");
    }
}

#[test]
fn a_version_that_was_written_is_not_overwritten_unless_asked_for() {
    let lab = ready();
    let written = send(&lab, &order(&lab)).unwrap();
    let before = text(&written, "series.mbox");
    write(&written.folder, "v1-0001-loop-count-the-opens.patch", "my notes in it");
    assert!(refusal(&lab, &order(&lab)).contains("is there: take the next version"));
    let written = send(&lab, &Order { force: true, ..order(&lab) }).unwrap();
    assert_eq!(text(&written, "series.mbox"), before);
}

#[test]
fn the_next_version_shows_what_changed_since_the_one_before() {
    let lab = ready();
    send(&lab, &order(&lab)).unwrap();
    lab.edit("rust/loopfs/loopfs.rs", "// limit", "// limited");
    lab.refresh().unwrap();
    lab.write("patches/0000-cover-letter.txt", &format!("{COVER}\nChanges in v2:\n- wording\n"));
    verified(&lab);
    let written = send(&lab, &Order { version: 2, ..order(&lab) }).unwrap();
    let cover = text(&written, "v2-0000-cover-letter.patch");
    assert!(cover.contains("[PATCH v2 0/4]"), "{cover}");
    let range_diff = cover.split_once("Range-diff against v1:\n").unwrap().1;
    assert!(range_diff.contains("+// limited") && range_diff.contains("-+// limit"), "{range_diff}");
}

#[test]
fn a_base_is_named_only_if_an_annotated_version_tag_does() {
    let lab = ready();
    let named = |lab: &Lab| {
        let written = send(lab, &Order { force: true, ..order(lab) }).unwrap();
        text(&written, "v1-0000-cover-letter.patch").contains(&format!("\nbase-commit: {}\n", lab.base.commit))
    };
    assert!(!named(&lab));
    lab.dev.read(["tag", "v7.3.4-mine", "base"]).unwrap();
    assert!(!named(&lab), "a lightweight tag is anybody's");
    lab.dev.read(["tag", "-a", "-m", "Linux 7.3.4", "v7.3.4", "base"]).unwrap();
    assert!(named(&lab));
}

#[test]
fn more_people_can_be_added() {
    let lab = ready();
    let also = People { to: vec!["Ucount <u@kernel.org>".parse().unwrap()], cc: Vec::new() };
    let written = send(&lab, &Order { also, ..order(&lab) }).unwrap();
    for name in names(&written.folder).into_iter().filter(|name| name.ends_with(".patch")) {
        assert!(text(&written, &name).contains("Ucount <u@kernel.org>"), "{name}");
    }
}

#[test]
fn a_series_for_another_base_is_not_mailed() {
    let lab = ready();
    lab.dev.read(["checkout", "-q", "-b", "next", "base"]).unwrap();
    lab.commit("loop: reword", &[("drivers/block/loop.c", |text| text.replace("loop 2\n", "loop two\n"))]);
    let next = Base::at(lab.dev.dir(), "next", false).unwrap();
    let error = mail::write(&lab.ctx, &next, &order(&lab)).unwrap_err();
    assert!(format!("{error:#}").contains("series       CLOSED"), "{error:#}");
}

#[test]
fn the_gates_have_names_a_person_can_type() {
    for gate in Gate::value_variants() {
        let name = gate.to_string();
        assert_eq!(Gate::from_str(&name, false).unwrap(), *gate);
        assert!(gate.to_possible_value().unwrap().get_help().is_some(), "{name} says nothing of itself");
    }
}

/// The person's configuration is read by a git that runs in the repository, so it is set there.
#[test]
fn the_submitter_is_who_git_says_and_never_made_up() {
    let lab = ready();
    let git = |args: &[&str]| {
        assert!(Command::new("git").args(args).current_dir(lab.ctx.root()).status().unwrap().success());
    };
    git(&["config", "user.name", "Ada"]);
    git(&["config", "user.email", "ada@kernel.org"]);
    assert_eq!(Person::submitter(&lab.ctx).unwrap().to_string(), "Ada <ada@kernel.org>");
    git(&["config", "user.email", ""]);
    let error = Person::submitter(&lab.ctx).unwrap_err();
    assert_eq!(Failure::of(&error), Failure::Environment);
    assert!(format!("{error:#}").contains("git config --global user.email"), "{error:#}");
}

#[test]
fn a_driver_only_edit_changes_the_ids_so_that_two_versions_never_share_one() {
    let lab = ready();
    let first = send(&lab, &order(&lab)).unwrap().id;
    lab.commit("loopfs: log", &[(DRIVER, |text| text + "// log\n")]);
    lab.import();
    verified(&lab);
    assert_ne!(send(&lab, &Order { force: true, ..order(&lab) }).unwrap().id, first);
}
