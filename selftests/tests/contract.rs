//! SPEC.md and the suite belong together: each case names lines that are in it, and each line has a case or stands in
//! `not-built-yet.txt`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use loopfs_selftests::cases;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of the contract, such as `U1`.
fn spec() -> BTreeSet<String> {
    let id = |line: &str| Some(line.strip_prefix("- ")?.split(' ').next()?.to_owned());
    let is_line = |id: &String| id.starts_with(|c: char| c.is_ascii_uppercase()) && id[1..].parse::<u8>().is_ok();
    let lines: Vec<String> = read("SPEC.md").lines().filter_map(id).filter(is_line).collect();
    let set: BTreeSet<String> = lines.iter().cloned().collect();
    assert_eq!(set.len(), lines.len(), "a line of SPEC.md has the id of another one");
    set
}

/// The lines without a case, with the reason.
fn not_built_yet() -> BTreeMap<String, String> {
    let text = read("not-built-yet.txt");
    let entries = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let split = |line: &str| {
        let (id, reason) = line.split_once(' ').unwrap_or((line, ""));
        (id.to_owned(), reason.to_owned())
    };
    entries.map(split).collect()
}

/// The hazards that `patches/HISTORY.md` lists, such as `H1`.
fn hazards() -> BTreeSet<String> {
    let text = read("../patches/HISTORY.md");
    text.lines()
        .filter_map(|line| Some(line.strip_prefix("| H")?.split(' ').next()?))
        .map(|n| format!("H{n}"))
        .collect()
}

#[test]
fn names_are_unique() {
    let mut seen = BTreeSet::new();
    for case in cases::all() {
        assert!(seen.insert(case.name), "two cases are called {}", case.name);
    }
}

#[test]
fn each_case_names_lines_that_are_in_the_contract() {
    let mut known = spec();
    known.extend(hazards());
    known.insert("host".to_owned());
    for case in cases::all() {
        assert!(!case.spec.is_empty() && !case.who.is_empty() && case.patience > 0, "{}", case.name);
        for line in case.spec {
            assert!(
                known.contains(*line),
                "{} covers {line}, which is neither in SPEC.md nor in HISTORY.md",
                case.name
            );
        }
    }
}

#[test]
fn each_line_of_the_contract_has_a_case_or_a_reason() {
    let covered: BTreeSet<&str> = cases::all().iter().flat_map(|case| case.spec).copied().collect();
    let waiting = not_built_yet();
    for line in spec() {
        match (covered.contains(line.as_str()), waiting.get(&line)) {
            (true, None) => {}
            (true, Some(_)) => panic!("{line} has a case now: remove it from not-built-yet.txt"),
            (false, Some(reason)) => assert!(!reason.trim().is_empty(), "not-built-yet.txt gives no reason for {line}"),
            (false, None) => panic!("no case covers {line}, and not-built-yet.txt does not say why"),
        }
    }
}

#[test]
fn the_list_of_lines_without_a_case_names_lines_of_the_contract() {
    let spec = spec();
    for line in not_built_yet().keys() {
        assert!(spec.contains(line), "not-built-yet.txt names {line}, which is not in SPEC.md");
    }
}

#[test]
fn coverage_names_cases_that_exist() {
    let names: BTreeSet<&str> = cases::all().iter().map(|case| case.name).collect();
    let text = read("COVERAGE.md");
    let words = text.split('`').skip(1).step_by(2);
    // A case is a sentence; what is in backticks besides is code, with other characters or fewer words.
    let is_sentence = |word: &&str| {
        word.matches('_').count() >= 3 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    for word in words.filter(is_sentence) {
        assert!(names.contains(word), "COVERAGE.md names {word}, and there is no such case");
    }
}
