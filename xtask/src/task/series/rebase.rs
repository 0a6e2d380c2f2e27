//! `cargo xtask series rebase VERSION`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{ctx::Ctx, progress::say, series::rebase, source, task::Task};

/// Moves the series to another version of Linux
///
/// Gets the new base, carries the patches over by a three-way merge and writes it into patches/base.toml. A conflict
/// stops it as it stops `cargo xtask series refresh`: resolve it, then run the command again with --continue.
///
/// Example: cargo xtask series rebase 7.4
#[derive(Args, Debug)]
pub(super) struct Rebase {
    /// The version, such as 7.4 or 7.4.2.
    #[arg(value_name = "VERSION")]
    linux: String,
    /// Take the new base from this git tree, tarball or folder instead of downloading it from kernel.org.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Go on after a conflict has been resolved.
    #[arg(long = "continue")]
    resume: bool,
}

impl Task for Rebase {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let old = source::base(ctx, None)?;
        let new = source::of_version(ctx, &self.linux, self.from.as_deref())?;
        let moved = rebase::rebase(ctx, &old, &new, self.resume)?;
        print!("{}", moved.outcome);
        say(&format!("the series is on Linux {} now; patches/base.toml says so", new.version));
        for place in &moved.mentions {
            say(&format!("{place}: names Linux {} still", old.version));
        }
        Ok(())
    }
}
