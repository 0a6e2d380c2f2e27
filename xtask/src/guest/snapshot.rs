//! A booted guest, kept so that each case can start from it.
//!
//! Its state is kept in memory and passed through sockets: a guest's memory is mostly empty, and what is left of it
//! is some ten megabytes. QEMU stops taking files for it.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::{guest::running::Guest, interrupt};

/// The longest time QEMU may take to write a guest's state.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state of a guest that waits for its first command.
#[derive(Debug)]
pub struct Snapshot {
    state: Arc<[u8]>,
}

impl Snapshot {
    /// Reads the state of `guest`, which waits for a command, and ends it.
    ///
    /// # Errors
    ///
    /// When QEMU cannot tell it.
    pub fn take(mut guest: Guest) -> Result<Self> {
        let (mut ours, theirs) = UnixStream::pair().context("cannot make a socket for the guest's state")?;
        let qmp = guest.qmp();
        qmp.give("state", &theirs)?;
        drop(theirs);
        // The limit is meant for networks.
        qmp.execute("migrate-set-parameters", json!({ "max-bandwidth": 16u64 << 30 }))?;
        let reader = thread::spawn(move || -> io::Result<Vec<u8>> {
            let mut state = Vec::new();
            ours.read_to_end(&mut state)?;
            Ok(state)
        });
        qmp.execute("migrate", json!({ "uri": "fd:state" }))?;
        let until = Instant::now() + PATIENCE;
        loop {
            interrupt::check()?;
            let answer = qmp.execute("query-migrate", json!({}))?;
            match answer["status"].as_str() {
                Some("completed") => break,
                Some("failed" | "cancelled") => bail!("QEMU could not tell the guest's state: {answer}"),
                _ if Instant::now() > until => bail!("QEMU did not tell the guest's state within {PATIENCE:?}"),
                _ => thread::sleep(Duration::from_millis(5)),
            }
        }
        // With QEMU goes its end of the socket, so that the reader comes to an end.
        guest.kill();
        let state = reader.join().ok().context("the reader of the guest's state panicked")?;
        Ok(Self { state: state.context("cannot read the guest's state")?.into() })
    }

    /// A socket that a new guest reads the state from.
    pub fn feed(&self) -> io::Result<UnixStream> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let state = Arc::clone(&self.state);
        thread::spawn(move || {
            // A guest that ends before it has read everything tells so itself.
            let _ = ours.write_all(&state);
        });
        Ok(theirs)
    }
}
