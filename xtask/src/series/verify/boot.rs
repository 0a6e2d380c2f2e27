//! Boots a built prefix and runs the suite on it, by `cargo xtask test`.
//!
//! Which cases apply to a prefix shows when they run. One whose needs are not met is skipped. One that needs what a later
//! patch brings fails, and that is no fault, as long as it has not passed before: from the prefix on at which a case
//! passes, it has to pass at every later one, and at the end of the series all have to. A crash, a hang or a splat is a
//! fault wherever it comes.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Site;
use crate::{
    cache::{self, Key},
    interrupt, process,
    progress::Progress,
};

/// How a kernel ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Boot {
    /// The quickest boot to PID 1, in milliseconds; nothing if none came so far.
    pub boot_ms: Option<u64>,
    /// Cases that passed.
    pub passed: usize,
    /// Cases that want what a later patch brings.
    pub not_yet: usize,
    /// Cases whose needs are not met.
    pub skipped: usize,
    /// What is wrong: a case's name and the reason.
    pub faults: Vec<String>,
}

impl Boot {
    /// Whether it booted and nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.boot_ms.is_some() && self.faults.is_empty()
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.boot_ms {
            Some(ms) => write!(f, "boots in {ms} ms, ")?,
            None => f.write_str("DOES NOT BOOT, ")?,
        }
        let (passed, not_yet, skipped, faults) = (self.passed, self.not_yet, self.skipped, self.faults.len());
        write!(f, "{passed} cases passed, {faults} faults, {not_yet} not yet, {skipped} skipped")
    }
}

/// What `cargo xtask test --json FILE` writes, as far as it is of interest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    boots_ms: Vec<u64>,
    results: Vec<CaseResult>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CaseResult {
    name: String,
    outcome: String,
    message: Option<String>,
    #[serde(default)]
    splats: Vec<serde_json::Value>,
    /// Lines of the contract; what the harness looks after itself has none.
    #[serde(default)]
    spec: Vec<String>,
}

impl CaseResult {
    /// The case itself failed, and the kernel did not complain.
    fn is_plain_failure(&self) -> bool {
        self.outcome == "fail" && self.splats.is_empty() && !self.spec.is_empty()
    }

    fn told(&self) -> String {
        let why = self.message.as_deref().and_then(|message| message.lines().next()).unwrap_or(&self.outcome);
        format!("{}: {why}", self.name)
    }
}

impl Ran {
    /// What `cargo xtask test` wrote to the file `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).context("cannot read the suite's report")?;
        serde_json::from_slice(&text).context("cannot read the suite's report")
    }

    /// How many passed, and how many of these are the kernel's own tests.
    pub fn passed(&self) -> (usize, usize) {
        let passed: Vec<&CaseResult> = self.results.iter().filter(|result| result.outcome == "pass").collect();
        (passed.len(), passed.iter().filter(|result| result.name.starts_with("kunit/")).count())
    }

    /// How many were skipped.
    pub fn skipped(&self) -> usize {
        self.results.iter().filter(|result| result.outcome == "skip").count()
    }

    /// What did not pass, whatever the reason.
    pub fn failures(&self) -> Vec<String> {
        let bad = |result: &&CaseResult| !matches!(result.outcome.as_str(), "pass" | "skip");
        self.results.iter().filter(bad).map(CaseResult::told).collect()
    }
}

/// What the prefixes before have shown.
#[derive(Debug, Default)]
pub struct History {
    /// Cases that have passed, and where first.
    passed: BTreeMap<String, usize>,
}

impl History {
    /// Judges the run of the prefix of `number` patches; `is_last`, when nothing comes after it that could make a case pass.
    pub fn judge(&self, ran: &Ran, is_last: bool) -> Boot {
        let mut boot = Boot {
            boot_ms: ran.boots_ms.iter().min().copied(),
            passed: ran.passed().0,
            not_yet: 0,
            skipped: ran.skipped(),
            faults: Vec::new(),
        };
        for result in ran.results.iter().filter(|result| !matches!(result.outcome.as_str(), "pass" | "skip")) {
            match self.passed.get(&result.name) {
                _ if !result.is_plain_failure() => boot.faults.push(result.told()),
                Some(number) => boot.faults.push(format!("{} (it passes with {number} patches)", result.told())),
                None if is_last => boot.faults.push(result.told()),
                None => boot.not_yet += 1,
            }
        }
        boot
    }

    /// Remembers what passed with `number` patches.
    pub fn learn(&mut self, ran: &Ran, number: usize) {
        for result in ran.results.iter().filter(|result| result.outcome == "pass") {
            self.passed.entry(result.name.clone()).or_insert(number);
        }
    }
}

/// How the suite is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner<'a> {
    /// The configuration, as `cargo xtask test` is told.
    pub config: &'a str,
    /// Cases whose needs are not met are skipped, and fail otherwise.
    pub skip_unmet: bool,
}

/// What the suite says on the kernel whose file has the SHA-256 `hash`, now or when it ran last, unless `is_good` does not
/// like that: what failed may be the machine's fault, and is tried again.
///
/// # Errors
///
/// When no guest can be started at all, or on Ctrl-C.
pub fn run(
    site: &Site<'_>,
    hash: &str,
    name: &str,
    manner: Manner<'_>,
    vmlinux: impl FnOnce() -> Result<PathBuf>,
    is_good: impl Fn(&Ran) -> bool,
) -> Result<Ran> {
    let suite = &site.order.suite;
    let program = fs::read(suite).with_context(|| format!("cannot read {}", suite.display()))?;
    let splats = fs::read(site.ctx.root().join("ci/splats.toml")).unwrap_or_default();
    let key = Key::default().with("boot 2").with(hash).with(manner.config).with(program).with(splats).name();
    if let Some(known) = cache::known(site.ctx.cache(), "boot", &key).filter(&is_good) {
        return Ok(known);
    }
    let ran = start(site, name, manner, &vmlinux()?)?;
    if is_good(&ran) {
        cache::keep(site.ctx.cache(), "boot", &key, &ran)?;
    }
    Ok(ran)
}

fn start(site: &Site<'_>, name: &str, manner: Manner<'_>, vmlinux: &Path) -> Result<Ran> {
    let report = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let mut command = Command::new(&site.order.program);
    command.args(["test", "--config", manner.config]);
    if manner.skip_unmet {
        command.arg("--skip-unmet");
    }
    command.arg("--kernel").arg(vmlinux).arg("--suite").arg(&site.order.suite).arg("--json").arg(report.path());
    let progress = Progress::spinner(format!("run the suite on {name}"));
    let outcome = process::stream(command.current_dir(site.ctx.root()), site.ctx.verbose, |line| {
        progress.detail(line.trim());
        Ok(())
    });
    interrupt::check()?;
    drop(progress);
    match (Ran::read(report.path()), outcome) {
        (Ok(ran), _) => Ok(ran),
        // It ended before it could report: its own error tells why.
        (Err(_), Err(error)) => Err(error.context(format!("the suite does not run on {name}"))),
        (Err(error), Ok(())) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(results: &[(&str, &str)]) -> Ran {
        let result = |(name, outcome): &(&str, &str)| {
            let splats = if *outcome == "splat" { "[{\"line\": \"WARNING\"}]" } else { "[]" };
            let outcome = if *outcome == "splat" { "fail" } else { outcome };
            format!(
                r#"{{"name": "{name}", "outcome": "{outcome}", "message": "EBUSY\nmore", "splats": {splats}, "spec": ["U1"]}}"#
            )
        };
        let results: Vec<String> = results.iter().map(result).collect();
        let text = format!(r#"{{"boots_ms": [1400, 1300], "results": [{}]}}"#, results.join(","));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_a_later_patch_brings_is_no_fault_before_it_but_at_the_end() {
        let ran = ran(&[("a/root", "pass"), ("b/root", "fail"), ("c/root", "skip")]);
        let boot = History::default().judge(&ran, false);
        assert_eq!((boot.boot_ms, boot.passed, boot.not_yet, boot.skipped), (Some(1300), 1, 1, 1));
        assert!(boot.is_good());
        assert_eq!(History::default().judge(&ran, true).faults, ["b/root: EBUSY"]);
    }

    #[test]
    fn a_case_that_has_passed_has_to_pass_from_then_on() {
        let mut history = History::default();
        history.learn(&ran(&[("a/root", "pass")]), 3);
        let boot = history.judge(&ran(&[("a/root", "fail")]), false);
        assert_eq!(boot.faults, ["a/root: EBUSY (it passes with 3 patches)"]);
    }

    #[test]
    fn a_crash_a_hang_and_a_splat_are_faults_wherever_they_come() {
        for outcome in ["crash", "hang", "lost", "splat"] {
            let boot = History::default().judge(&ran(&[("a/root", outcome)]), false);
            assert_eq!(boot.faults, ["a/root: EBUSY"], "{outcome}");
        }
    }

    #[test]
    fn what_is_kept_of_a_run_reads_the_same_again() {
        let before = ran(&[("a/root", "splat"), ("kunit/x", "pass")]);
        let text = serde_json::to_string(&before).unwrap();
        let after: Ran = serde_json::from_str(&text).unwrap();
        assert_eq!(after.failures(), before.failures());
        assert_eq!((after.passed(), after.results[0].splats.len()), ((1, 1), 1));
    }
}
