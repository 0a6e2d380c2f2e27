// SPDX-License-Identifier: GPL-2.0

//! Mounts.
//!
//! C headers: [`include/linux/mount.h`](srctree/include/linux/mount.h)

use crate::{
    bindings,
    error::to_result,
    fs::File,
    prelude::*, //
};

/// Keeps the mount of a file from being made read-only.
///
/// # Invariants
///
/// `mnt_want_write_file` has succeeded for `file`, and `mnt_drop_write_file` has not been called.
pub struct WriteAccess<'a> {
    file: &'a File,
}

impl<'a> WriteAccess<'a> {
    /// Gets write access to the mount of `file`, for what an ioctl does to the file system.
    ///
    /// C: `mnt_want_write_file`. It waits for a frozen file system.
    ///
    /// # Errors
    ///
    /// [`EROFS`] if the mount or the file system is read-only.
    pub fn new(file: &'a File) -> Result<Self> {
        // SAFETY: `file` is a valid file by its type invariants.
        to_result(unsafe { bindings::mnt_want_write_file(file.as_ptr()) })?;

        // INVARIANT: `mnt_want_write_file` has succeeded.
        Ok(Self { file })
    }
}

impl Drop for WriteAccess<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we have write access.
        unsafe { bindings::mnt_drop_write_file(self.file.as_ptr()) };
    }
}
