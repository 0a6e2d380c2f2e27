//! `cargo xtask test`: the suite, in guests.

use std::{
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow};
use loopfs_protocol::{CaseInfo, Missing};

use super::{
    Task,
    guest_options::{GuestOptions, Prepared},
    reproduce,
};
use crate::{
    ctx::Ctx,
    error::Failure,
    kconfig::Flavour,
    kernel::{patched::Order, selftest},
    progress::{self, seconds},
    splat::Detector,
    suite::{
        binary,
        comparison::Differences,
        deadline::Deadlines,
        drive::{Setup, in_a_guest_each, in_one_guest},
        json, junit, kselftest,
        plan::{Trial, select, shuffle},
        report::{Again, Reporter},
    },
    vm::initramfs::Initramfs,
};

/// How many cases take longer than a boot.
const WORTH_A_GUEST: usize = 16;

/// How many times the deadline of a case the kernel tree's self-test may take, which has dozens of them.
const PATIENCE: u32 = 30;

/// Runs the suite in guests and tells how each case ended
///
/// Example: cargo xtask test --config debug unlink U1
#[derive(Debug, clap::Args)]
pub struct Test {
    /// Run only cases whose name contains this, or that cover this line of SPEC.md.
    filter: Vec<String>,
    /// The kernel configuration.
    #[arg(long, value_enum, default_value_t = Flavour::Default)]
    config: Flavour,
    /// Run Debian's own programs and container managers against the driver, in a guest that has them, and compare
    /// loopfs with the stock loop driver; short for --config clients.
    #[arg(long, conflicts_with = "config")]
    clients: bool,
    /// What keeps cases apart: processes in one guest, or a guest each.
    #[arg(long, value_enum, default_value_t)]
    isolate: Isolate,
    /// Run this many guests side by side; by default as many as the host has CPUs for.
    #[arg(long, short, value_name = "GUESTS", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// List the cases, and run none.
    #[arg(long)]
    list: bool,
    /// Run everything this many times.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,
    /// Repeat, without end unless --repeat names one, until something fails.
    #[arg(long)]
    until_fail: bool,
    /// Run in another order each time; the seed is printed, and gives the same orders again.
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true)]
    shuffle: Option<Option<u64>>,
    /// Write a report for CI systems to this file.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write all that is known about the run to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run the self-test of loopfs that is in the kernel's tree, in place of the suite.
    #[arg(long, conflicts_with_all = ["filter", "isolate", "jobs", "list", "repeat", "until_fail", "shuffle", "skip_unmet"])]
    kselftest: bool,
    /// Skip the cases whose needs the kernel does not meet, as for a kernel without loopfs; otherwise they fail.
    #[arg(long)]
    skip_unmet: bool,
    /// Multiply every deadline by this.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = positive)]
    timeout_scale: f64,
    // Last: what follows would stand under its heading.
    #[command(flatten)]
    guest: GuestOptions,
}

/// What keeps cases apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Isolate {
    /// One guest; each case has its own processes and namespaces.
    #[default]
    Process,
    /// A guest for each case, all from one snapshot.
    Vm,
}

fn host_cpus() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if factor > 0.0 && f64::is_finite(factor) => Ok(factor),
        _ => Err("a factor is a number above 0, such as 2.5".to_owned()),
    }
}

impl Task for Test {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let program = self.guest.suite(ctx)?;
        let cases = binary::cases(&program, self.flavour(), ctx.verbose)?;
        if self.list {
            list(&select(&cases, &self.filter).context(Failure::Usage)?);
            return Ok(());
        }
        if self.kselftest {
            return self.run_kselftest(ctx, &program, &cases);
        }
        let trials = select(&cases, &self.filter).context(Failure::Usage)?;
        let (guest, told) = self.guest.prepare(ctx, self.flavour(), &Initramfs::new(&program), &cases)?;
        progress::say(&told);
        let setup = self.setup(ctx, guest)?;

        let seed = self.seed();
        if let Some(seed) = seed {
            progress::say(&format!("order: shuffled, --shuffle={seed} gives it again"));
        }
        let mut reporter = Reporter::new(self.total(trials.len()), self.until_fail, Self::again(&setup));
        if self.flavour() == Flavour::Clients {
            reporter = reporter.comparing(Differences::read(ctx.root())?);
        }
        let reporter = Mutex::new(reporter);
        self.drive(&setup, trials, seed, &reporter)?;
        self.conclude(&setup, seed, reporter.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Test {
    /// Runs the self-test of the kernel's tree.
    fn run_kselftest(&self, ctx: &Ctx, program: &Path, cases: &[CaseInfo]) -> Result<()> {
        let order = Order { flavour: self.flavour(), from: self.guest.source(), loopfs: true, cases };
        let mut root = Initramfs::new(program);
        root.file(kselftest::PROGRAM, &selftest::build_patched(ctx, &order)?);
        let (mut guest, told) = self.guest.prepare(ctx, self.flavour(), &root, cases)?;
        progress::say(&told);
        guest.machine.with_streams = true;
        let setup = self.setup(ctx, guest)?;
        let mut reporter = Reporter::new(None, false, Self::again(&setup));
        let mut session = setup.start(self.guest.cpus().unwrap_or(1), None)?;
        kselftest::run(&mut session, setup.deadlines.case(Duration::ZERO, PATIENCE), &mut reporter)?;
        self.conclude(&setup, None, reporter)
    }

    /// Writes the reports, and tells how it all ended.
    fn conclude(&self, setup: &Setup, seed: Option<u64>, reporter: Reporter) -> Result<()> {
        let boots: Vec<u64> = reporter.boots().iter().map(|boot| boot.as_millis() as u64).collect();
        let (results, summary) = (reporter.results(), reporter.summary());
        if let Some(file) = &self.junit {
            junit::write(results, &self.flavour().to_string(), file)?;
        }
        if let Some(file) = &self.json {
            let report = json::Report {
                kernel: &setup.machine.kernel,
                config: &self.flavour().to_string(),
                accelerator: setup.machine.accel.name(),
                qemu: setup.qemu.version(),
                seed,
                boots_ms: &boots,
                summary,
                comparison: reporter.comparison(),
                results,
            };
            report.write(file)?;
        }
        reporter.close();
        match summary.failure() {
            None => Ok(()),
            Some(failure) => Err(anyhow!("{}", summary.error()).context(failure)),
        }
    }

    fn flavour(&self) -> Flavour {
        if self.clients { Flavour::Clients } else { self.config }
    }

    fn setup(&self, ctx: &Ctx, guest: Prepared) -> Result<Setup> {
        let debug = self.flavour() == Flavour::Debug;
        let scale = if guest.machine.gdb.is_some() { 1e6 } else { self.timeout_scale };
        let deadlines = Deadlines::new(scale, debug);
        let run = deadlines.run(self.rounds().try_into().ok());
        let told = format!(
            "deadlines: {} to boot, {} and more for a case, {} for the run",
            seconds(deadlines.boot()),
            seconds(deadlines.case(Duration::ZERO, 1)),
            run.map_or_else(|| "none".to_owned(), seconds),
        );
        progress::say(if guest.machine.gdb.is_some() { "deadlines: none, because of the debugger" } else { &told });
        Ok(Setup {
            qemu: guest.qemu,
            machine: guest.machine,
            detector: Detector::from_file(&ctx.root().join("ci/splats.toml"))?,
            until: run.map(|run| Instant::now() + run),
            deadlines,
            missing: match (self.skip_unmet, debug) {
                (true, _) => Missing::Skip,
                (false, true) => Missing::Fail,
                (false, false) => Missing::FailUnlessDebugOnly,
            },
            debug,
            logs: guest.logs,
            started: AtomicUsize::new(0),
            kunit_told: AtomicBool::new(false),
            verbose: ctx.verbose,
        })
    }

    /// Runs the trials in as many guests as their needs for CPUs make it.
    fn drive(&self, setup: &Setup, trials: Vec<Trial>, seed: Option<u64>, reporter: &Mutex<Reporter>) -> Result<()> {
        let shares = self.by_cpus(trials).into_iter().map(|(cpus, trials)| {
            let jobs = self.jobs(cpus, trials.len());
            (0..jobs).map(|job| (cpus, trials.iter().skip(job).step_by(jobs).cloned().collect())).collect()
        });
        let groups: Vec<Vec<(usize, Vec<Trial>)>> = shares.collect();
        // Cases mostly wait for grace periods, so that guests with one CPU and with two get along on few CPUs. What
        // the debugging costs is CPU time; the same for a guest for each case, which boots and does not wait.
        if setup.debug || self.isolate == Isolate::Vm || self.jobs.is_some() {
            groups.into_iter().try_for_each(|group| self.drive_side_by_side(setup, group, seed, reporter))
        } else {
            self.drive_side_by_side(setup, groups.into_iter().flatten().collect(), seed, reporter)
        }
    }

    /// Runs each share of the trials in a guest of as many CPUs, at the same time.
    fn drive_side_by_side(
        &self,
        setup: &Setup,
        shares: Vec<(usize, Vec<Trial>)>,
        seed: Option<u64>,
        reporter: &Mutex<Reporter>,
    ) -> Result<()> {
        // Every thread starts its guests itself and lives longer than they do: a guest ends with the thread.
        thread::scope(|scope| {
            let jobs: Vec<_> = shares
                .into_iter()
                .map(|(cpus, share)| scope.spawn(move || self.drive_share(setup, cpus, &share, seed, reporter)))
                .collect();
            let ended = jobs.into_iter().map(|job| job.join().unwrap_or_else(|panic| resume_unwind(panic)));
            // All of them are waited for, and the first error is told.
            ended.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// Runs a share of the trials, one after the other.
    fn drive_share(
        &self,
        setup: &Setup,
        cpus: usize,
        share: &[Trial],
        seed: Option<u64>,
        mut reporter: &Mutex<Reporter>,
    ) -> Result<()> {
        let rounds = (0..self.rounds()).map(|round| {
            let mut trials = share.to_vec();
            if let Some(seed) = seed {
                shuffle(&mut trials, seed, round);
            }
            trials
        });
        match self.isolate {
            Isolate::Process => in_one_guest(setup, cpus, rounds, &mut reporter),
            Isolate::Vm => in_a_guest_each(setup, cpus, rounds, &mut reporter),
        }
    }

    /// How many guests of `cpus` CPUs share `trials` trials.
    fn jobs(&self, cpus: usize, trials: usize) -> usize {
        match self.jobs {
            _ if self.guest.has_debugger() => 1,
            Some(jobs) => usize::from(jobs).min(trials),
            // More CPUs than the host's would wait for each other, and a guest for a few cases is not worth its boot.
            None => (host_cpus() / cpus).min(trials / WORTH_A_GUEST).max(1),
        }
    }

    /// A guest with one CPU boots faster; those cases that race get one with two.
    fn by_cpus(&self, trials: Vec<Trial>) -> Vec<(usize, Vec<Trial>)> {
        // Also on a host with one CPU: TCG takes turns then, and the cases can run.
        let most = self.guest.cpus().unwrap_or(2);
        let (smp, single): (Vec<_>, Vec<_>) = trials.into_iter().partition(|trial| trial.case.wants_smp());
        // Repeating until a failure has no end, so that a second guest would never come.
        if self.guest.cpus().is_some() || self.until_fail || single.is_empty() {
            let cpus = if smp.is_empty() { self.guest.cpus().unwrap_or(1) } else { most };
            return vec![(cpus, single.into_iter().chain(smp).collect())];
        }
        [(1, single), (most, smp)].into_iter().filter(|(_, trials)| !trials.is_empty()).collect()
    }

    fn rounds(&self) -> u64 {
        match (self.until_fail, self.repeat) {
            (true, None) => u64::MAX,
            (_, repeat) => repeat.unwrap_or(1).into(),
        }
    }

    /// How many cases will run, if that is known.
    fn total(&self, trials: usize) -> Option<usize> {
        usize::try_from(self.rounds()).ok().filter(|rounds| *rounds < 1 << 32).map(|rounds| rounds * trials)
    }

    fn seed(&self) -> Option<u64> {
        self.shuffle.map(|seed| {
            seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 100_000)
        })
    }

    fn again(setup: &Setup) -> Again {
        let mut command: Vec<String> = ["cargo", "xtask", "test"].map(str::to_owned).into();
        command.extend(reproduce::options::<Self>("test", &NOT_REPEATED, std::env::args_os()));
        Again { command, logs: setup.logs.clone() }
    }
}

/// Options that choose cases, or decide what happens to the results: a command that runs one case again has none.
const NOT_REPEATED: [&str; 8] = ["filter", "jobs", "list", "repeat", "until_fail", "shuffle", "junit", "json"];

fn list(trials: &[Trial]) {
    let mut cases: Vec<(&CaseInfo, Vec<&str>)> = Vec::new();
    for trial in trials {
        match cases.last_mut().filter(|(case, _)| case.name == trial.case.name) {
            Some((_, who)) => who.push(&trial.who),
            None => cases.push((&trial.case, vec![&trial.who])),
        }
    }
    for (case, who) in &cases {
        progress::show(&format!("{:<12} {} ({})", case.spec.join(","), case.name, who.join(", ")));
    }
    progress::show(&format!("{} cases, {} trials", cases.len(), trials.len()));
}
