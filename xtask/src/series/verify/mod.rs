//! `series verify`: every prefix of the series, from the bare base on, applies, configures, builds with the option on
//! and off without a new warning, boots, and passes the cases that apply at that point; and every patch passes the
//! checkers that maintainers run.
//!
//! What was found out is kept by what decides it. Walking along the series, each step finds the build folder of the
//! step before, so that a changed patch costs itself and those after it.

pub mod boot;
pub mod build;
pub mod gate;
pub mod lint;
pub mod record;
pub mod table;
pub mod warnings;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use loopfs_protocol::CaseInfo;
use serde::Serialize;

use super::{
    folder::{Folder, PATCHES, state_dir},
    option::OptionState,
    tree::{self, Prefix, Tree},
};
use crate::{
    cache::Key,
    ctx::Ctx,
    error::Failure,
    kconfig::Flavour,
    progress::say,
    source::Base,
    toolchain::{Toolchain, version::Minimum},
};
use build::Built;
use gate::{Gate, Verdict};
use warnings::Warnings;

/// What to verify, and how.
#[derive(Clone, Debug)]
pub struct Order {
    /// The kernel configuration.
    pub flavour: Flavour,
    /// What each patch has to pass.
    pub gates: BTreeSet<Gate>,
    /// The suite's program.
    pub suite: PathBuf,
    /// Its cases.
    pub cases: Vec<CaseInfo>,
    /// The program whose task `test` runs the suite: this one.
    pub program: PathBuf,
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
    /// The kernel configuration.
    pub config: String,
    /// The base and each prefix.
    pub steps: Vec<Step>,
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

    let mut steps: Vec<Step> = prefixes
        .iter()
        .enumerate()
        .map(|(number, _)| {
            let entry = number.checked_sub(1).and_then(|index| folder.entries.get(index));
            let patch = entry.and_then(|entry| entry.patch.as_ref().ok());
            Step {
                number,
                name: entry.map_or_else(|| format!("Linux {}", base.version), |entry| entry.stem().to_owned()),
                lines: patch.map(lines).unwrap_or_default(),
                builds: Vec::new(),
                gates: Vec::new(),
            }
        })
        .collect();
    if order.gates.contains(&Gate::Build) {
        site.build_all(&mut steps)?;
    }
    let mut faults = Vec::new();
    gate::judge_all(&site, &folder, &mut steps, &mut faults)?;
    Ok(Report { version: base.version.clone(), config: order.flavour.to_string(), steps, faults })
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

    /// Builds and boots each prefix, first all with the option off, so that the option is switched only once.
    fn build_all(&self, steps: &mut [Step]) -> Result<()> {
        let mut known = Warnings::default();
        for on in [false, true] {
            for (number, step) in steps.iter_mut().enumerate() {
                let switch = match (on, self.prefixes[number].option) {
                    (false, _) => Switch::Off,
                    (true, OptionState::Absent) => continue,
                    (true, OptionState::Hidden) => Switch::Forced,
                    (true, OptionState::Offered) => Switch::On,
                };
                let built = build::build(self, number, switch, &mut known)?;
                say(&format!("[{number}/{}] {}, {built}", self.prefixes.len() - 1, step.name));
                step.builds.push(built);
            }
        }
        Ok(())
    }
}

fn lines(patch: &super::patch::Patch) -> Lines {
    let mut lines = Lines::default();
    for file in &patch.files {
        let added: usize = file.hunks.iter().map(|hunk| hunk.signed('+').count()).sum();
        match Path::new(&file.path).extension().and_then(|ending| ending.to_str()) {
            Some("c" | "h") => lines.c += added,
            Some("rs") => lines.rust += added,
            Some("rst") => lines.docs += added,
            _ => {}
        }
    }
    lines
}

/// The table of a complete verification of just these patches on `base`, for the cover letter.
///
/// # Errors
///
/// When files cannot be read.
pub fn evidence(ctx: &Ctx, base: &Base) -> Result<Option<String>> {
    let path = evidence_path(ctx, base)?;
    if !path.exists() {
        return Ok(None);
    }
    fs::read_to_string(&path).map(Some).with_context(|| format!("cannot read {}", path.display()))
}

/// Keeps the table of `report` as evidence, if all gates were passed and none was left out.
///
/// # Errors
///
/// When the cache cannot be written.
pub fn keep_evidence(ctx: &Ctx, base: &Base, order: &Order, report: &Report) -> Result<()> {
    use clap::ValueEnum as _;
    let path = evidence_path(ctx, base)?;
    let complete = Gate::value_variants().iter().all(|gate| order.gates.contains(gate));
    if complete && report.is_good() {
        return record::write(&path, table::plain(report).as_bytes());
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound && complete => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn evidence_path(ctx: &Ctx, base: &Base) -> Result<PathBuf> {
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    let key = folder.entries.iter().fold(Key::default().with(&base.commit), |key, entry| key.with(&entry.text));
    Ok(state_dir(ctx).join("evidence").join(key.name()))
}

/// The error of a report that is not good.
pub fn failure(report: &Report) -> anyhow::Error {
    let bad: Vec<&str> = report.steps.iter().filter(|step| !step.is_good()).map(|step| step.name.as_str()).collect();
    let what =
        if bad.is_empty() { report.faults.join("; ") } else { format!("something is wrong with {}", bad.join(", ")) };
    anyhow!(what).context(Failure::Series)
}
