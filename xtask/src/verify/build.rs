//! Builds one prefix with the option at one place.

use std::{fmt, fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{
    cache::{self, Key, finding},
    error::Failure,
    interrupt,
    kernel::{
        self, Request,
        config::{Flavour, Wanted},
    },
    prepare::patched_kernel,
    progress::seconds,
    verify::{Site, Switch, boot::Boot, build_log::Heard, warnings::Warnings},
};

/// What building and booting a prefix showed.
#[derive(Clone, Debug, Serialize)]
pub struct Built {
    /// How the option stands.
    pub switch: Switch,
    /// How long the build took, in seconds, when it was last done.
    pub seconds: f64,
    /// Warnings that no prefix before has.
    pub new_warnings: Vec<String>,
    /// Why it does not configure or build.
    pub fault: Option<String>,
    /// How it ran; nothing if it was not built or was not to boot.
    pub boot: Option<Boot>,
}

impl Built {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.fault.is_none() && self.new_warnings.is_empty() && self.boot.as_ref().is_none_or(Boot::is_good)
    }
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switch = self.switch;
        match &self.fault {
            Some(_) => write!(f, "{switch}: DOES NOT BUILD")?,
            None => {
                let duration = std::time::Duration::from_secs_f64(self.seconds);
                write!(f, "{switch}: builds ({}, {} new warnings)", seconds(duration), self.new_warnings.len())?;
            }
        }
        match &self.boot {
            Some(boot) => write!(f, ", {boot}"),
            None => Ok(()),
        }
    }
}

/// What is kept of a build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    seconds: f64,
    warnings: Warnings,
    /// The SHA-256 of the vmlinux: equal kernels run alike.
    pub vmlinux: String,
    /// The symbols that are loopfs's by their names.
    pub own: Vec<String>,
}

/// Words that the symbols of loopfs, and those of what it needs in the loop driver, have in their names.
const OWN: &[&str] = &["loopfs", "loop_private"];

/// Builds the prefix of `number` patches with the option at `switch`. `known` has the warnings of what was built before,
/// and gets those of this build. There is no record of what does not build.
///
/// # Errors
///
/// On Ctrl-C, or when the environment lacks something. A kernel that does not build is no error here.
pub fn build(site: &Site<'_>, number: usize, switch: Switch, known: &mut Warnings) -> Result<(Built, Option<Record>)> {
    let wanted = wanted(site, switch)?;
    let tree_key = site.tree_key(number, switch);
    let request = request(site, &wanted, &tree_key);
    let key = kernel::key(site.toolchain, &request);
    let record = finding(site.ctx.cache(), "build", Key::default().with("build 2").with(&key), || {
        let _tree = site.prepare(number, switch)?;
        let mut heard = Heard::open(site, &key)?;
        let start = Instant::now();
        // The base's warnings are all known only after all of it was compiled.
        let whole = number == 0 && !heard.goes_on;
        let mut listen = |line: &str| heard.take(line);
        let built = kernel::build_watched(site.ctx, site.toolchain, &request, folder(switch), whole, &mut listen)?;
        let seconds = start.elapsed().as_secs_f64();
        let file = fs::File::open(&built.vmlinux).context("cannot read the kernel")?;
        let vmlinux = cache::sha256(file, |_| ()).context("cannot read the kernel")?;
        let map = fs::read_to_string(&built.system_map).context("cannot read the kernel's symbols")?;
        let symbols = map.lines().filter_map(|line| line.split(' ').nth(2));
        let own = symbols.filter(|symbol| OWN.iter().any(|word| symbol.contains(word))).map(str::to_owned).collect();
        Ok(Record { seconds, warnings: heard.finish()?, vmlinux, own })
    });
    match record {
        Ok(record) => {
            let new_warnings = if number == 0 { Vec::new() } else { record.warnings.not_in(known) };
            known.extend(&record.warnings);
            Ok((Built { switch, seconds: record.seconds, new_warnings, fault: None, boot: None }, Some(record)))
        }
        Err(error) if interrupt::requested() || Failure::of(&error) != Failure::KernelBuild => Err(error),
        Err(error) => {
            let fault = Some(format!("{error:#}"));
            Ok((Built { switch, seconds: 0.0, new_warnings: Vec::new(), fault, boot: None }, None))
        }
    }
}

/// The vmlinux of a prefix that was built, once more if so many were built since that it was dropped.
///
/// # Errors
///
/// As [`build`].
pub fn vmlinux(site: &Site<'_>, number: usize, switch: Switch) -> Result<PathBuf> {
    let wanted = wanted(site, switch)?;
    let tree_key = site.tree_key(number, switch);
    let request = request(site, &wanted, &tree_key);
    if let Some(built) = kernel::find(site.ctx, site.toolchain, &request) {
        return Ok(built.vmlinux);
    }
    let _tree = site.prepare(number, switch)?;
    Ok(kernel::build_watched(site.ctx, site.toolchain, &request, folder(switch), false, &mut |_| ())?.vmlinux)
}

/// The request for the kernel of the tree that is moved along the series.
pub fn request<'a>(site: &'a Site<'_>, wanted: &'a Wanted, tree_key: &'a str) -> Request<'a> {
    Request { flavour: Flavour::Verify, tree: &site.tree, tree_key, wanted }
}

/// The build folder: one for each place of the option, so that a step costs what its patch changes.
pub fn folder(switch: Switch) -> &'static str {
    if switch == Switch::Off { "verify-off" } else { "verify-on" }
}

/// The configuration, with the option at `switch`.
///
/// # Errors
///
/// When the fragments cannot be read.
pub fn wanted(site: &Site<'_>, switch: Switch) -> Result<Wanted> {
    let order =
        patched_kernel::Order { flavour: Flavour::Verify, from: None, loopfs: switch != Switch::Off, cases: &[] };
    patched_kernel::wanted(site.ctx, &order).context("cannot tell the kernel's configuration")
}
