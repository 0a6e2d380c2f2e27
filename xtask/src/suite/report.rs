//! Tells the person how the cases end, as they do, and sums up.

use std::{path::PathBuf, time::Duration};

use crate::{
    error::Failure,
    process::quoted,
    progress::{self, Progress, seconds},
    suite::{
        comparison::{self, Differences, Row},
        drive::Sink,
        outcome::{Outcome, TestResult},
        plan::Trial,
    },
};

/// How many lines of a case's output and of its kernel log are shown, each; the rest is in the files.
const SHOWN: usize = 80;

/// How many results of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Passed.
    pub passed: usize,
    /// Failed in whatever way, or did not run although they should have.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
    /// Of the failed: the kernel died.
    pub crashed: usize,
    /// Of the failed: past the deadline.
    pub hung: usize,
    /// Of the failed: no verdict.
    pub lost: usize,
    /// Of the failed: did not run.
    pub not_run: usize,
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Pass => self.passed += 1,
            Outcome::Skip => self.skipped += 1,
            Outcome::Fail => {}
            Outcome::Crash => self.crashed += 1,
            Outcome::Hang => self.hung += 1,
            Outcome::Lost => self.lost += 1,
        }
        if !outcome.is_good() {
            self.failed += 1;
        }
    }

    /// The last line of a run.
    pub fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }

    /// What an unsuccessful run ends with.
    pub fn error(&self) -> String {
        format!("{} of {} cases failed", self.failed, self.passed + self.failed + self.skipped)
    }

    /// What of the failures the guests are to blame for, if anything.
    fn details(&self) -> Option<String> {
        let kinds = [(self.crashed, "crashed"), (self.hung, "hung"), (self.lost, "lost"), (self.not_run, "not run")];
        let kinds: Vec<String> =
            kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        (!kinds.is_empty()).then(|| format!("of the failed: {}", kinds.join(", ")))
    }

    /// What decides the exit code; nothing if all is well.
    pub fn failure(&self) -> Option<Failure> {
        if self.crashed + self.hung + self.lost + self.not_run > 0 {
            Some(Failure::Guest)
        } else if self.failed > 0 {
            Some(Failure::Case)
        } else {
            None
        }
    }
}

/// Collects and tells.
#[derive(Debug)]
pub struct Reporter {
    results: Vec<TestResult>,
    summary: Summary,
    bar: Option<Progress>,
    stop_on_failure: bool,
    boots: Vec<Duration>,
    again: Again,
    differences: Option<Differences>,
}

/// What a command that runs a case again starts with.
#[derive(Clone, Debug)]
pub struct Again {
    /// Its words, such as `cargo xtask test --config debug`.
    pub command: Vec<String>,
    /// Where the consoles are recorded.
    pub logs: PathBuf,
}

impl Reporter {
    /// A reporter on `trials` trials, if their number is known. With `stop_on_failure` it asks to end after the first
    /// that is not good.
    pub fn new(trials: Option<usize>, stop_on_failure: bool, again: Again) -> Self {
        let bar = progress::has_bars().then(|| match trials {
            Some(trials) => Progress::steps("cases", trials as u64),
            None => Progress::spinner("cases"),
        });
        Self {
            results: Vec::new(),
            summary: Summary::default(),
            bar,
            stop_on_failure,
            boots: Vec::new(),
            again,
            differences: None,
        }
    }

    /// The same reporter, that judges results by `differences` and ends with the comparison of the drivers.
    #[must_use]
    pub fn comparing(mut self, differences: Differences) -> Self {
        self.differences = Some(differences);
        self
    }

    /// All results so far.
    pub fn results(&self) -> &[TestResult] {
        &self.results
    }

    /// The comparison of the drivers, where that is what was run for.
    pub fn comparison(&self) -> Option<Vec<Row>> {
        self.differences.is_some().then(|| comparison::rows(&self.results))
    }

    /// Their sum.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// How long each guest took to boot.
    pub fn boots(&self) -> &[Duration] {
        &self.boots
    }

    /// Ends the report: what failed once more by name, and the last line.
    pub fn close(mut self) -> (Vec<TestResult>, Summary) {
        self.bar = None;
        let bad: Vec<&TestResult> = self.results.iter().filter(|result| !result.outcome.is_good()).collect();
        if !bad.is_empty() {
            progress::show("\nfailures:");
            for result in bad {
                progress::show(&format!("{:<8} {}", result.outcome, result.name));
            }
            progress::show(&format!("consoles: {}\n", self.again.logs.display()));
        }
        if let Some(rows) = self.comparison().filter(|rows| !rows.is_empty()) {
            progress::show(&format!("\n{}\n", comparison::table(&rows)));
        }
        if let Some(details) = self.summary.details() {
            progress::show(&details);
        }
        progress::show(&self.summary.line());
        (self.results, self.summary)
    }

    fn tell(&self, result: &TestResult) {
        let time = seconds(Duration::from_millis(result.duration_ms));
        let mut line = format!("{:<8} {} ({time})", result.outcome, result.name);
        if let (Outcome::Skip, Some(reason)) = (result.outcome, &result.message) {
            line.push_str(": ");
            line.push_str(reason);
        }
        if let Some(because) = &result.difference {
            line.push_str(": it does not work here, as ");
            line.push_str(because);
        }
        progress::show(&line);
        if !result.outcome.is_good() {
            self.explain(result);
        }
    }

    fn explain(&self, result: &TestResult) {
        if !result.spec.is_empty() {
            progress::show(&format!("    covers {}", result.spec.join(", ")));
        }
        for line in result.message.iter().flat_map(|message| message.lines()) {
            progress::show(&format!("    {line}"));
        }
        show_lines("what it printed", &result.output);
        show_lines("the kernel log of it", &result.kernel_log);
        if let Some(command) = &result.reproduce {
            progress::show(&format!("    to reproduce: {command}"));
        }
    }
}

fn show_lines(title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    progress::show(&format!("    {title}:"));
    let hidden = lines.len().saturating_sub(SHOWN);
    let (head, rest) = lines.split_at(lines.len().min(SHOWN / 2));
    let gap = (hidden > 0).then(|| format!("[{hidden} lines more]"));
    for line in head.iter().chain(&gap).chain(rest.iter().skip(hidden)) {
        progress::show(&format!("      {line}"));
    }
}

impl Sink for Reporter {
    fn starting(&mut self, trial: &Trial) {
        if let Some(bar) = &self.bar {
            bar.detail(&trial.id());
        }
    }

    fn booted(&mut self, took: Duration) {
        self.boots.push(took);
        progress::say(&format!("guest: booted in {} ms", took.as_millis()));
    }

    fn result(&mut self, mut result: TestResult) {
        if let Some(differences) = &self.differences {
            differences.judge(&mut result);
        }
        // What covers no line of the contract is not a case of the suite, and has no name to filter by.
        let case = (!result.spec.is_empty()).then_some(&result.name);
        result.reproduce = Some(quoted(self.again.command.iter().chain(case)));
        if let (Some(_), Some(bar)) = (case, &self.bar) {
            bar.add(1);
        }
        self.tell(&result);
        self.summary.add(result.outcome);
        self.results.push(result);
    }

    fn not_run(&mut self, trials: usize, why: &str) {
        self.summary.not_run += trials;
        self.summary.failed += trials;
        progress::show(&format!("{trials} cases did not run: {why}"));
    }

    fn wants_to_stop(&self, latest: Outcome) -> bool {
        // Whether a failure is one is known when it is judged, which is after the next case has started.
        let latest_counts = self.differences.is_none();
        self.stop_on_failure && (self.summary.failed > 0 || (latest_counts && !latest.is_good()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(outcomes: &[Outcome]) -> Summary {
        let mut summary = Summary::default();
        outcomes.iter().for_each(|outcome| summary.add(*outcome));
        summary
    }

    #[test]
    fn the_last_line_counts_everything_once() {
        let summary =
            summary(&[Outcome::Pass, Outcome::Skip, Outcome::Fail, Outcome::Crash, Outcome::Hang, Outcome::Lost]);
        assert_eq!(summary.line(), "1 passed, 4 failed, 1 skipped");
        assert_eq!(summary.details().as_deref(), Some("of the failed: 1 crashed, 1 hung, 1 lost"));
    }

    #[test]
    fn a_dead_guest_outweighs_a_failed_case() {
        assert_eq!(summary(&[Outcome::Pass, Outcome::Skip]).failure(), None);
        assert_eq!(summary(&[Outcome::Fail]).failure(), Some(Failure::Case));
        for outcome in [Outcome::Crash, Outcome::Hang, Outcome::Lost] {
            assert_eq!(summary(&[Outcome::Fail, outcome]).failure(), Some(Failure::Guest));
        }
        assert_eq!(Summary { failed: 1, not_run: 1, ..Summary::default() }.failure(), Some(Failure::Guest));
    }
}
