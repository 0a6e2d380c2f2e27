//! Debian's source package, through an apt of our own.
//!
//! The suite it is in need not be among the machine's sources: apt is run with a source list, lists
//! and cache of its own, which name the machine's mirror and its keyring. The machine's apt state
//! stays as it is, and no privilege is needed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use crate::{
    cache::Lock,
    ctx::Ctx,
    process,
    progress::Progress,
    source::{spec::Package, verify},
    toolchain::sources::{self, Mirror},
};

/// Downloads `package` and puts the tarball in it, verified, into `folder`; returns where it is.
///
/// apt checks the index against the archive's signature and the package against the index.
///
/// # Errors
///
/// When this machine has no Debian mirror, the mirror does not answer or does not have the package,
/// or the hash is wrong.
pub fn fetch(ctx: &Ctx, package: &Package, folder: &Path) -> Result<PathBuf> {
    let mirror = sources::mirror(Path::new("/etc"))?;
    let apt = Apt::new(&ctx.cache().join("apt"), &mirror, &package.suite, ctx.verbose)?;
    let deb = apt.download(package, folder)?;
    let tarball = extract(&deb, &package.member, folder, ctx.verbose)?;
    fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
    verify(&tarball, &package.sha256)?;
    Ok(tarball)
}

/// An apt that shares nothing with the machine's but the keyring and the list of installed packages.
#[derive(Debug)]
struct Apt {
    folder: PathBuf,
    verbose: bool,
    _lock: Lock,
}

impl Apt {
    fn new(folder: &Path, mirror: &Mirror, suite: &str, verbose: bool) -> Result<Self> {
        for inner in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(inner);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let lock = Lock::acquire(&folder.join("lock"), "the private apt")?;
        let list = folder.join("sources.list");
        fs::write(&list, mirror.line(suite)).with_context(|| format!("cannot write {}", list.display()))?;
        Ok(Self { folder: folder.to_owned(), verbose, _lock: lock })
    }

    fn command(&self) -> Result<Command> {
        let folder = self.folder.display();
        let options = [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::Cache={folder}/cache"),
            // As root, apt would hand downloads to a user who cannot reach a cache below root's home.
            "APT::Sandbox::User=".to_owned(),
            "APT::Status-Fd=1".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=2".to_owned(),
            "Acquire::http::Timeout=20".to_owned(),
            "Acquire::https::Timeout=20".to_owned(),
        ];
        let options = options.iter().flat_map(|option| ["-o", option]);
        let sh = Shell::new()?;
        Ok(cmd!(sh, "apt-get {options...}").env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").into())
    }

    fn download(&self, package: &Package, folder: &Path) -> Result<PathBuf> {
        let progress = Progress::spinner(format!("read the index of {}", package.suite));
        // `update` succeeds with a warning when the mirror does not answer, unless told otherwise.
        process::stream(self.command()?.args(["-o", "APT::Update::Error-Mode=any", "update"]), self.verbose, |_| {
            Ok(())
        })?;
        drop(progress);

        let progress = Progress::steps(format!("download {}", package.package), 100);
        let wanted = format!("{}={}", package.package, package.package_version);
        process::stream(self.command()?.args(["download", &wanted]).current_dir(folder), self.verbose, |line| {
            if let Some(percent) = percent(line) {
                progress.set(percent);
            }
            Ok(())
        })?;
        progress.done(&package.package_version);

        let debs = fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>())
            .with_context(|| format!("cannot read {}", folder.display()))?;
        let deb = debs.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        deb.with_context(|| format!("apt-get downloaded no package for {wanted}"))
    }
}

/// The percentage in a line of apt's status: `dlstatus:1:45.6:Retrieving file 1 of 1`.
fn percent(line: &str) -> Option<u64> {
    let mut fields = line.strip_prefix("dlstatus:")?.split(':');
    fields.nth(1)?.split('.').next()?.parse().ok()
}

/// Takes the file `member` out of the package `deb` and puts it into `folder`.
fn extract(deb: &Path, member: &str, folder: &Path, verbose: bool) -> Result<PathBuf> {
    let name = Path::new(member).file_name().with_context(|| format!("{member:?} names no file"))?;
    let target = folder.join(name);
    let sh = Shell::new()?;
    let (running, output) = process::start_reader(&cmd!(sh, "dpkg-deb --fsys-tarfile {deb}").into(), verbose)?;
    let mut archive = tar::Archive::new(output);
    let mut found = false;
    for entry in archive.entries().context("cannot read the package")? {
        let mut entry = entry.with_context(|| format!("cannot read {}", deb.display()))?;
        let path = entry.path()?.into_owned();
        if path.strip_prefix(".").unwrap_or(&path) == Path::new(member) {
            entry.unpack(&target).with_context(|| format!("cannot write {}", target.display()))?;
            found = true;
        }
    }
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).context("cannot read the package to its end")?;
    running.finish()?;
    if !found {
        bail!("{} has no {member} in it", deb.display());
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentage_of_a_download_is_read() {
        assert_eq!(percent("dlstatus:1:45.6034:Retrieving file 1 of 1 (3s remaining)"), Some(45));
        assert_eq!(percent("Get:1 http://mirror linux-source-7.3"), None);
    }
}
