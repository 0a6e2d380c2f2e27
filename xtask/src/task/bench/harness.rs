//! How long a person waits for the harness, measured from outside: by running it as they do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xshell::cmd;

use crate::{
    ctx::Ctx,
    process,
    progress::{self, Progress},
    task::Task,
};

/// Measures how long the harness takes once everything is built
///
/// Example: cargo xtask bench harness --rounds 5
#[derive(Debug, clap::Args)]
pub(super) struct Harness {
    /// Boot this vmlinux instead of the one of this repository.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// How often the short ones are run; the median counts.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
}

/// What one run of the suite showed, from its start on.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// Until the harness has told what it will boot.
    prepared: Duration,
    /// From then until PID 1.
    booted: Duration,
    /// Until the first case has ended.
    first_case: Duration,
    /// Until the last line.
    all: Duration,
    cases: u32,
}

impl Task for Harness {
    fn run(self, ctx: &Ctx) -> Result<()> {
        // Whatever has to be built is built here, and not measured.
        let first = self.first_case(ctx)?;
        self.suite(ctx, &[&first])?;

        let progress = Progress::steps("bench", u64::from(self.rounds) * 2 + 1);
        let mut one = Vec::new();
        let mut restored = Vec::new();
        for _ in 0..self.rounds {
            one.push(self.suite(ctx, &[&first])?);
            progress.add(1);
            restored.push(self.suite(ctx, &["--isolate", "vm", "--repeat", "10", &first])?);
            progress.add(1);
        }
        let whole = self.suite(ctx, &[])?;
        drop(progress);

        let one_by = |what: fn(&Times) -> Duration| median(one.iter().map(what));
        let per_case = |times: &Times| (times.all - times.first_case) / (times.cases - 1).max(1);
        let rows = [
            ("from the command line to the start of QEMU, nothing to build", one_by(|t| t.prepared)),
            ("from the start of QEMU to PID 1", one_by(|t| t.booted)),
            ("from the command line to the end of the first case", one_by(|t| t.first_case)),
            ("a case in a guest restored for it", median(restored.iter().map(per_case))),
            (&format!("the whole suite, {} cases", whole.cases), whole.all),
        ];
        progress::show(&format!("| {} | seconds |\n|---|---|", machine()));
        for (what, took) in rows {
            progress::show(&format!("| {what} | {:.2} |", took.as_secs_f64()));
        }
        Ok(())
    }
}

impl Harness {
    /// The name of the first trial of the suite.
    fn first_case(&self, ctx: &Ctx) -> Result<String> {
        let mut first = None;
        process::stream(&self.command(ctx, &["--list"])?, ctx.verbose, |line| {
            if let (None, Some((_, case))) = (&first, line.split_once(' '))
                && let Some((name, _)) = case.trim_start().split_once(" (")
            {
                first = Some(name.to_owned());
            }
            Ok(())
        })?;
        first.context("the suite has no case")
    }

    fn command(&self, ctx: &Ctx, arguments: &[&str]) -> Result<Command> {
        let (sh, cargo) = (process::shell_in(ctx.root())?, ctx.cargo());
        let kernel = self.kernel.iter().flat_map(|kernel| [Path::new("--kernel"), kernel]);
        Ok(cmd!(sh, "{cargo} xtask test {arguments...} {kernel...}").into())
    }

    fn suite(&self, ctx: &Ctx, arguments: &[&str]) -> Result<Times> {
        let start = Instant::now();
        let mut times = Times::default();
        // A failing case does not make the times any less true.
        let ended = process::stream(&self.command(ctx, arguments)?, ctx.verbose, |line| {
            let now = start.elapsed();
            if line.starts_with("deadlines: ") {
                times.prepared = now;
            } else if let Some(took) = line.strip_prefix("guest: booted in ").and_then(|ms| ms.strip_suffix(" ms")) {
                if times.booted.is_zero() {
                    times.booted =
                        Duration::from_millis(took.parse().context("a boot takes a number of milliseconds")?);
                }
            } else if line.ends_with(" s)") && line.contains('/') {
                times.cases += 1;
                if times.first_case.is_zero() {
                    times.first_case = now;
                }
            }
            Ok(())
        });
        times.all = start.elapsed();
        if times.cases == 0 {
            ended?;
        }
        ensure!(times.cases > 0 && !times.prepared.is_zero(), "no case ran");
        Ok(times)
    }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What this machine is, in a few words.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!("{cpus} CPUs, {}", model.trim_start_matches([' ', '\t', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_slow_run() {
        let times = [100, 900, 120].map(Duration::from_millis);
        assert_eq!(median(times.into_iter()), Duration::from_millis(120));
        assert_eq!(median(std::iter::empty()), Duration::ZERO);
    }
}
