//! The self-test of loopfs that is in the kernel's tree, run in a guest: its results are those of a suite.

use std::{os::fd::BorrowedFd, time::Duration};

use anyhow::Result;
use loopfs_protocol::{Command, Window};

use crate::suite::{
    drive::Sink,
    ktap::{self, Line},
    outcome::{Outcome, TestResult},
    session::{Session, Stillborn, Streams},
};

/// Where the program is in the guest.
pub const PROGRAM: &str = "usr/bin/loopfs_test";

/// Runs the program in the guest of `session`, which was just started, and reports to `sink`. It may take `patience`.
///
/// # Errors
///
/// On Ctrl-C, or when the guest's console cannot be recorded.
pub fn run(session: &mut Session<'_>, patience: Duration, sink: &mut impl Sink) -> Result<()> {
    let up = match session.boot()? {
        Ok(()) => {
            sink.booted(session.boot_time());
            session.greet_for_programs()?
        }
        stillborn => stillborn,
    };
    if let Err(Stillborn { result }) = up {
        sink.result(result);
        return Ok(());
    }
    let mut output = Output { text: Vec::new(), patience };
    let argv = vec![format!("/{PROGRAM}")];
    let ended = session.exec(&Command::Exec { argv, env: Vec::new(), terminal: None }, &mut output)?;
    let said = String::from_utf8_lossy(&output.text);
    let mut report = Report::read(&said);
    match ended {
        Ok(code) => report.close(code),
        Err(dead) => report.results.push(dead),
    }
    let mut kernel = TestResult::own("kselftest/kernel-log", Outcome::Pass, None);
    session.take_stretch().add_to(&mut kernel);
    report.results.extend((kernel.outcome != Outcome::Pass).then_some(kernel));
    report.results.into_iter().for_each(|result| sink.result(result));
    Ok(())
}

/// What the program prints, on either stream.
struct Output {
    text: Vec<u8>,
    patience: Duration,
}

impl Streams for Output {
    fn input(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(Some(Vec::new()))
    }

    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        self.stdout(bytes)
    }

    fn new_size(&mut self) -> Option<Window> {
        None
    }

    fn patience(&self) -> Option<Duration> {
        Some(self.patience)
    }
}

/// The results in TAP.
#[derive(Debug, Default)]
struct Report {
    results: Vec<TestResult>,
    planned: Option<usize>,
}

impl Report {
    fn read(text: &str) -> Self {
        let mut report = Self::default();
        let mut output = Vec::new();
        for line in text.lines() {
            match ktap::parse(line).1 {
                Line::Plan(count) => report.planned = Some(count),
                Line::Result(result) => {
                    let (outcome, message) = match (result.ok, result.skip) {
                        (true, Some(reason)) => (Outcome::Skip, Some(reason.to_owned())),
                        (true, None) => (Outcome::Pass, None),
                        (false, _) => (Outcome::Fail, Some(reason(&output))),
                    };
                    let mut result = TestResult::own(&format!("kselftest/{}", result.name), outcome, message);
                    result.output = std::mem::take(&mut output);
                    report.results.push(result);
                }
                Line::Diagnostic(text) => output.push(text.trim_start_matches(['#', ' ']).to_owned()),
                Line::Version | Line::Subtest(_) => {}
                Line::Other => output.push(line.to_owned()),
            }
        }
        report
    }

    /// The program has ended with `code`: it must have told every result, and one that is bad if that is not 0.
    fn close(&mut self, code: u8) {
        let bad = self.results.iter().any(|result| !result.outcome.is_good());
        let told = self.results.len();
        let fault = match self.planned {
            None => Some(format!("it printed no plan, and ended with {code}")),
            Some(planned) if planned != told => {
                Some(format!("{told} of {planned} tests have a result, and it ended with {code}"))
            }
            Some(_) if code != 0 && !bad => Some(format!("no test failed, and yet it ended with {code}")),
            Some(_) => None,
        };
        let lost = |message| TestResult::own("kselftest", Outcome::Lost, Some(message));
        self.results.extend(fault.map(lost));
    }
}

/// Why a test failed: the first thing that it expected in vain.
fn reason(output: &[String]) -> String {
    let expected = output.iter().find(|line| line.contains("Expected"));
    expected.or(output.last()).cloned().unwrap_or_else(|| "it did not say why".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAP: &str = "TAP version 13\n1..3\n# Starting 3 tests from 2 test cases.\n#  RUN           loopfs.root.add ...\n\
        #            OK  loopfs.root.add\nok 1 loopfs.root.add\n\
        # loopfs_test.c:321:max:Expected 1 (1) == 2 (2)\n# max: Test terminated by assertion\nnot ok 2 loopfs.root.max\n\
        ok 3 loopfs.user_ns.add # SKIP No user namespace\n# FAILED: 1 / 3 tests passed.\n";

    fn outcomes(report: &Report) -> Vec<(&str, Outcome)> {
        report.results.iter().map(|result| (result.name.as_str(), result.outcome)).collect()
    }

    #[test]
    fn every_result_is_taken_over_with_the_reason_of_a_failure() {
        let mut report = Report::read(TAP);
        report.close(1);
        assert_eq!(
            outcomes(&report),
            [
                ("kselftest/loopfs.root.add", Outcome::Pass),
                ("kselftest/loopfs.root.max", Outcome::Fail),
                ("kselftest/loopfs.user_ns.add", Outcome::Skip),
            ]
        );
        assert_eq!(report.results[1].message.as_deref(), Some("loopfs_test.c:321:max:Expected 1 (1) == 2 (2)"));
        assert_eq!(report.results[2].message.as_deref(), Some("No user namespace"));
    }

    #[test]
    fn a_program_that_ends_early_or_lies_is_lost() {
        for (text, code, why) in [
            (TAP.replace("1..3", "1..4"), 1, "3 of 4 tests have a result, and it ended with 1"),
            (String::new(), 127, "it printed no plan, and ended with 127"),
            ("1..1\nok 1 a\n".to_owned(), 139, "no test failed, and yet it ended with 139"),
        ] {
            let mut report = Report::read(&text);
            report.close(code);
            let last = report.results.last().unwrap();
            assert_eq!((last.outcome, last.message.as_deref()), (Outcome::Lost, Some(why)));
        }
        let mut good = Report::read("1..1\nok 1 a\n");
        good.close(0);
        assert_eq!(outcomes(&good), [("kselftest/a", Outcome::Pass)]);
    }
}
