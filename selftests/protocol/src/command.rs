//! What the host asks of the guest.

use serde::{Deserialize, Serialize};

/// One line on the control port, host to guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// The first command a guest gets, also after it was restored from a snapshot. Answered by
    /// [`crate::Event::Ready`].
    Hello {
        /// Fresh random bytes: guests restored from one snapshot have the same to come otherwise.
        seed: [u8; 32],
        /// The host's clock.
        clock: Clock,
    },
    /// Starts a KTAP stream of `cases` results.
    Plan {
        /// How many [`Command::Case`] follow.
        cases: usize,
        /// What becomes of a case whose need the kernel does not meet.
        missing: Missing,
    },
    /// Runs one case. Answered by one KTAP result line.
    Case {
        /// Its name.
        name: String,
        /// As whom, as in [`crate::CaseInfo::who`].
        who: String,
        /// After how many milliseconds it is killed.
        deadline_ms: u64,
    },
    /// Runs a program; its standard streams are the ports of [`crate::port`]. Answered by [`crate::Event::Exited`].
    Exec {
        /// The program and its arguments.
        argv: Vec<String>,
        /// `NAME=VALUE` settings on top of the guest's own.
        env: Vec<String>,
        /// Give it a terminal of this size in place of pipes.
        terminal: Option<Window>,
    },
    /// The terminal of the program that is running has another size now.
    Resize(Window),
    /// Runs the checks at the end of a run and powers the guest off. Answered by [`crate::Event::Bye`].
    Finish {
        /// Let kmemleak scan, where the kernel has it; its report goes to the kernel log.
        kmemleak: bool,
    },
}

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds within that second.
    pub nanoseconds: u32,
}

/// What becomes of a case whose need the kernel does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// It fails: the kernel was configured for the suite and lost something.
    Fail,
    /// It fails, except for a need that only the debug configuration meets: that is a skip.
    FailUnlessDebugOnly,
    /// It is skipped: the kernel is somebody else's, or a prefix of the series.
    Skip,
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

impl Command {
    /// The command as a line for the control port, with its line feed.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("a command has only strings and numbers");
        line.push('\n');
        line
    }

    /// The command on `line`.
    ///
    /// # Errors
    ///
    /// When `line` is not a command: the two halves were built from different sources.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_command_is_one_line_and_survives_the_port(argv in prop::collection::vec(".*", 0..4), rows: u16) {
            let command = Command::Exec { argv, env: vec![], terminal: Some(Window { rows, columns: 80 }) };
            let line = command.to_line();
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(Command::from_line(line.trim_end()).unwrap(), command);
        }
    }

    #[test]
    fn noise_is_not_a_command() {
        assert!(Command::from_line("ok 1 noise").is_err());
    }
}
