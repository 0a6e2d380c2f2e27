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
    impl_flags,
    prelude::*,
    str::CStrExt as _,
    types::{
        NotThreadSafe,
        Opaque, //
    },
    warn_on, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A name in a directory.
///
/// # Invariants
///
/// All instances are valid dentries of a superblock of type `T`.
#[doc(alias = "dentry")]
#[repr(transparent)]
pub struct Dentry<T: FileSystem> {
    dentry: Opaque<bindings::dentry>,
    _t: PhantomData<T>,
}

// SAFETY: `Dentry` is not owned, and what the methods access is only read with `READ_ONCE()`
// semantics or by the C side, which synchronizes it. `T` is not in it.
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

    /// Whether this is a directory.
    #[doc(alias = "d_is_dir")]
    fn is_dir(&self) -> bool {
        // SAFETY: By the type invariants the dentry is valid.
        let flags = unsafe { flags(self.as_ptr()) };
        flags & bindings::dentry_flags_DCACHE_ENTRY_TYPE
            == bindings::dentry_flags_DCACHE_DIRECTORY_TYPE
    }

    /// Locks the directory and looks up `name` in it, to create it.
    ///
    /// The task must not have the directory locked already, and so must not have another
    /// [`Creating`] or [`Created`] in it. Unless the superblock is being filled, a caller that acts
    /// for a user should hold [`WriteAccess`](crate::fs::mount::WriteAccess).
    ///
    /// See [`inode::New`] for an example.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] if the name exists; [`ENOTDIR`] if this is not a directory; [`EACCES`] if the
    /// name is not a valid one; [`ENAMETOOLONG`] if it is too long; [`ENOENT`] if the directory was
    /// removed; [`ENOMEM`].
    #[doc(alias = "simple_start_creating")]
    pub fn start_creating(&self, name: &CStr) -> Result<Creating<'_, T>> {
        // A dentry that is a directory has an inode. It stays one, as we have a reference.
        if !self.is_dir() {
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
            _not_send: NotThreadSafe,
        }))
    }
}

/// Returns the flags of a dentry. C: `d_flags`.
///
/// # Safety
///
/// `dentry` must be valid.
unsafe fn flags(dentry: *mut bindings::dentry) -> u32 {
    // SAFETY: By the safety requirements. The read is volatile, as `READ_ONCE()` is in C, because
    // others may change the flags.
    unsafe { (&raw const (*dentry).d_flags).read_volatile() }
}

/// Whether a dentry has the reference that `d_make_persistent()` took, and that
/// `d_make_discardable()` drops. C: `DCACHE_PERSISTENT`.
///
/// # Safety
///
/// `dentry` must be valid. The answer only lasts if its directory is locked.
pub(super) unsafe fn is_persistent(dentry: *mut bindings::dentry) -> bool {
    // SAFETY: By the safety requirements.
    unsafe { flags(dentry) & bindings::dentry_flags_DCACHE_PERSISTENT != 0 }
}

/// Unhashes a dentry that an operation has discarded although it failed then.
///
/// The VFS does that only if the operation succeeds. Without it, another operation would find the
/// dentry with a reference less than it expects.
///
/// # Safety
///
/// `dentry` must be valid, and its directory must be locked.
pub(crate) unsafe fn unhash_discarded(dentry: *mut bindings::dentry) {
    // SAFETY: By the safety requirements. As the directory is locked, neither the inode nor the
    // state of the dentry changes.
    unsafe {
        if !(*dentry).d_inode.is_null() && !is_persistent(dentry) {
            // Not `d_drop()`, which would leave mounts behind.
            bindings::d_invalidate(dentry);
        }
    }
}

/// The dentry of a name that is being created, in a locked directory.
///
/// # Invariants
///
/// `dentry` comes from `simple_start_creating` for a directory of a superblock of type `T`, in this
/// task, and `simple_done_creating` has not been called for it.
struct Locked<'a, T: FileSystem> {
    dentry: NonNull<bindings::dentry>,
    _p: PhantomData<&'a Dentry<T>>,
    _not_send: NotThreadSafe,
}

impl<T: FileSystem> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. This unlocks the directory and drops our reference.
        unsafe { bindings::simple_done_creating(self.dentry.as_ptr()) };
    }
}

/// A name that is being created, in a directory that is locked while this exists.
///
/// # Invariants
///
/// The dentry is negative.
pub struct Creating<'a, T: FileSystem>(Locked<'a, T>);

impl<'a, T: FileSystem> Creating<'a, T> {
    /// Gives the name an inode.
    ///
    /// The name then exists until it is removed or the superblock is shut down. The directory stays
    /// locked until the result is dropped, so that setup can be completed before the name can be
    /// removed.
    ///
    /// See [`inode::New`] for an example.
    ///
    /// # Errors
    ///
    /// [`EXDEV`] if the inode is of another superblock.
    #[doc(alias = "d_make_persistent")]
    pub fn make_persistent(
        self,
        inode: inode::New<'_, T, inode::Special>,
    ) -> Result<Created<'a, T>> {
        let dentry = self.0.dentry.as_ptr();
        // SAFETY: By the type invariants the dentry is valid, and has a superblock of type `T`.
        let sb = unsafe { SuperBlock::from_raw((*dentry).d_sb) };
        if !inode.is_of(sb) {
            // The inode's data must not be dropped with the directory locked.
            drop(self);
            return Err(EXDEV);
        }

        // SAFETY: By the type invariants the dentry is negative, and its directory is locked, which
        // also keeps its name and its parent as they are. `d_make_persistent` takes the reference
        // that `publish` gives up.
        unsafe {
            let dir = (*(*dentry).d_parent).d_inode;

            bindings::d_make_persistent(dentry, inode.publish().as_ptr());
            bindings::inode_set_mtime_to_ts(dir, bindings::inode_set_ctime_current(dir));
        }
        // INVARIANT: The dentry has just become positive.
        Ok(Created(self.0))
    }
}

/// A name that was created, in a directory that is locked while this exists.
///
/// Dropping it sends an event to the directory's watchers and unlocks the directory.
///
/// # Invariants
///
/// The dentry is positive.
#[must_use = "dropping it unlocks the directory"]
pub struct Created<'a, T: FileSystem>(Locked<'a, T>);

impl<T: FileSystem> Drop for Created<'_, T> {
    fn drop(&mut self) {
        let dentry = self.0.dentry.as_ptr();
        // SAFETY: By the type invariants the dentry is positive, and its directory is locked until
        // our field is dropped.
        unsafe { bindings::fsnotify_create((*(*dentry).d_parent).d_inode, dentry) };
    }
}

/// A counted reference to a dentry that is not a directory.
///
/// See the [module `fs`](crate::fs) for why this is not an [`ARef`](crate::sync::aref::ARef), and
/// what happens if it is leaked.
///
/// # Invariants
///
/// Owns a reference to `dentry`, whose superblock lives for the duration of `'a`. It is not a
/// directory.
pub struct Ref<'a, T: FileSystem> {
    dentry: NonNull<bindings::dentry>,
    _p: PhantomData<&'a SuperBlock<T>>,
}

impl<T: FileSystem> Ref<'_, T> {
    /// Takes ownership of a reference.
    ///
    /// # Safety
    ///
    /// The caller must own a reference to `dentry`, which is of a successfully filled superblock of
    /// type `T` that lives for the duration of the result, and give it up. It must not be a
    /// directory.
    pub(crate) unsafe fn from_raw(dentry: NonNull<bindings::dentry>) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            dentry,
            _p: PhantomData,
        }
    }

    /// Removes the name and anything mounted on it, on the kernel's own initiative.
    ///
    /// Nothing happens if it was removed already.
    ///
    /// It locks the directory, which the task must not have locked already.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::fs::{
    ///     FileSystem,
    ///     SuperBlock, //
    /// };
    ///
    /// /// Removes the node with the inode number `ino`, even if it was renamed.
    /// fn remove<T: FileSystem>(sb: &SuperBlock<T>, ino: u64) {
    ///     let inode = sb.ilookup(ino);
    ///     if let Some(dentry) = inode.and_then(|inode| inode.find_any_alias()) {
    ///         dentry.recursive_removal();
    ///     }
    /// }
    /// ```
    #[doc(alias = "simple_recursive_removal")]
    pub fn recursive_removal(self) {
        let dentry = self.dentry.as_ptr();
        // SAFETY: By the type invariants `dentry` is valid.
        let is_root = unsafe { core::ptr::eq((*dentry).d_parent, dentry) };
        if warn_on!(is_root) {
            // The function expects a directory above the name. The root is not hashed and cannot be
            // found, see `Rootless::set_root`.
            return;
        }

        // SAFETY: By the type invariants `dentry` is valid and not a directory, nor the root. The
        // function reads `d_parent` without a lock: names do not move to other directories, see
        // `Rename::simple_rename`. With the directory locked, it discards the dentry if it is
        // positive and hashed. Such a dentry is persistent: only `make_persistent` makes one
        // positive, and all that makes one discardable while the directory is locked also unhashes
        // it before that is unlocked, see `unhash_discarded`.
        unsafe { bindings::simple_recursive_removal(dentry, None) };
    }
}

impl<T: FileSystem> Drop for Ref<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own a reference.
        unsafe { bindings::dput(self.dentry.as_ptr()) };
    }
}

/// A dentry in a directory that is locked, as passed to [operations of a directory].
///
/// [operations of a directory]: inode::Operations
///
/// # Invariants
///
/// `dir` is locked exclusively by this task for the duration of `'a`, and `dentry` is in it.
///
/// # Examples
///
/// See [`inode::Operations`]. It stays with the task that has the directory locked:
///
/// ```ignore,compile_fail,E0277
/// # use kernel::fs::{dentry::Child, FileSystem};
/// fn is_send<T: Send>() {}
/// fn child_is_send<T: FileSystem + Send + Sync>() {
///     is_send::<Child<'static, T>>();
/// }
/// ```
pub struct Child<'a, T: FileSystem> {
    dir: &'a Inode<T>,
    dentry: &'a Dentry<T>,
    _not_send: NotThreadSafe,
}

impl<'a, T: FileSystem> Child<'a, T> {
    /// Creates a `Child` from what an operation was called with.
    ///
    /// # Safety
    ///
    /// `dir` must be a valid directory of a successfully filled superblock of type `T`, locked for
    /// the duration of `'a`, and `dentry` a valid dentry in it.
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
            _not_send: NotThreadSafe,
        }
    }

    /// Returns the name. C: `d_name`.
    pub fn name(&self) -> &'a [u8] {
        // SAFETY: By the type invariants the directory is locked, so that the name does not change.
        unsafe {
            let name = &raw const (*self.dentry.as_ptr()).__bindgen_anon_1.d_name;
            let len = (*name).__bindgen_anon_1.__bindgen_anon_1.len;
            core::slice::from_raw_parts((*name).name, len as usize)
        }
    }

    /// Returns the inode, if the dentry is positive. C: `d_inode`.
    pub fn inode(&self) -> Option<&'a Inode<T>> {
        // SAFETY: By the type invariants the dentry is valid.
        let inode = unsafe { (*self.dentry.as_ptr()).d_inode };
        // SAFETY: The dentry keeps its inode, and it stays that as long as the directory is locked.
        (!inode.is_null()).then(|| unsafe { Inode::from_raw(inode) })
    }

    /// Returns whether the dentry is persistent: positive, and not discarded already.
    fn is_persistent(&self) -> bool {
        // SAFETY: By the type invariants the dentry is valid, and its directory is locked.
        self.inode().is_some() && unsafe { is_persistent(self.dentry.as_ptr()) }
    }

    /// Removes the name. It is for [`unlink`](inode::Operations::unlink) to return the result.
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if nothing has the name.
    pub fn simple_unlink(self) -> Result<Unlinked<'a>> {
        if !self.is_persistent() {
            return Err(ENOENT);
        }
        // SAFETY: By the type invariants the directory is locked. The dentry is positive and
        // persistent, as `simple_unlink` makes it discardable.
        to_result(unsafe { bindings::simple_unlink(self.dir.as_ptr(), self.dentry.as_ptr()) })?;

        // INVARIANT: `simple_unlink` has succeeded.
        Ok(Unlinked { _p: PhantomData })
    }
}

/// Shows that [`Child::simple_unlink`] has succeeded in this call of an operation.
///
/// # Invariants
///
/// It has.
#[must_use = "it is the result of the operation"]
pub struct Unlinked<'a> {
    _p: PhantomData<&'a ()>,
}

impl_flags!(
    /// A combination of flags of a [`Rename`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RenameFlags(u32);

    /// A flag of a [`Rename`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum RenameFlag {
        /// Fail if the new name exists. C: `RENAME_NOREPLACE`.
        Noreplace = bindings::RENAME_NOREPLACE,

        /// Exchange the names, both of which exist. C: `RENAME_EXCHANGE`.
        Exchange = bindings::RENAME_EXCHANGE,

        /// Leave a whiteout under the old name. C: `RENAME_WHITEOUT`.
        Whiteout = bindings::RENAME_WHITEOUT,
    }
);

/// A rename that was requested.
///
/// See [`inode::Operations`] for an example.
///
/// # Invariants
///
/// `old`, `new` and `flags` are what the VFS called an operation with, and as what it will complete
/// the rename if that succeeds. `old` is positive.
///
/// # Examples
///
/// Nothing else can be done to the names, and the request cannot be changed:
///
/// ```ignore,compile_fail,E0507
/// # use kernel::fs::{dentry::Rename, FileSystem};
/// fn unlink_old<T: FileSystem>(rename: Rename<'_, T>) {
///     let _ = rename.old_child().simple_unlink();
/// }
/// ```
///
/// ```ignore,compile_fail,E0061
/// # use kernel::fs::{dentry::Rename, FileSystem};
/// fn other_flags<T: FileSystem>(rename: Rename<'_, T>) {
///     let _ = rename.simple_rename(0);
/// }
/// ```
///
/// ```ignore,compile_fail,E0451
/// # use kernel::fs::{dentry::{Rename, RenameFlags}, FileSystem};
/// fn other_roles<T: FileSystem>(rename: Rename<'_, T>) {
///     let Rename { old, new, .. } = rename;
/// }
/// ```
pub struct Rename<'a, T: FileSystem> {
    old: Child<'a, T>,
    new: Child<'a, T>,
    flags: u32,
}

impl<'a, T: FileSystem> Rename<'a, T> {
    /// Creates a `Rename` from what an operation was called with.
    ///
    /// # Safety
    ///
    /// `old`, `new` and `flags` must be what the VFS called `rename` of `struct inode_operations`
    /// with. If that succeeds, the VFS must complete the rename by `d_move()` or `d_exchange()`.
    pub(crate) unsafe fn from_raw(old: Child<'a, T>, new: Child<'a, T>, flags: u32) -> Self {
        // INVARIANT: By the safety requirements.
        Self { old, new, flags }
    }

    /// Returns the old name.
    pub fn old_child(&self) -> &Child<'a, T> {
        &self.old
    }

    /// Returns the new name, of which the dentry may be positive or negative.
    pub fn new_child(&self) -> &Child<'a, T> {
        &self.new
    }

    /// Returns the flags.
    pub fn flags(&self) -> RenameFlags {
        RenameFlags(self.flags)
    }

    /// Renames. It is for [`rename`](inode::Operations::rename) to return the result.
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if nothing has the old name; [`EXDEV`] if the new name is in another directory;
    /// [`EINVAL`] for flags but [`RenameFlag::Noreplace`] and [`RenameFlag::Exchange`].
    pub fn simple_rename(self) -> Result<Renamed<'a>> {
        let Self { old, new, flags } = self;

        if !core::ptr::eq(old.dir, new.dir) {
            // See `Ref::recursive_removal`.
            return Err(EXDEV);
        }
        if !old.is_persistent() || (new.inode().is_some() && !new.is_persistent()) {
            return Err(ENOENT);
        }

        // SAFETY: By the type invariants the directory is locked, and the roles and the flags are
        // those that the VFS completes the rename with. A positive dentry among the two is
        // persistent, as `simple_rename` makes that of the new name discardable. The function does
        // not look at the idmapping.
        to_result(unsafe {
            bindings::simple_rename(
                &raw mut bindings::nop_mnt_idmap,
                old.dir.as_ptr(),
                old.dentry.as_ptr(),
                new.dir.as_ptr(),
                new.dentry.as_ptr(),
                flags,
            )
        })?;

        // INVARIANT: `simple_rename` has succeeded.
        Ok(Renamed { _p: PhantomData })
    }
}

/// Shows that [`Rename::simple_rename`] has succeeded in this call of an operation.
///
/// # Invariants
///
/// It has.
#[must_use = "it is the result of the operation"]
pub struct Renamed<'a> {
    _p: PhantomData<&'a ()>,
}
