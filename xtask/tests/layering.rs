//! The modules of xtask stand on floors, and a module uses only what is below it. This reads the `use` lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

/// The floors, the lowest first. Modules of one floor do not use each other.
const FLOORS: [&[&str]; 14] = [
    &["error", "gate", "reason"],
    &["interrupt", "progress", "ctx"],
    &["process"],
    &["cache", "git"],
    &["toolchain"],
    &["source", "kernel", "guest"],
    &["series", "suite"],
    &["prepare"],
    &["verify", "bench"],
    &["mail"],
    &["task"],
    &["cli"],
    &["lib"],
    &["main"],
];

/// The folder that is the largest may have this share of all lines.
const LARGEST: f64 = 0.25;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The names a path of modules starts with at the top, in `use crate::{a::b, c::{self, d}}` and in `crate::a::b`.
fn used(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.insert(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned());
            continue;
        };
        let (mut depth, mut name) = (0, String::new());
        for c in group.chars() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => drop(names.insert(std::mem::take(&mut name))),
                c if depth == 0 => name.push(c),
                _ => {}
            }
        }
        names.insert(name);
    }
    let first = |path: &String| path.trim().split("::").next().unwrap_or_default().to_owned();
    names.iter().map(first).filter(|name| !name.is_empty()).collect()
}

/// The module at the top that `file` belongs to.
fn module(file: &Path) -> String {
    let relative = file.strip_prefix(source()).unwrap();
    relative.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|floor| floor.contains(&module));
    found.unwrap_or_else(|| {
        panic!("`{module}` stands on no floor: give it one in tests/layering.rs and ARCHITECTURE.md")
    })
}

#[test]
fn a_module_uses_only_what_is_below_it() {
    let mut upward = String::new();
    for file in files(&source()) {
        let own = module(&file);
        let text = fs::read_to_string(&file).unwrap();
        // `xtask` is what main.rs calls the library.
        for other in used(&text).into_iter().filter(|other| *other != own) {
            if floor(&other) >= floor(&own) {
                upward.push_str(&format!("{} uses `{other}`, which is not below `{own}`\n", file.display()));
            }
        }
    }
    assert!(upward.is_empty(), "{upward}");
}

#[test]
fn inside_a_folder_no_two_files_use_each_other() {
    let path = Regex::new(r"crate::(\w+)::(\w+)").unwrap();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files(&source()) {
        let relative = file.strip_prefix(source()).unwrap().with_extension("");
        let name = relative.to_string_lossy().replace('/', "::");
        // The paths of a group, written out.
        let text = fs::read_to_string(&file).unwrap();
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        let flat = flat(production);
        let found = path.captures_iter(&flat).map(|found| format!("{}::{}", &found[1], &found[2]));
        uses.entry(name.clone()).or_default().extend(found.filter(|other| *other != name));
    }
    let circles: Vec<String> = uses
        .iter()
        .flat_map(|(name, others)| others.iter().map(move |other| (name, other)))
        .filter(|(name, other)| name < other && uses.get(*other).is_some_and(|back| back.contains(*name)))
        .map(|(name, other)| format!("{name} and {other}"))
        .collect();
    assert!(circles.is_empty(), "these use each other: {circles:?}");
}

/// The `use` lines of `text` with every path written out.
fn flat(text: &str) -> String {
    let mut all = String::new();
    for line in text.split("use crate::").skip(1) {
        let tree = line.split(';').next().unwrap_or_default();
        let (mut prefixes, mut word) = (vec![String::new()], String::new());
        for c in tree.chars() {
            match c {
                '{' => prefixes.push(format!("{}{}", prefixes.last().unwrap(), std::mem::take(&mut word))),
                ',' | '}' => {
                    all.push_str(&format!("crate::{}{} ", prefixes.last().unwrap(), std::mem::take(&mut word)));
                    if c == '}' {
                        prefixes.pop();
                    }
                }
                c if c.is_whitespace() => {}
                c => word.push(c),
            }
        }
        all.push_str(&format!("crate::{word} "));
    }
    all
}

#[test]
fn groups_of_paths_are_written_out() {
    assert_eq!(
        flat("use crate::{a::{b, c::d}, e};").split_whitespace().collect::<Vec<_>>()[..3],
        ["crate::a::b", "crate::a::c::d", "crate::"]
    );
    assert_eq!(
        used("use crate::{a::{b, c}, d::e, f};\nlet x = crate::g::h();").into_iter().collect::<String>(),
        "adfg"
    );
}

#[test]
fn no_folder_is_most_of_the_crate() {
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for file in files(&source()) {
        *lines.entry(module(&file)).or_default() += fs::read_to_string(&file).unwrap().lines().count();
    }
    let total: usize = lines.values().sum();
    for (module, count) in lines {
        let share = count as f64 / total as f64;
        assert!(share <= LARGEST, "`{module}` has {count} of {total} lines");
    }
}

#[test]
fn the_page_on_the_architecture_names_every_module() {
    let page = fs::read_to_string(source().with_file_name("ARCHITECTURE.md")).unwrap();
    for file in files(&source()) {
        let module = module(&file);
        let named = [format!("`{module}`"), format!("`{module}/`"), format!("`{module}.rs`")];
        assert!(named.iter().any(|name| page.contains(name)), "ARCHITECTURE.md does not name `{module}`");
    }
}
