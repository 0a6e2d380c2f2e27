//! Where the kernel's source comes from: a package, a tarball, or what the person has.
//!
//! Whatever the origin, the result is a commit in a git repository that the series is applied to.

pub mod debian;
pub mod import;
pub mod kernel_org;
pub mod local;
pub mod spec;
pub mod tarball;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    cache::{self, Key},
    ctx::Ctx,
    error::Failure,
    git::Git,
    interrupt,
    progress::{self, Progress},
};
use spec::{Candidate, Other, Spec};

/// A commit the series can be applied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The repository it is in; worktrees may be added to it.
    pub repo: PathBuf,
    /// Its full object name.
    pub commit: String,
    /// The kernel's version, from its Makefile: `7.3.4`.
    pub version: String,
}

impl Base {
    /// The base that `commit` of `repo` is.
    ///
    /// # Errors
    ///
    /// When there is no such commit, or it is no kernel tree.
    pub fn at(repo: &Path, commit: &str, verbose: bool) -> Result<Self> {
        let git = Git::new(repo, verbose);
        let commit = git
            .line(["rev-parse", "--verify", "--quiet", &format!("{commit}^{{commit}}")])
            .with_context(|| format!("there is no commit {commit} in {}", repo.display()))?;
        let makefile = git
            .read(["show", &format!("{commit}:Makefile")])
            .with_context(|| format!("{} has no Makefile: it is no kernel source", repo.display()))?;
        let version = version(&makefile)
            .with_context(|| format!("the Makefile in {} names no VERSION: it is no kernel source", repo.display()))?;
        Ok(Self { repo: repo.to_owned(), commit, version })
    }
}

/// The version that a kernel's top Makefile gives: `7.3.4`, `7.3.0-rc7`.
fn version(makefile: &str) -> Option<String> {
    let value = |name: &str| {
        makefile
            .lines()
            .filter_map(|line| line.split_once('='))
            .find_map(|(key, value)| (key.trim() == name).then(|| value.trim()))
    };
    let extra = value("EXTRAVERSION").unwrap_or_default();
    Some(format!("{}.{}.{}{extra}", value("VERSION")?, value("PATCHLEVEL")?, value("SUBLEVEL")?))
}

/// Gets the base: what is at `from` (a git tree, a tarball or a folder), or else the first candidate
/// of `patches/base.toml` that can be had. Nothing is fetched that the cache has.
///
/// # Errors
///
/// Why no candidate can be had, or `from` cannot be used, and what to do.
pub fn base(ctx: &Ctx, from: Option<&Path>) -> Result<Base> {
    let spec = Spec::read(&ctx.root().join("patches/base.toml"))?;
    let base = match from {
        Some(path) => local::base(ctx, path)?,
        None => pinned(ctx, &spec.version, &spec.candidates)?,
    };
    if base.version != spec.version {
        progress::say(&format!("note: the series is made for Linux {}, and this is {}", spec.version, base.version));
    }
    Ok(base)
}

/// The other kernels that `patches/base.toml` knows.
///
/// # Errors
///
/// When the file cannot be read.
pub fn others(ctx: &Ctx) -> Result<Vec<Other>> {
    Ok(Spec::read(&ctx.root().join("patches/base.toml"))?.others)
}

/// Gets another kernel, as [`base`] does.
///
/// # Errors
///
/// Why it cannot be had.
pub fn other(ctx: &Ctx, other: &Other) -> Result<Base> {
    pinned(ctx, &other.version, &other.candidates)
}

/// The base, if the cache has it already.
///
/// # Errors
///
/// When `patches/base.toml` or the entry in the cache cannot be read.
pub fn cached(ctx: &Ctx) -> Result<Option<Base>> {
    let spec = Spec::read(&ctx.root().join("patches/base.toml"))?;
    cached_of(ctx, &spec.version, &spec.candidates)
}

fn cached_of(ctx: &Ctx, version: &str, candidates: &[Candidate]) -> Result<Option<Base>> {
    let entries = candidates.iter().map(|candidate| ctx.cache().join("base").join(key(version, candidate)));
    entries
        .into_iter()
        .find(|entry| entry.is_dir())
        .map(|entry| Base::at(&entry, import::BRANCH, ctx.verbose))
        .transpose()
}

fn pinned(ctx: &Ctx, version: &str, candidates: &[Candidate]) -> Result<Base> {
    if let Some(base) = cached_of(ctx, version, candidates)? {
        return Ok(base);
    }
    let folder = ctx.cache().join("base");
    let mut failures = String::new();
    for candidate in candidates {
        let what = format!("Linux {version} from {candidate}");
        let made = cache::entry(&folder, &key(version, candidate), &what, |half| {
            let tarball = match candidate {
                Candidate::Debian(package) => debian::fetch(ctx, package, half)?,
                Candidate::KernelOrg { sha256 } => {
                    kernel_org::fetch(&kernel_org::Site::default(), version, sha256.as_deref(), half, ctx.verbose)?
                }
            };
            unpack(&tarball, half, &format!("Linux {version}"), ctx.verbose)?;
            std::fs::remove_file(&tarball).with_context(|| format!("cannot remove {}", tarball.display()))
        });
        match made {
            Ok(entry) => return Base::at(&entry, import::BRANCH, ctx.verbose),
            Err(error) if interrupt::requested() => return Err(error),
            Err(error) => {
                progress::say(&format!("cannot get {what}: {error:#}"));
                failures.push_str(&format!("\n- {what}: {error:#}"));
            }
        }
    }
    Err(anyhow!(
        "no source of Linux {version} can be had:{failures}\n\
         Have a look at the network, or give a kernel's git tree, tarball or folder with --from PATH."
    )
    .context(Failure::Environment))
}

/// The name of the entry a candidate ends in: its content where that is pinned, else what names it.
fn key(version: &str, candidate: &Candidate) -> String {
    let key = Key::default().with("base 1").with(version);
    match candidate.sha256() {
        Some(sha256) => key.with(sha256),
        None => key.with(candidate.to_string()),
    }
    .name()
}

/// Imports the tarball into the bare repository `repo` as a commit named `title`, with progress.
fn unpack(tarball: &Path, repo: &Path, title: &str, verbose: bool) -> Result<()> {
    let name = tarball.file_name().unwrap_or_default().to_string_lossy();
    let progress = Progress::spinner(format!("unpack {name}"));
    let count = import::import(repo, title, verbose, |files| tarball::feed(tarball, verbose, files, &progress))?;
    progress.done(&format!("{count} files"));
    Ok(())
}

/// Fails unless the file `path` has the SHA-256 `expected`.
fn verify(path: &Path, expected: &str) -> Result<()> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let length = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
    let found = cache::sha256(file, |_| ()).with_context(|| format!("cannot read {}", path.display()))?;
    if found == expected {
        return Ok(());
    }
    bail!(
        "what arrived ({length} bytes) has the SHA-256\n  {found}, but it should be\n  {expected}: \
         the download was cut short, or the archive has something else under this name by now; it is not used"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_makefile() {
        let stable = "# SPDX\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\nNAME = X\n";
        assert_eq!(version(stable).as_deref(), Some("7.3.4"));
        let candidate = "VERSION = 7\nPATCHLEVEL = 4\nSUBLEVEL = 0\nEXTRAVERSION = -rc7\n";
        assert_eq!(version(candidate).as_deref(), Some("7.4.0-rc7"));
        assert_eq!(version("all: x = y\n"), None);
    }

    #[test]
    fn a_file_with_another_hash_is_refused_with_both_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("linux.tar.xz");
        std::fs::write(&path, "abc").unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(&path, right).unwrap();
        std::fs::write(&path, "ab").unwrap();
        let error = verify(&path, right).unwrap_err().to_string();
        assert!(
            error.contains(right) && error.contains("fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"),
            "{error}"
        );
    }
}
