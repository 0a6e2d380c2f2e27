//! What gates say: each has a name with which it can be chosen or left out, and a verdict.

use serde::{Deserialize, Serialize};

/// What a gate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing is wrong.
    Passed,
    /// There is nothing that the gate is about.
    NotConcerned,
    /// It was left out on the command line.
    LeftOut,
    /// The checker is not installed.
    Unchecked(String),
    /// These things are wrong.
    Failed(Vec<String>),
}

impl Verdict {
    /// Failed if there is something in `faults`.
    pub fn of(faults: impl IntoIterator<Item = String>) -> Self {
        let faults: Vec<String> = faults.into_iter().collect();
        if faults.is_empty() { Self::Passed } else { Self::Failed(faults) }
    }

    /// Both verdicts in one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed(a), Self::Failed(b)) => Self::Failed([a, b].concat()),
            (Self::Passed | Self::NotConcerned | Self::LeftOut, other) => other,
            (bad, _) => bad,
        }
    }

    /// Whether the gate is not passed: something is wrong, or it could not be checked.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Unchecked(_))
    }

    /// Whether the gate checked nothing.
    pub fn is_skipped(&self) -> bool {
        matches!(self, Self::NotConcerned | Self::LeftOut)
    }

    /// What is wrong, line by line.
    pub fn told(&self) -> Vec<&str> {
        match self {
            Self::Passed | Self::NotConcerned | Self::LeftOut => Vec::new(),
            Self::Unchecked(why) => vec![why],
            Self::Failed(faults) => faults.iter().map(String::as_str).collect(),
        }
    }
}

/// The name of a gate on the command line.
pub fn name(gate: &impl clap::ValueEnum) -> String {
    gate.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
