//! Keeps the results of a run that nobody watches.

use std::time::Duration;

use crate::suite::{
    drive::Sink,
    outcome::{Outcome, TestResult},
    plan::Trial,
};

/// The results of a run.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// How long each guest took to PID 1.
    pub boots: Vec<Duration>,
    /// Every result; cases that did not run have one together.
    pub results: Vec<TestResult>,
}

impl Sink for Collected {
    fn starting(&mut self, _: &Trial) {}

    fn booted(&mut self, took: Duration) {
        self.boots.push(took);
    }

    fn result(&mut self, result: TestResult) {
        self.results.push(result);
    }

    fn not_run(&mut self, trials: usize, why: &str) {
        let message = Some(format!("{trials} cases did not run: {why}"));
        self.results.push(TestResult::own("suite", Outcome::Lost, message));
    }

    fn wants_to_stop(&self, _: Outcome) -> bool {
        false
    }
}
