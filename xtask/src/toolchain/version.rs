//! Versions of tools, and the least ones the kernel accepts.

use std::{fmt, fs, path::Path, str::FromStr};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::{git::Git, process};

/// A version of up to three numbers; missing ones are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

impl Version {
    /// The first version in what a tool prints about itself, such as `GNU Make 4.3`.
    pub fn in_text(text: &str) -> Option<Self> {
        text.split(|c: char| c.is_whitespace() || "(),".contains(c)).find_map(|word| {
            let digits = word.strip_prefix('v').unwrap_or(word);
            digits.contains('.').then(|| digits.parse().ok()).flatten()
        })
    }
}

impl FromStr for Version {
    type Err = std::num::ParseIntError;

    /// Reads `22.1.8`, `4.3`, or `7.2.22-rc1` as the numbers it starts with.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        let mut version = Self::default();
        for (slot, number) in version.0.iter_mut().zip(numbers.split('.')) {
            *slot = number.parse()?;
        }
        Ok(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// The least versions of the tools whose age the kernel checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minimum {
    /// clang, lld and libclang.
    pub llvm: Version,
    /// rustc and its library's source.
    pub rustc: Version,
    /// bindgen.
    pub bindgen: Version,
}

impl Default for Minimum {
    /// What Linux 7.3 wants: for the time before there is a tree to ask.
    fn default() -> Self {
        Self { llvm: Version([17, 0, 1]), rustc: Version([1, 85, 0]), bindgen: Version([0, 71, 1]) }
    }
}

impl Minimum {
    /// What the kernel at `tree` wants, from its own `scripts/min-tool-version.sh`.
    ///
    /// # Errors
    ///
    /// When that script cannot be read, fails or prints no version.
    pub fn of_tree(tree: &Path, verbose: bool) -> Result<Self> {
        let script = tree.join(SCRIPT);
        let text = fs::read_to_string(&script).with_context(|| format!("cannot read {}", script.display()))?;
        Self::of_script(&text, verbose)
    }

    /// What the kernel at the commit `commit` of `git` wants, as [`Minimum::of_tree`].
    pub fn of_commit(git: &Git, commit: &str, verbose: bool) -> Result<Self> {
        Self::of_script(&git.read(["show", &format!("{commit}:{SCRIPT}")])?, verbose)
    }

    fn of_script(text: &str, verbose: bool) -> Result<Self> {
        let sh = Shell::new()?;
        let ask = |tool: &str| {
            let command = cmd!(sh, "sh -s {tool}").env("ARCH", "x86").env("SRCARCH", "x86");
            let printed = String::from_utf8(process::feed(&command.into(), text.as_bytes(), verbose)?)?;
            printed.trim().parse().with_context(|| format!("{SCRIPT} says {printed:?} of {tool}"))
        };
        Ok(Self { llvm: ask("llvm")?, rustc: ask("rustc")?, bindgen: ask("bindgen")? })
    }
}

/// Where the kernel says how old its tools may be.
const SCRIPT: &str = "scripts/min-tool-version.sh";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_what_tools_print() {
        for (text, expected) in [
            ("GNU Make 4.3\nBuilt for x86_64", [4, 3, 0]),
            ("Debian clang version 22.1.8 (1~deb12u1)", [22, 1, 8]),
            ("Debian LLD 22.1.8 (compatible with GNU linkers)", [22, 1, 8]),
            ("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)", [1, 96, 0]),
            ("rustc 1.97.0-nightly (abc 2026-06-01)", [1, 97, 0]),
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", [7, 2, 22]),
            ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", [12, 2, 0]),
            ("bison (GNU Bison) 3.8.2", [3, 8, 2]),
        ] {
            assert_eq!(Version::in_text(text), Some(Version(expected)), "{text}");
        }
        assert_eq!(Version::in_text("no version here."), None);
    }

    #[test]
    fn versions_compare_by_number_and_not_by_letter() {
        assert!("1.100.0".parse::<Version>().unwrap() > "1.96.0".parse().unwrap());
        assert!("17".parse::<Version>().unwrap() < Version([17, 0, 1]));
    }

    #[test]
    fn the_tree_is_asked_for_its_minimum() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("scripts")).unwrap();
        let script = "case $1 in llvm) echo 18.0.0;; rustc) echo 1.90.0;; bindgen) echo 0.72.1;; esac\n";
        fs::write(tree.path().join("scripts/min-tool-version.sh"), script).unwrap();
        let minimum = Minimum::of_tree(tree.path(), false).unwrap();
        assert_eq!(minimum.rustc, Version([1, 90, 0]));
        assert_eq!(minimum.llvm, Version([18, 0, 0]));
    }
}
