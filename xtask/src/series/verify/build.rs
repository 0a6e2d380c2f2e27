//! Builds one prefix, and has it boot.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    time::Instant,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{
    Site, Switch,
    boot::{self, Boot},
    gate::{Gate, Verdict},
    record::{Keep, cached},
    warnings::{Collector, Warnings},
};
use crate::{
    cache::Key,
    interrupt,
    kconfig::Wanted,
    kernel::{self, Request, patched},
    progress::seconds,
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
        let switch = match self.switch {
            Switch::Off => "option off",
            Switch::On => "option on",
            Switch::Forced => "option on by force",
        };
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
struct Record {
    seconds: f64,
    warnings: Warnings,
}

/// What a build under way has said. What it compiled before an interruption is not compiled again afterwards, so what
/// was said of it then is kept on the disk.
struct Heard {
    collector: Collector,
    path: PathBuf,
    file: File,
    /// The build was interrupted before, and goes on.
    goes_on: bool,
}

impl Heard {
    fn open(site: &Site<'_>, key: &str) -> Result<Self> {
        let folder = site.ctx.cache().join("verify/heard");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(key);
        let before = fs::read_to_string(&path).ok();
        let mut collector = Collector::new(&site.tree);
        before.iter().flat_map(|text| text.lines()).for_each(|line| collector.take(line));
        let file = File::options().append(true).create(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { collector, path, file, goes_on: before.is_some() })
    }

    fn take(&mut self, line: &str) {
        self.collector.take(line);
        if Collector::concerns(line) {
            // If the disk is full, the build itself fails on it.
            drop(writeln!(self.file, "{line}"));
        }
    }

    fn finish(self) -> Result<Warnings> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        Ok(self.collector.finish())
    }
}

/// Builds the prefix of `number` patches with the option at `switch`, and boots it if that is wanted. `known` has the
/// warnings of what was built before, and gets those of this build.
///
/// # Errors
///
/// On Ctrl-C, or when the environment lacks something. A kernel that does not build is no error here.
pub fn build(site: &Site<'_>, number: usize, switch: Switch, known: &mut Warnings) -> Result<Built> {
    let prefix = &site.prefixes[number];
    let wanted = wanted(site, switch)?;
    let tree_key = tree_key(&prefix.tree, switch);
    let request = Request { flavour: site.order.flavour, tree: &site.tree, tree_key: &tree_key, wanted: &wanted };
    let key = kernel::key(site.toolchain, &request);
    let record = cached(site.ctx, "build", Key::default().with("build 1").with(&key), || {
        let _tree = site.prepare(number, switch)?;
        let mut heard = Heard::open(site, &key)?;
        let start = Instant::now();
        // The base's warnings are all known only after all of it was compiled.
        let whole = number == 0 && !heard.goes_on;
        kernel::build_watched(site.ctx, site.toolchain, &request, whole, &mut |line| heard.take(line))?;
        Ok((Record { seconds: start.elapsed().as_secs_f64(), warnings: heard.finish()? }, Keep::Yes))
    });
    let record = match record {
        Ok(record) => record,
        Err(error) if interrupt::requested() => return Err(error),
        Err(error) if crate::error::Failure::of(&error) == crate::error::Failure::KernelBuild => {
            let fault = Some(format!("{error:#}"));
            return Ok(Built { switch, seconds: 0.0, new_warnings: Vec::new(), fault, boot: None });
        }
        Err(error) => return Err(error),
    };
    let new_warnings = if number == 0 { Vec::new() } else { record.warnings.not_in(known) };
    known.extend(&record.warnings);
    let boot = if site.order.gates.contains(&Gate::Boot) {
        let name = format!("prefix {number}, {}", if switch == Switch::Off { "option off" } else { "option on" });
        Some(boot::boot(site, &key, &name, || {
            // The kernel is in the store, unless so many were built since that it was dropped.
            let _tree = site.prepare(number, switch)?;
            Ok(kernel::build(site.ctx, site.toolchain, &request)?.vmlinux)
        })?)
    } else {
        None
    };
    Ok(Built { switch, seconds: record.seconds, new_warnings, fault: None, boot })
}

/// Words that the symbols of loopfs, and those of what it needs in the loop driver, have in their names.
const OWN: &[&str] = &["loopfs", "loop_private"];

/// Compares the symbols of the kernel of `number` patches, with the option off, with those of the base (SPEC X1).
///
/// # Errors
///
/// On Ctrl-C, or when a symbol table cannot be read.
pub fn absent(site: &Site<'_>, number: usize) -> Result<Verdict> {
    let wanted = wanted(site, Switch::Off)?;
    let symbols = |number: usize| -> Result<BTreeSet<String>> {
        let tree_key = tree_key(&site.prefixes[number].tree, Switch::Off);
        let request = Request { flavour: site.order.flavour, tree: &site.tree, tree_key: &tree_key, wanted: &wanted };
        let key = Key::default().with("symbols 1").with(kernel::key(site.toolchain, &request));
        cached(site.ctx, "symbols", key, || {
            let _tree = site.prepare(number, Switch::Off)?;
            let map = kernel::build(site.ctx, site.toolchain, &request)?.system_map;
            let map = fs::read_to_string(&map).with_context(|| format!("cannot read {}", map.display()))?;
            Ok((map.lines().filter_map(|line| Some(line.split(' ').nth(2)?.to_owned())).collect(), Keep::Yes))
        })
    };
    let (Ok(before), Ok(after)) = (symbols(0), symbols(number)) else {
        interrupt::check()?;
        return Ok(Verdict::Unchecked("the base or the series does not build with the option off".to_owned()));
    };
    let own = after.difference(&before).filter(|symbol| OWN.iter().any(|word| symbol.contains(word)));
    Ok(Verdict::of(own.map(|symbol| format!("the kernel has `{symbol}` although the option is off")).collect()))
}

/// The configuration for the suite's cases, with the option at `switch`.
///
/// # Errors
///
/// When the fragments cannot be read.
pub fn wanted(site: &Site<'_>, switch: Switch) -> Result<Wanted> {
    let order = patched::Order {
        flavour: site.order.flavour,
        from: None,
        loopfs: switch != Switch::Off,
        cases: &site.order.cases,
    };
    patched::wanted(site.ctx, &order).context("cannot tell the kernel's configuration")
}

/// What identifies the sources of a prefix, with the prompt that [`Switch::Forced`] adds.
pub fn tree_key(tree: &str, switch: Switch) -> String {
    if switch == Switch::Forced { format!("{tree} with a prompt") } else { tree.to_owned() }
}
