//! `cargo xtask series`: the patches as files, as commits and as mail.

mod check;
mod mail;
mod refresh;
mod status;
mod verify;

use std::fmt::Display;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

use crate::{ctx::Ctx, task::Task};

/// Checks, refreshes, verifies and mails the patch series
///
/// Example: cargo xtask series check
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

/// Prints the name of each gate, and what it wants.
fn list_gates<G: ValueEnum + Display>() {
    for gate in G::value_variants() {
        let value = gate.to_possible_value();
        let help = value.as_ref().and_then(|value| value.get_help()).map(ToString::to_string);
        println!("{:<12} {}", gate.to_string(), help.unwrap_or_default());
    }
}
