//! `ci/packages/*.list`: which Debian packages bring what is needed.

use std::path::Path;

use anyhow::{Context as _, Result};

/// Packages that are installed together, with other choices for archives that lack them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Sets of packages, the first choice first.
    pub choices: Vec<Vec<String>>,
    /// What they are for.
    pub purpose: String,
}

impl Line {
    /// The line that brings the package `name`.
    pub fn find<'a>(lines: &'a [Self], name: &str) -> Option<&'a Self> {
        lines.iter().find(|line| line.choices.iter().flatten().any(|package| package == name))
    }
}

/// Reads every list in `ci/packages` of the repository `root`.
pub fn read(root: &Path) -> Result<Vec<Line>> {
    let folder = root.join("ci/packages");
    let failed = || format!("cannot read {}", folder.display());
    let mut paths = std::fs::read_dir(&folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>())
        .with_context(failed)?;
    paths.sort();
    let mut lines = Vec::new();
    for path in paths {
        lines.extend(read_list(&path)?);
    }
    Ok(lines)
}

/// Reads the list at `path`.
pub fn read_list(path: &Path) -> Result<Vec<Line>> {
    std::fs::read_to_string(path).map(|text| parse(&text)).with_context(|| format!("cannot read {}", path.display()))
}

/// A comment behind a line, or else the one right above it, says what it is for.
fn parse(text: &str) -> Vec<Line> {
    let mut above = "";
    let mut lines = Vec::new();
    for line in text.lines() {
        let (packages, comment) = line.split_once('#').unwrap_or((line, ""));
        let comment = comment.trim();
        if packages.trim().is_empty() {
            above = comment;
            continue;
        }
        let choices =
            packages.split('|').map(|choice| choice.split_whitespace().map(str::to_owned).collect()).collect();
        let purpose = if comment.is_empty() { above } else { comment };
        lines.push(Line { choices, purpose: purpose.to_owned() });
        above = "";
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_choices_and_a_purpose() {
        let lines = parse("# A list.\n\nbc  # computes\n# compiles\nclang-22 lld-22 | clang lld\nplain\n");
        assert_eq!(lines[0], Line { choices: vec![vec!["bc".into()]], purpose: "computes".into() });
        assert_eq!(lines[1].choices, [["clang-22", "lld-22"], ["clang", "lld"]]);
        assert_eq!(lines[1].purpose, "compiles");
        assert_eq!(lines[2].purpose, "");
    }

    #[test]
    fn every_package_of_the_repositorys_lists_says_what_it_is_for() {
        let lines = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        assert!(lines.len() > 8);
        for line in lines {
            assert!(!line.purpose.is_empty(), "{line:?}");
        }
    }
}
