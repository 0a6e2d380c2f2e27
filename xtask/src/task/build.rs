//! `cargo xtask build`: the kernel alone.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    ctx::Ctx,
    kernel::config::Flavour,
    prepare::patched_kernel::{Order, build_patched},
    suite::binary,
    task::Task,
};

/// Builds the kernel with the series and prints where it is
///
/// Example: cargo xtask build --config debug
#[derive(Args, Debug)]
pub struct Build {
    /// Which kernel.
    #[arg(long, value_enum, default_value_t = Flavour::Default)]
    config: Flavour,
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Leave the option for loopfs off.
    #[arg(long)]
    without_loopfs: bool,
}

impl Task for Build {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let order = Order {
            flavour: self.config,
            from: self.from.as_deref(),
            loopfs: !self.without_loopfs,
            cases: &binary::cases(&binary::build(ctx)?, self.config, ctx.verbose)?,
        };
        let built = build_patched(ctx, &order)?;
        println!("{}", built.vmlinux.display());
        Ok(())
    }
}
