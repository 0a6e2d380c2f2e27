//! Patches to commits, by plain `git am`.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    error::Failure,
    git::Git,
    series::{
        patch::{ChangeKind, FileChange, Hunk, Patch, Problem},
        scratch::Scratch,
    },
};

/// A patch as it is handed to `git am`.
#[derive(Clone, Debug)]
pub struct Input {
    /// What the patch is called in messages: its file name.
    pub name: String,
    /// The patch file's text.
    pub text: String,
}

/// A patch that is one, but does not go onto the tree it met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The patch's file name.
    pub patch: String,
    /// The places that do not fit; empty if git refuses for another reason.
    pub places: Vec<Misfit>,
    /// What git said.
    pub said: String,
}

/// One place where a patch and the tree disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The file of the tree.
    pub file: String,
    /// What does not fit.
    pub why: Why,
}

/// Why a file of a patch cannot be changed as the patch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The patch changes or deletes a file that is not there.
    Missing,
    /// The patch adds a file that is there.
    Exists,
    /// The lines a hunk expects are not there.
    Hunk {
        /// Which hunk of the file, from 1.
        number: usize,
        /// How many hunks the file has.
        of: usize,
        /// The hunk.
        hunk: Hunk,
    },
}

impl std::error::Error for Rejected {}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not apply", self.patch)?;
        for Misfit { file, why } in &self.places {
            match why {
                Why::Missing => write!(f, "\n  {file}: the tree has no such file")?,
                Why::Exists => write!(f, "\n  {file}: the tree has this file already")?,
                Why::Hunk { number, of, hunk } => {
                    write!(f, "\n  {file}: hunk {number} of {of} (`{}`) finds no place for", hunk.header)?;
                    for line in hunk.lines.iter().filter(|line| !line.starts_with('+')).take(8) {
                        write!(f, "\n    |{line}")?;
                    }
                }
            }
        }
        if self.places.is_empty() {
            write!(f, ":\n  {}", self.said.replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

/// The files of the tree that `patches` touch.
pub fn touched<'a>(patches: impl IntoIterator<Item = &'a Patch>) -> BTreeSet<String> {
    patches.into_iter().flat_map(|patch| &patch.files).map(|file| file.path.clone()).collect()
}

/// Applies `patches` to the commit `base` in `scratch` and returns the commits made, oldest first.
///
/// The committer is pinned and the commit date is the author's, so the same patches give the same commit ids anywhere.
///
/// # Errors
///
/// [`Failure::Series`], with a [`Problem`] or [`Rejected`] in the chain, when a patch is no patch or does not apply.
pub fn am(scratch: &Scratch, base: &str, patches: &[Input]) -> Result<Vec<String>> {
    let parsed = patches
        .iter()
        .map(|input| Patch::parse(&input.text).with_context(|| input.name.clone()).context(Failure::Series))
        .collect::<Result<Vec<_>>>()?;
    scratch.check_out(base, &touched(&parsed))?;
    if patches.is_empty() {
        return Ok(Vec::new());
    }
    let said = hand_over(scratch, patches, &[])?;
    let commits = commits(scratch.git(), base)?;
    let (Some(said), Some(failed)) = (said, patches.get(commits.len())) else { return Ok(commits) };
    scratch.git().attempt(["am", "--abort"])?;
    let at = commits.last().map_or(base, String::as_str);
    scratch.git().read(["reset", "-q", "--hard", at])?;
    Err(anyhow::Error::new(reject(scratch.git(), failed, &parsed[commits.len()], said)?).context(Failure::Series))
}

/// How one patch of a series met a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Plain `git am` takes it.
    Applies,
    /// It needs git's three-way merge, and then fits.
    ThreeWay,
    /// It does not fit.
    Conflicts(Rejected),
    /// It is no patch the series could hold.
    Unfit(Problem),
}

/// Tries each of `patches` on `base` in its turn. Where one conflicts, its side is taken, so that those behind it are
/// judged by what they change themselves; one that does not go on even so is left out.
///
/// # Errors
///
/// When git cannot do its work for other reasons than the patches.
pub fn classify(scratch: &Scratch, base: &str, patches: &[Input]) -> Result<Vec<Class>> {
    let parsed: Vec<_> = patches.iter().map(|input| Patch::parse(&input.text)).collect();
    scratch.check_out(base, &touched(parsed.iter().flatten()))?;
    let git = scratch.git();
    let mut classes = Vec::new();
    for (input, patch) in patches.iter().zip(parsed) {
        let patch = match patch {
            Ok(patch) => patch,
            Err(problem) => {
                classes.push(Class::Unfit(problem));
                continue;
            }
        };
        let head = git.line(["rev-parse", "HEAD"])?;
        let Some(said) = hand_over(scratch, std::slice::from_ref(input), &[])? else {
            classes.push(Class::Applies);
            continue;
        };
        git.attempt(["am", "--abort"])?;
        git.read(["reset", "-q", "--hard", &head])?;
        if hand_over(scratch, std::slice::from_ref(input), &["--3way"])?.is_none() {
            classes.push(Class::ThreeWay);
            continue;
        }
        let resolved = take_theirs(git)?;
        let tip = git.line(["rev-parse", "HEAD"])?;
        git.attempt(["am", "--abort"])?;
        git.read(["reset", "-q", "--hard", &head])?;
        classes.push(Class::Conflicts(reject(git, input, &patch, said)?));
        git.read(["reset", "-q", "--hard", if resolved { &tip } else { &head }])?;
    }
    Ok(classes)
}

/// Resolves the conflicts of a three-way merge that has stopped in favour of the patch, and commits it. Returns whether
/// that was possible.
fn take_theirs(git: &Git) -> Result<bool> {
    let unmerged = git.read(["diff", "--name-only", "--diff-filter=U", "-z"])?;
    let paths: BTreeSet<&str> = unmerged.split('\0').filter(|path| !path.is_empty()).collect();
    for path in &paths {
        // A file that the patch deletes has no side of the patch.
        if !git.attempt(["checkout", "-q", "--theirs", "--", path])?.status.success() {
            return Ok(false);
        }
        git.read(["add", "--force", "--sparse", "--", path])?;
    }
    Ok(!paths.is_empty() && git.attempt(["am", "--continue"])?.status.success())
}

/// Hands `patches` to one `git am` and returns what it said if it stopped.
pub(super) fn hand_over(scratch: &Scratch, patches: &[Input], options: &[&str]) -> Result<Option<String>> {
    let (_mails, files) = mail_files(scratch, patches)?;
    let output = scratch.git().attempt(
        ["am", "--quiet", "--committer-date-is-author-date", "--no-keep-cr"]
            .iter()
            .chain(options)
            .map(Path::new)
            .chain(files.iter().map(PathBuf::as_path)),
    )?;
    let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((!output.status.success()).then(said))
}

fn mail_files(scratch: &Scratch, patches: &[Input]) -> Result<(TempDir, Vec<PathBuf>)> {
    let dir = tempfile::tempdir_in(scratch.path().join(".git")).context("cannot make a folder for the patches")?;
    let mut files = Vec::new();
    for (index, input) in patches.iter().enumerate() {
        let file = dir.path().join(format!("{:04}", index + 1));
        fs::write(&file, &input.text).with_context(|| format!("cannot write {}", file.display()))?;
        files.push(file);
    }
    Ok((dir, files))
}

/// The commits from `base` to the checked out one, oldest first.
pub(super) fn commits(git: &Git, base: &str) -> Result<Vec<String>> {
    Ok(git.read(["rev-list", "--reverse", &format!("{base}..HEAD")])?.lines().map(str::to_owned).collect())
}

/// Finds out which places of `patch` do not fit the checked out tree, by trying each hunk alone.
fn reject(git: &Git, input: &Input, patch: &Patch, said: String) -> Result<Rejected> {
    let mut places = Vec::new();
    for file in &patch.files {
        let exists = git.dir().join(&file.path).exists();
        match (file.kind, exists) {
            (ChangeKind::Added, true) => places.push(Misfit { file: file.path.clone(), why: Why::Exists }),
            (ChangeKind::Modified | ChangeKind::Deleted, false) => {
                places.push(Misfit { file: file.path.clone(), why: Why::Missing });
            }
            (ChangeKind::Added, false) => {}
            (ChangeKind::Modified | ChangeKind::Deleted, true) => {
                for (index, hunk) in file.hunks.iter().enumerate() {
                    if !fits(git, file, hunk)? {
                        let why = Why::Hunk { number: index + 1, of: file.hunks.len(), hunk: hunk.clone() };
                        places.push(Misfit { file: file.path.clone(), why });
                    }
                }
            }
        }
    }
    Ok(Rejected { patch: input.name.clone(), places, said })
}

/// Whether `git apply` finds a place for this hunk alone.
fn fits(git: &Git, file: &FileChange, hunk: &Hunk) -> Result<bool> {
    let path = &file.path;
    let text = format!(
        "diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n{}\n{}\n",
        hunk.header,
        hunk.lines.join("\n")
    );
    let mail = tempfile::Builder::new().tempfile_in(git.dir().join(".git")).context("cannot make a temporary file")?;
    fs::write(mail.path(), text).context("cannot write a temporary file")?;
    Ok(git.attempt([Path::new("apply"), Path::new("--check"), mail.path()])?.status.success())
}

/// The tree object of `commit`.
///
/// # Errors
///
/// When `commit` cannot be read.
pub fn tree_of(git: &Git, commit: &str) -> Result<String> {
    git.line(["rev-parse", "--verify", "--quiet", &format!("{commit}^{{tree}}")])
}
