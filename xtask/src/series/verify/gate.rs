//! What each patch has to pass, gate by gate.

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Site, content};
use crate::{
    cache::{Key, finding},
    series::{
        checkpatch::{self, Complaint, Exception},
        folder::Entry,
        patch::Patch,
    },
};

/// A gate, by the name with which it can be chosen or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Each prefix configures and builds with the option on and off, with no new warning.
    Build,
    /// Each built prefix boots and passes the cases that apply.
    Boot,
    /// With the option off, no prefix has a symbol of loopfs, and the whole series leaves the loop driver's object as it was
    /// but for what patches/absent.toml names.
    Absent,
    /// The whole series passes the whole suite in the default configuration.
    Suite,
    /// It passes it in the debug configuration as well, with the kernel's own tests (KUnit) and documentation examples.
    Kunit,
    /// The files that the series touches compile without a warning with options off that they could lean on, with the
    /// loop driver as a module, and with gcc.
    Neighbours,
    /// `checkpatch --strict` has no complaint that is not justified in patches/checkpatch.toml.
    Checkpatch,
    /// rustfmt would change nothing.
    Rustfmt,
    /// kernel-doc has no new warning.
    KernelDoc,
    /// Documentation is well-formed reStructuredText.
    Rst,
    /// `make W=1` and sparse have no new warning about the touched C files.
    Sparse,
    /// Clippy has no new warning.
    Clippy,
    /// `make rustdoc` has no new warning.
    Rustdoc,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use clap::ValueEnum as _;
        f.write_str(self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()).as_str())
    }
}

/// What a gate says of a patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing is wrong.
    Passed,
    /// The patch touches nothing that the gate is about.
    NotConcerned,
    /// The checker is not here.
    Unchecked(String),
    /// These things are wrong.
    Failed(Vec<String>),
}

impl Verdict {
    /// Failed if there is something in `faults`.
    pub fn of(faults: Vec<String>) -> Self {
        if faults.is_empty() { Self::Passed } else { Self::Failed(faults) }
    }

    /// Both verdicts in one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed(a), Self::Failed(b)) => Self::Failed([a, b].concat()),
            (Self::Passed | Self::NotConcerned, other) => other,
            (bad, _) => bad,
        }
    }

    /// Whether the patch cannot pass: something is wrong, or nobody can tell.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Unchecked(_))
    }

    /// Whether the gate had nothing to say.
    pub fn is_skipped(&self) -> bool {
        matches!(self, Self::NotConcerned)
    }

    /// What there is to tell.
    pub fn told(&self) -> Vec<&str> {
        match self {
            Self::Passed | Self::NotConcerned => Vec::new(),
            Self::Unchecked(why) => vec![why],
            Self::Failed(faults) => faults.iter().map(String::as_str).collect(),
        }
    }
}

/// One patch at its gates.
#[derive(Debug)]
pub struct Subject<'a> {
    /// How many patches the prefix has that ends with it.
    pub number: usize,
    /// Its file.
    pub entry: &'a Entry,
    /// What is in the file.
    pub patch: &'a Patch,
}

impl Subject<'_> {
    /// The files with this ending that it adds or changes.
    pub fn files(&self, ending: &str) -> Vec<&str> {
        let gone = crate::series::patch::ChangeKind::Deleted;
        let kept = self.patch.files.iter().filter(|file| file.kind != gone);
        kept.map(|file| file.path.as_str()).filter(|path| path.ends_with(ending)).collect()
    }
}

/// The gates that read the patch and its files, one after the other.
///
/// # Errors
///
/// On Ctrl-C, or when a checker cannot be run at all.
pub fn judge(site: &Site<'_>, subject: &Subject<'_>, checkpatch: &mut Checkpatch) -> Result<Vec<(Gate, Verdict)>> {
    let mut verdicts = Vec::new();
    if site.wants(Gate::Checkpatch) {
        verdicts.push((Gate::Checkpatch, checkpatch.judge(site, subject)?));
    }
    let checkers: [(Gate, Checker); 3] =
        [(Gate::Rustfmt, content::rustfmt), (Gate::KernelDoc, content::kernel_doc), (Gate::Rst, content::rst)];
    for (gate, check) in checkers.into_iter().filter(|(gate, _)| site.wants(*gate)) {
        verdicts.push((gate, check(site, subject)?));
    }
    Ok(verdicts)
}

/// Checks one patch.
type Checker = fn(&Site<'_>, &Subject<'_>) -> Result<Verdict>;

/// checkpatch with the exceptions, of which each has to be of use.
#[derive(Debug)]
pub struct Checkpatch {
    exceptions: Vec<Exception>,
    used: Vec<bool>,
}

impl Checkpatch {
    /// Reads the exceptions.
    ///
    /// # Errors
    ///
    /// As [`checkpatch::exceptions`].
    pub fn new(site: &Site<'_>) -> Result<Self> {
        let exceptions = checkpatch::exceptions(site.ctx)?;
        Ok(Self { used: vec![false; exceptions.len()], exceptions })
    }

    fn judge(&mut self, site: &Site<'_>, subject: &Subject<'_>) -> Result<Verdict> {
        let key = Key::default().with("checkpatch 1").with(&site.base.commit).with(&subject.entry.text);
        let complaints: Vec<Complaint> = finding(site.ctx.cache(), "checkpatch", key, || {
            checkpatch::run(site.ctx, &site.tree, &subject.entry.text, false)
        })?;
        let left = checkpatch::unjustified(subject.entry.stem(), complaints, &self.exceptions, &mut self.used);
        Ok(Verdict::of(left.iter().map(ToString::to_string).collect()))
    }

    /// What is wrong with the exceptions once all patches were judged.
    pub fn idle(self) -> Vec<String> {
        let idle = self.exceptions.iter().zip(self.used).filter(|(_, used)| !used);
        idle.map(|(exception, _)| {
            format!(
                "{}: the exception of {} for {} excuses nothing any more: take it out",
                checkpatch::EXCEPTIONS,
                exception.patch,
                exception.kind
            )
        })
        .collect()
    }
}
