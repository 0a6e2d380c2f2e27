//! The evidence that the series was verified: the table of a complete `series verify`, kept beside the patches it is
//! about and told apart from that of others by a key. Verifying takes hours on a small machine, so whoever has the
//! repository has what came of it too, and `series mail` puts it into the cover letter.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use regex::Regex;

use crate::{
    cache::{Key, write_whole},
    series::{
        commit_files::files_under,
        folder::{EVIDENCE, Folder, PATCHES},
    },
    source::Base,
    verify::gate::Gate,
};

/// What is known of a series that was verified, or was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Nobody has verified it.
    Missing,
    /// Other patches were verified, or these on another base or with fewer cases and gates.
    Stale,
    /// These patches have passed everything: the table.
    Holds(String),
}

impl Evidence {
    /// Reads the evidence beside the patches of the clone at `root`.
    ///
    /// # Errors
    ///
    /// When files cannot be read.
    pub fn read(root: &Path, base: &Base) -> Result<Self> {
        let path = path(root);
        if !path.exists() {
            return Ok(Self::Missing);
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (head, table) = text.split_once("\n\n").unwrap_or((&text, ""));
        Ok(if head == self::head(root, base)? { Self::Holds(table.to_owned()) } else { Self::Stale })
    }

    /// The table, if it is that of these patches.
    pub fn table(&self) -> Option<&str> {
        match self {
            Self::Holds(table) => Some(table),
            Self::Missing | Self::Stale => None,
        }
    }

    /// What there is to say of the series, as the end of a sentence.
    pub fn told(&self) -> &'static str {
        match self {
            Self::Missing => "never verified",
            Self::Stale => "not verified as they are now",
            Self::Holds(_) => "verified as they are",
        }
    }
}

/// Writes down that the patches of the clone at `root` have passed everything, with the `table` that says so.
///
/// # Errors
///
/// When files cannot be read or written.
pub fn keep(root: &Path, base: &Base, table: &str) -> Result<()> {
    write_whole(&path(root), format!("{}\n\n{}\n", head(root, base)?, table.trim_end()).as_bytes())
}

/// Takes back what was written down of these patches; evidence of others only is of no use any more and stays.
///
/// # Errors
///
/// When files cannot be read or removed.
pub fn withdraw(root: &Path, base: &Base) -> Result<()> {
    if Evidence::read(root, base)?.table().is_none() {
        return Ok(());
    }
    let path = path(root);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

fn path(root: &Path) -> PathBuf {
    root.join(PATCHES).join(EVIDENCE)
}

/// The cases that the suite of the clone at `root` declares, with the lines of the contract that they cover.
fn declared_cases(root: &Path) -> Result<Vec<String>> {
    let declared = Regex::new(r"case!\(\s*\[[^\]]*\],\s*\w+").context("the pattern of a case")?;
    let mut cases = Vec::new();
    for file in files_under(root, ["selftests/src/cases".to_owned()])? {
        // The cases of the clients have scripts beside them, of any encoding.
        let text = fs::read(root.join(&file)).with_context(|| format!("cannot read {file}"))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        cases.extend(declared.find_iter(&text).map(|case| case.as_str().split_whitespace().collect()));
    }
    cases.sort();
    Ok(cases)
}

/// The file's head, which changes with every byte of a patch, with the base, the cases and the gates.
fn head(root: &Path, base: &Base) -> Result<String> {
    let folder = Folder::read(&root.join(PATCHES))?;
    let key = folder.entries.iter().fold(Key::default().with(&base.commit), |key, entry| key.with(&entry.text));
    // A suite or a list of gates that has grown has not verified them.
    let key = Gate::value_variants().iter().fold(key, |key, gate| key.with(gate.to_string()));
    let key = declared_cases(root)?.into_iter().fold(key, Key::with);
    Ok(format!("Written by `cargo xtask series verify`, which found nothing wrong with patches {}.", key.name()))
}
