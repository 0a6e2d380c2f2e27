//! A set of writes and deletions in the repository, made together.
//!
//! They are first written to a journal in the cache. A run that dies in the middle leaves the journal, and the next
//! one finishes the work, so `patches/` and `rust/` are never left half-way between two states.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cache::write_whole;

/// What is to be written and deleted, by path relative to the repository's top.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    files: BTreeMap<String, Option<Vec<u8>>>,
}

impl Changes {
    /// Has `path` hold `bytes`.
    pub fn write(&mut self, path: String, bytes: Vec<u8>) {
        self.files.insert(path, Some(bytes));
    }

    /// Has `path` be gone, unless it is to be written.
    pub fn delete(&mut self, path: String) {
        self.files.entry(path).or_insert(None);
    }

    /// Leaves out what `root` holds already.
    pub fn against(mut self, root: &Path) -> Self {
        self.files.retain(|path, wanted| fs::read(root.join(path)).ok() != *wanted);
        self
    }

    /// The paths, each with whether it is written (else deleted).
    pub fn paths(&self) -> impl Iterator<Item = (&str, bool)> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.is_some()))
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Makes the changes below `root`, by way of the journal `journal`.
    ///
    /// # Errors
    ///
    /// When a file cannot be written or deleted.
    pub fn commit(&self, root: &Path, journal: &Path) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let parent = journal.parent().context("the journal has no folder")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let steps: Vec<Step> = self
            .files
            .iter()
            .map(|(path, after)| Step { path: path.clone(), before: content(&root.join(path)), after: after.clone() })
            .collect();
        write_whole(journal, &serde_json::to_vec(&steps).context("cannot write the journal")?)?;
        replay(root, journal)
    }
}

/// One file's way from one content to another.
#[derive(Serialize, Deserialize)]
struct Step {
    path: String,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
}

/// Finishes what an interrupted [`Changes::commit`] has left; returns whether there was something.
///
/// # Errors
///
/// When a file was changed by somebody else since, or cannot be written.
pub fn recover(root: &Path, journal: &Path) -> Result<bool> {
    if !journal.exists() {
        return Ok(false);
    }
    replay(root, journal)?;
    Ok(true)
}

fn replay(root: &Path, journal: &Path) -> Result<()> {
    let text = fs::read(journal).with_context(|| format!("cannot read {}", journal.display()))?;
    let steps: Vec<Step> =
        serde_json::from_slice(&text).with_context(|| format!("cannot read {}", journal.display()))?;
    for step in &steps {
        let now = content(&root.join(&step.path));
        if now != step.before && now != step.after {
            bail!(
                "{} was changed while a refresh was under way: bring it back (`git restore`) or delete {} to \
                 forget that refresh",
                step.path,
                journal.display()
            );
        }
    }
    for step in steps {
        let path = root.join(&step.path);
        match step.after {
            _ if content(&path) == step.after => {}
            Some(bytes) => write_whole(&path, &bytes)?,
            None => fs::remove_file(&path).with_context(|| format!("cannot delete {}", path.display()))?,
        }
    }
    fs::remove_file(journal).with_context(|| format!("cannot delete {}", journal.display()))
}

fn content(path: &Path) -> Option<Vec<u8>> {
    fs::read(path).ok()
}

/// The files below `folders` of `root`, relative to it, sorted; missing folders are empty.
///
/// # Errors
///
/// When a folder cannot be listed.
pub fn files_under(root: &Path, folders: impl IntoIterator<Item = String>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = folders.into_iter().map(PathBuf::from).collect();
    while let Some(folder) = waiting.pop() {
        let full = root.join(&folder);
        if !full.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&full).with_context(|| format!("cannot list {}", full.display()))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                waiting.push(path);
            } else {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<Vec<u8>> {
        Some(text.as_bytes().to_vec())
    }

    #[test]
    fn files_are_written_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let (root, journal) = (dir.path().join("a root"), dir.path().join("state/journal"));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("old"), "1").unwrap();
        let mut changes = Changes::default();
        changes.write("new/file".to_owned(), b"2".to_vec());
        changes.delete("old".to_owned());
        changes.commit(&root, &journal).unwrap();
        assert_eq!(content(&root.join("new/file")), some("2"));
        assert!(!root.join("old").exists());
        assert!(!journal.exists());
    }

    #[test]
    fn a_write_that_died_half_way_is_finished_by_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let (root, journal) = (dir.path(), dir.path().join("journal"));
        let step = |path: &str, before, after| Step { path: path.to_owned(), before, after };
        // As if the run had died between its first and its second file.
        fs::write(root.join("a"), "new").unwrap();
        fs::write(root.join("b"), "old").unwrap();
        let steps = [step("a", some("old"), some("new")), step("b", some("old"), None)];
        fs::write(&journal, serde_json::to_vec(&steps).unwrap()).unwrap();
        assert!(recover(root, &journal).unwrap());
        assert_eq!(content(&root.join("a")), some("new"));
        assert!(!root.join("b").exists());
        assert!(!recover(root, &journal).unwrap());
    }

    #[test]
    fn a_file_changed_after_the_interruption_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (root, journal) = (dir.path(), dir.path().join("journal"));
        fs::write(root.join("a"), "mine").unwrap();
        let steps = [Step { path: "a".to_owned(), before: some("old"), after: some("new") }];
        fs::write(&journal, serde_json::to_vec(&steps).unwrap()).unwrap();
        let error = recover(root, &journal).unwrap_err().to_string();
        assert!(error.starts_with("a was changed while a refresh was under way"), "{error}");
        assert_eq!(content(&root.join("a")), some("mine"));
    }
}
