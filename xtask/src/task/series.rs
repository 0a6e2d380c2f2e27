//! `cargo xtask series`: the patches as files, as commits and as mail.

mod check;
mod mail;
mod refresh;
mod status;
mod verify;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Task;
use crate::ctx::Ctx;

/// Checks, refreshes, verifies and mails the patch series
#[derive(Args, Debug)]
pub struct Series {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Status(status::Status),
    Check(check::Check),
    Refresh(refresh::Refresh),
    Verify(verify::Verify),
    Mail(mail::Mail),
}

impl Task for Series {
    fn run(self, ctx: &Ctx) -> Result<()> {
        match self.command {
            Command::Status(task) => task.run(ctx),
            Command::Check(task) => task.run(ctx),
            Command::Refresh(task) => task.run(ctx),
            Command::Verify(task) => task.run(ctx),
            Command::Mail(task) => task.run(ctx),
        }
    }
}
