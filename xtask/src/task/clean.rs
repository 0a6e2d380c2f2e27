//! `cargo xtask clean`: makes the cache smaller.

use std::fs;

use anyhow::{Context as _, Result};
use clap::Args;

use super::Task;
use crate::{
    clean::{self, bytes, megabytes},
    ctx::Ctx,
    progress::say,
};

/// Removes what the cache keeps for clones that are gone, and what was not used for longest
///
/// Every run does the same once a day. The cache may have 20 GB, or as many as LOOPFS_CACHE_LIMIT says.
///
/// Example: cargo xtask clean
#[derive(Args, Debug)]
pub struct Clean {
    /// Remove the whole cache; the next run downloads and builds everything again.
    #[arg(long)]
    all: bool,
}

impl Task for Clean {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let cache = ctx.cache();
        let before = bytes(cache);
        if self.all {
            if cache.exists() {
                fs::remove_dir_all(cache).with_context(|| format!("cannot remove {}", cache.display()))?;
            }
        } else {
            clean::trim(ctx, clean::limit())?;
        }
        let after = bytes(cache);
        say(&format!(
            "{} has {}, of at most {}; {} were removed",
            cache.display(),
            megabytes(after),
            megabytes(clean::limit()),
            megabytes(before.saturating_sub(after))
        ));
        Ok(())
    }
}
