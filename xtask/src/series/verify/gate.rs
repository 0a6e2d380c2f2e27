//! What each patch has to pass, gate by gate.

use std::{collections::BTreeMap, fmt};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Site, Step, build, lint, record::cached};
use crate::{
    cache::Key,
    progress::say,
    series::{
        checkpatch::{self, Complaint},
        folder::{Entry, Folder},
        patch::Patch,
        verify::record::Keep,
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
    /// With the option off, the whole series brings no symbol of loopfs into the kernel.
    Absent,
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

/// Judges every patch by the gates that were chosen, apart from building and booting.
///
/// # Errors
///
/// On Ctrl-C, or when a checker cannot be run at all.
pub fn judge_all(site: &Site<'_>, folder: &Folder, steps: &mut [Step], faults: &mut Vec<String>) -> Result<()> {
    let wanted = |gate| site.order.gates.contains(&gate);
    let subjects: Vec<Subject<'_>> = folder
        .entries
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| Some(Subject { number: index + 1, entry, patch: entry.patch.as_ref().ok()? }))
        .collect();
    let mut verdicts: BTreeMap<(usize, Gate), Verdict> = BTreeMap::new();
    if wanted(Gate::Checkpatch) {
        checkpatch_all(site, &subjects, &mut verdicts, faults)?;
    }
    if wanted(Gate::Absent) && wanted(Gate::Build) {
        let last = steps.len() - 1;
        verdicts.insert((last, Gate::Absent), build::absent(site, last)?);
    }
    let checkers: [(Gate, Checker); 3] =
        [(Gate::Rustfmt, lint::rustfmt), (Gate::KernelDoc, lint::kernel_doc), (Gate::Rst, lint::rst)];
    for (gate, check) in checkers.into_iter().filter(|(gate, _)| wanted(*gate)) {
        for subject in &subjects {
            verdicts.insert((subject.number, gate), check(site, subject)?);
        }
    }
    let compilers: [(Gate, Walk); 3] =
        [(Gate::Sparse, lint::sparse), (Gate::Clippy, lint::clippy), (Gate::Rustdoc, lint::rustdoc)];
    for (gate, walk) in compilers.into_iter().filter(|(gate, _)| wanted(*gate)) {
        for (number, verdict) in walk(site, &subjects)? {
            verdicts.insert((number, gate), verdict);
        }
    }
    for ((number, gate), verdict) in verdicts {
        if verdict.is_bad() {
            say(&format!("[{number}/{}] {}: {gate} FAILED", subjects.len(), steps[number].name));
        }
        steps[number].gates.push((gate, verdict));
    }
    Ok(())
}

/// Checks one patch.
type Checker = fn(&Site<'_>, &Subject<'_>) -> Result<Verdict>;
/// Checks all patches one after the other, each against what the ones before have shown.
type Walk = fn(&Site<'_>, &[Subject<'_>]) -> Result<Vec<(usize, Verdict)>>;

fn checkpatch_all(
    site: &Site<'_>,
    subjects: &[Subject<'_>],
    verdicts: &mut BTreeMap<(usize, Gate), Verdict>,
    faults: &mut Vec<String>,
) -> Result<()> {
    let exceptions = checkpatch::exceptions(site.ctx)?;
    let mut used = vec![false; exceptions.len()];
    for subject in subjects {
        let key = Key::default().with("checkpatch 1").with(&site.base.commit).with(&subject.entry.text);
        let complaints: Vec<Complaint> = cached(site.ctx, "checkpatch", key, || {
            Ok((checkpatch::run(site.ctx, &site.tree, &subject.entry.text, false)?, Keep::Yes))
        })?;
        let left = checkpatch::unjustified(subject.entry.stem(), complaints, &exceptions, &mut used);
        let left = left.iter().map(ToString::to_string).collect();
        verdicts.insert((subject.number, Gate::Checkpatch), Verdict::of(left));
    }
    for (exception, _) in exceptions.iter().zip(used).filter(|(_, used)| !used) {
        faults.push(format!(
            "{}: the exception of {} for {} excuses nothing any more: take it out",
            checkpatch::EXCEPTIONS,
            exception.patch,
            exception.kind
        ));
    }
    Ok(())
}
