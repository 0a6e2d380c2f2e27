//! The command line: the options that all tasks share, and the tasks.

use clap::{Parser, Subcommand};

use crate::{
    ctx::Ctx,
    task::{self, Task as _},
};

/// Builds, boots and tests loopfs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, propagate_version = true)]
pub struct Cli {
    /// Show every command that is run, and its output.
    #[arg(long, global = true)]
    pub verbose: bool,
    /// Never install a package; name what is missing instead.
    #[arg(long, global = true)]
    pub no_install: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
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

impl Cli {
    /// Runs the task.
    pub fn run(self, ctx: &Ctx) -> anyhow::Result<()> {
        match self.command {
            Command::Bench(task) => task.run(ctx),
            Command::Build(task) => task.run(ctx),
            Command::Ci(task) => task.run(ctx),
            Command::Doctor(task) => task.run(ctx),
            Command::Run(task) => task.run(ctx),
            Command::Series(task) => task.run(ctx),
            Command::Test(task) => task.run(ctx),
            Command::Tree(task) => task.run(ctx),
        }
    }
}
