//! `cargo xtask tree`: the kernel source with the series on it, which everything else builds.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::Task;
use crate::{ctx::Ctx, progress, series::tree, source};

/// Gets the kernel source, puts the series on it, and prints where it is
///
/// Example: cargo xtask tree --from ~/src/linux
#[derive(Args, Debug)]
pub struct Tree {
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Put only the first COUNT patches on it, in a tree of its own; 0 is the bare base.
    #[arg(long, value_name = "COUNT")]
    prefix: Option<usize>,
    /// Put aside what was edited or committed in the tree by hand.
    #[arg(long, conflicts_with = "prefix")]
    discard: bool,
}

impl Task for Tree {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let base = source::base(ctx, self.from.as_deref())?;
        if self.discard {
            match tree::discard(ctx, &base)? {
                Some(kept) => progress::say(&format!("put aside; `git show {kept}` there still has it")),
                None => progress::say("there is nothing to put aside"),
            }
        }
        let tree = match self.prefix {
            Some(count) => tree::prepare_prefix(ctx, &base, count)?,
            None => tree::prepare_tree(ctx, &base)?,
        };
        println!("{}", tree.path.display());
        Ok(())
    }
}
