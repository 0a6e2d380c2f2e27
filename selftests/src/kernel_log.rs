//! Reading the kernel log, `/dev/kmsg`.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
};

use anyhow::{Context as _, Result};
use nix::libc;

/// What is printed from now on.
pub struct KernelLog {
    file: File,
    first: u64,
}

/// What was printed.
#[derive(Debug)]
pub struct Printed {
    /// How many messages, those included that are lost by now.
    pub count: u64,
    /// The messages that are still there.
    pub messages: Vec<String>,
}

impl KernelLog {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// When the log cannot be opened.
    pub fn new() -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("cannot open the kernel log")?;
        file.seek(SeekFrom::End(0))?;
        // Its own message tells where it starts: what follows may be lost before it is read.
        file.write_all(b"<7>loopfs: listening to the kernel log\n")?;
        let mut log = Self { file, first: 0 };
        log.first = log.read()?.last().context("the kernel log swallows a message")?.0 + 1;
        Ok(log)
    }

    /// What was printed since it was made, or since the last call.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn take(&mut self) -> Result<Printed> {
        let records = self.read()?;
        let next = records.last().map_or(self.first, |(sequence, _)| sequence + 1);
        let count = next - self.first;
        self.first = next;
        Ok(Printed { count, messages: records.into_iter().map(|(_, text)| text).collect() })
    }

    /// All that is there, with its sequence numbers.
    fn read(&mut self) -> Result<Vec<(u64, String)>> {
        let mut records = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            match self.file.read(&mut buffer) {
                Ok(length) => records.extend(record(&String::from_utf8_lossy(&buffer[..length]))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(records),
                // Overwritten before it was read: the next read goes on with what is there.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) => return Err(error).context("cannot read the kernel log"),
            }
        }
    }
}

/// Takes a record apart: `priority,sequence,time,flags;text`.
fn record(text: &str) -> Option<(u64, String)> {
    let (head, text) = text.split_once(';')?;
    let sequence = head.split(',').nth(1)?.parse().ok()?;
    Some((sequence, text.lines().next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::record;

    #[test]
    fn a_record_has_a_number_and_a_text() {
        assert_eq!(record("6,339,5140900,-;NET: x;y\n SUBSYSTEM=net\n"), Some((339, "NET: x;y".to_owned())));
        assert_eq!(record("nonsense"), None);
    }
}
