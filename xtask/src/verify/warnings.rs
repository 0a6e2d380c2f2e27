//! Warnings in the output of a build, told apart by what they say and not by where in a file they stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

/// A set of warnings: the form without line numbers, and the line as it was printed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings(BTreeMap<String, String>);

impl Warnings {
    /// Adds all of `others`.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.clone());
    }

    /// Those that `known` does not have, as they were printed.
    pub fn not_in(&self, known: &Self) -> Vec<String> {
        self.0.iter().filter(|(form, _)| !known.0.contains_key(*form)).map(|(_, line)| line.clone()).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a line has that warns of something. An error counts as well: sparse does not fail on what it calls so.
const MARKS: &[&str] = &[": warning: ", ": error: ", "WARNING: ", "Warning: "];

/// Picks the warnings out of what make, compilers and checkers print.
#[derive(Clone, Debug)]
pub struct Collector {
    tree: String,
    found: BTreeSet<String>,
    /// A warning of rustc, whose place is told in the next line.
    pending: Option<String>,
}

impl Collector {
    /// For a build of the sources in `tree`, whose path is left out of what is kept.
    pub fn new(tree: &Path) -> Self {
        Self { tree: format!("{}/", tree.display()), found: BTreeSet::new(), pending: None }
    }

    /// Whether the line is a warning or tells the place of one.
    pub fn concerns(line: &str) -> bool {
        MARKS.iter().any(|mark| line.contains(mark)) || line.contains("arning") || line.trim_start().starts_with("--> ")
    }

    /// Takes one line of the output.
    pub fn take(&mut self, line: &str) {
        let line = line.replace(&self.tree, "");
        let line = line.trim_end();
        if let Some(warning) = self.pending.take() {
            let place = line.trim_start().strip_prefix("--> ");
            self.found.insert(place.map_or(warning.clone(), |place| format!("{place}: {warning}")));
        }
        let is_sum = line.ends_with("generated.") || line.ends_with("emitted") || line.contains(" warnings generated");
        if is_sum {
            return;
        }
        if line.starts_with("warning: ") || line.starts_with("warning[") {
            self.pending = Some(line.to_owned());
        } else if MARKS.iter().any(|mark| line.contains(mark)) {
            self.found.insert(line.to_owned());
        }
    }

    /// Takes a line that is a warning whatever it looks like.
    pub fn add(&mut self, line: &str) {
        self.found.insert(line.replace(&self.tree, ""));
    }

    /// The warnings.
    pub fn finish(mut self) -> Warnings {
        self.found.extend(self.pending.take());
        Warnings(self.found.into_iter().map(|line| (form(&line), line)).collect())
    }
}

/// The warning without line and column numbers, which change with every edit above it.
fn form(line: &str) -> String {
    let mut form = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(':') {
        let (before, after) = rest.split_at(at + 1);
        form.push_str(before);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let is_place = digits > 0 && !after[digits..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        rest = if is_place { &after[digits..] } else { after };
    }
    form.push_str(rest);
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(lines: &[&str]) -> Warnings {
        let mut collector = Collector::new(Path::new("/cache/linux"));
        lines.iter().for_each(|line| collector.take(line));
        collector.finish()
    }

    #[test]
    fn an_error_that_does_not_stop_the_build_counts() {
        let found = collect(&["drivers/block/loop.c:1808:1: error: bad constant expression"]);
        assert_eq!(found.len(), 1);
        assert!(Collector::concerns("drivers/block/loop.c:1808:1: error: bad constant expression"));
    }

    #[test]
    fn the_same_warning_further_down_is_not_new() {
        let before = collect(&["/cache/linux/drivers/block/loop.c:10:3: warning: unused variable 'a' [-Wunused]"]);
        let after = collect(&[
            "drivers/block/loop.c:14:3: warning: unused variable 'a' [-Wunused]",
            "drivers/block/loop.c:15:3: warning: unused variable 'b' [-Wunused]",
            "2 warnings generated.",
        ]);
        assert_eq!(after.not_in(&before), ["drivers/block/loop.c:15:3: warning: unused variable 'b' [-Wunused]"]);
    }

    #[test]
    fn a_warning_of_rustc_has_its_place_in_the_next_line() {
        let found = collect(&[
            "warning: unused import: `a`",
            "  --> /cache/linux/rust/kernel/fs.rs:3:5",
            "warning: 1 warning emitted",
        ]);
        assert_eq!(found.not_in(&Warnings::default()), ["rust/kernel/fs.rs:3:5: warning: unused import: `a`"]);
    }

    #[test]
    fn warnings_of_the_linker_modpost_and_kconfig_count() {
        let found = collect(&[
            "vmlinux.o: warning: objtool: f()+0x1: unreachable instruction",
            "WARNING: modpost: vmlinux: section mismatch in reference: f -> g",
            "WARNING: unmet direct dependencies detected for X",
            "  CC      drivers/block/loop.o",
        ]);
        assert_eq!(found.len(), 3);
        assert!(collect(&["  LD      vmlinux"]).is_empty());
    }

    #[test]
    fn lines_that_do_not_concern_warnings_can_be_left_out() {
        let lines = [
            "  CC      drivers/block/loop.o",
            "warning: unused import: `a`",
            "  --> rust/kernel/fs.rs:3:5",
            "drivers/block/loop.c:10:3: warning: unused variable 'a' [-Wunused]",
            "WARNING: modpost: x",
            "Warning: a.c:71 No description",
        ];
        let concerned: Vec<&str> = lines.into_iter().filter(|line| Collector::concerns(line)).collect();
        assert_eq!(concerned.len(), 5);
        assert_eq!(collect(&concerned), collect(&lines));
    }

    #[test]
    fn only_numbers_that_are_places_are_left_out() {
        assert_eq!(form("a.c:12:3: warning: array of 12 is 3: bad"), "a.c::: warning: array of 12 is 3: bad");
        assert_eq!(form("a.rs:3:5: warning: x"), form("a.rs:30:51: warning: x"));
        assert_eq!(form("Warning: a.c:71 No description"), form("Warning: a.c:712 No description"));
        assert_ne!(form("a.rs:3:5: warning: x"), form("b.rs:3:5: warning: x"));
    }
}
