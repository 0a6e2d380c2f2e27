//! A memory cgroup of the case's own.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

/// Where the unified hierarchy is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// A child of the root cgroup, removed when dropped.
pub struct MemoryCgroup {
    dir: PathBuf,
}

impl MemoryCgroup {
    /// Makes one called `name`.
    ///
    /// # Errors
    ///
    /// When the controller cannot be turned on or the cgroup not be made.
    pub fn new(name: &str) -> Result<Self> {
        fs::write(format!("{ROOT}/cgroup.subtree_control"), "+memory").context("cannot turn the controller on")?;
        let dir = PathBuf::from(ROOT).join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// Moves the calling process into it.
    ///
    /// # Errors
    ///
    /// When it cannot be moved.
    pub fn enter(&self) -> Result<()> {
        fs::write(self.dir.join("cgroup.procs"), "0").context("cannot enter the cgroup")
    }

    /// The bytes of unreclaimable slab memory charged to it.
    ///
    /// # Errors
    ///
    /// When the statistics cannot be read.
    pub fn slab_unreclaimable(&self) -> Result<u64> {
        let text = fs::read_to_string(self.dir.join("memory.stat")).context("cannot read memory.stat")?;
        text.lines()
            .find_map(|line| line.strip_prefix("slab_unreclaimable ")?.parse().ok())
            .context("memory.stat has no slab_unreclaimable")
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.dir);
    }
}
