//! `cargo xtask build`: the kernel alone.

use anyhow::Result;
use clap::Args;

use crate::{
    ctx::Ctx,
    kernel::config::Flavour,
    prepare::patched_kernel::{Order, build_patched},
    suite::binary,
    task::{Task, source_args::SourceArgs},
};

/// Builds the kernel with the series and prints where it is
///
/// Example: cargo xtask build --config debug
#[derive(Args, Debug)]
pub struct Build {
    /// The kernel configuration.
    #[arg(long, value_enum, default_value_t = Flavour::Default)]
    config: Flavour,
    #[command(flatten)]
    source: SourceArgs,
    /// Build with CONFIG_BLK_DEV_LOOPFS off.
    #[arg(long)]
    without_loopfs: bool,
}

impl Task for Build {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let order = Order {
            flavour: self.config,
            from: self.source.path(),
            loopfs: !self.without_loopfs,
            cases: &binary::cases(&binary::build(ctx)?, self.config, ctx.verbose)?,
        };
        let built = build_patched(ctx, &order)?;
        println!("{}", built.vmlinux.display());
        Ok(())
    }
}
