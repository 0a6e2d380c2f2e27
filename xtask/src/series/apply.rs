//! Patches to commits, by plain `git am`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};

use super::{git::Git, patch::Patch, scratch::Scratch};
use crate::error::Failure;

/// A patch as it is handed to `git am`.
#[derive(Clone, Debug)]
pub struct Input {
    /// What the patch is called in messages: its file name.
    pub name: String,
    /// The patch file's text.
    pub text: String,
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
/// [`Failure::Series`] when a patch is no patch or does not apply: which one, which file, which hunk.
pub fn am(scratch: &Scratch, base: &str, patches: &[Input]) -> Result<Vec<String>> {
    let parsed = patches
        .iter()
        .map(|input| Patch::parse(&input.text).with_context(|| input.name.clone()).context(Failure::Series))
        .collect::<Result<Vec<_>>>()?;
    scratch.check_out(base, &touched(&parsed))?;
    let git = scratch.git();
    if patches.is_empty() {
        return Ok(Vec::new());
    }
    let mails = tempfile::tempdir_in(scratch.path()).context("cannot make a folder for the patches")?;
    let mut files: Vec<PathBuf> = Vec::new();
    for (index, input) in patches.iter().enumerate() {
        let file = mails.path().join(format!("{:04}", index + 1));
        fs::write(&file, &input.text).with_context(|| format!("cannot write {}", file.display()))?;
        files.push(file);
    }
    let output = git.attempt(
        ["am", "--quiet", "--committer-date-is-author-date", "--no-keep-cr"]
            .map(Path::new)
            .into_iter()
            .chain(files.iter().map(PathBuf::as_path)),
    )?;
    let commits = lines(&git.read(["rev-list", "--reverse", &format!("{base}..HEAD")])?);
    if output.status.success() {
        return Ok(commits);
    }
    let failed = patches.get(commits.len()).map_or("the series", |input| &input.name);
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    git.attempt(["am", "--abort"])?;
    Err(anyhow!("{failed} does not apply:\n{said}").context(Failure::Series))
}

/// The non-empty lines of `text`.
pub(super) fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The tree object of `commit`.
///
/// # Errors
///
/// When `commit` cannot be read.
pub fn tree_of(git: &Git, commit: &str) -> Result<String> {
    git.line(["rev-parse", "--verify", "--quiet", &format!("{commit}^{{tree}}")])
}
