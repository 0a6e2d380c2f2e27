//! `cargo xtask series verify`.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::{Args, ValueEnum as _};

use crate::{
    ctx::Ctx,
    kernel::config::Flavour,
    source,
    suite::binary,
    task::{Task, series::list_gates},
    toolchain::{install, needs::Purpose, version::Minimum},
    verify::{self, Order, boot::InGuests, gate::Gate, table},
};

const EXAMPLES: &str = "\
Examples:
  cargo xtask series verify
  cargo xtask series verify --skip rustdoc --json";

/// Proves each patch: builds, boots and tests every prefix of the series, and runs the kernel's checkers
///
/// The first time, every prefix is built, which takes a while; what was found out is kept, so that later only a changed
/// patch and those after it cost time. A complete run is what `series mail` asks for.
///
/// Example: cargo xtask series verify --gate checkpatch --gate rustfmt
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// Run only this gate of --list-gates; may be given several times.
    #[arg(long, value_name = "GATE", value_enum, hide_possible_values = true)]
    gate: Vec<Gate>,
    /// Leave out this gate of --list-gates; may be given several times.
    #[arg(long, value_name = "GATE", value_enum, hide_possible_values = true)]
    skip: Vec<Gate>,
    /// List the gates and what each wants, and verify nothing.
    #[arg(long)]
    list_gates: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

impl Task for Verify {
    fn run(self, ctx: &Ctx) -> Result<()> {
        if self.list_gates {
            list_gates::<Gate>();
            return Ok(());
        }
        install::ensure(ctx, &[Purpose::Source, Purpose::Build, Purpose::Guest, Purpose::Verify], Minimum::default())?;
        let base = source::base(ctx, self.from.as_deref())?;
        let gates = self.gates();
        // Most gates run nothing.
        let (suite, cases) = if [Gate::Boot, Gate::Suite, Gate::Kunit].iter().any(|gate| gates.contains(gate)) {
            let suite = binary::build(ctx)?;
            let cases = binary::cases(&suite, Flavour::Verify, ctx.verbose)?;
            (suite, cases)
        } else {
            (PathBuf::new(), Vec::new())
        };
        let order = Order { gates, suite, cases, run_suite: Arc::new(InGuests) };
        let report = verify::verify(ctx, &base, &order)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            println!("{}", table::full(&report));
        }
        verify::keep_evidence(ctx, &base, &order, &report)?;
        if report.is_good() { Ok(()) } else { Err(verify::failure(&report)) }
    }
}

impl Verify {
    /// The gates that were chosen; a kernel that boots has to be built.
    fn gates(&self) -> BTreeSet<Gate> {
        let chosen: &[Gate] = if self.gate.is_empty() { Gate::value_variants() } else { &self.gate };
        let mut gates: BTreeSet<Gate> = chosen.iter().filter(|gate| !self.skip.contains(gate)).copied().collect();
        if gates.contains(&Gate::Boot) {
            gates.insert(Gate::Build);
        }
        gates
    }
}
