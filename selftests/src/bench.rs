//! What calls cost, in a guest whose clock counts instructions.
//!
//! QEMU runs that guest with `-icount shift=0,sleep=off` and one CPU: its clock advances by one nanosecond
//! with each instruction, and jumps to the next timer when there is nothing to run. The time stamp
//! counter is that clock, and the kernel is told so ([`COUNTED_CLOCK`]) instead of measuring its rate. So the difference
//! of two readings is how many instructions ran in between, plus what all tasks slept together, and it does
//! not depend on the host or on what else that does. Two runs differ by what a kernel does at random,
//! such as where it puts its memory, and by interrupts, which is why an act is done several times and the
//! median counts.
//!
//! Nothing is cleaned up: the guest is thrown away.

mod get_free;
mod shutdown;

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;
use loopfs_protocol::{Act, COUNTED_CLOCK, Cost, Others};
use nix::time::{ClockId, clock_gettime};

use crate::{
    case::{self, Who},
    limit,
};

/// What to measure.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum What {
    /// The end of an instance, and of as many devices of the host (SPEC S4).
    Shutdown,
    /// GET_FREE and ADD without other devices, and beside many (SPEC N6).
    GetFree {
        /// Whose the many devices are.
        #[arg(value_parser = others)]
        beside: Others,
        /// How many they are.
        devices: u32,
    },
}

/// The place of what is measured on, on a file system of its own.
const DIR: &str = "/tmp/bench";

/// More devices than any measurement makes.
const LIMIT: u32 = 100_000;

/// How long, in the guest's time, what an act has left to workers gets before the next one. With `sleep=off` it costs
/// no time.
const PAUSE: Duration = Duration::from_millis(100);

/// Measures `what` and prints each [`Cost`].
///
/// # Errors
///
/// When the machine's clock is not one that counts instructions, or a call fails.
pub fn run(what: What) -> Result<()> {
    let words = fs::read_to_string("/proc/cmdline").context("cannot read /proc/cmdline")?;
    ensure!(
        words.split_ascii_whitespace().any(|word| word == COUNTED_CLOCK),
        "this machine's clock does not count instructions; `cargo xtask bench kernel` starts one whose does"
    );
    // A message of the kernel takes more instructions than the call it is about.
    fs::write("/proc/sys/kernel/printk", "1").context("cannot set the console's log level")?;
    limit::set(LIMIT)?;
    fs::create_dir(DIR).with_context(|| format!("cannot make {DIR}"))?;
    let ctx = case::Context { who: Who::Root, dir: Path::new(DIR).to_owned() };
    match what {
        What::Shutdown => shutdown::measure(&ctx),
        What::GetFree { beside, devices } => get_free::measure(&ctx, beside, devices),
    }
}

/// The name of `others` on a command line, as it is in JSON.
fn others(name: &str) -> Result<Others, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

/// How long `act` takes, in nanoseconds of the guest's clock.
fn time(act: impl FnOnce() -> nix::Result<()>) -> Result<u64> {
    thread::sleep(PAUSE);
    let start = now()?;
    act()?;
    Ok(now()? - start)
}

fn now() -> Result<u64> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC_RAW)?);
    Ok(u64::try_from(now.as_nanos())?)
}

fn tell(act: Act, devices: u32, took_ns: Vec<u64>) {
    print!("{}", Cost { act, devices, took_ns }.to_line());
}
