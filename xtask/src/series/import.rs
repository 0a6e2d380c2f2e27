//! A branch of a kernel repository, one commit a patch, becomes `patches/` and `rust/`.

use std::{fmt, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    ctx::Ctx,
    git::Git,
    series::{commit_files::Changes, export, folder, scratch::Scratch},
};

/// What an import or refresh did.
#[derive(Debug)]
pub struct Outcome {
    patches: usize,
    changes: Changes,
}

impl Outcome {
    /// After `patches` patches were exported and `changes` made.
    pub fn new(patches: usize, changes: Changes) -> Self {
        Self { patches, changes }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, written) in self.changes.paths() {
            writeln!(f, "{} {path}", if written { "wrote  " } else { "deleted" })?;
        }
        let changed = self.changes.paths().count();
        writeln!(f, "{} patches, {changed} files changed", self.patches)
    }
}

/// Exports `base..branch` of the repository `repo`.
///
/// # Errors
///
/// When a revision is unknown, or a commit cannot be a patch of the series; then nothing is written.
pub fn from_branch(ctx: &Ctx, repo: &Path, base: &str, branch: &str) -> Result<Outcome> {
    let _series = folder::lock(ctx)?;
    let theirs = Git::new(repo, ctx.verbose);
    let commit = |rev: &str| {
        theirs
            .line(["rev-parse", "--verify", "--quiet", &format!("{rev}^{{commit}}")])
            .with_context(|| format!("{} has no commit `{rev}`", repo.display()))
    };
    let (base, tip) = (commit(base)?, commit(branch)?);
    let scratch = Scratch::new(ctx, &[repo])?;
    let notes = theirs.attempt(["rev-parse", "--verify", "--quiet", "refs/notes/commits"])?;
    if notes.status.success() {
        let notes = String::from_utf8_lossy(&notes.stdout).trim_end().to_owned();
        scratch.git().read(["update-ref", "refs/notes/commits", &notes])?;
    }
    let series = export::settled(&scratch, &base, export::commits(scratch.git(), &base, &tip)?)?;
    let rust = export::mirrored_files(scratch.git(), &base, &tip)?;
    let changes = export::changes(ctx, &series, rust)?.against(ctx.root());
    changes.commit(ctx.root(), &folder::journal(ctx))?;
    Ok(Outcome::new(series.len(), changes))
}
