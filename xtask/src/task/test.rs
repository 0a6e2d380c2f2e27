//! `cargo xtask test`: the suite, in guests.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow};
use loopfs_protocol::{CaseInfo, Missing};

use crate::{
    ctx::Ctx,
    error::Failure,
    guest::initramfs::Initramfs,
    kernel::config::Flavour,
    prepare::{
        guest::{GuestOptions, Prepared},
        patched_kernel::Order,
        selftest,
    },
    progress::{self, seconds},
    suite::{
        binary,
        comparison::Differences,
        drive::Setup,
        json, junit, kselftest,
        plan::{Trial, select},
        report::{Again, Reporter},
        schedule::{Isolate, Schedule},
    },
    task::{Task, reproduce},
};

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
        self.schedule(seed).run(&setup, trials, &reporter)?;
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
        let missing = match (self.skip_unmet, self.flavour()) {
            (true, _) => Missing::Skip,
            (false, Flavour::Debug) => Missing::Fail,
            (false, _) => Missing::FailUnlessDebugOnly,
        };
        let setup = guest.setup(ctx, self.flavour(), self.timeout_scale, self.rounds(), missing)?;
        let deadlines = &setup.deadlines;
        let told = format!(
            "deadlines: {} to boot, {} and more for a case, {} for the run",
            seconds(deadlines.boot()),
            seconds(deadlines.case(Duration::ZERO, 1)),
            deadlines.run(self.rounds().try_into().ok()).map_or_else(|| "none".to_owned(), seconds),
        );
        progress::say(if self.guest.has_debugger() { "deadlines: none, because of the debugger" } else { &told });
        Ok(setup)
    }

    fn schedule(&self, seed: Option<u64>) -> Schedule {
        Schedule {
            isolate: self.isolate,
            jobs: self.jobs.map(usize::from),
            cpus: self.guest.cpus(),
            rounds: self.rounds(),
            until_fail: self.until_fail,
            seed,
            debugger: self.guest.has_debugger(),
            ..Schedule::default()
        }
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
