// SPDX-License-Identifier: GPL-2.0

//! Directory entries.
//!
//! C headers: [`include/linux/dcache.h`](srctree/include/linux/dcache.h)
//!
//! Reference: <https://docs.kernel.org/filesystems/vfs.html#directory-entry-cache-dcache>

use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::{
        inode::{
            self,
            Inode, //
        },
        super_block::SuperBlock,
        FileSystem, //
    },
    prelude::*,
    str::CStrExt as _,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A name in a directory. C: `struct dentry`.
///
/// # Invariants
///
/// All instances are valid dentries of a superblock of type `T`.
#[repr(transparent)]
pub struct Dentry<T: FileSystem> {
    dentry: Opaque<bindings::dentry>,
    _t: PhantomData<T>,
}

// SAFETY: `Dentry` is not owned, and the C side synchronizes what the methods access.
unsafe impl<T: FileSystem> Sync for Dentry<T> {}

impl<T: FileSystem> Dentry<T> {
    /// Creates a reference from a raw pointer.
    ///
    /// # Safety
    ///
    /// `dentry` must be a valid dentry of a successfully filled superblock of type `T` for the
    /// duration of `'a`.
    pub(crate) unsafe fn from_raw<'a>(dentry: *mut bindings::dentry) -> &'a Self {
        // SAFETY: By the safety requirements, and `Dentry` is transparent.
        //
        // INVARIANT: By the safety requirements.
        unsafe { &*dentry.cast() }
    }

    /// Returns a raw pointer to the C structure.
    fn as_ptr(&self) -> *mut bindings::dentry {
        self.dentry.get()
    }

    /// Locks the directory and looks up `name` in it, to make it.
    ///
    /// C: `simple_start_creating`.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] if there is something of that name; [`ENOTDIR`] if this is no directory;
    /// [`EACCES`] if the name is not a valid one; [`ENOENT`] if the directory is gone; [`ENOMEM`].
    pub fn start_creating(&self, name: &CStr) -> Result<Creating<'_, T>> {
        // SAFETY: By the type invariants the dentry is valid.
        let inode = unsafe { (*self.as_ptr()).d_inode };
        // SAFETY: The inode of a dentry that somebody has a reference to is null or valid.
        let Some(inode) = (unsafe { inode.as_ref() }) else {
            return Err(ENOENT);
        };
        if u32::from(inode.i_mode) & bindings::S_IFMT != bindings::S_IFDIR {
            return Err(ENOTDIR);
        }

        // SAFETY: This is a valid, positive dentry of a directory, and `name` is a C string.
        let dentry = from_err_ptr(unsafe {
            bindings::simple_start_creating(self.as_ptr(), name.as_char_ptr())
        })?;

        // INVARIANT: On success the directory is locked, and `dentry` is negative and ours.
        Ok(Creating(Locked {
            // SAFETY: `simple_start_creating` does not return null.
            dentry: unsafe { NonNull::new_unchecked(dentry) },
            _p: PhantomData,
        }))
    }
}

/// The dentry of a name that is being made, in a locked directory.
///
/// # Invariants
///
/// `dentry` comes from `simple_start_creating` for a directory of a superblock of type `T`, and
/// `simple_done_creating` has not been called for it.
struct Locked<'a, T: FileSystem> {
    dentry: NonNull<bindings::dentry>,
    _p: PhantomData<&'a Dentry<T>>,
}

impl<T: FileSystem> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. This unlocks the directory and drops our reference.
        unsafe { bindings::simple_done_creating(self.dentry.as_ptr()) };
    }
}

/// A name that is being made, in a directory that is locked while this lives.
///
/// # Invariants
///
/// The dentry is negative.
pub struct Creating<'a, T: FileSystem>(Locked<'a, T>);

impl<'a, T: FileSystem> Creating<'a, T> {
    /// Gives the name an inode, and lets it exist until it is removed or the file system goes.
    ///
    /// The directory stays locked while the result lives: what has to be done before anybody can
    /// remove the name again can be done then.
    ///
    /// C: `d_make_persistent`, and `fsnotify_create`.
    ///
    /// # Errors
    ///
    /// [`EXDEV`] if the inode is of another superblock.
    pub fn make_persistent(self, inode: inode::New<'_, T>) -> Result<Created<'a, T>> {
        let dentry = self.0.dentry.as_ptr();
        // SAFETY: By the type invariants the dentry is valid, and has a superblock of type `T`.
        let sb = unsafe { SuperBlock::from_raw((*dentry).d_sb) };
        if !inode.is_of(sb) {
            return Err(EXDEV);
        }

        // SAFETY: By the type invariants the dentry is negative, and its directory is locked, which
        // also keeps its name and its parent as they are. `d_make_persistent` takes the reference
        // that `publish` gives up.
        unsafe {
            let dir = (*(*dentry).d_parent).d_inode;

            bindings::d_make_persistent(dentry, inode.publish().as_ptr());
            bindings::inode_set_mtime_to_ts(dir, bindings::inode_set_ctime_current(dir));
            bindings::fsnotify_create(dir, dentry);
        }
        Ok(Created(self.0))
    }
}

/// A name that was made, in a directory that is locked while this lives.
#[must_use = "dropping it unlocks the directory"]
pub struct Created<'a, T: FileSystem>(#[expect(dead_code)] Locked<'a, T>);

/// A counted reference to a dentry.
///
/// It must not outlive the superblock, which a dentry does not keep alive; hence the lifetime.
///
/// # Invariants
///
/// Owns a reference to `dentry`, whose superblock lives for the duration of `'a`.
pub struct Ref<'a, T: FileSystem> {
    dentry: NonNull<bindings::dentry>,
    _p: PhantomData<&'a SuperBlock<T>>,
}

impl<T: FileSystem> Ref<'_, T> {
    /// Takes charge of a reference.
    ///
    /// # Safety
    ///
    /// The caller must own a reference to `dentry`, which is of a successfully filled superblock of
    /// type `T` that lives for the duration of the result, and give it up.
    pub(crate) unsafe fn from_raw(dentry: NonNull<bindings::dentry>) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            dentry,
            _p: PhantomData,
        }
    }

    /// Removes the name, with all that is below it and mounted on it, from the kernel's side.
    ///
    /// Nothing happens if somebody else has removed it.
    ///
    /// C: `simple_recursive_removal`. It locks the directory.
    pub fn remove(self) {
        // SAFETY: By the type invariants `dentry` is valid. Names only appear in this file system
        // by `Creating::make_persistent`, so they are what this function expects.
        unsafe { bindings::simple_recursive_removal(self.dentry.as_ptr(), None) };
    }
}

impl<T: FileSystem> Drop for Ref<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own a reference.
        unsafe { bindings::dput(self.dentry.as_ptr()) };
    }
}

/// A dentry in a directory that is locked, as operations on directories get it.
///
/// # Invariants
///
/// `dir` is locked exclusively for the duration of `'a`, and `dentry` is in it.
pub struct Child<'a, T: FileSystem> {
    dir: &'a Inode<T>,
    dentry: &'a Dentry<T>,
}

impl<'a, T: FileSystem> Child<'a, T> {
    /// Creates a `Child` from what an operation was called with.
    ///
    /// # Safety
    ///
    /// `dir` must be a valid directory of a successfully filled superblock of type `T`, locked for
    /// the duration of `'a`, and `dentry` a valid dentry in it. There must be no other `Child` of
    /// this dentry.
    pub(crate) unsafe fn from_raw(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            // SAFETY: By the safety requirements.
            dir: unsafe { Inode::from_raw(dir) },
            // SAFETY: By the safety requirements.
            dentry: unsafe { Dentry::from_raw(dentry) },
        }
    }

    /// Returns the name. C: `d_name`.
    pub fn name(&self) -> &'a [u8] {
        // SAFETY: By the type invariants the directory is locked, so that the name does not change.
        unsafe {
            let name = &(*self.dentry.as_ptr()).__bindgen_anon_1.d_name;
            let len = name.__bindgen_anon_1.__bindgen_anon_1.len;
            core::slice::from_raw_parts(name.name, len as usize)
        }
    }

    /// Returns what has the name, if anything. C: `d_inode`.
    pub fn inode(&self) -> Option<&'a Inode<T>> {
        // SAFETY: By the type invariants the dentry is valid.
        let inode = unsafe { (*self.dentry.as_ptr()).d_inode };
        // SAFETY: The dentry keeps its inode, and it stays that as long as the directory is locked.
        (!inode.is_null()).then(|| unsafe { Inode::from_raw(inode) })
    }

    /// Removes the name. C: `simple_unlink`.
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if nothing has the name.
    pub fn simple_unlink(self) -> Result {
        if self.inode().is_none() {
            return Err(ENOENT);
        }
        // SAFETY: By the type invariants the directory is locked, and the dentry is positive. All
        // positive dentries but the root are persistent, see `Creating::make_persistent`, and a
        // second call is not possible, as this is the only `Child` of the dentry.
        to_result(unsafe { bindings::simple_unlink(self.dir.as_ptr(), self.dentry.as_ptr()) })
    }

    /// Renames `self` to `new`. C: `simple_rename`.
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if nothing has the old name, and those of the C function.
    pub fn simple_rename(self, new: Self, flags: u32) -> Result {
        if self.inode().is_none() {
            return Err(ENOENT);
        }
        // SAFETY: By the type invariants the directories are locked, and the old dentry is
        // positive. The function does not look at the idmapping.
        to_result(unsafe {
            bindings::simple_rename(
                &raw mut bindings::nop_mnt_idmap,
                self.dir.as_ptr(),
                self.dentry.as_ptr(),
                new.dir.as_ptr(),
                new.dentry.as_ptr(),
                flags,
            )
        })
    }
}
