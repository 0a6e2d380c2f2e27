//! Boots a built prefix and runs the suite on it.
//!
//! Which cases apply to a prefix shows when they run. One whose needs are not met is skipped. One that needs what a later
//! patch brings fails, and that is no fault, as long as it has not passed before: from the prefix on at which a case
//! passes, it has to pass at every later one, and at the end of the series all have to. A crash, a hang or a splat is a
//! fault wherever it comes.

use std::{
    collections::BTreeMap,
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use loopfs_protocol::Missing;
use serde::{Deserialize, Serialize};

use crate::{
    cache::{self, Key},
    ctx::Ctx,
    guest::initramfs::Initramfs,
    interrupt,
    kernel::config::Flavour,
    prepare::guest::GuestOptions,
    progress::Progress,
    suite::{
        drive::Sink,
        outcome::{Outcome, TestResult},
        plan::{Trial, select},
        schedule::Schedule,
    },
    verify::{Order, Site},
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

/// What a run of the suite said, as far as it is of interest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    /// How long each guest took to PID 1, in milliseconds.
    pub boots_ms: Vec<u64>,
    /// Every result.
    pub results: Vec<CaseResult>,
}

/// How one case ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseResult {
    /// Its name and as whom it ran.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, unless it passed.
    pub message: Option<String>,
    /// What the kernel said that must not be there.
    pub splats: usize,
    /// Whether it is a case of the suite, and not what the harness itself looks after.
    pub is_case: bool,
}

impl From<TestResult> for CaseResult {
    fn from(result: TestResult) -> Self {
        let TestResult { name, outcome, message, splats, spec, .. } = result;
        Self { name, outcome, message, splats: splats.len(), is_case: !spec.is_empty() }
    }
}

impl CaseResult {
    /// The case itself failed, and the kernel did not complain.
    fn is_plain_failure(&self) -> bool {
        self.outcome == Outcome::Fail && self.splats == 0 && self.is_case
    }

    fn told(&self) -> String {
        let why = self.message.as_deref().and_then(|message| message.lines().next());
        why.map_or_else(|| format!("{}: {}", self.name, self.outcome), |why| format!("{}: {why}", self.name))
    }
}

impl Ran {
    /// How many passed, and how many of these are the kernel's own tests.
    pub fn passed(&self) -> (usize, usize) {
        let passed: Vec<&CaseResult> = self.results.iter().filter(|result| result.outcome == Outcome::Pass).collect();
        (passed.len(), passed.iter().filter(|result| result.name.starts_with("kunit/")).count())
    }

    /// How many were skipped.
    pub fn skipped(&self) -> usize {
        self.results.iter().filter(|result| result.outcome == Outcome::Skip).count()
    }

    /// What did not pass, whatever the reason.
    pub fn failures(&self) -> Vec<String> {
        let bad = |result: &&CaseResult| !result.outcome.is_good();
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
        for result in ran.results.iter().filter(|result| !result.outcome.is_good()) {
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
        for result in ran.results.iter().filter(|result| result.outcome == Outcome::Pass) {
            self.passed.entry(result.name.clone()).or_insert(number);
        }
    }
}

/// How the suite is run on a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// The configuration of the kernel.
    pub flavour: Flavour,
    /// Cases whose needs are not met are skipped, and fail otherwise.
    pub skip_unmet: bool,
}

/// Runs the suite on a kernel: [`InGuests`], or what stands in for it in a test.
pub trait RunSuite: fmt::Debug {
    /// Runs the suite of `order` on the kernel `vmlinux`.
    ///
    /// # Errors
    ///
    /// When no guest can be started at all, or on Ctrl-C.
    fn run(&self, ctx: &Ctx, order: &Order, vmlinux: &Path, manner: Manner) -> Result<Ran>;
}

/// In guests.
#[derive(Clone, Copy, Debug)]
pub struct InGuests;

impl RunSuite for InGuests {
    fn run(&self, ctx: &Ctx, order: &Order, vmlinux: &Path, manner: Manner) -> Result<Ran> {
        in_guests(ctx, order, vmlinux, manner)
    }
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
    manner: Manner,
    vmlinux: impl FnOnce() -> Result<PathBuf>,
    is_good: impl Fn(&Ran) -> bool,
) -> Result<Ran> {
    let suite = &site.order.suite;
    let program = fs::read(suite).with_context(|| format!("cannot read {}", suite.display()))?;
    let splats = fs::read(site.ctx.root().join("ci/splats.toml")).unwrap_or_default();
    let key =
        Key::default().with("boot 3").with(hash).with(manner.flavour.to_string()).with(program).with(splats).name();
    if let Some(known) = cache::known(site.ctx.cache(), "boot", &key).filter(&is_good) {
        return Ok(known);
    }
    let ran = start(site, name, manner, &vmlinux()?)?;
    if is_good(&ran) {
        cache::keep(site.ctx.cache(), "boot", &key, &ran)?;
    }
    Ok(ran)
}

fn start(site: &Site<'_>, name: &str, manner: Manner, vmlinux: &Path) -> Result<Ran> {
    let progress = Progress::spinner(format!("run the suite on {name}"));
    // One kernel of dozens: that the harness falls over it must not end an hour's run.
    let ran = catch_unwind(AssertUnwindSafe(|| site.order.run_suite.run(site.ctx, site.order, vmlinux, manner)));
    interrupt::check()?;
    drop(progress);
    ran.unwrap_or_else(|_| bail!("the harness panicked, see above"))
        .with_context(|| format!("the suite does not run on {name}"))
}

fn in_guests(ctx: &Ctx, order: &Order, vmlinux: &Path, manner: Manner) -> Result<Ran> {
    let options = GuestOptions::of(vmlinux.to_owned(), order.suite.clone());
    let (guest, _) = options.prepare(ctx, manner.flavour, &Initramfs::new(&order.suite), &order.cases)?;
    let missing = match (manner.skip_unmet, manner.flavour) {
        (true, _) => Missing::Skip,
        (false, Flavour::Debug) => Missing::Fail,
        (false, _) => Missing::FailUnlessDebugOnly,
    };
    let setup = guest.setup(ctx, manner.flavour, 1.0, 1, missing)?;
    let ran = Mutex::new(Ran::default());
    Schedule::default().run(&setup, select(&order.cases, &[])?, &ran)?;
    Ok(ran.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Sink for Ran {
    fn starting(&mut self, _: &Trial) {}

    fn booted(&mut self, took: Duration) {
        self.boots_ms.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }

    fn result(&mut self, result: TestResult) {
        self.results.push(result.into());
    }

    fn not_run(&mut self, trials: usize, why: &str) {
        let message = Some(format!("{trials} cases did not run: {why}"));
        self.results.push(TestResult::own("suite", Outcome::Lost, message).into());
    }

    fn wants_to_stop(&self, _: Outcome) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(results: &[(&str, Outcome, usize)]) -> Ran {
        let result = |(name, outcome, splats): &(&str, Outcome, usize)| CaseResult {
            name: (*name).to_owned(),
            outcome: *outcome,
            message: Some("EBUSY\nmore".to_owned()),
            splats: *splats,
            is_case: true,
        };
        Ran { boots_ms: vec![1400, 1300], results: results.iter().map(result).collect() }
    }

    #[test]
    fn what_a_later_patch_brings_is_no_fault_before_it_but_at_the_end() {
        let ran = ran(&[("a/root", Outcome::Pass, 0), ("b/root", Outcome::Fail, 0), ("c/root", Outcome::Skip, 0)]);
        let boot = History::default().judge(&ran, false);
        assert_eq!((boot.boot_ms, boot.passed, boot.not_yet, boot.skipped), (Some(1300), 1, 1, 1));
        assert!(boot.is_good());
        assert_eq!(History::default().judge(&ran, true).faults, ["b/root: EBUSY"]);
    }

    #[test]
    fn a_case_that_has_passed_has_to_pass_from_then_on() {
        let mut history = History::default();
        history.learn(&ran(&[("a/root", Outcome::Pass, 0)]), 3);
        let boot = history.judge(&ran(&[("a/root", Outcome::Fail, 0)]), false);
        assert_eq!(boot.faults, ["a/root: EBUSY (it passes with 3 patches)"]);
    }

    #[test]
    fn a_crash_a_hang_and_a_splat_are_faults_wherever_they_come() {
        for (outcome, splats) in [(Outcome::Crash, 1), (Outcome::Hang, 0), (Outcome::Lost, 0), (Outcome::Fail, 1)] {
            let boot = History::default().judge(&ran(&[("a/root", outcome, splats)]), false);
            assert_eq!(boot.faults, ["a/root: EBUSY"], "{outcome}");
        }
    }

    #[test]
    fn what_is_kept_of_a_run_reads_the_same_again() {
        let before = ran(&[("a/root", Outcome::Fail, 1), ("kunit/x", Outcome::Pass, 0)]);
        let text = serde_json::to_string(&before).unwrap();
        let after: Ran = serde_json::from_str(&text).unwrap();
        assert_eq!(after.failures(), before.failures());
        assert_eq!((after.passed(), after.results[0].splats), ((1, 1), 1));
    }
}
