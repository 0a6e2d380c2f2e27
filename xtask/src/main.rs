//! `cargo xtask`: see README.md, or `cargo xtask --help`.

use std::process::ExitCode;

use clap::Parser as _;
use xtask::{
    cli::Cli,
    ctx::Ctx,
    error::{self, Failure},
    interrupt,
};

fn run(cli: Cli) -> anyhow::Result<()> {
    interrupt::install()?;
    let ctx = Ctx::new(cli.verbose, cli.no_install)?;
    cli.run(&ctx)
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::requested() => {
            eprintln!("error: {}", Failure::Interrupted);
            ExitCode::from(Failure::Interrupted.exit_code())
        }
        Err(error) => {
            let failure = Failure::of(&error);
            // A command in the guest has printed its own errors.
            if !matches!(failure, Failure::GuestCommand(_)) {
                eprintln!("error: {}", error::message(&error));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
