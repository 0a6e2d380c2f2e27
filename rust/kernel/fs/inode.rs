// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! Reference: <https://docs.kernel.org/filesystems/vfs.html#the-inode-object>

use crate::{
    bindings,
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    fs::{
        dentry::{
            self,
            Child, //
        },
        file_operations,
        super_block::SuperBlock,
        FileSystem, //
    },
    prelude::*,
    task::Kuid,
    types::{
        ForeignOwnable,
        Opaque, //
    },
    user_namespace::Kgid, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

/// A device number. C: `dev_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevT(bindings::dev_t);

impl DevT {
    /// Combines a major and a minor number. C: `MKDEV`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self((major << bindings::MINORBITS) | minor)
    }

    /// Creates a `DevT` from the raw C type.
    pub const fn from_raw(dev: bindings::dev_t) -> Self {
        Self(dev)
    }
}

/// An object of a file system. C: `struct inode`.
///
/// # Invariants
///
/// All instances are valid inodes of a superblock of type `T`, with `i_private` null or from
/// [`into_foreign`](ForeignOwnable::into_foreign) of a `T::InodeData`. `i_private` does not change.
#[repr(transparent)]
pub struct Inode<T: FileSystem> {
    inode: Opaque<bindings::inode>,
    _t: PhantomData<T>,
}

// SAFETY: `Inode` is not owned, and what the methods access does not change.
unsafe impl<T: FileSystem> Sync for Inode<T> {}

impl<T: FileSystem> Inode<T> {
    /// Creates a reference from a raw pointer.
    ///
    /// # Safety
    ///
    /// `inode` must be a valid inode of a successfully filled superblock of type `T` for the
    /// duration of `'a`.
    pub(crate) unsafe fn from_raw<'a>(inode: *mut bindings::inode) -> &'a Self {
        // SAFETY: By the safety requirements, and `Inode` is transparent.
        //
        // INVARIANT: `i_private` of a new inode is null, and only `New::set_data` changes it.
        unsafe { &*inode.cast() }
    }

    /// Returns a raw pointer to the C structure.
    pub(crate) fn as_ptr(&self) -> *mut bindings::inode {
        self.inode.get()
    }

    /// Returns the superblock. C: `i_sb`.
    pub fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: By the type invariants. An inode does not outlive its superblock.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// Returns what the inode owns, if anything. C: `i_private`.
    pub fn data(&self) -> Option<<T::InodeData as ForeignOwnable>::Borrowed<'_>> {
        // SAFETY: By the type invariants `inode` is valid.
        let data = unsafe { (*self.as_ptr()).i_private };
        // SAFETY: By the type invariants, and `from_foreign` is called when nobody refers to the
        // inode any more.
        (!data.is_null()).then(|| unsafe { T::InodeData::borrow(data) })
    }
}

/// A counted reference to an inode.
///
/// It must not outlive the superblock, which an inode does not keep alive; hence the lifetime.
///
/// # Invariants
///
/// Owns a reference to `inode`, whose superblock lives for the duration of `'a`.
pub struct Ref<'a, T: FileSystem> {
    inode: NonNull<bindings::inode>,
    _p: PhantomData<&'a SuperBlock<T>>,
}

impl<'a, T: FileSystem> Ref<'a, T> {
    /// Takes charge of a reference.
    ///
    /// # Safety
    ///
    /// The caller must own a reference to `inode`, which is of a successfully filled superblock of
    /// type `T` that lives for the duration of `'a`, and give it up.
    pub(crate) unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            inode,
            _p: PhantomData,
        }
    }

    /// Returns a dentry of the inode, if there is one.
    ///
    /// C: `d_find_any_alias`.
    pub fn find_any_alias(&self) -> Option<dentry::Ref<'a, T>> {
        // SAFETY: By the type invariants `inode` is valid.
        let dentry = NonNull::new(unsafe { bindings::d_find_any_alias(self.inode.as_ptr()) })?;

        // SAFETY: `d_find_any_alias` returns a dentry with a reference for us. It has the
        // superblock of its inode.
        Some(unsafe { dentry::Ref::from_raw(dentry) })
    }
}

impl<T: FileSystem> Deref for Ref<'_, T> {
    type Target = Inode<T>;

    fn deref(&self) -> &Self::Target {
        // SAFETY: By the type invariants, and the result does not outlive `self`.
        unsafe { Inode::from_raw(self.inode.as_ptr()) }
    }
}

impl<T: FileSystem> Drop for Ref<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own a reference.
        unsafe { bindings::iput(self.inode.as_ptr()) };
    }
}

/// An inode that nothing refers to yet but its owner.
///
/// It comes from `new_inode()`, so it is neither hashed nor `I_NEW`; dropping it evicts it. That is
/// what tells it from the inodes of `iget_locked()`.
///
/// # Invariants
///
/// Owns the only reference to `inode`, which is of a superblock of type `T` that lives for the
/// duration of `'a`. `i_private` is null or from [`into_foreign`](ForeignOwnable::into_foreign) of
/// a `T::InodeData`.
pub struct New<'a, T: FileSystem> {
    inode: NonNull<bindings::inode>,
    _p: PhantomData<&'a SuperBlock<T>>,
}

impl<T: FileSystem> New<'_, T> {
    /// Takes charge of a new inode, and gives it the present time.
    ///
    /// # Safety
    ///
    /// The caller must own the only reference to `inode`, which comes from `new_inode` for a
    /// superblock of type `T` that lives for the duration of the result, and give it up.
    pub(crate) unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Self {
        // SAFETY: `inode` is valid and nobody else has it.
        unsafe { bindings::simple_inode_init_ts(inode.as_ptr()) };

        // INVARIANT: By the safety requirements.
        Self {
            inode,
            _p: PhantomData,
        }
    }

    /// Gives up the reference to an inode that is as it is to be, and lets
    /// [`SuperBlock::ilookup`] find it by its number.
    ///
    /// C: `insert_inode_hash`.
    pub(crate) fn publish(self) -> NonNull<bindings::inode> {
        let inode = ManuallyDrop::new(self).inode;
        // SAFETY: By the type invariants the inode is valid, and it is not hashed: this is the only
        // place that does it, and there is no `New` of the inode after it.
        unsafe { bindings::__insert_inode_hash(inode.as_ptr(), (*inode.as_ptr()).i_ino) };
        inode
    }

    /// Whether the inode is of the superblock `sb`.
    pub(crate) fn is_of(&self, sb: &SuperBlock<T>) -> bool {
        // SAFETY: By the type invariants the inode is valid.
        core::ptr::eq(unsafe { (*self.inode.as_ptr()).i_sb }, sb.as_ptr())
    }

    /// Sets the number, which should be no other inode's. C: `i_ino`.
    pub fn set_ino(&mut self, ino: u64) {
        // SAFETY: By the type invariants the inode is ours.
        unsafe { (*self.inode.as_ptr()).i_ino = ino };
    }

    /// Sets the owner and the group. C: `i_uid` and `i_gid`.
    pub fn set_owner(&mut self, uid: Kuid, gid: Kgid) {
        // SAFETY: By the type invariants the inode is ours.
        unsafe {
            let inode = self.inode.as_ptr();
            (*inode).i_uid = uid.into_raw();
            (*inode).i_gid = gid.into_raw();
        }
    }

    /// Makes the inode a directory with the operations `O`. `perm` are its permission bits.
    ///
    /// `lookup` is `simple_lookup`, and the file operations are `simple_dir_operations`: what has a
    /// dentry exists, and nothing else does.
    pub fn set_dir<O: Operations<FileSystem = T>>(&mut self, perm: u16) {
        // SAFETY: By the type invariants the inode is ours.
        unsafe {
            let inode = self.inode.as_ptr();
            (*inode).i_mode = bindings::S_IFDIR as u16 | (perm & 0o7777);
            (*inode).i_op = &Vtable::<O>::OPS;
            (*inode).__bindgen_anon_3.i_fop = &raw const bindings::simple_dir_operations;
            bindings::set_nlink(inode, 2);
        }
    }

    /// Whether [`set_dir`](Self::set_dir) made the inode a directory.
    pub(crate) fn is_dir(&self) -> bool {
        // SAFETY: By the type invariants the inode is ours.
        u32::from(unsafe { (*self.inode.as_ptr()).i_mode }) & bindings::S_IFMT == bindings::S_IFDIR
    }

    /// Makes the inode a block device node. `perm` are its permission bits.
    ///
    /// C: `init_special_inode`.
    pub fn set_block_device(&mut self, dev: DevT, perm: u16) {
        self.set_special(bindings::S_IFBLK, dev, perm);
    }

    /// Makes the inode a character device node that is opened with the operations `O` instead of
    /// those of the device driver. `perm` are its permission bits.
    ///
    /// C: `init_special_inode`, and `i_fop`.
    pub fn set_char_device<O: file_operations::Operations<FileSystem = T>>(
        &mut self,
        dev: DevT,
        perm: u16,
    ) {
        self.set_special(bindings::S_IFCHR, dev, perm);
        // SAFETY: By the type invariants the inode is ours.
        unsafe { (*self.inode.as_ptr()).__bindgen_anon_3.i_fop = file_operations::vtable::<O>() };
    }

    fn set_special(&mut self, format: u32, dev: DevT, perm: u16) {
        let mode = format as u16 | (perm & 0o7777);
        // SAFETY: By the type invariants the inode is ours.
        unsafe { bindings::init_special_inode(self.inode.as_ptr(), mode, dev.0) };
    }

    /// Gives the inode what it owns, in place of what it owned. C: `i_private`.
    pub fn set_data(&mut self, data: T::InodeData) {
        // SAFETY: By the type invariants the inode is ours.
        let slot = unsafe { &mut (*self.inode.as_ptr()).i_private };
        let old = core::mem::replace(slot, data.into_foreign());
        // SAFETY: By the type invariants, and nobody has borrowed it.
        drop(unsafe { T::InodeData::try_from_foreign(old) });
    }
}

impl<T: FileSystem> Drop for New<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own the reference. Eviction drops what the inode owns.
        unsafe { bindings::iput(self.inode.as_ptr()) };
    }
}

/// Flags of [`Operations::rename`]. C: `RENAME_*`.
pub mod rename_flags {
    /// Nothing must have the new name.
    pub const NOREPLACE: u32 = bindings::RENAME_NOREPLACE;
}

/// What a directory can do. C: `struct inode_operations`.
///
/// What is left out fails the way it does in C.
#[vtable]
pub trait Operations: 'static {
    /// The type of file systems this is for.
    type FileSystem: FileSystem;

    /// Makes a regular file. C: `create`.
    ///
    /// The directory is locked.
    fn create(_child: Child<'_, Self::FileSystem>, _mode: u16) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a name. C: `unlink`.
    ///
    /// The directory and the inode are locked.
    fn unlink(_child: Child<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Renames `old` to `new`, of which the inode may be there or not. C: `rename`.
    ///
    /// `flags` is a combination of [`rename_flags`]. The directories and, except for directories,
    /// the inodes are locked.
    fn rename(
        _old: Child<'_, Self::FileSystem>,
        _new: Child<'_, Self::FileSystem>,
        _flags: u32,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A vtable for the operations of a directory.
struct Vtable<O: Operations>(PhantomData<O>);

impl<O: Operations> Vtable<O> {
    const OPS: bindings::inode_operations = bindings::inode_operations {
        lookup: Some(bindings::simple_lookup),
        create: if O::HAS_CREATE {
            Some(Self::create)
        } else {
            None
        },
        unlink: if O::HAS_UNLINK {
            Some(Self::unlink)
        } else {
            None
        },
        rename: if O::HAS_RENAME {
            Some(Self::rename)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `dir` must be a valid directory of a file system of type `O::FileSystem`, locked for the
    /// duration of the call, and `dentry` a valid dentry in it.
    unsafe extern "C" fn create(
        _idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            O::create(unsafe { Child::from_raw(dir, dentry) }, mode)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `dir` must be a valid directory of a file system of type `O::FileSystem`, locked for the
    /// duration of the call, and `dentry` a valid, positive dentry in it.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            O::unlink(unsafe { Child::from_raw(dir, dentry) })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `old_dir` and `new_dir` must be valid directories of one file system of type
    /// `O::FileSystem`, locked for the duration of the call, `old_dentry` a valid, positive dentry
    /// in the former and `new_dentry` a valid one in the latter.
    unsafe extern "C" fn rename(
        _idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old_dentry: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new_dentry: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let old = unsafe { Child::from_raw(old_dir, old_dentry) };
            // SAFETY: By the safety requirements.
            let new = unsafe { Child::from_raw(new_dir, new_dentry) };
            O::rename(old, new, flags)?;
            Ok(0)
        })
    }
}
