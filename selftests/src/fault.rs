//! Memory failures on demand: the nth allocation of this thread fails (`fail-nth`).

use std::{fs, fs::File, os::unix::fs::FileExt as _};

use anyhow::{Context as _, Result};

const DEBUGFS: &str = "/sys/kernel/debug";

/// The switch of this thread.
pub struct FailNth {
    file: File,
}

impl FailNth {
    /// Prepares allocations that may sleep to fail as well, and opens the switch of this thread.
    ///
    /// # Errors
    ///
    /// When the kernel has no fault injection, or debugfs is not mounted.
    pub fn new() -> Result<Self> {
        for (injector, option, value) in [
            ("failslab", "ignore-gfp-wait", "N"),
            ("fail_page_alloc", "ignore-gfp-wait", "N"),
            ("fail_page_alloc", "min-order", "0"),
        ] {
            let path = format!("{DEBUGFS}/{injector}/{option}");
            fs::write(&path, value).with_context(|| format!("cannot write {path}"))?;
        }
        let path = "/proc/thread-self/fail-nth";
        let file = File::options().read(true).write(true).open(path).with_context(|| format!("cannot open {path}"))?;
        Ok(Self { file })
    }

    /// Runs `act` with its `nth` allocation failing, and tells whether it came that far.
    ///
    /// # Errors
    ///
    /// When the switch cannot be turned.
    pub fn run<T>(&self, nth: u32, act: impl FnOnce() -> T) -> Result<(T, bool)> {
        self.file.write_all_at(nth.to_string().as_bytes(), 0).context("cannot turn fail-nth on")?;
        let value = act();
        let mut left = [0; 16];
        let length = self.file.read_at(&mut left, 0).context("cannot read fail-nth")?;
        self.file.write_all_at(b"0", 0).context("cannot turn fail-nth off")?;
        let left = String::from_utf8_lossy(&left[..length]);
        Ok((value, left.trim() == "0"))
    }
}
