//! `/proc/config.gz`, the configuration that the running kernel was built with.

use std::{fs::File, io::Read as _};

use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;

/// Where it stands.
pub const PATH: &str = "/proc/config.gz";

/// Whether the kernel was built with `CONFIG_<symbol>=y`.
///
/// # Errors
///
/// When the file cannot be read, as where `CONFIG_IKCONFIG_PROC` is off.
pub fn is_built_in(symbol: &str) -> Result<bool> {
    let mut text = String::new();
    let file = File::open(PATH).with_context(|| format!("cannot open {PATH}"))?;
    GzDecoder::new(file).read_to_string(&mut text).with_context(|| format!("cannot read {PATH}"))?;
    let line = format!("CONFIG_{symbol}=y");
    Ok(text.lines().any(|found| found == line))
}
