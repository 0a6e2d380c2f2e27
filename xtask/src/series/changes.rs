//! A set of writes and deletions in the repository, made together.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

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

    /// Makes the changes below `root`.
    ///
    /// # Errors
    ///
    /// When a file cannot be written or deleted.
    pub fn apply(&self, root: &Path) -> Result<()> {
        for (path, wanted) in &self.files {
            let path = root.join(path);
            match wanted {
                Some(bytes) => write(&path, bytes)?,
                None => fs::remove_file(&path).with_context(|| format!("cannot delete {}", path.display()))?,
            }
        }
        Ok(())
    }
}

/// Writes a file whole: it holds the old bytes or the new ones at any time.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let put = || -> Result<()> {
        let dir = path.parent().context("it has no folder")?;
        fs::create_dir_all(dir)?;
        let mut file = tempfile::Builder::new().prefix(".series-").tempfile_in(dir)?;
        file.write_all(bytes)?;
        let mode: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    put().with_context(|| format!("cannot write {}", path.display()))
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
