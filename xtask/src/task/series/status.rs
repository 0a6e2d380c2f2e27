//! `cargo xtask series status`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;

use crate::{ctx::Ctx, error::Failure, series::status, source, task::Task};

/// Tells for each patch how it meets a base: applies, three-way, conflicts, or why it is no patch
///
/// Example: cargo xtask series status --from ~/src/linux
#[derive(Args, Debug)]
pub(super) struct Status {
    /// Try the series on this git tree, tarball or folder instead of the base it was made for.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Task for Status {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let base = source::base(ctx, self.from.as_deref())?;
        let mut status = status::status(ctx, &base, None)?;
        if self.from.is_some() && status.patches.iter().any(|row| row.class == "conflicts") {
            // A three-way merge needs the files the patches were made from.
            let origin = source::base(ctx, None)?;
            status = status::status(ctx, &base, Some(&origin))?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&status)?);
        } else {
            println!("{status}");
        }
        if status.is_clean() { Ok(()) } else { Err(anyhow!("not every patch applies").context(Failure::Series)) }
    }
}
