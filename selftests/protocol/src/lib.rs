//! What the two halves of the loopfs test harness say to each other.
//!
//! The host writes [`Command`]s to the control port, one JSON object a line. The guest answers on the
//! same port in KTAP 1 (`Documentation/dev-tools/ktap.rst`): results are KTAP result lines, everything else is a
//! KTAP diagnostic line, and those that carry an [`Event`] start with [`EVENT_PREFIX`]. A guest's log can
//! therefore be read by any KTAP tool, and what a case prints can never be taken for an event,
//! because the guest quotes it with one more `# `.
//!
//! Both halves also meet in the kernel log, where the guest writes a [`Marker`] before and after
//! each case, so that the host can tell which case a kernel message belongs to.

mod case_info;
mod command;
mod cost;
mod event;
mod marker;

pub use case_info::{CaseInfo, trial_id};
pub use command::{Clock, Command, Missing, Window};
pub use cost::{Act, COUNTED_CLOCK, Cost, Others, Party};
pub use event::{EVENT_PREFIX, Event};
pub use marker::Marker;

/// Stands before what a case left behind, in the message of one that had failed already.
pub const AFTERWARDS: &str = "afterwards: ";

/// The variable in the environment of the guest's PID 1 that names the disk to use as the root, where there is one.
pub const ROOT_VARIABLE: &str = "LOOPFS_ROOT";

/// The folder of the initramfs whose content is copied into the root on the disk, where there is one.
pub const ADDED: &str = "/added";

/// Names of the virtio-serial ports, as the guest finds them in `/sys/class/virtio-ports/*/name`.
pub mod port {
    /// Commands in, KTAP out.
    pub const CONTROL: &str = "loopfs.control";
    /// Standard input of a command run with [`crate::Command::Exec`].
    pub const STDIN: &str = "loopfs.stdin";
    /// Its standard output, or its terminal's output.
    pub const STDOUT: &str = "loopfs.stdout";
    /// Its standard error.
    pub const STDERR: &str = "loopfs.stderr";
}
