//! Marks in the kernel log that say where a case starts and ends.

use std::{fmt, str::FromStr};

/// A line the guest writes to `/dev/kmsg`, and the host finds in the console's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// The trial of this id starts after this line.
    Start(String),
    /// The trial of this id ended before this line.
    End(String),
    /// The checks at the end of the run start.
    Finishing,
    /// They are done.
    Finished,
}

const PREFIX: &str = "loopfs-harness: ";

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::Start(id) => write!(f, "start {id}"),
            Self::End(id) => write!(f, "end {id}"),
            Self::Finishing => f.write_str("finishing"),
            Self::Finished => f.write_str("finished"),
        }
    }
}

/// A kernel message that is not a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a marker")]
pub struct NotAMarker;

impl FromStr for Marker {
    type Err = NotAMarker;

    /// Reads the text of a kernel message, without the time stamp the console puts before it.
    fn from_str(message: &str) -> Result<Self, NotAMarker> {
        let rest = message.strip_prefix(PREFIX).ok_or(NotAMarker)?.trim_end();
        match rest.split_once(' ') {
            Some(("start", id)) => Ok(Self::Start(id.to_owned())),
            Some(("end", id)) => Ok(Self::End(id.to_owned())),
            None if rest == "finishing" => Ok(Self::Finishing),
            None if rest == "finished" => Ok(Self::Finished),
            _ => Err(NotAMarker),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_survives_the_kernel_log() {
        let cases = [Marker::Start("a/root".into()), Marker::End("a/userns".into())];
        for marker in cases.into_iter().chain([Marker::Finishing, Marker::Finished]) {
            assert_eq!(marker.to_string().parse(), Ok(marker));
        }
    }

    #[test]
    fn other_messages_are_no_markers() {
        for message in ["loop0: detected capacity change", "loopfs-harness: what", "start a/root", ""] {
            assert_eq!(message.parse::<Marker>(), Err(NotAMarker), "{message}");
        }
    }
}
