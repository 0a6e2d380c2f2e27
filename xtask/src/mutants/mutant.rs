//! One mutant as a file: what it breaks, what has to fail, and the patch.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, anyhow, ensure};
use loopfs_protocol::CaseInfo;

use crate::{error::Failure, kernel::config::Flavour};

/// Where the mutants are.
pub const FOLDER: &str = "selftests/mutants";

/// A patch on top of the series that breaks a line of the contract.
///
/// ```text
/// Line: M3
/// Config: debug
/// Fails: fresh_instance_holds_only_its_control_node
///
/// The control node has mode 0644.
///
/// diff --git a/drivers/block/loopfs/control.rs b/drivers/block/loopfs/control.rs
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// The file's name without its ending.
    pub name: String,
    /// The line of SPEC.md.
    pub line: String,
    /// The configuration of the kernel that shows it.
    pub flavour: Flavour,
    /// The cases that have to fail; one is enough.
    pub cases: Vec<String>,
    /// What is broken, in a sentence.
    pub what: String,
    /// The patch itself.
    pub diff: String,
}

impl Mutant {
    /// Reads the file `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).with_context(|| format!("{} is not a mutant", path.display()))
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let (head, diff) = text.split_once("\ndiff --git ").context("it has no patch")?;
        let (fields, what) = head.split_once("\n\n").context("it does not say what is broken")?;
        let field = |name: &str| {
            let values = fields.lines().filter_map(|line| line.split_once(": "));
            values.filter(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned()).collect::<Vec<_>>()
        };
        let cases = field("Fails");
        ensure!(!cases.is_empty(), "it has no line `Fails: CASE`");
        ensure!(!what.trim().is_empty(), "it does not say what is broken");
        let flavour = match field("Config").first().map(String::as_str) {
            None | Some("default") => Flavour::Default,
            Some("debug") => Flavour::Debug,
            Some(other) => return Err(anyhow!("there is no configuration {other:?} for mutants")),
        };
        Ok(Self {
            name: name.to_owned(),
            line: field("Line").pop().context("it has no line `Line: LINE OF SPEC.md`")?,
            flavour,
            cases,
            what: what.split_whitespace().collect::<Vec<_>>().join(" "),
            diff: format!("diff --git {diff}"),
        })
    }

    /// Fails if a case that it names does not exist.
    pub fn check(&self, cases: &[CaseInfo]) -> Result<()> {
        for name in &self.cases {
            if !cases.iter().any(|case| case.name == *name) {
                return Err(anyhow!("{}: there is no case {name}", self.name).context(Failure::Usage));
            }
        }
        Ok(())
    }

    pub(super) fn is_chosen_by(&self, filter: &str) -> bool {
        self.line == filter || self.name.contains(filter) || self.cases.iter().any(|case| case.contains(filter))
    }

    /// The files that it changes.
    pub fn files(&self) -> Vec<&str> {
        let path = |line: &'_ str| line.strip_prefix("+++ b/").map(str::len);
        self.diff.lines().filter(|line| path(line).is_some()).map(|line| &line["+++ b/".len()..]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Line: M3\nFails: one\nFails: two\n\nThe control node\nhas mode 0644.\n\n\
                        diff --git a/x.rs b/x.rs\n--- a/x.rs\n+++ b/x.rs\n@@ -1 +1 @@\n-a\n+b\n";

    #[test]
    fn a_file_is_taken_apart() {
        let mutant = Mutant::parse("001-mode", TEXT).unwrap();
        assert_eq!((mutant.line.as_str(), mutant.flavour), ("M3", Flavour::Default));
        assert_eq!(mutant.cases, ["one", "two"]);
        assert_eq!(mutant.what, "The control node has mode 0644.");
        assert!(mutant.diff.starts_with("diff --git a/x.rs b/x.rs\n--- a/x.rs"));
        assert_eq!(mutant.files(), ["x.rs"]);
        assert!(["M3", "mode", "tw"].iter().all(|filter| mutant.is_chosen_by(filter)) && !mutant.is_chosen_by("M"));
    }

    #[test]
    fn what_is_missing_is_told() {
        for (text, why) in [
            (TEXT.replace("Fails: one\nFails: two\n", ""), "no line `Fails: CASE`"),
            (TEXT.replace("Line: M3\n", ""), "no line `Line:"),
            (TEXT.replace("Line: M3\n", "Line: M3\nConfig: x86\n"), "no configuration \"x86\""),
            (TEXT.replace("diff --git", "diff"), "no patch"),
        ] {
            let error = format!("{:#}", Mutant::parse("1", &text).unwrap_err());
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn a_case_that_does_not_exist_is_told() {
        let mutant = Mutant::parse("001-mode", TEXT).unwrap();
        let case = |name: &str| CaseInfo { name: name.into(), ..CaseInfo::default() };
        assert!(mutant.check(&[case("one"), case("two")]).is_ok());
        assert!(mutant.check(&[case("one")]).unwrap_err().root_cause().to_string().contains("no case two"));
    }
}
