//! `cargo xtask bench`: what things cost.

mod harness;
mod kernel;

use anyhow::Result;
use clap::Subcommand;

use crate::{ctx::Ctx, task::Task};

/// Measures what things cost, and prints tables
///
/// Example: cargo xtask bench kernel
#[derive(Debug, clap::Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Harness(harness::Harness),
    Kernel(kernel::Kernel),
}

impl Task for Bench {
    fn run(self, ctx: &Ctx) -> Result<()> {
        match self.what {
            What::Harness(harness) => harness.run(ctx),
            What::Kernel(kernel) => kernel.run(ctx),
        }
    }
}
