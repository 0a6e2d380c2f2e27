//! Commits to files: `patches/*.patch`, `patches/*.notes` and the mirrored files of `rust/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    ctx::Ctx,
    error::Failure,
    git::Git,
    series::{
        apply::{self, Input},
        commit_files::Changes,
        cover_lines,
        folder::{COVER, Folder, PATCHES, slug},
        mirror,
        patch::Patch,
        scratch::Scratch,
    },
};

/// The options that make two exports of the same commits the same bytes on every machine.
const FORMAT: &[&str] = &[
    "format-patch",
    "--quiet",
    "--zero-commit",
    "--no-signature",
    "--no-numbered",
    "--full-index",
    "--no-renames",
    "--no-binary",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-notes",
    "--no-base",
    "--no-attach",
    "--no-thread",
    "--no-cover-letter",
    "--no-encode-email-headers",
    "--diff-algorithm=histogram",
    "--unified=3",
    "--stat=72",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--subject-prefix=PATCH",
    "--start-number=1",
];

/// One patch as it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Number and subject part of its name.
    pub stem: String,
    /// The patch file.
    pub text: String,
    /// The text under `---`.
    pub note: Option<String>,
    /// The commit it was made from.
    pub commit: String,
}

/// Formats each commit of `base..tip` in `git`'s repository, oldest first.
///
/// A commit's note is its git note, else the text after a `---` line in its message.
///
/// # Errors
///
/// [`Failure::Series`] for a merge, an empty commit, or one that cannot be written as a patch of plain text.
pub fn commits(git: &Git, base: &str, tip: &str) -> Result<Vec<Exported>> {
    let list = git.read(["log", "--reverse", "--topo-order", "--format=%H %T %P", &format!("{base}..{tip}")])?;
    let mut hashes = Vec::new();
    let mut tree_before = git.line(["rev-parse", &format!("{base}^{{tree}}")])?;
    for line in list.lines() {
        let mut words = line.split(' ');
        let (Some(commit), Some(tree), parents) = (words.next(), words.next(), words.count()) else { continue };
        let fault = match parents {
            1 if tree == tree_before => "is empty: drop it",
            1 => {
                tree_before = tree.to_owned();
                hashes.push(commit.to_owned());
                continue;
            }
            _ => "is a merge; a series is a line of patches: rebase it",
        };
        return Err(anyhow!("commit {commit} {fault}").context(Failure::Series));
    }
    if git.line(["merge-base", base, tip])? != git.line(["rev-parse", &format!("{base}^{{commit}}")])? {
        return Err(anyhow!("{tip} does not descend from the base {base}: rebase it").context(Failure::Series));
    }
    let out = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = out.path().to_string_lossy().into_owned();
    git.read(FORMAT.iter().copied().chain(["-o", &folder, &format!("{base}..{tip}")]))?;
    let mut files = fs::read_dir(out.path())?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    if files.len() != hashes.len() {
        bail!("{} commits gave {} patches", hashes.len(), files.len());
    }
    let noted = git.read(["notes", "list"])?;
    let noted: BTreeSet<String> = noted.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect();
    let mut series = Vec::new();
    for (commit, file) in hashes.into_iter().zip(files) {
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let text = fs::read_to_string(&file).with_context(|| format!("{stem} is not UTF-8 text"))?;
        let patch = Patch::parse(&text)
            .with_context(|| format!("commit {commit} does not make a fit patch ({stem})"))
            .context(Failure::Series)?;
        let note = match noted.contains(&commit) {
            true => Some(git.read(["notes", "show", &commit])?),
            false => patch.note.clone(),
        };
        series.push(Exported { stem, text: patch.canonical(), note, commit });
    }
    Ok(series)
}

/// `series` as it comes back from `git am`: the form in which another round trip changes nothing.
///
/// # Errors
///
/// [`Failure::Series`] when a patch does not apply with plain `git am`, or makes another tree than its commit.
pub fn settled(scratch: &Scratch, base: &str, series: Vec<Exported>) -> Result<Vec<Exported>> {
    let inputs: Vec<Input> =
        series.iter().map(|patch| Input { name: format!("{}.patch", patch.stem), text: patch.text.clone() }).collect();
    let made = apply::am(scratch, base, &inputs)?;
    let git = scratch.git();
    let commits_made = series.iter().map(|patch| &patch.commit).chain(&made);
    let trees: Vec<String> = commits_made.map(|commit| format!("{commit}^{{tree}}")).collect();
    let trees = git.read(std::iter::once("rev-parse").chain(trees.iter().map(String::as_str)))?;
    let trees: Vec<&str> = trees.lines().collect();
    for (index, patch) in series.iter().enumerate() {
        if trees.get(index) != trees.get(index + series.len()) {
            return Err(
                anyhow!("{} makes another tree than commit {}", patch.stem, patch.commit).context(Failure::Series)
            );
        }
    }
    let tip = made.last().map_or(base, String::as_str);
    let again = commits(git, base, tip)?;
    Ok(again.into_iter().zip(series).map(|(new, old)| Exported { note: old.note, ..new }).collect())
}

/// The files of `rust/` as they are at `tip`: those the patches from `base` on add.
///
/// # Errors
///
/// When a file cannot be read; [`Failure::Series`] for an added Rust file that has no place in `rust/`.
pub fn mirrored_files(git: &Git, base: &str, tip: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let added = git.read(["diff-tree", "-r", "-z", "--no-renames", "--diff-filter=A", "--name-only", base, tip])?;
    let mut files = BTreeMap::new();
    for path in added.split('\0').filter(|path| path.ends_with(".rs")) {
        let ours = mirror::our_path(path).ok_or_else(|| {
            anyhow!("the series adds {path}, which no folder of rust/ mirrors: extend series/mapping.rs")
                .context(Failure::Series)
        })?;
        files.insert(ours, git.feed(["cat-file", "blob", &format!("{tip}:{path}")], b"")?);
    }
    Ok(files)
}

/// What has to change in the repository so that it holds `series` and `rust`, notes following their patches.
///
/// # Errors
///
/// [`Failure::Series`] when a note would be lost because the patch it goes with is no longer there.
pub fn changes(ctx: &Ctx, series: &[Exported], rust: BTreeMap<String, Vec<u8>>) -> Result<Changes> {
    let old = Folder::read(&ctx.root().join(PATCHES))?;
    let mut notes = old_notes(&old);
    let mut changes = Changes::default();
    let mut names = BTreeSet::new();
    for patch in series {
        let kept = notes.take(patch);
        if let Some(note) = patch.note.clone().or(kept) {
            let name = format!("{PATCHES}/{}.notes", patch.stem);
            names.insert(name.clone());
            changes.write(name, note.into_bytes());
        }
        let name = format!("{PATCHES}/{}.patch", patch.stem);
        names.insert(name.clone());
        changes.write(name, patch.text.clone().into_bytes());
    }
    notes.all_taken()?;
    if let Some(cover) = &old.cover {
        let patches = series.iter().map(|patch| Patch::parse(&patch.text)).collect::<Result<Vec<_>, _>>();
        let cover = cover_lines::update(cover, &patches.context("an exported patch is none")?);
        changes.write(format!("{PATCHES}/{COVER}"), cover.into_bytes());
    }
    for entry in &old.entries {
        for name in [format!("{PATCHES}/{}", entry.name), format!("{PATCHES}/{}.notes", entry.stem())] {
            if !names.contains(&name) && ctx.root().join(&name).exists() {
                changes.delete(name);
            }
        }
    }
    for stale in crate::series::commit_files::files_under(ctx.root(), mirror::mirrored())? {
        if mirror::tree_path(&stale).is_some() && !rust.contains_key(&stale) {
            changes.delete(stale);
        }
    }
    for (path, bytes) in rust {
        changes.write(path, bytes);
    }
    Ok(changes)
}

/// The notes of the series before, each waiting for the patch it goes with.
struct OldNotes {
    notes: Vec<(String, Option<String>, String)>,
}

fn old_notes(old: &Folder) -> OldNotes {
    let with_patch = old.entries.iter().filter_map(|entry| {
        let diff = entry.patch.as_ref().ok().map(|patch| patch.diff().to_owned());
        Some((entry.stem().to_owned(), diff, entry.note.clone()?))
    });
    let orphans =
        old.orphan_notes.iter().map(|(name, text)| (name.trim_end_matches(".notes").to_owned(), None, text.clone()));
    OldNotes { notes: with_patch.chain(orphans).collect() }
}

impl OldNotes {
    /// The note of the patch of the same subject, else of the one with the same diff.
    fn take(&mut self, patch: &Exported) -> Option<String> {
        let diff = Patch::parse(&patch.text).ok().map(|parsed| parsed.diff().to_owned());
        let found = self
            .notes
            .iter()
            .position(|(stem, ..)| slug(stem) == slug(&patch.stem))
            .or_else(|| self.notes.iter().position(|(_, old, _)| old.is_some() && *old == diff))?;
        Some(self.notes.remove(found).2)
    }

    fn all_taken(self) -> Result<()> {
        match self.notes.as_slice() {
            [] => Ok(()),
            lost => {
                let names: Vec<String> = lost.iter().map(|(stem, ..)| format!("{PATCHES}/{stem}.notes")).collect();
                Err(anyhow!(
                    "these notes would be lost, because no patch has their subject any more: {}. \
                     Rename them after the patch they go with, or delete them; nothing was written",
                    names.join(", ")
                )
                .context(Failure::Series))
            }
        }
    }
}
