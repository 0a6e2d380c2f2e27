//! `cargo xtask ci`: every check of this repository.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use crate::{
    ctx::Ctx,
    error::Failure,
    interrupt, process,
    progress::{say, seconds},
    task::Task,
};

/// Runs what CI runs besides the default suite: format, lints, host tests, the series, the debug kernel, real clients
///
/// Ends with the line "N passed, N failed", where a test, a case and a check count one each.
///
/// Example: cargo xtask ci
#[derive(Args, Debug)]
pub struct Ci {}

impl Task for Ci {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let xtask = std::env::current_exe().context("cannot find this program")?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let checks: [(&str, Command); 7] = [
            ("format", with(&cargo, &["fmt", "--all", "--check"])),
            ("lints", with(&cargo, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
            ("host tests", with(&cargo, &["test", "--workspace", "--no-fail-fast"])),
            ("series", with(&xtask, &["series", "check"])),
            ("kselftest", with(&xtask, &["test", "--kselftest"])),
            ("debug kernel", with(&xtask, &["test", "--config", "debug"])),
            ("real clients", with(&xtask, &["test", "--clients"])),
        ];
        let mut results = Vec::new();
        for (name, mut command) in checks {
            say(&format!("== {name}: {}", process::line(&command)));
            let start = Instant::now();
            let mut counts = Counts::default();
            let outcome = process::stream(command.current_dir(ctx.root()), false, |line| {
                println!("{line}");
                counts.take(line);
                Ok(())
            });
            interrupt::check()?;
            results.push(Check { name, counts: counts.settle(outcome.is_ok()), time: start.elapsed() });
        }
        println!();
        for result in &results {
            println!("{}", result.row());
        }
        let total = results.iter().fold(Counts::default(), |sum, result| sum.plus(result.counts));
        println!("{} passed, {} failed", total.passed, total.failed);
        if total.failed == 0 {
            return Ok(());
        }
        let failed: Vec<&str> = results.iter().filter(|r| r.counts.failed > 0).map(|r| r.name).collect();
        Err(anyhow!("failed: {}", failed.join(", ")).context(Failure::Case))
    }
}

fn with(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// One check, done.
#[derive(Debug)]
struct Check {
    name: &'static str,
    counts: Counts,
    time: Duration,
}

impl Check {
    fn row(&self) -> String {
        let Counts { passed, failed } = self.counts;
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        format!("{:<14} {verdict:<8} {passed:>5} passed {failed:>3} failed   {}", self.name, seconds(self.time))
    }
}

/// How many passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl Counts {
    /// Adds what a test program's closing line says: `test result: ok. 3 passed; 0 failed; ...`.
    fn take(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("test result: ") else { return };
        let count = |what: &str| {
            let mut words = summary.split([' ', ';', '.']).filter(|word| !word.is_empty()).peekable();
            while let Some(word) = words.next() {
                if words.peek() == Some(&what) {
                    return word.parse().unwrap_or_default();
                }
            }
            0
        };
        self.passed += count("passed");
        self.failed += count("failed");
    }

    /// A check without tests of its own counts one; one that failed has failed somewhere.
    fn settle(mut self, succeeded: bool) -> Self {
        if succeeded && self == Self::default() {
            self.passed = 1;
        }
        if !succeeded && self.failed == 0 {
            self.failed = 1;
        }
        self
    }

    fn plus(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_test_programs_are_summed() {
        let mut counts = Counts::default();
        counts.take("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        counts.take("test a ... ok");
        counts.take("test result: FAILED. 3 passed; 2 failed; 0 ignored");
        assert_eq!(counts, Counts { passed: 15, failed: 2 });
    }

    #[test]
    fn a_check_that_fails_without_a_failed_test_counts_as_failed() {
        assert_eq!(Counts::default().settle(false), Counts { passed: 0, failed: 1 });
        assert_eq!(Counts { passed: 9, failed: 0 }.settle(false), Counts { passed: 9, failed: 1 });
        assert_eq!(Counts::default().settle(true), Counts { passed: 1, failed: 0 });
    }
}
