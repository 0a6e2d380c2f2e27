//! `cargo xtask series check`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;

use crate::{ctx::Ctx, error::Failure, series::check, source, task::Task, verify::evidence::Evidence};

/// Proves that patches/ is a fit series and that rust/ equals it
///
/// Checks the numbering, the form of each patch, that plain `git am` takes it, that exporting it again gives the same
/// bytes, and that rust/ holds exactly the Rust files the series adds. Exit code 4 if anything is found.
///
/// Example: cargo xtask series check
#[derive(Args, Debug)]
pub(super) struct Check {
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

impl Task for Check {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let base = source::base(ctx, self.from.as_deref())?;
        let report = check::check(ctx, &base)?;
        for finding in &report.findings {
            println!("{finding}");
        }
        println!(
            "{} patches on Linux {}, {}; {} files of rust/ compared, {} lines of C added outside drivers/block/loopfs",
            report.patches,
            base.version,
            Evidence::read(ctx.root(), &base)?.told(),
            report.mirrored,
            report.c_lines
        );
        match report.findings.len() {
            0 => Ok(()),
            1 => Err(anyhow!("series check found 1 fault").context(Failure::Series)),
            n => Err(anyhow!("series check found {n} faults").context(Failure::Series)),
        }
    }
}
