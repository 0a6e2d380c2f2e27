//! A cgroup of the case's own, and which controllers it has.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Where the unified hierarchy is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The controllers that a case may turn on, and that are turned off for a case that does not name them.
const CONTROLLERS: [&str; 3] = ["memory", "io", "pids"];

/// A child of the root cgroup, removed when dropped.
pub struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// Makes one called `name` with these controllers and no other.
    ///
    /// # Errors
    ///
    /// When a controller cannot be turned on or the cgroup not be made.
    pub fn new(name: &str, controllers: &[&str]) -> Result<Self> {
        let wish: Vec<String> = CONTROLLERS
            .iter()
            .filter(|name| has_controller(name))
            .map(|name| format!("{}{name}", if controllers.contains(name) { '+' } else { '-' }))
            .collect();
        fs::write(format!("{ROOT}/cgroup.subtree_control"), wish.join(" "))
            .with_context(|| format!("cannot turn the controllers {controllers:?} on"))?;
        let dir = PathBuf::from(ROOT).join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Moves the calling process into it.
    ///
    /// # Errors
    ///
    /// When it cannot be moved.
    pub fn enter(&self) -> Result<()> {
        fs::write(self.dir.join("cgroup.procs"), "0").context("cannot enter the cgroup")
    }

    /// What a process without privilege enters it by: it writes `0` there.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn door(&self) -> Result<File> {
        let path = self.dir.join("cgroup.procs");
        File::options().write(true).open(&path).with_context(|| format!("cannot open {}", path.display()))
    }

    /// Writes `value` to its file `name`.
    ///
    /// # Errors
    ///
    /// When the file is not there or does not take the value.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        fs::write(self.dir.join(name), value).with_context(|| format!("{name} does not take {value}"))
    }

    /// What its file `name` says.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn get(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.dir.join(name)).with_context(|| format!("cannot read {name}"))?;
        Ok(text.trim().to_owned())
    }

    /// The value of `key` in its file `name`, which has a key and a number in each line.
    ///
    /// # Errors
    ///
    /// When the file has no such key.
    pub fn value(&self, name: &str, key: &str) -> Result<u64> {
        let text = self.get(name)?;
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let mut values = lines.filter(|(found, _)| *found == key).map(|(_, value)| value);
        values.next().and_then(|value| value.parse().ok()).with_context(|| format!("{name} has no {key}"))
    }

    /// The bytes of unreclaimable slab memory charged to it.
    ///
    /// # Errors
    ///
    /// When the statistics cannot be read.
    pub fn slab_unreclaimable(&self) -> Result<u64> {
        self.value("memory.stat", "slab_unreclaimable")
    }

    /// Stops its processes where they are, or lets them go on, and waits until that is so.
    ///
    /// # Errors
    ///
    /// When they do not stop.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let frozen = u8::from(frozen);
        self.set("cgroup.freeze", &frozen.to_string())?;
        crate::wait::until("the cgroup to freeze", || Ok(self.value("cgroup.events", "frozen")? == u64::from(frozen)))
    }

    /// Ends all its processes with SIGKILL.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn kill(&self) -> Result<()> {
        self.set("cgroup.kill", "1")
    }
}

/// Whether the kernel has the controller `name` for the unified hierarchy.
pub fn has_controller(name: &str) -> bool {
    let controllers = fs::read_to_string(format!("{ROOT}/cgroup.controllers")).unwrap_or_default();
    controllers.split_ascii_whitespace().any(|found| found == name)
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.dir.join("cgroup.freeze"), "0");
        let _ = fs::remove_dir(&self.dir);
    }
}
