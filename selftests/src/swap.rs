//! Swap on a block device.

use std::{
    ffi::CString,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{errno::Errno, libc};

use crate::backing::{self, Backing};

const PAGE: u64 = 4096;

/// Writes the header of a swap area of the size of `backing` (`union swap_header`, version 1).
///
/// # Errors
///
/// When it cannot be written.
pub fn format(backing: &Backing) -> Result<()> {
    let mut header = [0; PAGE as usize];
    let last_page = u32::try_from(backing::SIZE / PAGE - 1)?;
    header[1024..1028].copy_from_slice(&1_u32.to_ne_bytes());
    header[1028..1032].copy_from_slice(&last_page.to_ne_bytes());
    header[PAGE as usize - 10..].copy_from_slice(b"SWAPSPACE2");
    backing.file().write_all_at(&header, 0).context("cannot write a swap header")
}

/// A swap area in use, turned off when dropped.
pub struct Swap {
    path: CString,
    on: bool,
}

impl Swap {
    /// Swaps to the device at `path`.
    ///
    /// # Errors
    ///
    /// What `swapon(2)` gives.
    pub fn on(path: &Path) -> Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: The path ends with NUL and the call keeps no pointer.
        Errno::result(unsafe { libc::swapon(path.as_ptr(), 0) }).context("swapon")?;
        Ok(Self { path, on: true })
    }

    /// Stops to swap there.
    ///
    /// # Errors
    ///
    /// What `swapoff(2)` gives.
    pub fn off(mut self) -> Result<()> {
        self.on = false;
        self.stop().context("swapoff")
    }

    fn stop(&self) -> nix::Result<()> {
        // SAFETY: The path ends with NUL and the call keeps no pointer.
        Errno::result(unsafe { libc::swapoff(self.path.as_ptr()) }).map(drop)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        if self.on {
            let _ = self.stop();
        }
    }
}
