//! What was edited in `rust/` and is not in `patches/` yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{
    ctx::Ctx,
    git::Git,
    series::{commit_files::files_under, mirror},
};

/// How `rust/` differs from the files the series adds. Paths are relative to the repository's top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Files edited, made (`Some`) or deleted (`None`) in `rust/`.
    pub edited: BTreeMap<String, Option<Vec<u8>>>,
    /// Files that are as they were committed, while `patches/` has moved on.
    pub behind: BTreeSet<String>,
    /// Files changed in `rust/` and in `patches/`, differently.
    pub torn: BTreeSet<String>,
}

impl Edits {
    /// Whether `rust/` and the series agree.
    pub fn is_empty(&self) -> bool {
        self.edited.is_empty() && self.behind.is_empty() && self.torn.is_empty()
    }

    /// The edited files by their path in the kernel tree.
    pub fn in_tree(&self) -> impl Iterator<Item = (String, Option<Vec<u8>>)> {
        self.edited.iter().filter_map(|(path, content)| Some((mirror::tree_path(path)?, content.clone())))
    }

    /// Compares `rust/` with `series`, the files the series adds.
    ///
    /// Which side has changed is told by the commit that is checked out in this repository, where both agree. Without
    /// one, `rust/` counts as edited, except for files it lacks.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn find(ctx: &Ctx, series: &BTreeMap<String, Vec<u8>>) -> Result<Self> {
        let present = mirrored_files(ctx.root())?;
        let clone = Git::new(ctx.root(), ctx.verbose);
        let head = clone.commit("HEAD")?;
        let mut edits = Self::default();
        for path in present.keys().chain(series.keys()).collect::<BTreeSet<_>>() {
            let (ours, theirs) = (present.get(path), series.get(path));
            if ours == theirs {
                continue;
            }
            let committed = match &head {
                None => None,
                Some(head) => {
                    let output = clone.attempt(["cat-file", "blob", &format!("{head}:./{path}")])?;
                    Some(output.status.success().then_some(output.stdout))
                }
            };
            let (rust_changed, patches_changed) = match &committed {
                Some(committed) => (ours != committed.as_ref(), theirs != committed.as_ref()),
                None => (ours.is_some(), ours.is_none()),
            };
            match (rust_changed, patches_changed) {
                (true, true) => drop(edits.torn.insert(path.clone())),
                (true, false) => drop(edits.edited.insert(path.clone(), ours.cloned())),
                (false, _) => drop(edits.behind.insert(path.clone())),
            }
        }
        Ok(edits)
    }
}

/// The mirrored files below `root`, by path.
///
/// # Errors
///
/// When one cannot be read.
pub fn mirrored_files(root: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    files_under(root, mirror::mirrored())?
        .into_iter()
        .filter(|path| mirror::tree_path(path).is_some())
        .map(|path| Ok((path.clone(), read(&root.join(&path))?)))
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes: io::Result<Vec<u8>> = fs::read(path);
    bytes.with_context(|| format!("cannot read {}", path.display()))
}
