//! Settings of the whole machine, put back afterwards.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

/// A file of `/proc/sys` with another value, until this is dropped.
pub struct Sysctl {
    path: PathBuf,
    before: String,
}

impl Sysctl {
    /// Sets `name`, such as `vm/dirty_ratio`, to `value`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or does not take the value.
    pub fn set(name: &str, value: &str) -> Result<Self> {
        let path = PathBuf::from("/proc/sys").join(name);
        let before = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        fs::write(&path, value).with_context(|| format!("{name} does not take {value}"))?;
        Ok(Self { path, before })
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, &self.before);
    }
}
