//! The tasks a person can name on the command line, one file each.

pub mod bench;
pub mod build;
pub mod ci;
pub mod doctor;
mod reproduce;
pub mod run;
pub mod series;
pub mod test;
pub mod tree;

use anyhow::Result;

use crate::ctx::Ctx;

/// One task: its command-line options and what it does.
pub trait Task: clap::Args {
    /// Runs the task.
    ///
    /// # Errors
    ///
    /// What failed, on what, and what to do; a [`crate::error::Failure`] in the chain decides the exit code.
    fn run(self, ctx: &Ctx) -> Result<()>;
}
