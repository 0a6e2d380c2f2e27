//! `mutants`: the kernel broken on purpose, one line of the contract at a time, to see that the suite notices.
//!
//! Each file of `selftests/mutants` is a patch on top of the series, with the case that has to fail with it. A mutant is
//! built in a work tree of its own, where only what it touches is compiled again, and booted while the next one is built.
//! What came of it is kept by what decides it: the series, the patch, the suite and the toolchain.

pub mod mutant;
pub mod report;

use std::{collections::VecDeque, fs, thread};

use anyhow::{Context as _, Result, anyhow};
use loopfs_protocol::CaseInfo;
use serde::{Deserialize, Serialize};

use crate::{
    cache::{self, Key},
    ctx::Ctx,
    error::Failure,
    interrupt,
    kernel::{self, Request, config::Wanted},
    progress::say,
    series::tree,
    source::Base,
    toolchain::Toolchain,
};
use mutant::Mutant;

/// How many guests run beside a build.
const GUESTS: usize = 2;

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// These of its cases failed.
    Killed(Vec<String>),
    /// None of them did.
    Survived,
    /// The series has changed where the patch applies.
    NoLongerApplies(String),
    /// The kernel does not build with it.
    DoesNotBuild(String),
}

/// What the mutants are tried with.
pub struct Laboratory<'a> {
    /// Where everything is.
    pub ctx: &'a Ctx,
    /// What the series applies to.
    pub base: &'a Base,
    /// What the kernels are built with.
    pub toolchain: &'a Toolchain,
    /// Their configuration, by the flavour that a mutant asks for.
    pub wanted: &'a (dyn Fn(&Mutant) -> Result<Wanted> + Sync),
    /// The cases of the suite.
    pub cases: &'a [CaseInfo],
    /// What tells builds of the suite apart.
    pub suite_key: &'a str,
    /// Boots a kernel and runs the cases of the mutant; returns those that failed.
    pub run: &'a (dyn Fn(&Mutant, &std::path::Path) -> Result<Vec<String>> + Sync),
}

/// Tries `mutants`, and returns what became of each, in their order.
pub fn run(lab: &Laboratory<'_>, mutants: &[Mutant]) -> Result<Vec<(Mutant, Fate)>> {
    for mutant in mutants {
        mutant.check(lab.cases)?;
    }
    thread::scope(|scope| {
        let mut running: VecDeque<thread::ScopedJoinHandle<'_, Result<(Mutant, Fate)>>> = VecDeque::new();
        let mut fates = Vec::new();
        for mutant in mutants {
            interrupt::check()?;
            if running.len() == GUESTS {
                fates.extend(running.pop_front().map(finished).transpose()?);
            }
            let ready = build(lab, mutant)?;
            running.push_back(scope.spawn(move || conclude(lab, mutant, ready)));
        }
        for guest in running {
            fates.push(finished(guest)?);
        }
        Ok(fates)
    })
}

fn finished(guest: thread::ScopedJoinHandle<'_, Result<(Mutant, Fate)>>) -> Result<(Mutant, Fate)> {
    guest.join().map_err(|_| anyhow!("the harness panicked, see above"))?
}

/// A mutant whose kernel is built, or whose fate is known.
enum Ready {
    Known(Fate),
    Built { key: String, kernel: kernel::Built },
}

fn build(lab: &Laboratory<'_>, mutant: &Mutant) -> Result<Ready> {
    let tree = match tree::prepare_mutant(lab.ctx, lab.base, &mutant.diff)? {
        Ok(tree) => tree,
        Err(why) => return Ok(Ready::Known(Fate::NoLongerApplies(why))),
    };
    let wanted = (lab.wanted)(mutant)?;
    let request = Request { flavour: mutant.flavour, tree: &tree.path, tree_key: &tree.content_key, wanted: &wanted };
    let kernel_key = kernel::key(lab.toolchain, &request);
    let key = Key::default().with("mutant 1").with(&kernel_key).with(lab.suite_key);
    let key = mutant.cases.iter().fold(key, Key::with).name();
    if let Some(fate) = cache::known(lab.ctx.cache(), "mutants", &key) {
        return Ok(Ready::Known(fate));
    }
    match kernel::build(lab.ctx, lab.toolchain, &request) {
        Ok(kernel) => Ok(Ready::Built { key, kernel }),
        Err(error) if interrupt::requested() || Failure::of(&error) != Failure::KernelBuild => Err(error),
        Err(error) => Ok(Ready::Known(Fate::DoesNotBuild(format!("{error:#}")))),
    }
}

fn conclude(lab: &Laboratory<'_>, mutant: &Mutant, ready: Ready) -> Result<(Mutant, Fate)> {
    let fate = match ready {
        Ready::Known(fate) => fate,
        Ready::Built { key, kernel } => {
            let failed = (lab.run)(mutant, &kernel.vmlinux).with_context(|| mutant.name.clone())?;
            let fate = if failed.is_empty() { Fate::Survived } else { Fate::Killed(failed) };
            cache::keep(lab.ctx.cache(), "mutants", &key, &fate)?;
            // The store is for kernels that are booted again.
            if let Some(entry) = kernel.vmlinux.parent() {
                cache::discard(entry)?;
            }
            fate
        }
    };
    say(&report::line(mutant, &fate));
    Ok((mutant.clone(), fate))
}

/// Which of `mutants` no longer apply to the series, and why: a matter of seconds, as nothing is built.
///
/// # Errors
///
/// [`Failure::Series`] when the series itself does not apply.
pub fn stale(ctx: &Ctx, base: &Base, mutants: &[Mutant]) -> Result<Vec<(Mutant, Fate)>> {
    let series = tree::Series::open(ctx, base)?;
    let mut stale = Vec::new();
    for mutant in mutants {
        if let Err(why) = tree::with_patch(&series.git, series.tip(base), &mutant.diff)? {
            stale.push((mutant.clone(), Fate::NoLongerApplies(why)));
        }
    }
    Ok(stale)
}

/// The mutants of the repository that `filters` choose by a part of their name, line or cases; all without a filter.
pub fn select(ctx: &Ctx, filters: &[String]) -> Result<Vec<Mutant>> {
    let folder = ctx.root().join(mutant::FOLDER);
    let list = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<_> = list.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "patch"));
    paths.sort();
    let all = paths.iter().map(|path| Mutant::read(path)).collect::<Result<Vec<_>>>()?;
    for filter in filters {
        if !all.iter().any(|mutant| mutant.is_chosen_by(filter)) {
            return Err(anyhow!("no mutant has {filter:?} in its name, line or cases").context(Failure::Usage));
        }
    }
    let chosen = |mutant: &Mutant| filters.is_empty() || filters.iter().any(|filter| mutant.is_chosen_by(filter));
    Ok(all.into_iter().filter(chosen).collect())
}
