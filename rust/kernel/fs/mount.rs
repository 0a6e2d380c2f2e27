// SPDX-License-Identifier: GPL-2.0

//! Mounts.
//!
//! C headers: [`include/linux/mount.h`](srctree/include/linux/mount.h)

use crate::{
    bindings,
    error::to_result,
    fs::File,
    prelude::*,
    types::NotThreadSafe, //
};

/// Write access to the mount of a file, which is not made read-only while this exists.
///
/// It also keeps the file system from being frozen, which has to wait for the task that has the
/// access. So it stays with that task.
///
/// # Invariants
///
/// `mnt_want_write_file` has succeeded for `file`, in this task, and `mnt_drop_write_file` has not
/// been called.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::{
///         mount::WriteAccess,
///         File, //
///     },
///     prelude::*, //
/// };
///
/// /// What an ioctl calls that changes the file system its file is on.
/// fn change(file: &File) -> Result {
///     let access = WriteAccess::new(file)?;
///     // ...
///     drop(access);
///     Ok(())
/// }
/// ```
///
/// ```ignore,compile_fail,E0277
/// # use kernel::fs::mount::WriteAccess;
/// fn is_send<T: Send>() {}
/// is_send::<WriteAccess<'static>>();
/// ```
pub struct WriteAccess<'a> {
    file: &'a File,
    _not_send: NotThreadSafe,
}

impl<'a> WriteAccess<'a> {
    /// Gets write access to the mount of `file`, for an ioctl that changes the file system.
    ///
    /// It waits for a frozen file system.
    ///
    /// # Errors
    ///
    /// [`EROFS`] if the mount or the file system is read-only.
    #[doc(alias = "mnt_want_write_file")]
    pub fn new(file: &'a File) -> Result<Self> {
        // SAFETY: `file` is a valid file by its type invariants.
        to_result(unsafe { bindings::mnt_want_write_file(file.as_ptr()) })?;

        // INVARIANT: `mnt_want_write_file` has succeeded.
        Ok(Self {
            file,
            _not_send: NotThreadSafe,
        })
    }
}

impl Drop for WriteAccess<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we have write access.
        unsafe { bindings::mnt_drop_write_file(self.file.as_ptr()) };
    }
}
