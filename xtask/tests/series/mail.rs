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
        choice::Choice,
        gate::Gate,
        people::{People, Person},
    },
    source::Base,
    verify::evidence,
};

const COVER: &str = "loop: private devices\n\nWhat it is for — and why.\n";
const EXCEPTION: &str =
    "[[exception]]\npatch = \"loopfs-limit-the-devices\"\nkind = \"LIMIT\"\nreason = \"it is one\"\n";
const GROUPS: &str = "[[group]]\nname = \"early\"\nlast = \"rust-fs-add-inodes\"\ncover = \"early-cover-letter.txt\"\n";
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
        patches: None,
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

/// A lab whose first two patches are also a group.
fn grouped() -> Lab {
    let lab = ready();
    lab.write("patches/groups.toml", GROUPS);
    lab.write("patches/early-cover-letter.txt", "loop, rust: what comes first\n\nIt stands alone.\n");
    lab.save();
    lab
}

fn only(patches: &str, order: Order) -> Order {
    Order { patches: Some(patches.parse::<Choice>().unwrap()), ..order }
}

#[test]
fn a_group_is_a_series_of_its_own_with_its_own_cover_letter() {
    let lab = grouped();
    let rows = "0001-loop-count  1\n0002-rust-fs  2\n0003-loopfs-add  3\nLinux 7.3.4.\nAll patches, and so on.\n";
    evidence::keep(lab.ctx.root(), &lab.base, rows).unwrap();
    lab.save();
    let written = send(&lab, &only("early", order(&lab))).unwrap();
    assert_eq!(written.folder, folder(&lab).join("early/v1"));
    let first = "v1-0001-loop-count-the-opens.patch";
    let second = "v1-0002-rust-fs-add-inodes.patch";
    assert_eq!(names(&written.folder), ["series.mbox", "v1-0000-cover-letter.patch", first, second]);
    let cover = text(&written, "v1-0000-cover-letter.patch");
    for part in [
        "Subject: [PATCH 0/2] loop, rust: what comes first\n",
        "\nTo: Jens <block@kernel.org>,\n =?UTF-8?q?Bj=C3=B6rn=2C_R=2E?= <rust@kernel.org>\n",
        "\nIt stands alone.\n\nWhat was built",
        "0002-rust-fs  2\nLinux 7.3.4.\n\n",
        "Ada Löwe (2):\n  loop: count the opens\n  rust: fs: add inodes\n\n",
        " 3 files changed, ",
    ] {
        assert!(cover.contains(part), "{part:?} is not in\n{cover}");
    }
    for part in ["0003", "All patches", DRIVER, "private devices"] {
        assert!(!cover.contains(part), "{part:?} is in\n{cover}");
    }
    let second = text(&written, second);
    assert!(second.contains("\nSubject: [PATCH 2/2] rust: fs: add inodes\n"), "{second}");
    assert!(second.contains(&format!("\nIn-Reply-To: <{}>\n", written.id)), "{second}");
    assert!(second.contains("\n---\nTested with inodes.\n"), "{second}");

    let range = send(&lab, &Order { force: true, ..only("1-2", order(&lab)) }).unwrap();
    assert_eq!((range.folder, range.id), (written.folder, written.id));
    let whole = send(&lab, &order(&lab)).unwrap();
    assert_eq!(whole.folder, folder(&lab).join("v1"));
    assert!(text(&whole, "v1-0000-cover-letter.patch").contains("[PATCH 0/4] loop: private devices"));
}

#[test]
fn the_next_version_of_a_group_is_compared_with_the_group() {
    let lab = grouped();
    send(&lab, &only("early", order(&lab))).unwrap();
    lab.edit("rust/kernel/inode.rs", "inode 3", "inode three");
    lab.refresh().unwrap();
    assert_eq!(lab.read("patches/groups.toml"), GROUPS);
    verified(&lab);
    let next = Order { version: 2, ..only("early", order(&lab)) };
    assert!(refusal(&lab, &next).contains("no line `Changes in v2`"));
    lab.edit("patches/early-cover-letter.txt", "alone.\n", "alone.\n\nChanges in v2:\n- wording\n");
    lab.save();
    let written = send(&lab, &next).unwrap();
    assert_eq!(written.folder, folder(&lab).join("early/v2"));
    let cover = text(&written, "v2-0000-cover-letter.patch");
    let range_diff = cover.split_once("Range-diff against v1:\n").unwrap().1;
    assert!(range_diff.contains("1:  ") && range_diff.contains("inode three"), "{range_diff}");
    assert!(!range_diff.contains("loopfs: add the driver"), "{range_diff}");
}

#[test]
fn patches_that_are_no_group_are_not_mailed() {
    let lab = grouped();
    for (patches, expected) in [
        ("late", "--patches late: no group has this name; patches/groups.toml has early (1-2)"),
        ("1-3", "--patches 1-3: no group ends there, and a series needs a cover letter of its own"),
        ("2-2", "--patches 2-2: a range starts at 1"),
    ] {
        let error = send(&lab, &only(patches, order(&lab))).unwrap_err();
        assert_eq!(Failure::of(&error), Failure::Usage, "{error:#}");
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
    lab.edit("patches/groups.toml", "rust-fs-add-inodes", "rust-fs-add-files");
    let error = format!("{:#}", send(&lab, &only("early", order(&lab))).unwrap_err());
    assert!(error.contains("the group early ends with rust-fs-add-files, which is not"), "{error}");
    lab.write("patches/groups.toml", "[[grup]]\n");
    let error = format!("{:#}", send(&lab, &only("early", order(&lab))).unwrap_err());
    assert!(error.contains("groups.toml is wrong") && error.contains("unknown field"), "{error}");
    assert!(!folder(&lab).exists(), "something was written");
}

#[test]
fn the_cover_letter_of_a_group_has_to_be_complete() {
    let lab = grouped();
    lab.write("patches/early-cover-letter.txt", "loop: what comes first\n\nTODO\n");
    lab.save();
    let error = refusal(&lab, &only("early", order(&lab)));
    assert!(error.contains("cover        CLOSED\n    the cover letter still has `TODO`"), "{error}");
    fs::remove_file(lab.path("patches/early-cover-letter.txt")).unwrap();
    lab.save();
    let error = refusal(&lab, &only("early", order(&lab)));
    assert!(error.contains("cover        CLOSED\n    patches/early-cover-letter.txt has no subject"), "{error}");
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

/// The user's configuration is read by a git that runs in the repository, so it is set there.
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
