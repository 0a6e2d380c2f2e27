//! Boots a built prefix and runs the cases that apply to it, by `cargo xtask test`.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{
    Site,
    record::{Keep, cached},
};
use crate::{cache::Key, interrupt, process, progress::Progress};

/// How a kernel ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// The quickest boot to PID 1, in milliseconds; nothing if none came so far.
    pub boot_ms: Option<u64>,
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that do not apply.
    pub skipped: usize,
    /// Those that failed: name and reason.
    pub faults: Vec<String>,
}

impl Boot {
    /// Whether it booted and no case failed.
    pub fn is_good(&self) -> bool {
        self.boot_ms.is_some() && self.failed == 0 && self.faults.is_empty()
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.boot_ms {
            Some(ms) => write!(f, "boots in {ms} ms, ")?,
            None => f.write_str("DOES NOT BOOT, ")?,
        }
        write!(f, "{} cases passed, {} failed, {} do not apply", self.passed, self.failed, self.skipped)
    }
}

/// What `cargo xtask test --json` writes, as far as it is of interest.
#[derive(Deserialize)]
struct TestReport {
    boots_ms: Vec<u64>,
    summary: Summary,
    results: Vec<CaseResult>,
}

#[derive(Deserialize)]
struct Summary {
    passed: usize,
    failed: usize,
    skipped: usize,
}

#[derive(Deserialize)]
struct CaseResult {
    name: String,
    outcome: String,
    message: Option<String>,
}

/// Runs the suite on the kernel of key `kernel`, which `vmlinux` provides if it did not run before.
///
/// # Errors
///
/// What `vmlinux` fails with, or when no guest can be started at all.
pub fn boot(site: &Site<'_>, kernel: &str, name: &str, vmlinux: impl FnOnce() -> Result<PathBuf>) -> Result<Boot> {
    let suite = &site.order.suite;
    let program = fs::read(suite).with_context(|| format!("cannot read {}", suite.display()))?;
    let splats = fs::read(site.ctx.root().join("ci/splats.toml")).unwrap_or_default();
    let key = Key::default().with("boot 1").with(kernel).with(program).with(splats);
    cached(site.ctx, "boot", key, || {
        let boot = run(site, name, &vmlinux()?)?;
        // What failed may be the machine's fault: it is tried again the next time.
        let keep = if boot.is_good() { Keep::Yes } else { Keep::No };
        Ok((boot, keep))
    })
}

fn run(site: &Site<'_>, name: &str, vmlinux: &Path) -> Result<Boot> {
    let report = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    let mut command = Command::new(&site.order.program);
    command.args(["test", "--skip-unmet", "--config", &site.order.flavour.to_string()]);
    command.arg("--kernel").arg(vmlinux).arg("--suite").arg(&site.order.suite).arg("--json").arg(report.path());
    let progress = Progress::spinner(format!("run the suite on {name}"));
    let mut tail = Vec::new();
    let outcome = process::stream(command.current_dir(site.ctx.root()), site.ctx.verbose, |line| {
        progress.detail(line.trim());
        tail.push(line.to_owned());
        Ok(())
    });
    interrupt::check()?;
    drop(progress);
    let text = fs::read(report.path()).context("cannot read the suite's report")?;
    match serde_json::from_slice::<TestReport>(&text) {
        Ok(report) => Ok(summarize(report)),
        // It ended before it could report: the error tells why.
        Err(_) => outcome
            .map(|()| Boot { boot_ms: None, passed: 0, failed: 0, skipped: 0, faults: vec!["no report".to_owned()] })
            .with_context(|| format!("the suite does not run on {name}")),
    }
}

fn summarize(report: TestReport) -> Boot {
    let bad = |result: &&CaseResult| !matches!(result.outcome.as_str(), "pass" | "skip");
    let faults = report.results.iter().filter(bad).map(|result| {
        let why = result.message.as_deref().and_then(|message| message.lines().next()).unwrap_or(&result.outcome);
        format!("{}: {why}", result.name)
    });
    Boot {
        boot_ms: report.boots_ms.iter().min().copied(),
        passed: report.summary.passed,
        failed: report.summary.failed,
        skipped: report.summary.skipped,
        faults: faults.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suites_report_is_summed_up() {
        let text = r#"{"boots_ms": [1400, 1300], "summary": {"passed": 3, "failed": 1, "skipped": 7, "hung": 0},
            "results": [{"name": "a/root", "outcome": "pass", "message": null},
                        {"name": "b/root", "outcome": "fail", "message": "EBUSY\nmore"},
                        {"name": "c/root", "outcome": "skip", "message": "no loopfs"}]}"#;
        let boot = summarize(serde_json::from_str(text).unwrap());
        assert_eq!((boot.boot_ms, boot.passed, boot.failed, boot.skipped), (Some(1300), 3, 1, 7));
        assert_eq!(boot.faults, ["b/root: EBUSY"]);
        assert!(!boot.is_good());
    }
}
