//! Writing to the kernel log, where the host sees it in order with the kernel's own messages.

use std::{fs::OpenOptions, io::Write as _};

/// Log level `notice`: printed on the console, and taken for no trouble.
const NOTICE: &str = "<5>";

/// Writes each line of `text` as a message of its own.
///
/// # Errors
///
/// When `/dev/kmsg` cannot be written.
pub(super) fn write(text: &str) -> std::io::Result<()> {
    let mut log = OpenOptions::new().write(true).open("/dev/kmsg")?;
    // The kernel takes one message a write.
    text.lines().try_for_each(|line| log.write_all(format!("{NOTICE}{line}\n").as_bytes()))
}
