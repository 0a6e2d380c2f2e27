//! `cargo xtask tree`: the kernel source with the series on it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Task;
use crate::{ctx::Ctx, kernel::patched::patched_tree};

/// Gets the kernel source, applies the series and prints where the work tree is
///
/// Example: cd "$(cargo xtask tree)" && git log
#[derive(Args, Debug)]
pub struct Tree {
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

impl Task for Tree {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let tree = patched_tree(ctx, self.from.as_deref())?;
        println!("{}", tree.path.display());
        Ok(())
    }
}
