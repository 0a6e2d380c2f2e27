//! `/proc/sys/user/max_loop_devices`, the bound of the user namespace of the process that opens it.

use std::{fs, io};

use anyhow::{Context as _, Result};

/// Where the limit stands.
pub const PATH: &str = "/proc/sys/user/max_loop_devices";

/// The limit of the caller's user namespace, in devices.
///
/// # Errors
///
/// When the file cannot be read or holds no number.
pub fn get() -> Result<u32> {
    let text = fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?;
    text.trim().parse().with_context(|| format!("{PATH} holds {text:?}"))
}

/// Sets the limit of the caller's user namespace, in devices.
///
/// # Errors
///
/// What writing it gives.
pub fn set(devices: u32) -> io::Result<()> {
    fs::write(PATH, devices.to_string())
}
