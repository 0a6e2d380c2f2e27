//! bindgen, which Debian 12 has too old: then cargo builds it into the cache.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use xshell::cmd;

use crate::{
    cache,
    ctx::Ctx,
    process,
    progress::Progress,
    toolchain::{machine::Machine, version::Version},
};

/// The version that is built: the first that reads the headers of libclang 22.
pub const VERSION: &str = "0.72.1";

/// Finds a bindgen that is at least `minimum`: in `PATH`, or as [`build`] left it in `cache`.
///
/// # Errors
///
/// What is wrong with the one that was found, or that there is none.
pub fn find(machine: &Machine, cache: &Path, minimum: Version) -> Result<PathBuf> {
    let built = folder(cache).join(entry()).join("bin/bindgen");
    let mut complaint = None;
    for bindgen in machine.programs("bindgen").chain([built]) {
        match machine.version(&bindgen) {
            Some(version) if version >= minimum => return Ok(bindgen),
            Some(version) => {
                complaint = Some(format!("{} is {version}, but {minimum} or newer is needed", bindgen.display()));
            }
            None => {}
        }
    }
    match complaint {
        Some(complaint) => bail!(complaint),
        None => bail!("there is no bindgen; {minimum} or newer is needed"),
    }
}

/// Has cargo build bindgen into the cache, where [`find`] finds it.
///
/// # Errors
///
/// When cargo cannot get or build it.
pub fn build(ctx: &Ctx) -> Result<()> {
    let what = format!("bindgen {VERSION}");
    cache::entry(&folder(ctx.cache()), &entry(), &what, |half| {
        let progress = Progress::spinner(format!("build {what}"));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let (sh, target) = (process::shell_in(ctx.cache())?, half.join("target"));
        let command = Command::from(cmd!(
            sh,
            "{cargo} install --locked bindgen-cli --version {VERSION} --root {half} --target-dir {target}"
        ));
        process::stream(&command, ctx.verbose, |line| {
            progress.detail(line.trim());
            Ok(())
        })
        .with_context(|| format!("{what} cannot be built; any bindgen in PATH that is new enough will do"))?;
        std::fs::remove_dir_all(half.join("target")).context("cannot remove what the build of bindgen left")?;
        progress.done("installed in the cache");
        Ok(())
    })?;
    Ok(())
}

fn folder(cache: &Path) -> PathBuf {
    cache.join("tools")
}

fn entry() -> String {
    format!("bindgen-{VERSION}")
}
