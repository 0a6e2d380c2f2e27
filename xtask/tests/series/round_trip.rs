//! Properties of import and export over made-up series.

use crate::lab::{Lab, write};
use proptest::prelude::*;
use xtask::{error::Failure, series::import};

/// One commit: its subject, its message, its note and which lines of which file it replaces.
#[derive(Clone, Debug)]
struct Commit {
    subject: String,
    body: String,
    note: Option<String>,
    file: &'static str,
    line: usize,
    text: String,
}

const FILES: &[&str] = &["drivers/block/loop.c", "drivers/block/loopfs/a.rs", "rust/kernel/b.rs", "init/untouched.c"];

fn words(max: usize) -> impl Strategy<Value = String> {
    // Words that mean something to git, mail or diff when they start a line.
    let word = prop_oneof![
        3 => "[a-z]{1,9}",
        1 => prop_oneof![
            Just("From".to_owned()), Just("From:".to_owned()), Just("diff".to_owned()), Just("--".to_owned()),
            Just("@@".to_owned()), Just("Subject:".to_owned()), Just("é—ß".to_owned()), Just(">From".to_owned()),
            Just("+++".to_owned()), Just("[PATCH]".to_owned()), Just("=3D".to_owned()), Just("Index".to_owned()),
        ],
    ];
    proptest::collection::vec(word, 1..max).prop_map(|words| words.join(" "))
}

fn commit() -> impl Strategy<Value = Commit> {
    (
        "[a-z]{2,6}: [a-z]{2,8}( [a-z]{1,8}){0,12}",
        proptest::collection::vec(words(7), 1..4),
        proptest::option::of(proptest::collection::vec(words(5), 1..4)),
        proptest::sample::select(FILES),
        1_usize..12,
        proptest::collection::vec("[ -~é\t]{0,30}", 0..4),
    )
        .prop_map(|(subject, body, note, file, line, text)| Commit {
            subject,
            // A first line of a message that looks like a mail header is one, to git am.
            body: format!("So, {}", body.join("\n\n")),
            note: note.map(|lines| format!("v2: {}\n", lines.join("\n"))),
            file,
            line,
            text: text.join("\n"),
        })
}

/// Commits `series` in the developer's repository; commits that change nothing are left out.
fn develop(lab: &Lab, series: &[Commit]) -> usize {
    let mut count = 0;
    for commit in series {
        let path = lab.dev.dir().join(commit.file);
        let old = std::fs::read_to_string(&path).unwrap_or_else(|_| "// SPDX-License-Identifier: GPL-2.0\n".to_owned());
        let mut lines: Vec<&str> = old.lines().collect();
        let at = commit.line.min(lines.len());
        lines.splice(at..(at + 1).min(lines.len()), commit.text.lines());
        write(lab.dev.dir(), commit.file, &(lines.join("\n") + "\n"));
        lab.dev.read(["add", "-A", "-f"]).unwrap();
        let message = format!("{}\n\n{}\n", commit.subject, commit.body);
        if lab.dev.feed(["commit", "-q", "--cleanup=verbatim", "-F", "-"], message.as_bytes()).is_ok() {
            count += 1;
            if let Some(note) = &commit.note {
                lab.dev.feed(["notes", "add", "-F", "-"], note.as_bytes()).unwrap();
            }
        }
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// What is exported comes back from `git am` and a second export as the same bytes, notes and all; what cannot,
    /// is refused and leaves nothing behind.
    #[test]
    fn import_and_export_are_inverse(series in proptest::collection::vec(commit(), 1..6)) {
        let lab = Lab::bare();
        let count = develop(&lab, &series);
        match import::from_branch(&lab.ctx, lab.dev.dir(), "base", "loopfs") {
            Ok(_) => {
                lab.save();
                let patches = lab.patches().iter().filter(|name| name.ends_with(".patch")).count();
                prop_assert_eq!(patches, count);
                let faults: Vec<String> = lab
                    .check()
                    .findings
                    .iter()
                    .map(ToString::to_string)
                    .filter(|f| f.contains("gives another file") || f.starts_with("rust/") || f.contains("does not apply"))
                    .collect();
                prop_assert!(faults.is_empty(), "{}", faults.join("\n"));
                lab.refresh().unwrap();
                prop_assert_eq!(lab.changed(), [""; 0]);
                lab.import();
                prop_assert_eq!(lab.changed(), [""; 0]);
            }
            Err(error) => {
                prop_assert_eq!(Failure::of(&error), Failure::Series, "{:#}", error);
                prop_assert!(!lab.path("patches").exists());
            }
        }
    }
}
