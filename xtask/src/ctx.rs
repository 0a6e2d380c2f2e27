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
    /// Finds the repository and the cache folder:
    /// `$LOOPFS_CACHE`, else `$XDG_CACHE_HOME/loopfs`, else `~/.cache/loopfs`.
    pub fn new(verbose: bool, no_install: bool) -> Result<Self> {
        let root = Self::package().parent().context("xtask is not inside a repository")?.to_owned();
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = var("LOOPFS_CACHE")
            .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("loopfs")))
            .or_else(|| var("HOME").map(|dir| dir.join(".cache/loopfs")))
            .context("set HOME, XDG_CACHE_HOME or LOOPFS_CACHE: there is no place for the cache")?;
        Ok(Self { root, cache, verbose, no_install })
    }

    /// The folder of this package, in the clone that `cargo xtask` was typed in.
    ///
    /// Two clones with one CARGO_TARGET_DIR share the program, so where it was built does not tell; cargo does.
    fn package() -> PathBuf {
        let built = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let run = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        run.filter(|package| package.ends_with("xtask") && package.join("src/ctx.rs").exists()).unwrap_or(built)
    }

    /// Whether this program was built from another clone than the one it was started in.
    pub fn is_foreign() -> bool {
        Self::package() != Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    /// Has cargo build this program from the clone it was started in: to cargo, the program of the other clone is as new.
    pub fn outdate() -> Result<()> {
        let file = Self::package().join("src/main.rs");
        let touch =
            |file: &Path| std::fs::File::options().append(true).open(file)?.set_modified(std::time::SystemTime::now());
        touch(&file).with_context(|| format!("cannot change the time of {}", file.display()))
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
