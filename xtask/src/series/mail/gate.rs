//! What mails have to pass before they are written. Each gate has a name and can be switched off by it.

use std::{collections::BTreeSet, fmt};

use anyhow::{Result, anyhow};

use crate::error::Failure;

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
        use clap::ValueEnum as _;
        f.write_str(self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()).as_str())
    }
}

/// How a gate was passed, or was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Passed,
    /// It was switched off.
    Skipped,
    /// These things are wrong.
    Closed(Vec<String>),
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

    /// Judges `gate` by `faults`, which is not asked if the gate is switched off.
    ///
    /// # Errors
    ///
    /// When the gate cannot be judged.
    pub fn judge(&mut self, gate: Gate, faults: impl FnOnce() -> Result<Result<(), Vec<String>>>) -> Result<()> {
        let verdict = if self.skip.contains(&gate) {
            Verdict::Skipped
        } else {
            match faults()? {
                Ok(()) => Verdict::Passed,
                Err(faults) => Verdict::Closed(faults),
            }
        };
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
        if self.verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Closed(_))) {
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
                Verdict::Passed => "passed",
                Verdict::Skipped => "skipped",
                Verdict::Closed(_) => "CLOSED",
            };
            write!(f, "{}{:<12} {word}", if index == 0 { "" } else { "\n" }, gate.to_string())?;
            if let Verdict::Closed(faults) = verdict {
                for fault in faults {
                    write!(f, "\n    {}", fault.replace('\n', "\n    "))?;
                }
            }
        }
        Ok(())
    }
}

/// Passed if there are no faults.
///
/// # Errors
///
/// Never; the outer result is what [`Gates::judge`] takes.
pub fn none(faults: impl IntoIterator<Item = String>) -> Result<Result<(), Vec<String>>> {
    let faults: Vec<String> = faults.into_iter().collect();
    Ok(if faults.is_empty() { Ok(()) } else { Err(faults) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_stops_and_tells_all_of_them() {
        let mut gates = Gates::new(&BTreeSet::new());
        gates.judge(Gate::Series, || none([])).unwrap();
        gates.judge(Gate::SignOff, || none(["nobody has".to_owned()])).unwrap();
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
