//! `cargo xtask bench`: what things cost.

mod harness;

use anyhow::Result;
use clap::Subcommand;

use super::Task;
use crate::ctx::Ctx;

/// Measures what things cost, and prints tables
///
/// Example: cargo xtask bench harness
#[derive(Debug, clap::Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Harness(harness::Harness),
}

impl Task for Bench {
    fn run(self, ctx: &Ctx) -> Result<()> {
        match self.what {
            What::Harness(harness) => harness.run(ctx),
        }
    }
}
