//! A user's git configuration and environment change nothing.

use std::{fs, process::Command};

use crate::lab::{LOOP_C, Lab};

/// Settings that change what plain git exports or applies.
const ODD: &[(&str, &str)] = &[
    ("am.threeWay", "true"),
    ("am.keepcr", "true"),
    ("apply.whitespace", "fix"),
    ("commit.gpgSign", "true"),
    ("core.autocrlf", "true"),
    ("core.quotePath", "false"),
    ("core.abbrev", "7"),
    ("core.commentChar", ";"),
    ("diff.algorithm", "minimal"),
    ("diff.context", "9"),
    ("diff.external", "false"),
    ("diff.interHunkContext", "20"),
    ("diff.mnemonicPrefix", "true"),
    ("diff.noprefix", "true"),
    ("diff.renames", "copies"),
    ("diff.statGraphWidth", "3"),
    ("diff.suppressBlankEmpty", "true"),
    ("format.attach", "xyz"),
    ("format.coverLetter", "true"),
    ("format.encodeEmailHeaders", "true"),
    ("format.from", "true"),
    ("format.headers", "X-Odd: yes\n"),
    ("format.mboxrd", "true"),
    ("format.noprefix", "true"),
    ("format.numbered", "true"),
    ("format.outputDirectory", "/nowhere"),
    ("format.pretty", "fuller"),
    ("format.signature", "odd"),
    ("format.signOff", "true"),
    ("format.suffix", ".odd"),
    ("format.subjectPrefix", "ODD"),
    ("format.thread", "deep"),
    ("format.useAutoBase", "true"),
    ("notes.displayRef", "*"),
    ("rebase.autoSquash", "false"),
    ("user.useConfigOnly", "true"),
];

fn series(lab: &Lab) {
    lab.commit("loop: count", &[(LOOP_C, |text| text.replace("loop 2\n", "loop 2 é  \n\n"))]);
    lab.commit("loop: weigh", &[(LOOP_C, |text| text.replace("loop 9\n", "loop nine\n"))]);
}

/// The patches that come out of the lab when nothing is odd.
fn plain() -> Vec<(String, String)> {
    let lab = Lab::bare();
    series(&lab);
    lab.import();
    lab.patches().into_iter().map(|name| (name.clone(), lab.read(&format!("patches/{name}")))).collect()
}

#[test]
fn settings_of_the_repository_the_series_comes_from_do_not_leak() {
    let lab = Lab::bare();
    series(&lab);
    for (key, value) in ODD {
        lab.dev.read(["config", key, value]).unwrap();
    }
    lab.import();
    for (name, text) in plain() {
        assert_eq!(lab.read(&format!("patches/{name}")), text);
    }
    lab.assert_clean();
    lab.save();
    lab.edit("patches/0001-loop-count.patch", "needed.", "wanted.");
    lab.refresh().unwrap();
    assert_eq!(lab.changed(), ["patches/0001-loop-count.patch"]);
}

/// Runs this very test again in a process whose environment is odd: it cannot be changed for a thread.
#[test]
fn settings_and_variables_of_the_person_do_not_leak() {
    const INNER: &str = "LOOPFS_TEST_INNER";
    if std::env::var_os(INNER).is_some() {
        let lab = Lab::bare();
        series(&lab);
        lab.import();
        lab.assert_clean();
        for (name, text) in plain() {
            println!("{name}\n{text}");
        }
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut config = String::new();
    for (key, value) in ODD {
        let (section, name) = key.split_once('.').unwrap();
        config.push_str(&format!("[{section}]\n\t{name} = {}\n", value.trim_end()));
    }
    fs::write(home.path().join(".gitconfig"), config).unwrap();
    fs::create_dir_all(home.path().join("git")).unwrap();
    fs::write(home.path().join("git/attributes"), "*.c -text diff=odd binary\n").unwrap();
    let inner = |odd: bool| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture", "odd_git::settings_and_variables_of_the_person_do_not_leak"]);
        command.env(INNER, "1");
        if odd {
            command
                .env("HOME", home.path())
                .env("XDG_CONFIG_HOME", home.path())
                .env("GIT_DIR", "/nowhere")
                .env("GIT_INDEX_FILE", "/nowhere")
                .env("GIT_EXTERNAL_DIFF", "false")
                .env("GIT_DIFF_OPTS", "-u9")
                .env("GIT_AUTHOR_DATE", "2001-01-01T00:00:00")
                .env("GIT_COMMITTER_NAME", "Odd")
                .env("LC_ALL", "de_DE.UTF-8")
                .env("TZ", "Asia/Tokyo");
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let start = text.find("0001-").unwrap();
        let end = text.find("\ntest result").unwrap();
        text[start..end].to_owned()
    };
    assert_eq!(inner(true), inner(false));
}
