//! The tarball that kernel.org publishes, checked against the list of hashes beside it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use crate::{process, progress::Progress, source::verify};

/// How long a connection may take, and how long a transfer may stand still, in seconds.
const PATIENCE: &str = "20";

/// Where tarballs are published.
#[derive(Clone, Debug)]
pub struct Site(String);

impl Default for Site {
    fn default() -> Self {
        Self("https://cdn.kernel.org/pub/linux/kernel".to_owned())
    }
}

impl Site {
    /// A site with the same layout at the URL `top`.
    pub fn at(top: impl Into<String>) -> Self {
        Self(top.into())
    }
}

/// Downloads the tarball of `version` into `folder` and returns where it is, verified against the
/// list the site publishes and, where given, against `sha256`.
///
/// # Errors
///
/// When the site cannot be reached or does not have it, or the hash is wrong.
pub fn fetch(site: &Site, version: &str, sha256: Option<&str>, folder: &Path, verbose: bool) -> Result<PathBuf> {
    let major = version.split('.').next().unwrap_or_default();
    let name = format!("linux-{}.tar.xz", version.strip_suffix(".0").unwrap_or(version));
    let top = format!("{}/v{major}.x", site.0);

    let list = process::read(curl()?.args(["--silent", "--show-error", &format!("{top}/sha256sums.asc")]), verbose)?;
    let published = published(&list, &name).with_context(|| format!("{top}/sha256sums.asc does not list {name}"))?;
    if sha256.is_some_and(|pinned| pinned != published) {
        bail!("{top}/sha256sums.asc gives {name} another SHA-256 ({published}) than patches/base.toml");
    }

    let tarball = folder.join(&name);
    let progress = Progress::steps(format!("download {name}"), 100);
    let mut command = curl()?;
    command.args(["--progress-bar", "--output"]).arg(&tarball).arg(format!("{top}/{name}"));
    process::stream(&command, verbose, |line| {
        if let Some(percent) = percent(line) {
            progress.set(percent);
        }
        Ok(())
    })?;
    verify(&tarball, published)?;
    progress.done("verified");
    Ok(tarball)
}

fn curl() -> Result<Command> {
    let sh = Shell::new()?;
    Ok(cmd!(sh, "curl --fail --location --connect-timeout {PATIENCE} --speed-limit 1 --speed-time {PATIENCE}").into())
}

/// The hash of the file `name` in a list as `sha256sum` prints it.
fn published<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    list.lines().find_map(|line| {
        let (hash, file) = line.split_once("  ")?;
        (file.trim_end() == name && hash.len() == 64).then_some(hash)
    })
}

/// The percentage in a piece of curl's progress bar: `######   12.3%`.
fn percent(piece: &str) -> Option<u64> {
    let number = piece.trim_end().strip_suffix('%')?.rsplit([' ', '#']).next()?;
    number.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_found_by_the_whole_name() {
        let hash = "a".repeat(64);
        let list = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\n{}  linux-7.3.4.tar.gz\n{hash}  linux-7.3.4.tar.xz\n",
            "b".repeat(64)
        );
        assert_eq!(published(&list, "linux-7.3.4.tar.xz"), Some(hash.as_str()));
        assert_eq!(published(&list, "linux-7.3.tar.xz"), None);
    }

    #[test]
    fn the_percentage_of_a_bar_is_read() {
        assert_eq!(percent("#######                 12.3%"), Some(12));
        assert_eq!(percent("################100.0%"), Some(100));
        assert_eq!(percent("curl: (6) Could not resolve host"), None);
    }
}
