//! Regular files to bind to loop devices.

use std::{
    fs::{File, OpenOptions},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The size of the usual backing file, in bytes.
pub const SIZE: u64 = 1 << 20;

/// A backing file, open for reading and writing.
#[derive(Debug)]
pub struct Backing {
    file: File,
    path: PathBuf,
}

impl Backing {
    /// Makes a file of [`SIZE`] zero bytes at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or is there already.
    pub fn new(path: &Path) -> Result<Self> {
        Self::with_size(path, SIZE)
    }

    /// Makes a file of `size` zero bytes at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or is there already.
    pub fn with_size(path: &Path, size: u64) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        file.set_len(size).with_context(|| format!("cannot give {} {size} bytes", path.display()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `length` bytes at byte `offset`.
    ///
    /// # Errors
    ///
    /// When there are fewer, or they cannot be read.
    pub fn read_at(&self, length: usize, offset: u64) -> Result<Vec<u8>> {
        let mut data = vec![0; length];
        self.file.read_exact_at(&mut data, offset).with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(data)
    }
}

impl AsFd for Backing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
