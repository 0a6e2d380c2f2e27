//! `cargo xtask`: see README.md, or `cargo xtask --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{
    ctx::Ctx,
    error::Failure,
    interrupt,
    task::{self, Task as _},
};

/// Builds, boots and tests loopfs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, propagate_version = true)]
struct Cli {
    /// Show every command that is run, and its output.
    #[arg(long, global = true)]
    verbose: bool,
    /// Never install a package; name what is missing instead.
    #[arg(long, global = true)]
    no_install: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(task::bench::Bench),
    Build(task::build::Build),
    Ci(task::ci::Ci),
    Doctor(task::doctor::Doctor),
    Run(task::run::Run),
    Series(task::series::Series),
    Test(task::test::Test),
    Tree(task::tree::Tree),
}

fn run(cli: Cli) -> anyhow::Result<()> {
    interrupt::install()?;
    let ctx = Ctx::new(cli.verbose, cli.no_install)?;
    match cli.command {
        Command::Bench(task) => task.run(&ctx),
        Command::Build(task) => task.run(&ctx),
        Command::Ci(task) => task.run(&ctx),
        Command::Doctor(task) => task.run(&ctx),
        Command::Run(task) => task.run(&ctx),
        Command::Series(task) => task.run(&ctx),
        Command::Test(task) => task.run(&ctx),
        Command::Tree(task) => task.run(&ctx),
    }
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
            // What a command in the guest ends with is its own affair, and it has said what it had to say.
            if !matches!(failure, Failure::GuestCommand(_)) {
                eprintln!("error: {error:#}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_option_is_defined_twice() {
        Cli::command().debug_assert();
    }
}
