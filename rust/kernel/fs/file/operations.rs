// SPDX-License-Identifier: GPL-2.0

//! File operations of the inodes of a file system.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! Reference: <https://docs.kernel.org/filesystems/vfs.html#the-file-object>

use crate::{
    bindings,
    error::VTABLE_DEFAULT_ERROR,
    fs::{
        inode::Inode,
        File,
        FileSystem, //
    },
    module::this_module,
    prelude::*, //
};
use core::marker::PhantomData;

/// Operations of an open file.
///
/// `open` is `nonseekable_open()`, and `llseek` is `noop_llseek()`.
///
/// # Examples
///
/// ```
/// use core::marker::PhantomData;
/// use kernel::{
///     fs::{
///         file,
///         File,
///         FileSystem,
///         Inode, //
///     },
///     prelude::*, //
/// };
///
/// struct Control<T>(PhantomData<T>);
///
/// #[vtable]
/// impl<T: FileSystem> file::Operations for Control<T> {
///     type FileSystem = T;
///
///     fn ioctl(_file: &File, inode: &Inode<T>, cmd: u32, _arg: usize) -> Result<isize> {
///         let _data = inode.super_block().data();
///         match cmd {
///             // ...
///             _ => Err(ENOTTY),
///         }
///     }
/// }
/// ```
#[doc(alias = "file_operations")]
#[vtable]
pub trait Operations: 'static {
    /// The type of file systems this is for.
    type FileSystem: FileSystem;

    /// Handles an ioctl.
    ///
    /// `inode` is that of `file`.
    #[doc(alias = "unlocked_ioctl")]
    fn ioctl(
        _file: &File,
        _inode: &Inode<Self::FileSystem>,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Handles an ioctl of 32-bit user space on a 64-bit platform.
    ///
    /// Implement it for ioctls whose argument is a number. Without it, `compat_ptr_ioctl()` treats
    /// the argument as a pointer.
    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl(
        _file: &File,
        _inode: &Inode<Self::FileSystem>,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Returns the C table for `O`.
pub(crate) const fn operations<O: Operations>() -> &'static bindings::file_operations {
    &Vtable::<O>::OPS
}

/// A vtable for the operations of a file.
struct Vtable<O: Operations>(PhantomData<O>);

impl<O: Operations> Vtable<O> {
    const OPS: bindings::file_operations = bindings::file_operations {
        owner: this_module::<O::OwnerModule>().as_ptr(),
        open: Some(bindings::nonseekable_open),
        llseek: Some(bindings::noop_llseek),
        unlocked_ioctl: if O::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: if O::HAS_COMPAT_IOCTL {
            Some(Self::compat_ioctl)
        } else if O::HAS_IOCTL {
            bindings::compat_ptr_ioctl
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// Returns a file and its inode.
    ///
    /// # Safety
    ///
    /// `file` must be a valid file of a file system of type `O::FileSystem` for the duration of
    /// `'a`.
    unsafe fn file_and_inode<'a>(
        file: *mut bindings::file,
    ) -> (&'a File, &'a Inode<O::FileSystem>) {
        // SAFETY: The file is valid, there is no active fdget_pos region on it on this thread, and
        // it keeps its inode and the superblock of that. It is open, so that is mounted and was
        // filled successfully.
        unsafe { (File::from_raw_file(file), Inode::from_raw((*file).f_inode)) }
    }

    /// # Safety
    ///
    /// `file` must be a valid file of a file system of type `O::FileSystem`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: By the safety requirements.
        let (file, inode) = unsafe { Self::file_and_inode(file) };

        match O::ioctl(file, inode, cmd, arg) {
            Ok(ret) => ret as c_long,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// `file` must be a valid file of a file system of type `O::FileSystem`.
    #[cfg(CONFIG_COMPAT)]
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: By the safety requirements.
        let (file, inode) = unsafe { Self::file_and_inode(file) };

        match O::compat_ioctl(file, inode, cmd, arg) {
            Ok(ret) => ret as c_long,
            Err(err) => err.to_errno() as c_long,
        }
    }
}
