//! The whole series in the configurations that people test: every case, and in the debug one the kernel's own tests.

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    cache,
    error::Failure,
    gate::Verdict,
    interrupt,
    kernel::{self, Request, config::Flavour},
    prepare::patched_kernel,
    progress::say,
    series::tree,
    verify::{
        Site,
        boot::{self, Manner, Ran},
        gate::Gate,
    },
};

/// How the suite ran on the whole series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Whole {
    /// The configuration.
    pub config: String,
    /// How many cases passed, without the kernel's own tests.
    pub passed: usize,
    /// How many were skipped.
    pub skipped: usize,
    /// How many of the kernel's own tests passed.
    pub kunit: usize,
    /// What did not pass.
    pub failures: Vec<String>,
}

/// Builds and runs the series in the configuration that `gate` is about.
///
/// # Errors
///
/// On Ctrl-C, or when the environment lacks something.
pub fn run(site: &Site<'_>, gate: Gate) -> Result<(Verdict, Option<Whole>)> {
    let flavour = if gate == Gate::Kunit { Flavour::Debug } else { Flavour::Default };
    let config = flavour.to_string();
    let hash_and_path = kernel(site, flavour);
    let (hash, vmlinux) = match hash_and_path {
        Ok(found) => found,
        Err(error) if interrupt::requested() || Failure::of(&error) != Failure::KernelBuild => return Err(error),
        Err(error) => return Ok((Verdict::Failed(vec![format!("it does not build: {error:#}")]), None)),
    };
    let manner = Manner { flavour, skip_unmet: false };
    let name = format!("the whole series, configuration {config}");
    let ran = boot::run(site, &hash, &name, manner, || Ok(vmlinux), |ran: &Ran| ran.failures().is_empty())?;
    let (passed, kunit) = ran.passed();
    let whole = Whole { config, passed: passed - kunit, skipped: ran.skipped(), kunit, failures: ran.failures() };
    say(&format!(
        "{name}: {} cases passed, {} failed, {} skipped, {kunit} tests of the kernel itself passed",
        whole.passed,
        whole.failures.len(),
        whole.skipped
    ));
    let mut faults = whole.failures.clone();
    if gate == Gate::Kunit && kunit == 0 {
        faults.push("the kernel ran no test of its own".to_owned());
    }
    Ok((Verdict::of(faults), Some(whole)))
}

/// The kernel of the whole series, and its hash. `cargo xtask test` has mostly built it already.
fn kernel(site: &Site<'_>, flavour: Flavour) -> Result<(String, std::path::PathBuf)> {
    let order = patched_kernel::Order { flavour, from: None, loopfs: true, cases: &site.order.cases };
    let wanted = patched_kernel::wanted(site.ctx, &order)?;
    let last = site.prefixes.len() - 1;
    let tree_key = &site.prefixes[last].tree;
    let here = Request { flavour, tree: &site.tree, tree_key, wanted: &wanted };
    let vmlinux = match kernel::find(site.ctx, site.toolchain, &here) {
        Some(built) => built.vmlinux,
        None => {
            // The tree that people work in has the objects of the last build, if it holds just the series.
            let work = tree::prepare_tree(site.ctx, site.base).ok().filter(|work| work.content_key == *tree_key);
            let trial = if work.is_none() { Some(site.prepare(last, crate::verify::Switch::On)?) } else { None };
            let path = work.as_ref().or(trial.as_ref()).map_or(&site.tree, |tree| &tree.path);
            kernel::build(site.ctx, site.toolchain, &Request { tree: path, ..here })?.vmlinux
        }
    };
    let file = std::fs::File::open(&vmlinux).context("cannot read the kernel")?;
    Ok((cache::sha256(file, |_| ()).context("cannot read the kernel")?, vmlinux))
}
