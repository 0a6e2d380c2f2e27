//! The machine tools are looked for on.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use xshell::{Shell, cmd};

use crate::{process, toolchain::version::Version};

/// Where to look for tools, and as whom. A test has one of its own, with tools that are scripts.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The folders of `PATH`, in order.
    pub path: Vec<PathBuf>,
    /// The top of the file system: `/`.
    pub root: PathBuf,
    /// Whether we are root and may install packages.
    pub is_root: bool,
    /// Show the commands that are run.
    pub verbose: bool,
}

impl Machine {
    /// This machine, as the environment describes it.
    pub fn this(verbose: bool) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            path: std::env::split_paths(&path).collect(),
            root: PathBuf::from("/"),
            is_root: nix::unistd::geteuid().is_root(),
            verbose,
        }
    }

    /// The program `name`, if there is one.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.programs(name).next()
    }

    /// Every program `name` in `PATH`, in order.
    pub fn programs<'a>(&'a self, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        programs(&self.path, name)
    }

    /// What `program` prints first when run with `args`; nothing if it fails.
    pub fn ask(&self, program: &Path, args: &[&str]) -> Option<String> {
        let sh = Shell::new().ok()?;
        process::read(&cmd!(sh, "{program} {args...}").env("LC_ALL", "C").into(), self.verbose).ok()
    }

    /// The version `program` gives.
    pub fn version(&self, program: &Path) -> Option<Version> {
        Version::in_text(&self.ask(program, &["--version"])?)
    }

    /// The absolute path `path` below this machine's root.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path.as_ref().strip_prefix("/").unwrap_or(path.as_ref()))
    }
}

/// Every program `name` in the folders `path`, in order.
pub(super) fn programs<'a>(path: &'a [PathBuf], name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    path.iter()
        .map(move |folder| folder.join(name))
        .filter(|path| path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0))
}
