//! `loopfs-selftests`: PID 1 of a test guest, or a program on a real machine.

use std::{
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use loopfs_selftests::{
    bench, cases,
    harness::{channel::Channel, init, isolate, listing, on_machine},
    tour,
};

/// The loopfs test suite.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the cases, the lines of SPEC.md they cover, and what they need.
    List {
        /// As JSON, with the kernel symbols.
        #[arg(long)]
        json: bool,
    },
    /// Run the cases on this machine. For example: `loopfs-selftests run --on-this-machine unlink`
    Run {
        /// Yes, on this machine: the cases make, bind and remove loop devices and change limits.
        #[arg(long)]
        on_this_machine: bool,
        #[command(flatten)]
        arguments: libtest_mimic::Arguments,
    },
    /// Show step by step, on this kernel, what an ordinary user can do with an instance.
    Tour,
    /// Measure what calls cost, a line of JSON each. Only a guest whose clock counts instructions makes sense of it, and
    /// only one that is thrown away: `cargo xtask bench kernel` boots it.
    #[command(hide = true)]
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
    /// The process of one case; started by the runner.
    #[command(hide = true)]
    Case { name: String, who: String, channel: RawFd },
}

fn main() -> ExitCode {
    let result = if std::process::id() == 1 { init::run().map(|()| ExitCode::SUCCESS) } else { run(Cli::parse()) };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::List { json } => list(json).map(|()| ExitCode::SUCCESS),
        Command::Run { on_this_machine: true, arguments } => Ok(on_machine::run(arguments).exit_code()),
        Command::Run { on_this_machine: false, .. } => {
            bail!(
                "the cases make and destroy loop devices and change limits of the machine they run on; \
                 run them in a guest with `cargo xtask test`, or add --on-this-machine if this one may be used for that"
            )
        }
        Command::Tour => tour::run().map(|()| ExitCode::SUCCESS),
        Command::Bench { what } => bench::run(what).map(|()| ExitCode::SUCCESS),
        Command::Case { name, who, channel } => case(&name, &who, channel),
    }
}

fn list(json: bool) -> Result<()> {
    let infos: Vec<_> = cases::all().iter().map(listing::describe).collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&infos)?);
        return Ok(());
    }
    for info in infos {
        println!("{}: {} [{}] {}", info.spec.join(","), info.name, info.who.join(" "), info.needs.join(" "));
    }
    Ok(())
}

fn case(name: &str, who: &str, channel: RawFd) -> Result<ExitCode> {
    // SAFETY: The runner left this descriptor open for us and nothing else in this process uses it.
    let channel = Channel::from_fd(unsafe { OwnedFd::from_raw_fd(channel) });
    let case = cases::all().into_iter().find(|case| case.name == name);
    let case = case.with_context(|| format!("there is no case {name}"))?;
    let who = case.who.iter().copied().find(|w| w.to_string() == who);
    let who = who.with_context(|| format!("{name} does not run as that"))?;
    Ok(isolate::run(&case, who, &channel))
}
