//! `cargo xtask tree`: the kernel source that everything else builds on.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Task;
use crate::{ctx::Ctx, source};

/// Gets the kernel source that the series applies to
///
/// Example: cargo xtask tree --from ~/src/linux
#[derive(Args, Debug)]
pub struct Tree {
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

impl Task for Tree {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let base = source::base(ctx, self.from.as_deref())?;
        println!("{} {} Linux {}", base.repo.display(), base.commit, base.version);
        Ok(())
    }
}
