//! What the calls of loopfs cost in the kernel, beside those of the stock driver.

use std::{fs::File, path::PathBuf};

use anyhow::{Context as _, Result, anyhow};
use loopfs_protocol::Cost;
use serde::Serialize;

use crate::{
    bench::{
        counted::Counted,
        table::{Costs, Ratio},
    },
    ctx::Ctx,
    error::Failure,
    guest::initramfs::Initramfs,
    kernel::config::Flavour,
    prepare::guest::Parts,
    progress::{self, Progress},
    suite::{binary, session::log_path, splat::Detector},
    task::Task,
};

/// How many devices others have where it is measured whether they matter.
const OTHERS: &str = "4000";

/// What is measured, each in a guest of its own, and how many costs each tells.
const MEASUREMENTS: [(&[&str], u64); 4] = [
    (&["shutdown"], 8),
    (&["get-free", "private", OTHERS], 8),
    (&["get-free", "low-private", OTHERS], 8),
    (&["get-free", "host", OTHERS], 8),
];

/// Measures what calls cost, in instructions of a guest: the same on every machine
///
/// Fails if a bound of SPEC.md is broken: S4, umount of 255 bound devices costs at most 8 times one; N6, foreign
/// devices make GET_FREE and ADD at most a tenth dearer.
///
/// Example: cargo xtask bench kernel --json costs.json
#[derive(Debug, clap::Args)]
pub(super) struct Kernel {
    /// Write all that was measured to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    // Last: what follows would stand under its heading.
    #[command(flatten)]
    parts: Parts,
}

/// All that is known about a run.
#[derive(Serialize)]
struct Report<'run> {
    kernel: &'run PathBuf,
    qemu: &'run str,
    costs: &'run [Cost],
    ratios: &'run [Ratio],
}

impl Task for Kernel {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let suite = self.parts.suite(ctx)?;
        let cases = binary::cases(&suite, Flavour::Default, ctx.verbose)?;
        let prepared = self.parts.prepare(ctx, Flavour::Default, &Initramfs::new(&suite), &cases)?;
        let detector = Detector::from_file(&ctx.root().join("ci/splats.toml"))?;
        let counted =
            Counted { qemu: &prepared.qemu, machine: &prepared.machine, detector: &detector, verbose: ctx.verbose };

        let progress = Progress::steps("bench", MEASUREMENTS.iter().map(|(_, costs)| costs).sum());
        let mut costs = Vec::new();
        for (number, (arguments, _)) in (1..).zip(MEASUREMENTS) {
            progress.detail(&arguments.join(" "));
            costs.extend(counted.measure(arguments, &log_path(&prepared.logs, number)?, &progress)?);
        }
        drop(progress);

        let costs = Costs::new(costs);
        progress::show(costs.tables().trim_end());
        let ratios = costs.ratios();
        if let Some(path) = &self.json {
            let report = Report {
                kernel: &prepared.machine.kernel,
                qemu: prepared.qemu.version(),
                costs: costs.all(),
                ratios: &ratios,
            };
            let what = || format!("cannot write {}", path.display());
            serde_json::to_writer_pretty(File::create(path).with_context(what)?, &report).with_context(what)?;
        }
        let broken: Vec<String> = ratios.iter().filter_map(Ratio::complaint).collect();
        if broken.is_empty() { Ok(()) } else { Err(anyhow!(broken.join("\n")).context(Failure::Case)) }
    }
}
