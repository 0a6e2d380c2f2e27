//! `cargo xtask`: see README.md, or `cargo xtask --help`.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

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

/// Builds the program of this clone and runs that, in place of the one of another clone that shares the target folder.
fn run_own() -> anyhow::Result<()> {
    Ctx::outdate()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--package", "xtask", "--"]).args(std::env::args_os().skip(1)).env(REBUILT, "1");
    Err(command.exec().into())
}

/// Set where the program was built again: once has to do.
const REBUILT: &str = "LOOPFS_XTASK_REBUILT";

fn main() -> ExitCode {
    let is_foreign = Ctx::is_foreign() && std::env::var_os(REBUILT).is_none();
    if is_foreign && let Err(error) = run_own() {
        eprintln!("error: cannot build this clone's xtask: {error:#}");
        return ExitCode::from(Failure::Environment.exit_code());
    }
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
