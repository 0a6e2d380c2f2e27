//! Finds QEMU and checks that it will do.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use crate::{
    error::Failure,
    process,
    toolchain::{needs::OLDEST_QEMU, version::Version},
};

/// The program's name where none is given.
const PROGRAM: &str = "qemu-system-x86_64";

/// A QEMU that can run our guests.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    version: String,
}

impl Qemu {
    /// The QEMU at `program`, or the one on the search path.
    ///
    /// # Errors
    ///
    /// [`Failure::Environment`], with what to do, when there is none or it is too old.
    pub fn find(program: Option<&Path>, verbose: bool) -> Result<Self> {
        let program = program.unwrap_or(Path::new(PROGRAM)).to_owned();
        let sh = Shell::new()?;
        let printed = process::read(&cmd!(sh, "{program} --version").into(), verbose)
            .context("QEMU does not run here; on Debian it is the package qemu-system-x86, and `cargo xtask doctor --fix` installs it")
            .context(Failure::Environment)?;
        let first = printed.lines().next().unwrap_or_default().to_owned();
        match version(&first) {
            Some(version) if version >= OLDEST_QEMU => Ok(Self { program, version: first }),
            Some(version) => Err(anyhow::anyhow!(
                "{} is QEMU {version}, and the guest needs {OLDEST_QEMU} or newer; name another with --qemu",
                program.display()
            )
            .context(Failure::Environment)),
            None => bail!("`{} --version` printed {first:?}; that is not QEMU", program.display()),
        }
    }

    /// The program to run.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The first line of what it says about its version.
    pub fn version(&self) -> &str {
        &self.version
    }
}

fn version(line: &str) -> Option<Version> {
    line.strip_prefix("QEMU emulator version ").and_then(Version::in_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_lines_of_distributions_are_read() {
        let read = |line| version(line).map(|v| v.to_string());
        assert_eq!(read("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)").as_deref(), Some("7.2.22"));
        assert_eq!(read("QEMU emulator version 10.0.50").as_deref(), Some("10.0.50"));
        assert_eq!(read("qemu-img version 7.2"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("QEMU emulator version 10.0.0").unwrap() > OLDEST_QEMU);
        assert!(version("QEMU emulator version 6.2.0").unwrap() < OLDEST_QEMU);
    }
}
