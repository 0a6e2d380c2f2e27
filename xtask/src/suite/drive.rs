//! Runs trials in guests: all in one, or each in its own from a common snapshot.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use loopfs_protocol::Missing;

use crate::{
    guest::{machine::Machine, qemu::Qemu, running::Guest, snapshot::Snapshot},
    suite::{
        deadline::Deadlines,
        ktap::Nested,
        outcome::{Outcome, TestResult},
        plan::Trial,
        session::{Session, Stillborn, Stretch, boot_result, log_path},
        splat::Detector,
    },
};

/// What the guests of a run have in common.
#[derive(Debug)]
pub struct Setup {
    /// The QEMU that runs them.
    pub qemu: Qemu,
    /// Their machine.
    pub machine: Machine,
    /// What must not be in a kernel log.
    pub detector: Detector,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// When the whole run has to be over, unless it has no end.
    pub until: Option<Instant>,
    /// What becomes of a case whose need the kernel does not meet.
    pub missing: Missing,
    /// The kernel is the debug configuration's: it has KUnit and kmemleak, and both must speak.
    pub debug: bool,
    /// The folder for the consoles' recordings.
    pub logs: PathBuf,
    /// How many guests were started; each records to a file of its own.
    pub started: AtomicUsize,
    /// The kernel's own tests have been reported; every guest runs them.
    pub kunit_told: AtomicBool,
    /// Show QEMU's command lines.
    pub verbose: bool,
}

/// Takes what comes out of a run.
pub trait Sink {
    /// This trial starts now.
    fn starting(&mut self, trial: &Trial);
    /// A guest has booted.
    fn booted(&mut self, took: Duration);
    /// A result is final.
    fn result(&mut self, result: TestResult);
    /// These trials did not run, for this reason.
    fn not_run(&mut self, trials: usize, why: &str);
    /// No more trials shall run, the last one having ended as `latest`.
    fn wants_to_stop(&self, latest: Outcome) -> bool;
}

impl<S: Sink> Sink for &Mutex<S> {
    fn starting(&mut self, trial: &Trial) {
        lock(self).starting(trial);
    }

    fn booted(&mut self, took: Duration) {
        lock(self).booted(took);
    }

    fn result(&mut self, result: TestResult) {
        lock(self).result(result);
    }

    fn not_run(&mut self, trials: usize, why: &str) {
        lock(self).not_run(trials, why);
    }

    fn wants_to_stop(&self, latest: Outcome) -> bool {
        lock(self).wants_to_stop(latest)
    }
}

fn lock<S>(sink: &Mutex<S>) -> MutexGuard<'_, S> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a run of trials ended before its time.
#[derive(Debug)]
enum Stop {
    /// The sink does not want any more.
    Enough,
    /// The guest does not come up.
    NoGuest,
    /// The deadline of the run.
    TimeUp,
}

impl Setup {
    /// Starts a guest with `cpus` CPUs, from a snapshot if there is one.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started, or the console cannot be recorded.
    pub fn start(&self, cpus: usize, snapshot: Option<&Snapshot>) -> Result<Session<'_>> {
        let machine = Machine { cpus, ..self.machine.clone() };
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let state = snapshot.map(Snapshot::feed).transpose().context("cannot make a socket for the guest's state")?;
        let guest = Guest::start(&self.qemu, &machine, state.as_ref(), self.verbose)?;
        Session::new(guest, &log_path(&self.logs, number)?, &self.detector, &self.deadlines)
    }

    /// Boots a guest; none if it did not come up, which has been reported.
    fn boot(&self, cpus: usize, sink: &mut impl Sink) -> Result<Option<Session<'_>>> {
        let mut session = self.start(cpus, None)?;
        match session.boot()? {
            Ok(()) => {
                sink.booted(session.boot_time());
                Ok(Some(session))
            }
            Err(Stillborn { result }) => {
                sink.result(result);
                Ok(None)
            }
        }
    }

    /// Reports what the kernel's own tests found while it booted.
    fn report_kunit(&self, kunit: Vec<Nested>, sink: &mut impl Sink) {
        if self.kunit_told.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.debug && kunit.is_empty() {
            let why = "the kernel ran no KUnit test while it booted, and the debug configuration has some";
            sink.result(TestResult::own("kunit", Outcome::Fail, Some(why.to_owned())));
        }
        for test in kunit {
            let (outcome, message) = match (test.failure, test.skip) {
                (Some(failure), _) => (Outcome::Fail, Some(failure)),
                (None, Some(reason)) => (Outcome::Skip, Some(reason)),
                (None, None) => (Outcome::Pass, None),
            };
            sink.result(TestResult::own(&format!("kunit/{}", test.name), outcome, message));
        }
    }

    fn check_time(&self) -> Result<(), Stop> {
        if self.until.is_none_or(|until| Instant::now() < until) { Ok(()) } else { Err(Stop::TimeUp) }
    }
}

/// Runs every round in one guest with `cpus` CPUs, and in another one where a case has killed the first.
///
/// # Errors
///
/// On Ctrl-C, when QEMU cannot be started, or when the disk is full.
pub fn in_one_guest(
    setup: &Setup,
    cpus: usize,
    rounds: impl Iterator<Item = Vec<Trial>>,
    sink: &mut impl Sink,
) -> Result<()> {
    let mut shared = Shared { setup, cpus, session: None, pending: None };
    for round in rounds {
        let mut left = VecDeque::from(round);
        if let Err(stop) = shared.round(&mut left, sink)? {
            tell(&stop, left.len(), sink);
            break;
        }
    }
    shared.finish(sink)
}

fn tell(stop: &Stop, left: usize, sink: &mut impl Sink) {
    match stop {
        Stop::Enough => {}
        Stop::NoGuest => sink.not_run(left, "the guest does not boot"),
        Stop::TimeUp => sink.not_run(left, "the run is past its deadline; --timeout-scale gives it more"),
    }
}

/// A guest that runs one case after the other.
struct Shared<'run> {
    setup: &'run Setup,
    cpus: usize,
    session: Option<Session<'run>>,
    /// The last result. What the kernel says until the next case starts still belongs to it.
    pending: Option<TestResult>,
}

impl<'run> Shared<'run> {
    fn round(&mut self, left: &mut VecDeque<Trial>, sink: &mut impl Sink) -> Result<Result<(), Stop>> {
        let mut planned = false;
        while let Some(trial) = left.front().cloned() {
            if let Err(stop) = self.setup.check_time() {
                return Ok(Err(stop));
            }
            let Some(mut session) = self.session(left.len(), planned, sink)? else { return Ok(Err(Stop::NoGuest)) };
            planned = true;
            sink.starting(&trial);
            let end = session.case(&trial)?;
            left.pop_front();
            self.conclude_pending(end.before, sink);
            let latest = end.result.outcome;
            self.pending = Some(end.result);
            if end.alive {
                self.session = Some(session);
            } else {
                self.conclude_pending(Stretch::default(), sink);
                planned = false;
            }
            if sink.wants_to_stop(latest) {
                return Ok(Err(Stop::Enough));
            }
        }
        Ok(Ok(()))
    }

    /// The guest, booted and with `cases` cases announced.
    fn session(&mut self, cases: usize, planned: bool, sink: &mut impl Sink) -> Result<Option<Session<'run>>> {
        if let Some(mut session) = self.session.take() {
            if planned || session.plan_more(cases, self.setup.missing)? {
                return Ok(Some(session));
            }
            self.conclude_pending(session.take_stretch(), sink);
        }
        let Some(mut session) = self.setup.boot(self.cpus, sink)? else { return Ok(None) };
        self.setup.report_kunit(session.take_kunit(), sink);
        match session.greet(cases, self.setup.missing)? {
            Ok(()) => {
                self.pending = Some(boot_result(Stretch::default(), session.boot_time()));
                Ok(Some(session))
            }
            Err(Stillborn { result }) => {
                sink.result(result);
                Ok(None)
            }
        }
    }

    fn conclude_pending(&mut self, after: Stretch, sink: &mut impl Sink) {
        let Some(mut result) = self.pending.take() else { return };
        after.add_to(&mut result);
        report(result, sink);
    }

    fn finish(mut self, sink: &mut impl Sink) -> Result<()> {
        if let Some(session) = self.session.take() {
            let (after, checks) = session.finish(self.setup.debug)?;
            self.conclude_pending(after, sink);
            report(checks, sink);
        }
        self.conclude_pending(Stretch::default(), sink);
        Ok(())
    }
}

/// Reports a result; what the harness looks after itself only where there is something to say.
fn report(result: TestResult, sink: &mut impl Sink) {
    if !(result.spec.is_empty() && result.outcome == Outcome::Pass) {
        sink.result(result);
    }
}

/// Runs every trial in a guest of its own with `cpus` CPUs; all of them start from the state of one that has booted.
///
/// # Errors
///
/// As for [`in_one_guest`], and when QEMU cannot write the state.
pub fn in_a_guest_each(
    setup: &Setup,
    cpus: usize,
    mut rounds: impl Iterator<Item = Vec<Trial>>,
    sink: &mut impl Sink,
) -> Result<()> {
    let Some(first) = rounds.next() else { return Ok(()) };
    let Some(mut session) = setup.boot(cpus, sink)? else {
        sink.not_run(first.len(), "the guest does not boot");
        return Ok(());
    };
    setup.report_kunit(session.take_kunit(), sink);
    let booted = session.boot_time();
    report(boot_result(session.take_stretch(), booted), sink);
    let snapshot = Snapshot::take(session.into_guest())?;
    for round in std::iter::once(first).chain(rounds) {
        let mut left = VecDeque::from(round);
        while let Some(trial) = left.pop_front() {
            if let Err(stop) = setup.check_time() {
                tell(&stop, left.len() + 1, sink);
                return Ok(());
            }
            sink.starting(&trial);
            let session = setup.start(cpus, Some(&snapshot))?;
            let result = in_its_own_guest(setup, session, booted, &trial)?;
            let latest = result.outcome;
            sink.result(result);
            if sink.wants_to_stop(latest) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn in_its_own_guest(setup: &Setup, mut session: Session<'_>, booted: Duration, trial: &Trial) -> Result<TestResult> {
    session.resume(booted);
    if let Err(Stillborn { mut result }) = session.greet(1, setup.missing)? {
        result.name = trial.id();
        result.spec.clone_from(&trial.case.spec);
        return Ok(result);
    }
    let end = session.case(trial)?;
    let mut result = end.result;
    end.before.add_to(&mut result);
    if end.alive {
        let (after, checks) = session.finish(false)?;
        after.add_to(&mut result);
        if checks.outcome != Outcome::Pass && result.outcome.is_good() {
            (result.outcome, result.message) = (checks.outcome, checks.message);
            result.kernel_log.extend(checks.kernel_log);
        }
    }
    Ok(result)
}
