//! Ctrl-C, SIGTERM and SIGHUP: children are ended, and the run unwinds so that every guard cleans up.
//!
//! Children live in process groups of their own, so the terminal's Ctrl-C reaches only this
//! process, which hands it on. The first signal asks the groups to end (SIGTERM), the second one
//! kills them.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::error::Failure;

static SIGNALS: AtomicU32 = AtomicU32::new(0);
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Takes over SIGINT, SIGTERM and SIGHUP. Call it once, at the start of `main`.
///
/// # Errors
///
/// When a handler is installed already.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        let signal = if SIGNALS.fetch_add(1, Ordering::SeqCst) == 0 { Signal::SIGTERM } else { Signal::SIGKILL };
        for group in groups().iter() {
            // It may have ended by itself in this moment; then there is nothing to do.
            let _ = killpg(*group, signal);
        }
    })
    .context("cannot handle Ctrl-C")
}

/// Whether the run shall end.
pub fn requested() -> bool {
    SIGNALS.load(Ordering::SeqCst) > 0
}

/// Ends the run where it is called if the person asked for it; for loops that wait for no child.
///
/// # Errors
///
/// [`Failure::Interrupted`], once a signal has arrived.
pub fn check() -> Result<()> {
    if requested() { Err(Failure::Interrupted.into()) } else { Ok(()) }
}

/// A process group that an interrupt ends, for as long as this value lives.
///
/// A value that is dropped without [`Group::ended`] kills the group: that is the way out of every
/// error between the start of a child and its end.
#[derive(Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// Watches over the group led by process `leader`, which must not have been waited for yet.
    pub fn of(leader: u32) -> Self {
        let group = Pid::from_raw(leader.cast_signed());
        groups().push(group);
        if requested() {
            // The signal came between the start of the child and this line.
            let _ = killpg(group, Signal::SIGTERM);
        }
        Self(Some(group))
    }

    /// Watches over the group of a command whose processes are `pids`.
    pub fn of_all(pids: &[u32]) -> Self {
        pids.first().map_or(Self(None), |leader| Self::of(*leader))
    }

    /// No group at all: for a child that an interrupt leaves alone.
    pub fn none() -> Self {
        Self(None)
    }

    /// The leader has been waited for: its number may belong to someone else by now.
    pub fn ended(mut self) {
        self.forget();
    }

    fn forget(&mut self) -> Option<Pid> {
        let group = self.0.take()?;
        let mut groups = groups();
        if let Some(at) = groups.iter().position(|g| *g == group) {
            groups.swap_remove(at);
        }
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.forget() {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

fn groups() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command, time::Duration};

    use super::*;

    #[test]
    fn a_group_that_is_dropped_takes_its_grandchildren_along() {
        let mut child = Command::new("sh").args(["-c", "sleep 600 & wait"]).process_group(0).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        drop(Group::of(child.id()));
        assert!(!child.wait().unwrap().success());
        let gone = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            killpg(pid, None).is_err()
        });
        assert!(gone, "the group outlived its guard");
    }
}
