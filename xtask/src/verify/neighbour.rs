//! Configurations next to ours: with an option off that the code could lean on unawares, and with the other compiler. Only
//! what the series touches is compiled in them.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::{
    gate::Verdict,
    progress::say,
    verify::{
        Site, Switch, build,
        compile_checkers::{Call, DRIVER, objects},
        gate::Subject,
        warnings::Warnings,
    },
};

/// One configuration.
#[derive(Debug)]
struct Neighbour {
    name: &'static str,
    /// What is set otherwise.
    settings: &'static [(&'static str, &'static str)],
    /// Variables of make.
    variables: &'static [&'static str],
}

impl Neighbour {
    const fn without(name: &'static str, settings: &'static [(&'static str, &'static str)]) -> Self {
        Self { name, settings, variables: &[] }
    }
}

const NEIGHBOURS: &[Neighbour] = &[
    Neighbour::without("without user namespaces", &[("USER_NS", "n")]),
    Neighbour::without("for one CPU", &[("SMP", "n")]),
    Neighbour::without("without sysfs", &[("SYSFS", "n")]),
    Neighbour::without("without sysctl", &[("SYSCTL", "n")]),
    Neighbour::without("without opening by number", &[("BLOCK_LEGACY_AUTOLOAD", "n")]),
    Neighbour::without("with the loop driver as a module", &[("MODULES", "y"), ("BLK_DEV_LOOP", "m")]),
    Neighbour { variables: &["CC=gcc"], ..Neighbour::without("by gcc", &[]) },
];

/// Compiles what `subjects` touch in each neighbour of the whole series.
///
/// # Errors
///
/// On Ctrl-C, or when the environment lacks something.
pub fn judge(site: &Site<'_>, subjects: &[Subject<'_>]) -> Result<Verdict> {
    let touched: BTreeSet<&str> = subjects
        .iter()
        .flat_map(|subject| [subject.files(".c"), subject.files(".h"), subject.files(".rs")].concat())
        .collect();
    let mut faults = Vec::new();
    for neighbour in NEIGHBOURS {
        match compile(site, neighbour, &touched)? {
            Ok(warnings) => {
                let of_ours = |line: &String| line.split(':').next().is_some_and(|path| touched.contains(path));
                let ours = warnings.not_in(&Warnings::default()).into_iter().filter(of_ours);
                let before = faults.len();
                faults.extend(ours.map(|line| format!("{}: {line}", neighbour.name)));
                say(&format!("    {}: compiles, {} warnings", neighbour.name, faults.len() - before));
            }
            Err(why) => {
                say(&format!("    {}: DOES NOT COMPILE", neighbour.name));
                faults.push(format!("{}: {why}", neighbour.name));
            }
        }
    }
    Ok(Verdict::of(faults))
}

/// What is warned of in one neighbour, or why it does not compile.
fn compile(site: &Site<'_>, neighbour: &Neighbour, touched: &BTreeSet<&str>) -> Result<Result<Warnings, String>> {
    let last = site.prefixes.len() - 1;
    let switch = site.switch_on(last).unwrap_or(Switch::Off);
    let mut wanted = build::wanted(site, switch)?;
    for (symbol, value) in neighbour.settings {
        wanted.set(symbol, value, "the neighbouring configuration");
    }
    wanted.insist_on_only(&neighbour.settings.iter().map(|(symbol, _)| *symbol).collect::<Vec<_>>());
    let sources: Vec<&str> = touched.iter().copied().filter(|path| path.ends_with(".c")).collect();
    // What is compiled in the driver's own folder hangs on the configuration: it comes with the folder above.
    let objects = objects(&sources).into_iter().filter(|object| !object.starts_with(DRIVER));
    let objects: Vec<String> = objects.collect();
    let targets: Vec<String> =
        ["prepare", "drivers/block/"].iter().map(ToString::to_string).chain(objects.clone()).collect();
    let anew = objects.into_iter().chain(["rust/kernel.o".to_owned()]).collect();
    let variables = neighbour.variables.iter().map(ToString::to_string).collect();
    let call = Call { kind: "neighbour", folder: "verify-neighbour", variables, targets, anew };
    call.listen(site, last, switch, &wanted)
}
