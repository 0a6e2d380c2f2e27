//! A run as JUnit's XML, which CI systems show.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::suite::outcome::{Outcome, TestResult};

/// Writes `results` to `file`.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write(results: &[TestResult], config: &str, file: &Path) -> Result<()> {
    let what = || format!("cannot write {}", file.display());
    let xml = report(results, config).to_string().with_context(what)?;
    std::fs::write(file, xml).with_context(what)
}

fn report(results: &[TestResult], config: &str) -> Report {
    let mut suite = TestSuite::new(config);
    suite.add_test_cases(results.iter().map(|result| {
        let mut case = TestCase::new(result.name.clone(), status(result));
        case.set_time(Duration::from_millis(result.duration_ms));
        case.set_system_out(result.output.join("\n"));
        case.set_system_err(result.kernel_log.join("\n"));
        case
    }));
    let mut report = Report::new("loopfs");
    report.add_test_suite(suite);
    report
}

fn status(result: &TestResult) -> TestCaseStatus {
    let mut status = match result.outcome {
        Outcome::Pass => return TestCaseStatus::success(),
        Outcome::Skip => TestCaseStatus::skipped(),
        Outcome::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Outcome::Crash | Outcome::Hang | Outcome::Lost => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_message(result.message.clone().unwrap_or_default());
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_what_junit_knows_and_control_characters_do_not_break_it() {
        let mut failed = TestResult::own("b", Outcome::Fail, Some("got <1>\u{1b}[0m".into()));
        failed.kernel_log = vec!["WARNING: x".into()];
        let results = [
            TestResult::own("a", Outcome::Pass, None),
            failed,
            TestResult::own("c", Outcome::Skip, Some("no FUSE".into())),
            TestResult::own("d", Outcome::Crash, Some("panic".into())),
        ];
        let xml = report(&results, "default").to_string().unwrap();
        for part in [r#"tests="4""#, r#"failures="1""#, r#"errors="1""#, r#"skipped"#, "got &lt;1&gt;", "WARNING: x"] {
            assert!(xml.contains(part), "{part} is not in {xml}");
        }
    }
}
