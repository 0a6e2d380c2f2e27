//! `cargo xtask tree`: the kernel source with the series on it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{ctx::Ctx, prepare::patched_kernel::patched_tree, progress::say, series::tree, source, task::Task};

/// Gets the kernel source, applies the series and prints the path of the work tree
///
/// Example: cd "$(cargo xtask tree)" && git log
#[derive(Args, Debug)]
pub struct Tree {
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Put the commits and edits made in the work tree aside under a ref, and reset the tree to patches/ and rust/.
    #[arg(long)]
    discard: bool,
}

impl Task for Tree {
    fn run(self, ctx: &Ctx) -> Result<()> {
        if self.discard {
            let base = source::base(ctx, self.from.as_deref())?;
            match tree::discard(ctx, &base)? {
                Some(kept) => say(&format!("put aside as {kept}; `git log {kept}` in the work tree shows it")),
                None => say("the work tree holds nothing that is not in patches/ or rust/"),
            }
        }
        let tree = patched_tree(ctx, self.from.as_deref())?;
        println!("{}", tree.path.display());
        Ok(())
    }
}
