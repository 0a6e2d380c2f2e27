//! A throw-away repository that borrows the objects of others and checks out only the files it needs.
//!
//! The kernel has 90,000 files; applying, exporting and folding patches needs a few dozen of them. Objects are
//! borrowed through git's alternates, so nothing is written into the repository of the base, which may be a person's
//! own kernel clone, and none of its settings apply here.

use std::{collections::BTreeSet, fs, io::Write as _, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::{ctx::Ctx, git::Git};

/// A small repository on branch `loopfs`.
#[derive(Debug)]
pub struct Scratch {
    git: Git,
    temporary: Option<TempDir>,
}

impl Scratch {
    /// Makes an empty one that sees the objects of the repositories `lenders` and is gone when dropped.
    ///
    /// # Errors
    ///
    /// When the cache cannot be written or a lender is no repository.
    pub fn new(ctx: &Ctx, lenders: &[&Path]) -> Result<Self> {
        let parent = ctx.cache().join("tmp");
        fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
        remove_left_over(&parent);
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)
            .with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        let git = Git::new(dir.path(), ctx.verbose);
        init(&git, lenders)?;
        configure(&git)?;
        Ok(Self { git, temporary: Some(dir) })
    }

    /// Makes an empty one in the folder `dir`, where it stays.
    ///
    /// # Errors
    ///
    /// As [`Scratch::new`].
    pub fn lasting(ctx: &Ctx, dir: &Path, lenders: &[&Path]) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let scratch = Self::existing(ctx, dir);
        init(&scratch.git, lenders)?;
        configure(&scratch.git)?;
        Ok(scratch)
    }

    /// The one that [`Scratch::lasting`] made in `dir`.
    pub fn existing(ctx: &Ctx, dir: &Path) -> Self {
        Self { git: Git::new(dir, ctx.verbose), temporary: None }
    }

    /// git in this repository.
    pub fn git(&self) -> &Git {
        &self.git
    }

    /// The repository's folder.
    pub fn path(&self) -> &Path {
        self.temporary.as_ref().map_or(self.git.dir(), TempDir::path)
    }

    /// Puts branch `loopfs` at `commit` and checks out `paths` of it, and nothing else.
    ///
    /// # Errors
    ///
    /// When `commit` cannot be read.
    pub fn check_out(&self, commit: &str, paths: &BTreeSet<String>) -> Result<()> {
        let patterns: String = paths.iter().map(|path| format!("/{}\n", escape(path))).collect();
        let info = self.path().join(".git/info");
        fs::create_dir_all(&info).with_context(|| format!("cannot make {}", info.display()))?;
        fs::write(info.join("sparse-checkout"), patterns).context("cannot write the list of files to check out")?;
        self.git.read(["update-ref", "refs/heads/loopfs", commit])?;
        self.git.read(["symbolic-ref", "HEAD", "refs/heads/loopfs"])?;
        self.git.read(["read-tree", "--reset", "-u", "HEAD"])?;
        Ok(())
    }
}

/// What the names of temporary repositories start with.
const PREFIX: &str = "series-";

/// Removes what killed runs have left in `parent`, as far as that is possible.
fn remove_left_over(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
        let old = age.is_some_and(|age| age > Duration::from_secs(24 * 3600));
        if old && entry.file_name().to_string_lossy().starts_with(PREFIX) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Makes `git`'s folder a repository that sees the objects of `lenders`.
///
/// # Errors
///
/// When the folder cannot be written or a lender is no repository.
pub fn init(git: &Git, lenders: &[&Path]) -> Result<()> {
    git.read(["init", "-q"])?;
    let mut alternates = String::new();
    for lender in lenders {
        let paths = Git::new(*lender, false)
            .read(["rev-parse", "--path-format=absolute", "--git-path", "objects", "--git-path", "shallow"])
            .with_context(|| format!("{} is not a git repository", lender.display()))?;
        let mut paths = paths.lines();
        let (Some(objects), Some(shallow)) = (paths.next(), paths.next()) else {
            bail!("{} has no object store", lender.display());
        };
        alternates.push_str(objects);
        alternates.push('\n');
        if Path::new(shallow).exists() {
            fs::copy(shallow, git.dir().join(".git/shallow")).with_context(|| format!("cannot copy {shallow}"))?;
        }
    }
    let file = git.dir().join(".git/objects/info/alternates");
    fs::write(&file, alternates).with_context(|| format!("cannot write {}", file.display()))
}

fn configure(git: &Git) -> Result<()> {
    let file = git.dir().join(".git/config");
    // Each command of `git am` rewrites the index; with 90,000 entries and one file, that is most of its time.
    let settings = "[core]\n\tsparseCheckout = true\n\tsparseCheckoutCone = false\n\tsplitIndex = true\n";
    fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .and_then(|mut config| config.write_all(settings.as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// A path as a sparse-checkout pattern that matches only itself.
fn escape(path: &str) -> String {
    let special = |c| matches!(c, '*' | '?' | '[' | ']' | '\\' | ' ' | '#' | '!');
    path.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}
