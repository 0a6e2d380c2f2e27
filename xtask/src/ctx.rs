//! What every task needs to know about where it runs.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Where a task runs and how it talks.
#[derive(Clone, Debug)]
pub struct Ctx {
    root: PathBuf,
    cache: PathBuf,
    /// Show the commands that are run and their output.
    pub verbose: bool,
    /// Never install a package, even where it would be possible.
    pub no_install: bool,
}

impl Ctx {
    /// Finds the repository (from where this crate was built) and the cache folder:
    /// `$LOOPFS_CACHE`, else `$XDG_CACHE_HOME/loopfs`, else `~/.cache/loopfs`.
    ///
    /// # Errors
    ///
    /// When no cache folder can be named because neither variable nor `HOME` is set.
    pub fn new(verbose: bool, no_install: bool) -> Result<Self> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not inside a repository")?.to_owned();
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = var("LOOPFS_CACHE")
            .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("loopfs")))
            .or_else(|| var("HOME").map(|dir| dir.join(".cache/loopfs")))
            .context("set HOME, XDG_CACHE_HOME or LOOPFS_CACHE: there is no place for the cache")?;
        Ok(Self { root, cache, verbose, no_install })
    }

    /// The repository at `root` with its cache at `cache`, quiet and not installing anything: for tests.
    pub fn at(root: impl Into<PathBuf>, cache: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), cache: cache.into(), verbose: false, no_install: true }
    }

    /// The repository's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The cargo that runs this.
    pub fn cargo(&self) -> OsString {
        std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
    }

    /// The folder that keeps what is expensive to make, outside of the clone.
    pub fn cache(&self) -> &Path {
        &self.cache
    }
}
