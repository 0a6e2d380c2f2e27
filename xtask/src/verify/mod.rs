//! `series verify`: every prefix of the series, from the bare base on, applies, configures, builds with the option on
//! and off without a new warning, boots, and passes the cases that apply at that point; and every patch passes the
//! checkers that maintainers run.
//!
//! What was found out is kept by what decides it, each finding at once, so that an interrupted run goes on where it was.
//! The tree goes along the series once. Each kind of build has a folder of its own, which holds the objects of the step
//! before, so that a step costs what its patch changes and a changed patch costs itself and those after it.

pub mod absent;
pub mod boot;
pub mod build;
pub mod build_log;
pub mod compile_checkers;
pub mod evidence;
pub mod file_checkers;
pub mod gate;
pub mod neighbour;
pub mod object;
pub mod patch_checks;
pub mod sparse;
pub mod table;
pub mod warnings;
pub mod whole_suite;

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Result, anyhow};
use loopfs_protocol::CaseInfo;
use serde::Serialize;

use crate::{
    ctx::Ctx,
    error::Failure,
    gate::Verdict,
    git::Git,
    kernel::{config::Flavour, option::OptionState},
    progress::{say, seconds},
    series::{
        folder::{Folder, PATCHES},
        tree::{self, Prefix, Tree},
    },
    source::Base,
    toolchain::{Toolchain, version::Minimum},
};
use boot::{History, Manner, RunSuite};
use build::Built;
use gate::{Gate, Subject};
use patch_checks::Checkpatch;
use warnings::Warnings;
use whole_suite::Whole;

/// What to verify, and how.
#[derive(Clone, Debug)]
pub struct Order {
    /// What each patch has to pass.
    pub gates: BTreeSet<Gate>,
    /// The suite's program.
    pub suite: PathBuf,
    /// Its cases.
    pub cases: Vec<CaseInfo>,
    /// What runs it.
    pub run_suite: Arc<dyn RunSuite>,
}

/// Whether the option for loopfs is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// Off.
    Off,
    /// On.
    On,
    /// On, by a prompt added for the trial: at this point of the series nobody can turn it on yet.
    Forced,
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "option off",
            Self::On => "option on",
            Self::Forced => "option on by force",
        })
    }
}

/// What was found about one prefix: the base, or the series up to a patch.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// How many patches it has.
    pub number: usize,
    /// The name of its last patch, or that of the base.
    pub name: String,
    /// Lines its last patch adds.
    pub lines: Lines,
    /// With the option off, and on where there is one.
    pub builds: Vec<Built>,
    /// What the checkers say of its last patch.
    pub gates: Vec<(Gate, Verdict)>,
}

/// Lines that a patch adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// Of C.
    pub c: usize,
    /// Of Rust.
    pub rust: usize,
    /// Of documentation.
    pub docs: usize,
}

impl Step {
    /// Whether nothing is wrong with it.
    pub fn is_good(&self) -> bool {
        self.builds.iter().all(Built::is_good) && !self.gates.iter().any(|(_, verdict)| verdict.is_bad())
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The base's version.
    pub version: String,
    /// The base and each prefix.
    pub steps: Vec<Step>,
    /// How the whole series ran in the configurations that people test.
    pub whole: Vec<Whole>,
    /// What is wrong with no patch in particular.
    pub faults: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty() && self.steps.iter().all(Step::is_good)
    }
}

/// Verifies the series on `base` with the tools of this machine.
///
/// # Errors
///
/// As [`verify_with`], and when tools are missing.
pub fn verify(ctx: &Ctx, base: &Base, order: &Order) -> Result<Report> {
    let tree = tree::any_prefix(ctx, base)?;
    let toolchain = Toolchain::ensure(ctx, Minimum::of_tree(&tree, ctx.verbose)?)?;
    verify_with(ctx, base, order, &toolchain)
}

/// Verifies the series on `base` with `toolchain`.
///
/// # Errors
///
/// [`Failure::Series`] when the series does not apply, [`Failure::Environment`] when tools are missing, or on Ctrl-C.
/// What is wrong with a patch is in the report, and the patches after it are tried all the same.
pub fn verify_with(ctx: &Ctx, base: &Base, order: &Order, toolchain: &Toolchain) -> Result<Report> {
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    let prefixes = tree::prefixes(ctx, base)?;
    let tree = tree::any_prefix(ctx, base)?;
    let site = Site { ctx, base, order, toolchain, prefixes: &prefixes, tree };

    let subjects: Vec<Subject<'_>> = folder
        .entries
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| Some(Subject { number: index + 1, entry, patch: entry.patch.as_ref().ok()? }))
        .collect();
    let mut walk =
        Walk { site: &site, built: Warnings::default(), linted: Default::default(), ran: History::default() };
    let mut checkpatch = Checkpatch::new(&site)?;
    let mut report = Report { version: base.version.clone(), steps: Vec::new(), whole: Vec::new(), faults: Vec::new() };
    for number in 0..prefixes.len() {
        let subject = number.checked_sub(1).map(|index| &subjects[index]);
        let start = std::time::Instant::now();
        let mut step = Step {
            number,
            name: subject.map_or_else(|| format!("Linux {}", base.version), |s| s.entry.stem().to_owned()),
            lines: subject.map(|subject| lines(subject.patch)).unwrap_or_default(),
            builds: Vec::new(),
            gates: Vec::new(),
        };
        walk.build(&mut step)?;
        match subject {
            None => walk.linted.start(&site, &subjects)?,
            Some(subject) => {
                step.gates.extend(patch_checks::judge(&site, subject, &mut checkpatch)?);
                step.gates.extend(walk.linted.judge(&site, subject)?);
            }
        }
        if number + 1 == prefixes.len() {
            walk.conclude(&mut step, &subjects, &mut report)?;
        }
        tell(&step, prefixes.len() - 1, start.elapsed());
        report.steps.push(step);
    }
    if order.gates.contains(&Gate::Checkpatch) {
        report.faults.extend(checkpatch.idle());
    }
    Ok(report)
}

/// Says in one paragraph how a step fares.
fn tell(step: &Step, of: usize, took: std::time::Duration) {
    let bad: Vec<String> =
        step.gates.iter().filter(|(_, verdict)| verdict.is_bad()).map(|(gate, _)| gate.to_string()).collect();
    let gates = step.gates.iter().filter(|(_, verdict)| !verdict.is_skipped()).count();
    say(&format!("[{}/{of}] {} ({})", step.number, step.name, seconds(took)));
    for built in &step.builds {
        say(&format!("    {built}"));
    }
    if bad.is_empty() {
        say(&format!("    {gates} checks passed"));
    } else {
        say(&format!("    FAILED: {}", bad.join(", ")));
    }
    // At once, and not only at the end of an hour.
    for line in table::faults(step) {
        say(&format!("    {line}"));
    }
}

/// What is learned on the way along the series.
#[derive(Debug)]
struct Walk<'a> {
    site: &'a Site<'a>,
    built: Warnings,
    linted: compile_checkers::Walk,
    ran: History,
}

impl Walk<'_> {
    /// Builds and boots the prefix of `step`, with the option off, and on where there is one.
    fn build(&mut self, step: &mut Step) -> Result<()> {
        let site = self.site;
        if !site.wants(Gate::Build) {
            return Ok(());
        }
        let number = step.number;
        for switch in std::iter::once(Switch::Off).chain(site.switch_on(number)) {
            let (mut built, record) = build::build(site, number, switch, &mut self.built)?;
            if let Some(record) = record {
                if switch == Switch::Off && site.wants(Gate::Absent) && number > 0 {
                    step.gates.push((Gate::Absent, absent::symbols(&record.own)));
                }
                if site.wants(Gate::Boot) {
                    let is_last = number + 1 == site.prefixes.len();
                    let name = format!("prefix {number}, {switch}");
                    let manner = Manner { flavour: Flavour::Default, skip_unmet: true };
                    let vmlinux = || build::vmlinux(site, number, switch);
                    let is_good = |ran: &boot::Ran| self.ran.judge(ran, is_last).is_good();
                    let ran = boot::run(site, &record.vmlinux, &name, manner, vmlinux, is_good)?;
                    built.boot = Some(self.ran.judge(&ran, is_last));
                    self.ran.learn(&ran, number);
                }
            }
            step.builds.push(built);
        }
        Ok(())
    }

    /// What only the whole series can show.
    fn conclude(&mut self, step: &mut Step, subjects: &[Subject<'_>], report: &mut Report) -> Result<()> {
        if self.site.wants(Gate::Absent) && step.number > 0 {
            let verdict = absent::object(self.site, &mut report.faults)?;
            let so_far = step.gates.iter_mut().find(|(gate, _)| *gate == Gate::Absent);
            match so_far {
                Some((_, before)) => *before = std::mem::replace(before, Verdict::Passed).and(verdict),
                None => step.gates.push((Gate::Absent, verdict)),
            }
        }
        if self.site.wants(Gate::Neighbours) && step.number > 0 {
            step.gates.push((Gate::Neighbours, neighbour::judge(self.site, subjects)?));
        }
        for gate in [Gate::Suite, Gate::Kunit] {
            if self.site.wants(gate) && self.site.switch_on(step.number).is_some() {
                let (verdict, whole) = whole_suite::run(self.site, gate)?;
                step.gates.push((gate, verdict));
                report.whole.extend(whole);
            }
        }
        Ok(())
    }
}

/// What all steps have in common.
#[derive(Debug)]
pub struct Site<'a> {
    /// Where this runs.
    pub ctx: &'a Ctx,
    /// What the series starts from.
    pub base: &'a Base,
    /// What is wanted.
    pub order: &'a Order,
    /// What kernels are built with.
    pub toolchain: &'a Toolchain,
    /// The base and each prefix.
    pub prefixes: &'a [Prefix],
    /// The tree that is moved along the series.
    pub tree: PathBuf,
}

impl Site<'_> {
    /// Moves the tree to the prefix of `number` patches.
    ///
    /// # Errors
    ///
    /// When the patches were changed since this run has started: what it found would be kept under a wrong name.
    pub fn prepare(&self, number: usize, switch: Switch) -> Result<Tree> {
        let tree = tree::prepare_trial(self.ctx, self.base, number, switch == Switch::Forced)?;
        if tree.commit != self.prefixes[number].commit {
            return Err(
                anyhow!("{PATCHES}/ was changed while it was being verified: start again").context(Failure::Series)
            );
        }
        Ok(tree)
    }

    /// Whether a gate was chosen.
    pub fn wants(&self, gate: Gate) -> bool {
        self.order.gates.contains(&gate)
    }

    /// How the option can be on with `number` patches, if it can.
    pub fn switch_on(&self, number: usize) -> Option<Switch> {
        match self.prefixes[number].option {
            OptionState::Absent => None,
            OptionState::Hidden => Some(Switch::Forced),
            OptionState::Offered => Some(Switch::On),
        }
    }

    /// What identifies the sources of a prefix, with the prompt that [`Switch::Forced`] adds.
    pub fn tree_key(&self, number: usize, switch: Switch) -> String {
        let tree = &self.prefixes[number].tree;
        if switch == Switch::Forced { format!("{tree} with a prompt") } else { tree.clone() }
    }

    /// The content of the file `path` of the prefix of `number` patches, if it has such a file.
    ///
    /// # Errors
    ///
    /// When git cannot be started.
    pub fn content(&self, number: usize, path: &str) -> Result<Option<Vec<u8>>> {
        let git = Git::new(&self.tree, self.ctx.verbose);
        let output = git.attempt(["cat-file", "blob", &format!("{}:{path}", self.prefixes[number].commit)])?;
        Ok(output.status.success().then_some(output.stdout))
    }
}

fn lines(patch: &crate::series::patch::Patch) -> Lines {
    let mut lines = Lines::default();
    for file in &patch.files {
        let (added, _) = file.churn();
        match Path::new(&file.path).extension().and_then(|ending| ending.to_str()) {
            Some("c" | "h") => lines.c += added,
            Some("rs") => lines.rust += added,
            Some("rst") => lines.docs += added,
            _ => {}
        }
    }
    lines
}

/// Keeps the table of `report` beside the patches if no gate was left out and all were passed, and takes back what was
/// kept if not.
///
/// # Errors
///
/// When the file cannot be written.
pub fn keep_evidence(ctx: &Ctx, base: &Base, order: &Order, report: &Report) -> Result<()> {
    use clap::ValueEnum as _;
    let complete = Gate::value_variants().iter().all(|gate| order.gates.contains(gate));
    match (report.is_good(), complete) {
        (true, true) => evidence::keep(ctx.root(), base, &table::plain(report)),
        (true, false) => Ok(()),
        (false, _) => evidence::withdraw(ctx.root(), base),
    }
}

/// The error of a report that is not good.
pub fn failure(report: &Report) -> anyhow::Error {
    let bad: Vec<&str> = report.steps.iter().filter(|step| !step.is_good()).map(|step| step.name.as_str()).collect();
    let what =
        if bad.is_empty() { report.faults.join("; ") } else { format!("something is wrong with {}", bad.join(", ")) };
    anyhow!(what).context(Failure::Series)
}
