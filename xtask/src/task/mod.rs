//! The commands of `cargo xtask`, one file each.

pub mod bench;
pub mod build;
pub mod ci;
pub mod clean;
pub mod doctor;
pub mod mutants;
mod reproduce;
pub mod run;
pub mod series;
mod source_args;
pub mod test;
pub mod tree;

use anyhow::Result;

use crate::ctx::Ctx;

/// One task: its command-line options and what it does.
pub trait Task: clap::Args {
    /// Runs the task.
    fn run(self, ctx: &Ctx) -> Result<()>;
}
