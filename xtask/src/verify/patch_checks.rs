//! The gates that read a patch and its files, one after the other.

use anyhow::Result;

use crate::{
    cache::{Key, finding},
    gate::Verdict,
    series::checkpatch::{self, Complaint, Exception},
    verify::{
        Site, file_checkers,
        gate::{Gate, Subject},
    },
};

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
    let checkers: [(Gate, Checker); 3] = [
        (Gate::Rustfmt, file_checkers::rustfmt),
        (Gate::KernelDoc, file_checkers::kernel_doc),
        (Gate::Rst, file_checkers::rst),
    ];
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
        Ok(Verdict::of(left.iter().map(ToString::to_string)))
    }

    /// What is wrong with the exceptions once all patches were judged.
    pub fn idle(self) -> Vec<String> {
        let idle = self.exceptions.iter().zip(self.used).filter(|(_, used)| !used);
        idle.map(|(exception, _)| {
            format!(
                "{}: the exception of {} for {} is no longer needed; remove it",
                checkpatch::EXCEPTIONS,
                exception.patch,
                exception.kind
            )
        })
        .collect()
    }
}
