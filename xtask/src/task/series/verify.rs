//! `cargo xtask series verify`.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum as _};

use super::list_gates;
use crate::{
    ctx::Ctx,
    kconfig::Flavour,
    series::{
        bases::{self, Candidate},
        verify::{self, Order, gate::Gate, table},
    },
    source::{self, spec::Other},
    suite::binary,
    task::Task,
    toolchain::{install, needs::Purpose, version::Minimum},
};

const EXAMPLES: &str = "\
Examples:
  cargo xtask series verify
  cargo xtask series verify --skip rustdoc --json
  cargo xtask series verify --base 7.2 --base 7.3-rc7";

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
    /// Only tell how the patches meet this other kernel of patches/base.toml, or `all` of them; may be given several times.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["gate", "skip", "from"])]
    base: Vec<String>,
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
        if !self.base.is_empty() {
            return self.meet_others(ctx);
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
        let program = std::env::current_exe().context("cannot find this program")?;
        let order = Order { gates, suite, cases, program };
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

fn unknown(name: &str, known: &[Other]) -> String {
    let names: Vec<&str> = known.iter().map(|other| other.name.as_str()).collect();
    format!("patches/base.toml has no kernel {name:?}; it has {}", names.join(", "))
}

impl Verify {
    /// Tries the series on other kernels.
    fn meet_others(&self, ctx: &Ctx) -> Result<()> {
        install::ensure(ctx, &[Purpose::Source], Minimum::default())?;
        let origin = source::base(ctx, None)?;
        let known = source::others(ctx)?;
        let mut wanted = Vec::new();
        for name in &self.base {
            match name.as_str() {
                "all" => wanted.extend(&known),
                _ if *name == origin.version => {}
                _ => wanted
                    .extend([known.iter().find(|other| other.name == *name).with_context(|| unknown(name, &known))?]),
            }
        }
        let itself = self.base.iter().any(|name| *name == "all" || *name == origin.version);
        let itself =
            itself.then(|| Candidate { name: origin.version.clone(), base: Ok(origin.clone()), known: Vec::new() });
        let others = wanted.into_iter().map(|other| Candidate {
            name: other.name.clone(),
            base: source::other(ctx, other),
            known: other.conflicts.clone(),
        });
        let meetings = bases::meet(ctx, &origin, itself.into_iter().chain(others))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&meetings)?);
        } else {
            meetings.iter().for_each(|meeting| println!("{meeting}"));
        }
        match bases::failure(&meetings) {
            None => Ok(()),
            Some(failure) => Err(anyhow!("the series does not go onto every base").context(failure)),
        }
    }

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
