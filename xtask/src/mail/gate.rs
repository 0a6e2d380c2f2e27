//! What mails have to pass before they are written. Each gate has a name and can be switched off by it.

use std::{collections::BTreeSet, fmt};

use anyhow::{Result, anyhow};

use crate::{
    error::Failure,
    gate::{Verdict, name},
};

/// A gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Gate {
    /// `series check` finds nothing.
    Series,
    /// patches/ and rust/ are committed.
    Committed,
    /// git knows who submits, by a name and an address that can receive answers.
    Submitter,
    /// The submitter has signed off.
    SignOff,
    /// There is a cover letter, with nothing left to fill in.
    Cover,
    /// From version 2 on, the cover letter says what has changed.
    Changelog,
    /// `series verify` has passed for just these patches.
    Verified,
    /// This version was not written before.
    NewVersion,
    /// Somebody maintains what each patch touches.
    Addressees,
    /// checkpatch has no complaint that is not justified.
    Checkpatch,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(self))
    }
}

/// The gates judged so far.
#[derive(Clone, Debug)]
pub struct Gates {
    skip: BTreeSet<Gate>,
    verdicts: Vec<(Gate, Verdict)>,
}

impl Gates {
    /// None judged yet; those in `skip` need not be passed.
    pub fn new(skip: &BTreeSet<Gate>) -> Self {
        Self { skip: skip.clone(), verdicts: Vec::new() }
    }

    /// Judges `gate` by `verdict`, which is not asked if the gate is switched off.
    ///
    /// # Errors
    ///
    /// When the gate cannot be judged.
    pub fn judge(&mut self, gate: Gate, verdict: impl FnOnce() -> Result<Verdict>) -> Result<()> {
        let verdict = if self.skip.contains(&gate) { Verdict::LeftOut } else { verdict()? };
        self.verdicts.push((gate, verdict));
        Ok(())
    }

    /// The verdicts, in the order the gates were judged in.
    pub fn verdicts(&self) -> &[(Gate, Verdict)] {
        &self.verdicts
    }

    /// Fails if a gate is closed.
    ///
    /// # Errors
    ///
    /// [`Failure::Series`] with all gates and what is wrong at each.
    pub fn verdict(&self) -> Result<()> {
        if self.verdicts.iter().any(|(_, verdict)| verdict.is_bad()) {
            let hint = "nothing was written; a gate that is wrong can be switched off with `--skip NAME`";
            return Err(anyhow!("the mails do not pass the gates:\n{self}\n{hint}").context(Failure::Series));
        }
        Ok(())
    }
}

impl fmt::Display for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (gate, verdict)) in self.verdicts.iter().enumerate() {
            let word = match verdict {
                Verdict::LeftOut => "skipped",
                verdict if verdict.is_bad() => "CLOSED",
                _ => "passed",
            };
            write!(f, "{}{:<12} {word}", if index == 0 { "" } else { "\n" }, gate.to_string())?;
            for fault in verdict.told() {
                write!(f, "\n    {}", fault.replace('\n', "\n    "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_stops_and_tells_all_of_them() {
        let mut gates = Gates::new(&BTreeSet::new());
        gates.judge(Gate::Series, || Ok(Verdict::Passed)).unwrap();
        gates.judge(Gate::SignOff, || Ok(Verdict::of(["nobody has".to_owned()]))).unwrap();
        let error = gates.verdict().unwrap_err();
        assert_eq!(Failure::of(&error), Failure::Series);
        let text = format!("{error:#}");
        assert!(text.contains("series       passed\nsign-off     CLOSED\n    nobody has"), "{text}");
    }

    #[test]
    fn a_gate_that_is_switched_off_is_not_even_looked_at() {
        let mut gates = Gates::new(&BTreeSet::from([Gate::Verified]));
        gates.judge(Gate::Verified, || Err(anyhow!("looked at"))).unwrap();
        gates.verdict().unwrap();
        assert_eq!(gates.to_string(), "verified     skipped");
    }
}
