//! `cargo xtask series verify`.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum as _};

use crate::{
    ctx::Ctx,
    series::verify::{self, Order, gate::Gate, table},
    source,
    suite::binary,
    task::Task,
    toolchain::{install, needs::Purpose, version::Minimum},
};

/// Proves each patch: builds, boots and tests every prefix of the series, and runs the kernel's checkers
///
/// The first time, every prefix is built, which takes a while; what was found out is kept, so that later only a changed
/// patch and those after it cost time. A complete run is what `series mail` asks for.
///
/// Examples:
///   cargo xtask series verify
///   cargo xtask series verify --gate checkpatch --gate rustfmt
///   cargo xtask series verify --skip rustdoc --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Verify {
    /// Only this gate; may be given several times.
    #[arg(long, value_name = "GATE", value_enum)]
    gate: Vec<Gate>,
    /// All but this gate; may be given several times.
    #[arg(long, value_name = "GATE", value_enum)]
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
            for gate in Gate::value_variants() {
                let value = gate.to_possible_value();
                let help = value.as_ref().and_then(|value| value.get_help()).map(ToString::to_string);
                println!("{:<12} {}", gate.to_string(), help.unwrap_or_default());
            }
            return Ok(());
        }
        install::ensure(ctx, &[Purpose::Source, Purpose::Build, Purpose::Guest, Purpose::Verify], Minimum::default())?;
        let base = source::base(ctx, self.from.as_deref())?;
        let suite = binary::build(ctx)?;
        let cases = binary::cases(&suite, ctx.verbose)?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let order = Order { gates: self.gates(), suite, cases, program };
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
