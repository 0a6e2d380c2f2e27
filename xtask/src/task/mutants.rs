//! `cargo xtask mutants`: whether the suite notices a broken kernel.

use std::{path::Path, sync::Mutex};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use loopfs_protocol::{CaseInfo, Missing};

use super::Task;
use crate::{
    cache,
    ctx::Ctx,
    error::Failure,
    guest::initramfs::Initramfs,
    kernel::config::Flavour,
    mutants::{
        self, Fate, Laboratory,
        mutant::Mutant,
        report::{self, summary},
    },
    prepare::{guest::GuestOptions, patched_kernel},
    progress::show,
    source,
    suite::{binary, collect::Collected, plan::select, schedule::Schedule},
    toolchain::{Toolchain, install, needs::Purpose, version::Minimum},
};

/// Breaks the kernel on purpose, one line of the contract at a time, and says whether the suite notices
///
/// Each file of selftests/mutants is a patch on top of the series, with the cases that have to fail. What came of it is
/// kept until the series, the patch or the suite changes. Exit code 1 if a mutant survived, no longer applies or does
/// not build.
///
/// Example: cargo xtask mutants M3
#[derive(Args, Debug)]
pub struct Mutants {
    /// Only mutants with this in their name or cases, or for this line of SPEC.md.
    filter: Vec<String>,
    /// List the mutants, and run none.
    #[arg(long)]
    list: bool,
    /// Report the mutants that no longer apply to the series, and run none.
    #[arg(long, conflicts_with = "list")]
    check: bool,
    /// Write the table of all mutants into selftests/COVERAGE.md, and run none.
    #[arg(long, conflicts_with_all = ["filter", "list", "check"])]
    write: bool,
}

impl Task for Mutants {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let mutants = mutants::select(ctx, &self.filter)?;
        if self.write {
            return report::write(ctx.root(), &mutants);
        }
        if self.list {
            show(report::table(&mutants).trim_end());
            return Ok(());
        }
        if self.check {
            return check(ctx, &mutants);
        }
        install::ensure(ctx, &[Purpose::Source, Purpose::Build, Purpose::Guest], Minimum::default())?;
        let base = source::base(ctx, None)?;
        let suite = binary::build(ctx)?;
        let cases = binary::cases(&suite, Flavour::Default, ctx.verbose)?;
        let tree = crate::series::tree::any_prefix(ctx, &base)?;
        let toolchain = Toolchain::ensure(ctx, Minimum::of_tree(&tree, ctx.verbose)?)?;
        let program = std::fs::File::open(&suite).context("cannot read the suite")?;
        let laboratory = Laboratory {
            ctx,
            base: &base,
            toolchain: &toolchain,
            wanted: &|mutant| {
                let order = patched_kernel::Order { flavour: mutant.flavour, from: None, loopfs: true, cases: &cases };
                patched_kernel::wanted(ctx, &order)
            },
            cases: &cases,
            suite_key: &cache::sha256(program, |_| ())?,
            run: &|mutant, vmlinux| in_a_guest(ctx, mutant, vmlinux, &suite, &cases),
        };
        let fates = mutants::run(&laboratory, &mutants)?;
        show(&summary(&fates));
        let bad = fates.iter().filter(|(_, fate)| !matches!(fate, Fate::Killed(_))).count();
        if bad == 0 {
            return Ok(());
        }
        Err(anyhow!("{bad} of {} mutants were not killed", fates.len()).context(Failure::Case))
    }
}

fn check(ctx: &Ctx, mutants: &[Mutant]) -> Result<()> {
    install::ensure(ctx, &[Purpose::Source], Minimum::default())?;
    let stale = mutants::stale(ctx, &source::base(ctx, None)?, mutants)?;
    for (mutant, fate) in &stale {
        show(&report::line(mutant, fate));
    }
    show(&format!("{} of {} mutants apply to the series", mutants.len() - stale.len(), mutants.len()));
    if stale.is_empty() { Ok(()) } else { Err(anyhow!("{} no longer apply", stale.len()).context(Failure::Case)) }
}

/// Runs the cases of `mutant`; returns those that failed, which a guest that died counts among.
fn in_a_guest(ctx: &Ctx, mutant: &Mutant, vmlinux: &Path, suite: &Path, cases: &[CaseInfo]) -> Result<Vec<String>> {
    let options = GuestOptions::of(vmlinux.to_owned(), suite.to_owned());
    let (guest, _) = options.prepare(ctx, mutant.flavour, &Initramfs::new(suite), cases)?;
    let setup = guest.setup(ctx, mutant.flavour, 1.0, 1, Missing::Skip)?;
    let trials = select(cases, &mutant.cases)?;
    let collected = Mutex::new(Collected::default());
    // One guest: another mutant is built or runs beside.
    Schedule { jobs: Some(1), ..Schedule::default() }.run(&setup, trials, &collected)?;
    let results = collected.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).results;
    let mut failed: Vec<String> =
        results.into_iter().filter(|result| !result.outcome.is_good()).map(|result| result.name).collect();
    failed.sort();
    failed.dedup();
    Ok(failed)
}
