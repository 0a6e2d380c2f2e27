//! What the guest tells beside results.

use serde::{Deserialize, Serialize};

/// Starts a KTAP diagnostic line that carries an [`Event`].
pub const EVENT_PREFIX: &str = "# loopfs: ";

/// One diagnostic line on the control port, guest to host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// PID 1 runs and waits for [`crate::Command::Hello`].
    Booted,
    /// The guest takes commands.
    Ready {
        /// The guest's own clock since its kernel started, in milliseconds.
        uptime_ms: u64,
        /// `uname -r`.
        release: String,
        /// How many CPUs are online.
        cpus: usize,
    },
    /// The case on the next result line took this long, in milliseconds of the guest's clock.
    Took {
        /// Its duration.
        ms: u64,
    },
    /// Why the case on the next result line failed.
    Failed {
        /// Its error or panic message.
        message: String,
    },
    /// The case that runs is past its deadline; it is being killed.
    Overdue,
    /// What is left of the case that ran cannot be killed: this guest is of no further use.
    Stuck,
    /// The program run by [`crate::Command::Exec`] ended.
    Exited {
        /// Its exit code; 128 and the signal's number if a signal ended it, as in a shell; 126 or 127 if it could not be started.
        code: u8,
        /// How many bytes went to [`crate::port::STDOUT`].
        stdout: u64,
        /// How many bytes went to [`crate::port::STDERR`].
        stderr: u64,
    },
    /// Nothing more will come: the guest powers off.
    Bye,
}

impl Event {
    /// The event as a line for the control port, with its line feed.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).expect("an event has only strings and numbers");
        format!("{EVENT_PREFIX}{json}\n")
    }

    /// The event on `line`, if it carries one.
    ///
    /// # Errors
    ///
    /// When the line is marked as an event and is none: the two halves were built from different sources.
    pub fn from_line(line: &str) -> Result<Option<Self>, serde_json::Error> {
        line.strip_prefix(EVENT_PREFIX).map(serde_json::from_str).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_ktap_diagnostic_and_survives_the_port() {
        let event = Event::Ready { uptime_ms: 900, release: "7.3.4".into(), cpus: 1 };
        let line = event.to_line();
        assert!(line.starts_with("# "));
        assert_eq!(Event::from_line(line.trim_end()).unwrap(), Some(event));
    }

    #[test]
    fn what_a_case_prints_is_no_event() {
        let printed_by_a_case = Event::Bye.to_line();
        let quoted = format!("# {}", printed_by_a_case.trim_end());
        assert_eq!(Event::from_line(&quoted).unwrap(), None);
    }

    #[test]
    fn a_broken_event_is_an_error() {
        assert!(Event::from_line("# loopfs: {\"took\":").is_err());
    }
}
