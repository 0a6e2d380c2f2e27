//! Whether the kernel takes the sparse that is here, and with what help.
//!
//! `make C=2` asks `scripts/checker-valid.sh`. Where that does not like what it sees, make says so in one line and goes on
//! without the checker: nothing is ever found then.

use std::path::Path;

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::{process, verify::Site};

/// How sparse is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sparse {
    /// Flags it needs.
    flags: Option<&'static str>,
}

/// For sparse up to 0.6.4, which distributions have: the operator is as good as the one it does know, but for qualifiers.
const WITHOUT_TYPEOF_UNQUAL: &str = "-D__typeof_unqual__=__typeof__";

impl Sparse {
    /// The variable of make that passes the flags.
    pub fn variable(&self) -> Option<String> {
        self.flags.map(|flags| format!("CF={flags}"))
    }
}

/// Finds sparse, if there is one that the kernel takes.
///
/// # Errors
///
/// When the kernel's script cannot be run.
pub fn find(site: &Site<'_>) -> Result<Option<Sparse>> {
    let Some(sparse) = site.toolchain.program("sparse") else { return Ok(None) };
    fit(&sparse, &site.tree.join("scripts/checker-valid.sh"), site.ctx.verbose)
}

fn fit(sparse: &Path, script: &Path, verbose: bool) -> Result<Option<Sparse>> {
    // Older kernels take any.
    if !script.exists() {
        return Ok(Some(Sparse { flags: None }));
    }
    for flags in [None, Some(WITHOUT_TYPEOF_UNQUAL)] {
        let sh = Shell::new()?;
        let output = process::attempt(&cmd!(sh, "sh {script} {sparse} {flags...}").into(), verbose)?;
        if output.stdout.trim_ascii() == b"1" {
            return Ok(Some(Sparse { flags }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_sparse_that_the_kernel_refuses_is_helped_or_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("checker-valid.sh");
        let fit = || fit(Path::new("/usr/bin/sparse"), &script, false).unwrap();
        assert_eq!(fit(), Some(Sparse { flags: None }), "an old kernel has no script");
        fs::write(&script, "echo 1").unwrap();
        assert_eq!(fit().unwrap().variable(), None);
        fs::write(&script, "test \"$2\" && echo 1 || echo 0").unwrap();
        assert_eq!(fit().unwrap().variable().unwrap(), "CF=-D__typeof_unqual__=__typeof__");
        fs::write(&script, "echo 0").unwrap();
        assert_eq!(fit(), None);
        fs::write(&script, "exit 1").unwrap();
        assert_eq!(fit(), None);
    }
}
