//! `patches/`: one `NNNN-subject.patch` a patch, `NNNN-subject.notes` beside it for the text under `---`, the cover
//! letter, and the groups of patches with theirs.
//!
//! `git am` drops the text under `---`, so it cannot live in the patch file and survive. The note's name is the
//! patch's; when patches are renumbered it follows the part after the number, which comes from the subject.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    cache::{Key, Lock},
    clean::CLONE,
    ctx::Ctx,
    error::Failure,
    progress,
    series::{
        apply::Input,
        commit_files,
        groups::{self, GROUPS, Group},
        patch::{Patch, Problem},
    },
};

/// The folder of the repository that holds the series.
pub const PATCHES: &str = "patches";
/// The folder in [`PATCHES`] of patches that are shown on top of the series and are no part of it.
pub const EXAMPLE: &str = "example";
/// The cover letter: its subject, a blank line, its text.
pub const COVER: &str = "0000-cover-letter.txt";
/// What came of verifying the series, which `series verify` writes.
pub const EVIDENCE: &str = "evidence.txt";

/// One patch of the series as a file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the series, from 1, as its name says.
    pub number: u32,
    /// The file's name.
    pub name: String,
    /// The file's path.
    pub path: PathBuf,
    /// The file's text; what is not UTF-8 in it is replaced.
    pub text: String,
    /// The patch, or what is wrong with it.
    pub patch: Result<Patch, Problem>,
    /// The text of its `.notes` file.
    pub note: Option<String>,
}

impl Entry {
    /// Number and subject part of the name: `0003-rust-fs-add-inode`.
    pub fn stem(&self) -> &str {
        self.name.strip_suffix(".patch").unwrap_or(&self.name)
    }

    /// The subject, or the file's name where it cannot be read.
    pub fn subject(&self) -> &str {
        self.patch.as_ref().map_or(&self.name, |patch| &patch.subject)
    }
}

/// What is wrong with the folder as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FolderProblem {
    /// A number is missing or used twice.
    #[error("{name} stands where number {expected:04} is due: the series has a gap or a number twice")]
    Gap {
        /// The file that has another number.
        name: String,
        /// The number that is due.
        expected: u32,
    },
    /// A note whose patch is not there.
    #[error("{0} belongs to no patch: rename it to go with its patch, or delete it")]
    OrphanNote(String),
    /// A file that is neither patch nor note nor one of the known others.
    #[error("{0} is neither NNNN-subject.patch nor NNNN-subject.notes")]
    Stray(String),
    /// The list of groups cannot be read.
    #[error("{GROUPS} is wrong: {0}")]
    Groups(String),
}

/// The folder as read.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// The patches in the order of their numbers.
    pub entries: Vec<Entry>,
    /// The cover letter's text.
    pub cover: Option<String>,
    /// The groups that are also mailed as a series of their own.
    pub groups: Vec<Group>,
    /// What is wrong with the set of files.
    pub problems: Vec<FolderProblem>,
    /// Notes without a patch: name and text.
    pub orphan_notes: Vec<(String, String)>,
}

impl Folder {
    /// Reads `dir`; a missing folder is an empty series.
    ///
    /// # Errors
    ///
    /// When a file cannot be read. A bad patch is not an error here: see [`Entry::patch`] and [`Folder::problems`].
    pub fn read(dir: &Path) -> Result<Self> {
        let mut folder = Self::default();
        let mut notes = BTreeMap::new();
        if !dir.exists() {
            return Ok(folder);
        }
        match groups::read(dir) {
            Ok(groups) => folder.groups = groups,
            Err(error) => folder.problems.push(FolderProblem::Groups(format!("{error:#}"))),
        }
        let list = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
        let mut paths = list.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name == COVER {
                folder.cover = Some(read(&path)?);
            } else if let Some(stem) = name.strip_suffix(".notes") {
                notes.insert(stem.to_owned(), read(&path)?);
            } else if let Some(number) = name.strip_suffix(".patch").and_then(number_of) {
                let text = read(&path)?;
                let patch = Patch::parse(&text);
                folder.entries.push(Entry { number, name, path, text, patch, note: None });
            } else if !is_other(&name) && !folder.groups.iter().any(|group| group.cover == name) {
                folder.problems.push(FolderProblem::Stray(name));
            }
        }
        folder.entries.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        for entry in &mut folder.entries {
            entry.note = notes.remove(entry.stem());
        }
        for (stem, text) in notes {
            let name = format!("{stem}.notes");
            folder.problems.push(FolderProblem::OrphanNote(name.clone()));
            folder.orphan_notes.push((name, text));
        }
        let mut expected = 1;
        for entry in &folder.entries {
            if entry.number != expected {
                folder.problems.push(FolderProblem::Gap { name: entry.name.clone(), expected });
            }
            expected = entry.number + 1;
        }
        Ok(folder)
    }

    /// How many patches `group` has; `None` if the series does not have its last one.
    pub fn length(&self, group: &Group) -> Option<usize> {
        self.entries.iter().position(|entry| slug(entry.stem()) == group.last).map(|index| index + 1)
    }

    /// The patches of `group` alone, with its cover letter.
    ///
    /// # Errors
    ///
    /// [`Failure::Series`] when the series does not have its last patch.
    pub fn only(mut self, group: &Group) -> Result<Self> {
        let length = self.length(group).ok_or_else(|| anyhow!(no_last(group)).context(Failure::Series))?;
        self.entries.truncate(length);
        self.cover = Some(group.text.clone());
        Ok(self)
    }
}

/// What to say of a `group` whose last patch the series does not have.
pub fn no_last(group: &Group) -> String {
    format!(
        "the group {} ends with {}, which is not the name of a patch without its number and ending",
        group.name, group.last
    )
}

/// Whether a cover letter has a subject, a blank line and a text.
pub fn has_subject_and_text(cover: &str) -> bool {
    let blank = |text: &str| text.trim().is_empty();
    cover.split_once("\n\n").is_some_and(|(subject, text)| !blank(subject) && !subject.contains('\n') && !blank(text))
}

/// Waits until no other run works on `patches/` and `rust/`, and finishes what an interrupted one has left.
pub fn lock(ctx: &Ctx) -> Result<Lock> {
    let state = state_dir(ctx);
    fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
    let lock = Lock::acquire(&state.join("series.lock"), "patches/ and rust/")?;
    fs::write(state.join(CLONE), ctx.root().as_os_str().as_encoded_bytes()).context("cannot write the cache")?;
    if commit_files::recover(ctx.root(), &journal(ctx))? {
        progress::say("finished writing patches/ and rust/, which an earlier run was interrupted in");
    }
    Ok(lock)
}

/// The journal of writes to `patches/` and `rust/`.
pub fn journal(ctx: &Ctx) -> PathBuf {
    state_dir(ctx).join("journal")
}

/// The folder of the cache that keeps what belongs to this clone of the repository.
pub fn state_dir(ctx: &Ctx) -> PathBuf {
    ctx.cache().join("series").join(Key::default().with(ctx.root().as_os_str().as_encoded_bytes()).name())
}

/// The patches of `folder` as `git am` takes them.
pub fn inputs(folder: &Folder) -> Vec<Input> {
    folder.entries.iter().map(|entry| Input { name: entry.name.clone(), text: entry.text.clone() }).collect()
}

/// The patches of [`EXAMPLE`] in `dir`, each to be applied for itself.
pub fn examples(dir: &Path) -> Result<Vec<Input>> {
    let dir = dir.join(EXAMPLE);
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let list = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut names = list.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
    names.sort();
    let named = |name: std::ffi::OsString| -> Result<Input> {
        Ok(Input { text: read(&dir.join(&name))?, name: format!("{EXAMPLE}/{}", name.to_string_lossy()) })
    };
    names.into_iter().map(named).collect()
}

/// Files that belong into the folder and are read elsewhere: hidden ones, the base, the justified exceptions, the evidence.
fn is_other(name: &str) -> bool {
    name.starts_with('.') || name.ends_with(".toml") || name.ends_with(".md") || name == EXAMPLE || name == EVIDENCE
}

fn number_of(stem: &str) -> Option<u32> {
    let (digits, rest) = stem.split_once('-')?;
    (digits.len() == 4 && !rest.is_empty()).then(|| digits.parse().ok())?
}

/// The part of a stem after the number, which stays when patches are renumbered.
pub fn slug(stem: &str) -> &str {
    stem.split_once('-').map_or(stem, |(_, rest)| rest)
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
