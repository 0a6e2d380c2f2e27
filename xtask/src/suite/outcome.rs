//! How cases end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::suite::splat::Splat;

/// How one case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It did what it should, and the kernel was silent.
    Pass,
    /// It did not, or the kernel gave a warning, or it left something behind.
    Fail,
    /// It could not run, for a reason that is told.
    Skip,
    /// The kernel died.
    Crash,
    /// Nothing came before its deadline.
    Hang,
    /// The guest ended, or spoke nonsense, and left no verdict.
    Lost,
}

impl Outcome {
    /// Whether the run may still succeed.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Pass | Self::Skip)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "ok",
            Self::Fail => "FAILED",
            Self::Skip => "skipped",
            Self::Crash => "CRASHED",
            Self::Hang => "HUNG",
            Self::Lost => "LOST",
        })
    }
}

/// All that is known about one case that ran.
#[derive(Clone, Debug, Serialize)]
pub struct TestResult {
    /// Its name and as whom it ran.
    pub name: String,
    /// The lines of SPEC.md it covers; empty for what the harness itself looks after.
    pub spec: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, unless it passed.
    pub message: Option<String>,
    /// Why a client that did not work here was not to work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// How long it took in the guest, in milliseconds.
    pub duration_ms: u64,
    /// What it printed.
    pub output: Vec<String>,
    /// What the kernel said while it ran.
    pub kernel_log: Vec<String>,
    /// What of that must not be there.
    pub splats: Vec<Splat>,
    /// The command that runs it again.
    pub reproduce: Option<String>,
}

impl TestResult {
    /// A result of the harness's own, without output or log.
    pub fn own(name: &str, outcome: Outcome, message: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            spec: Vec::new(),
            outcome,
            message,
            difference: None,
            duration_ms: 0,
            output: Vec::new(),
            kernel_log: Vec::new(),
            splats: Vec::new(),
            reproduce: None,
        }
    }

    /// Adds what the kernel said. A message that must not be there fails the case, and a fatal one crashes it.
    pub fn add_kernel_log(&mut self, lines: Vec<String>, splats: Vec<Splat>) {
        self.kernel_log.extend(lines);
        let Some(worst) = splats.iter().find(|splat| splat.fatal).or(splats.first()) else { return };
        let found = format!("kernel: {}", worst.line);
        let outcome = if worst.fatal { Outcome::Crash } else { Outcome::Fail };
        match (&self.message, self.outcome) {
            (Some(message), Outcome::Fail) => self.message = Some(format!("{message}\n{found}")),
            (_, Outcome::Pass | Outcome::Skip) | (None, _) => self.message = Some(found),
            _ => {}
        }
        if self.outcome.is_good() || (self.outcome == Outcome::Fail && outcome == Outcome::Crash) {
            self.outcome = outcome;
        }
        self.splats.extend(splats);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splat(fatal: bool) -> Splat {
        Splat { rule: "r".into(), line: "WARNING: x".into(), fatal }
    }

    #[test]
    fn a_warning_fails_what_passed_and_what_was_skipped() {
        for outcome in [Outcome::Pass, Outcome::Skip] {
            let mut result = TestResult::own("a", outcome, None);
            result.add_kernel_log(vec!["WARNING: x".into()], vec![splat(false)]);
            assert_eq!((result.outcome, result.message.as_deref()), (Outcome::Fail, Some("kernel: WARNING: x")));
        }
    }

    #[test]
    fn a_fatal_message_makes_a_failure_a_crash_and_keeps_its_text() {
        let mut result = TestResult::own("a", Outcome::Fail, Some("EBUSY".into()));
        result.add_kernel_log(vec![], vec![splat(false), splat(true)]);
        assert_eq!((result.outcome, result.message.as_deref()), (Outcome::Crash, Some("EBUSY\nkernel: WARNING: x")));
    }

    #[test]
    fn a_quiet_kernel_changes_nothing() {
        let mut result = TestResult::own("a", Outcome::Pass, None);
        result.add_kernel_log(vec!["loop0: detected".into()], vec![]);
        assert_eq!((result.outcome, result.message), (Outcome::Pass, None));
    }
}
