//! A booted guest, kept so that each case can start from it.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::guest::Guest;
use crate::interrupt;

/// The longest time QEMU may take to write a guest's state.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state of a guest that waits for its first command.
#[derive(Debug)]
pub struct Snapshot {
    state: tempfile::NamedTempFile,
}

impl Snapshot {
    /// Writes the state of `guest`, which waits for a command, and ends it.
    ///
    /// # Errors
    ///
    /// When QEMU cannot write it, for one because the disk is full.
    pub fn take(mut guest: Guest) -> Result<Self> {
        let state = tempfile::NamedTempFile::new().context("cannot create a file for the guest's state")?;
        let qmp = guest.qmp();
        qmp.give_file("state", state.as_file())?;
        // The limit is meant for networks.
        qmp.execute("migrate-set-parameters", json!({ "max-bandwidth": 16u64 << 30 }))?;
        qmp.execute("migrate", json!({ "uri": "fd:state" }))?;
        let until = Instant::now() + PATIENCE;
        loop {
            interrupt::check()?;
            let answer = qmp.execute("query-migrate", json!({}))?;
            match answer["status"].as_str() {
                Some("completed") => break,
                Some("failed" | "cancelled") => bail!("QEMU could not write the guest's state: {answer}"),
                _ if Instant::now() > until => bail!("QEMU did not write the guest's state within {PATIENCE:?}"),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        guest.kill();
        Ok(Self { state })
    }

    /// The state, from its start.
    pub(super) fn open(&self) -> Result<File> {
        // Not a copy of the descriptor: each guest reads with an offset of its own.
        File::open(self.state.path()).context("cannot read the guest's state back")
    }

    /// How many bytes it has.
    ///
    /// # Errors
    ///
    /// When somebody removed it.
    pub fn size(&self) -> Result<u64> {
        Ok(self.state.as_file().metadata().context("cannot read the guest's state back")?.len())
    }
}
