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
            Child,
            Rename,
            Renamed,
            Unlinked, //
        },
        file,
        super_block::SuperBlock,
        DevT,
        FileSystem, //
    },
    prelude::*,
    task::{
        Kgid,
        Kuid, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use core::{
    convert::Infallible,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

/// An inode that has a name, or had one.
///
/// # Invariants
///
/// All instances are valid inodes of a superblock of type `T`, with `i_private` null or from
/// [`into_foreign`](ForeignOwnable::into_foreign) of a `T::InodeData`. `i_private` does not change.
#[doc(alias = "inode")]
#[repr(transparent)]
pub struct Inode<T: FileSystem> {
    inode: Opaque<bindings::inode>,
    _t: PhantomData<T>,
}

// SAFETY: `Inode` is not owned, and what the methods access does not change. `T` is not in it, and
// its data is `Sync`.
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

    /// Returns the inode's data, if it has any. C: `i_private`.
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
/// See the [module `fs`](crate::fs) for why this is not an [`ARef`](crate::sync::aref::ARef), and
/// what happens if it is leaked.
///
/// # Invariants
///
/// Owns a reference to `inode`, whose superblock lives for the duration of `'a`.
pub struct Ref<'a, T: FileSystem> {
    inode: NonNull<bindings::inode>,
    _p: PhantomData<&'a SuperBlock<T>>,
}

impl<'a, T: FileSystem> Ref<'a, T> {
    /// Takes ownership of a reference.
    ///
    /// # Safety
    ///
    /// The caller must own a reference to `inode`, which is of a successfully filled superblock of
    /// type `T` that lives for the duration of `'a`, and give it up. The inode must not be a
    /// directory.
    pub(crate) unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            inode,
            _p: PhantomData,
        }
    }

    /// Returns a dentry of the inode, if there is one.
    #[doc(alias = "d_find_any_alias")]
    pub fn find_any_alias(&self) -> Option<dentry::Ref<'a, T>> {
        // SAFETY: By the type invariants `inode` is valid.
        let dentry = NonNull::new(unsafe { bindings::d_find_any_alias(self.inode.as_ptr()) })?;

        // SAFETY: `d_find_any_alias` returns a dentry with a reference for us. It has the
        // superblock of its inode, and is not a directory as the inode is not.
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

/// The kind of a [`New`] inode that has none yet.
pub enum Untyped {}

/// The kind of a [`New`] inode that is a directory.
pub enum Dir {}

/// The kind of a [`New`] inode that is a device node.
pub enum Special {}

/// A new inode to which only its owner has a reference.
///
/// It comes from `new_inode()`, so it is neither hashed nor `I_NEW`, unlike those of
/// `iget_locked()`. Dropping it evicts it.
///
/// Its kind, `K`, decides what it can be used for. What has no kind cannot be given a name, and a
/// directory can only become the root.
///
/// # Invariants
///
/// Owns the only reference to `inode`, which is of a superblock of type `T` that lives for the
/// duration of `'a`. `i_private` is null or from [`into_foreign`](ForeignOwnable::into_foreign) of
/// a `T::InodeData`. `i_mode` and the operations are those of `K`.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::{
///         DevT,
///         FileSystem,
///         SuperBlock, //
///     },
///     prelude::*, //
/// };
///
/// fn add_node<T: FileSystem>(sb: &SuperBlock<T>, data: T::InodeData) -> Result {
///     let mut inode = sb.new_inode()?;
///     inode.set_ino(3);
///     inode.set_data(data);
///     let inode = inode.into_block_device(DevT::new(7, 0), 0o600);
///
///     drop(sb.root().start_creating(c"node")?.make_persistent(inode)?);
///     Ok(())
/// }
/// ```
///
/// An inode needs a kind:
///
/// ```ignore,compile_fail,E0308
/// # use kernel::{fs::{FileSystem, SuperBlock}, prelude::*};
/// # fn untyped<T: FileSystem>(sb: &SuperBlock<T>) -> Result {
/// let inode = sb.new_inode()?;
/// drop(sb.root().start_creating(c"node")?.make_persistent(inode)?);
/// # Ok(())
/// # }
/// ```
///
/// Directories below the root are not supported:
///
/// ```ignore,compile_fail,E0308
/// # use kernel::{fs::{inode, FileSystem, SuperBlock}, prelude::*};
/// # fn dir<T: FileSystem, O: inode::Operations<FileSystem = T>>(sb: &SuperBlock<T>) -> Result {
/// let inode = sb.new_inode()?.into_dir::<O>(0o755);
/// drop(sb.root().start_creating(c"directory")?.make_persistent(inode)?);
/// # Ok(())
/// # }
/// ```
pub struct New<'a, T: FileSystem, K = Untyped> {
    inode: NonNull<bindings::inode>,
    /// Whether the number was set, so that [`SuperBlock::ilookup`] is to find the inode.
    has_ino: bool,
    _p: PhantomData<(&'a SuperBlock<T>, K)>,
}

impl<'a, T: FileSystem> New<'a, T> {
    /// Takes ownership of a new inode and sets its number and its timestamps.
    ///
    /// # Safety
    ///
    /// The caller must own the only reference to `inode`, which comes from `new_inode` for a
    /// superblock of type `T` that lives for the duration of the result, and give it up.
    pub(crate) unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Self {
        // SAFETY: `inode` is valid and nobody else has it.
        unsafe {
            // User space skips directory entries with the number 0.
            (*inode.as_ptr()).i_ino = bindings::get_next_ino().into();
            bindings::simple_inode_init_ts(inode.as_ptr());
        }

        // INVARIANT: By the safety requirements, and a new inode has no kind.
        Self {
            inode,
            has_ino: false,
            _p: PhantomData,
        }
    }

    /// Makes the inode a directory with the operations `O`. `perm` are its permission bits.
    ///
    /// `lookup` is `simple_lookup()`, and the file operations are `simple_dir_operations`: a name
    /// exists if it has a dentry.
    pub fn into_dir<O: Operations<FileSystem = T>>(self, perm: u16) -> New<'a, T, Dir> {
        // SAFETY: By the type invariants the inode is ours.
        unsafe {
            let inode = self.inode.as_ptr();
            (*inode).i_mode = bindings::S_IFDIR as u16 | (perm & 0o7777);
            (*inode).i_op = &Vtable::<O>::OPS;
            (*inode).__bindgen_anon_3.i_fop = &raw const bindings::simple_dir_operations;
            bindings::set_nlink(inode, 2);
        }
        // INVARIANT: The inode has just become a directory.
        self.with_kind()
    }

    /// Makes the inode a block device node. `perm` are its permission bits.
    #[doc(alias = "init_special_inode")]
    pub fn into_block_device(self, dev: DevT, perm: u16) -> New<'a, T, Special> {
        self.into_special(bindings::S_IFBLK, dev, perm)
    }

    /// Makes the inode a character device node that is opened with the operations `O` instead of
    /// those of the device driver. `perm` are its permission bits.
    #[doc(alias = "init_special_inode")]
    pub fn into_char_device<O: file::Operations<FileSystem = T>>(
        self,
        dev: DevT,
        perm: u16,
    ) -> New<'a, T, Special> {
        let inode = self.into_special(bindings::S_IFCHR, dev, perm);
        // SAFETY: By the type invariants the inode is ours.
        unsafe { (*inode.inode.as_ptr()).__bindgen_anon_3.i_fop = file::operations::<O>() };
        inode
    }

    fn into_special(self, format: u32, dev: DevT, perm: u16) -> New<'a, T, Special> {
        let mode = format as u16 | (perm & 0o7777);
        // SAFETY: By the type invariants the inode is ours.
        unsafe { bindings::init_special_inode(self.inode.as_ptr(), mode, dev.into_raw()) };
        // INVARIANT: The inode has just become a device node.
        self.with_kind()
    }
}

impl<'a, T: FileSystem, K> New<'a, T, K> {
    /// Says of what kind the inode is.
    fn with_kind<L>(self) -> New<'a, T, L> {
        let this = ManuallyDrop::new(self);
        New {
            inode: this.inode,
            has_ino: this.has_ino,
            _p: PhantomData,
        }
    }

    /// Gives up the reference.
    pub(crate) fn into_raw(self) -> NonNull<bindings::inode> {
        ManuallyDrop::new(self).inode
    }

    /// Gives up the reference to a fully set up inode. If its number was set, hashes it, so that
    /// [`SuperBlock::ilookup`] finds it.
    #[doc(alias = "insert_inode_hash")]
    pub(crate) fn publish(self) -> NonNull<bindings::inode> {
        let has_ino = self.has_ino;
        let inode = self.into_raw();
        if has_ino {
            // SAFETY: By the type invariants the inode is valid, and it is not hashed: this is the
            // only place that does it, and there is no `New` of the inode after it.
            unsafe { bindings::__insert_inode_hash(inode.as_ptr(), (*inode.as_ptr()).i_ino) };
        }
        inode
    }

    /// Whether the inode is of the superblock `sb`.
    pub(crate) fn is_of(&self, sb: &SuperBlock<T>) -> bool {
        // SAFETY: By the type invariants the inode is valid.
        core::ptr::eq(unsafe { (*self.inode.as_ptr()).i_sb }, sb.as_ptr())
    }

    /// Sets the number, which should be no other inode's. C: `i_ino`.
    ///
    /// Without this it has some number, and [`SuperBlock::ilookup`] does not find the inode.
    pub fn set_ino(&mut self, ino: u64) {
        // SAFETY: By the type invariants the inode is ours.
        unsafe { (*self.inode.as_ptr()).i_ino = ino };
        self.has_ino = true;
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

    /// Sets the inode's data, and drops what it had. C: `i_private`.
    pub fn set_data(&mut self, data: T::InodeData) {
        // SAFETY: By the type invariants the inode is ours.
        let old = unsafe {
            core::ptr::replace(
                &raw mut (*self.inode.as_ptr()).i_private,
                data.into_foreign(),
            )
        };
        // SAFETY: By the type invariants, and nobody has borrowed it.
        drop(unsafe { T::InodeData::try_from_foreign(old) });
    }
}

impl<T: FileSystem, K> Drop for New<'_, T, K> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own the reference. Eviction drops the data.
        unsafe { bindings::iput(self.inode.as_ptr()) };
    }
}

/// Operations of a directory.
///
/// Operations not implemented fail as in C. In all of them the directory is locked, so they must
/// not call [`start_creating`](dentry::Dentry::start_creating) or
/// [`recursive_removal`](dentry::Ref::recursive_removal) for it: the task would wait for itself.
///
/// # Examples
///
/// ```
/// use core::{
///     convert::Infallible,
///     marker::PhantomData, //
/// };
/// use kernel::{
///     fs::{
///         dentry::{
///             Child,
///             Rename,
///             RenameFlag,
///             Renamed,
///             Unlinked, //
///         },
///         inode,
///         FileSystem, //
///     },
///     prelude::*, //
/// };
///
/// struct Directory<T>(PhantomData<T>);
///
/// #[vtable]
/// impl<T: FileSystem> inode::Operations for Directory<T> {
///     type FileSystem = T;
///
///     fn create(_child: Child<'_, T>, _mode: u16) -> Result<Infallible> {
///         Err(EPERM)
///     }
///
///     fn unlink<'a>(child: Child<'a, T>) -> Result<Unlinked<'a>> {
///         if child.name().starts_with(b".") {
///             return Err(EPERM);
///         }
///         child.simple_unlink()
///     }
///
///     fn rename<'a>(rename: Rename<'a, T>) -> Result<Renamed<'a>> {
///         if rename.flags().contains(RenameFlag::Exchange) {
///             return Err(EINVAL);
///         }
///         if rename.new_child().inode().is_some() {
///             return Err(EEXIST);
///         }
///         rename.simple_rename()
///     }
/// }
/// ```
///
/// Doing nothing is not a success:
///
/// ```ignore,compile_fail,E0308
/// # use kernel::{fs::{dentry::{Child, Unlinked}, FileSystem}, prelude::*};
/// fn unlink<'a, T: FileSystem>(_child: Child<'a, T>) -> Result<Unlinked<'a>> {
///     Ok(())
/// }
/// ```
///
/// ```ignore,compile_fail,E0308
/// # use core::convert::Infallible;
/// # use kernel::{fs::{dentry::Child, FileSystem}, prelude::*};
/// fn create<T: FileSystem>(_child: Child<'_, T>, _mode: u16) -> Result<Infallible> {
///     Ok(())
/// }
/// ```
#[doc(alias = "inode_operations")]
#[vtable]
pub trait Operations: 'static {
    /// The type of file systems this is for.
    type FileSystem: FileSystem;

    /// Refuses to create a regular file.
    ///
    /// It decides about the error of `open(2)` with `O_CREAT`, which is [`EACCES`] without it, and
    /// of `mknod(2)` for a regular file. There are no regular files, so it cannot succeed.
    fn create(_child: Child<'_, Self::FileSystem>, _mode: u16) -> Result<Infallible> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Removes a name.
    ///
    /// The directory and the inode are locked.
    ///
    /// If it fails after [`simple_unlink`](Child::simple_unlink) has succeeded, the name is gone
    /// nevertheless.
    fn unlink<'a>(_child: Child<'a, Self::FileSystem>) -> Result<Unlinked<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Renames a name.
    ///
    /// The directories and the inodes, which are not directories, are locked.
    ///
    /// If it fails after [`simple_rename`](Rename::simple_rename) has succeeded, nothing has the
    /// new name, and the old one stays.
    fn rename<'a>(_rename: Rename<'a, Self::FileSystem>) -> Result<Renamed<'a>> {
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
            match O::create(unsafe { Child::from_raw(dir, dentry) }, mode)? {}
        })
    }

    /// # Safety
    ///
    /// `dir` must be a valid directory of a file system of type `O::FileSystem`, locked for the
    /// duration of the call, and `dentry` a valid, positive dentry in it.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let result = O::unlink(unsafe { Child::from_raw(dir, dentry) });
            if result.is_err() {
                // SAFETY: By the safety requirements.
                unsafe { dentry::unhash_discarded(dentry) };
            }
            result.map(|Unlinked { .. }| 0)
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
            let (old, new) = unsafe {
                (
                    Child::from_raw(old_dir, old_dentry),
                    Child::from_raw(new_dir, new_dentry),
                )
            };
            // SAFETY: By the safety requirements. The VFS leaves `d_move()` to file systems with
            // `FS_RENAME_DOES_D_MOVE`, which `file_system::Flags` cannot have.
            let result = O::rename(unsafe { Rename::from_raw(old, new, flags) });
            if result.is_err() {
                // SAFETY: By the safety requirements.
                unsafe { dentry::unhash_discarded(new_dentry) };
            }
            result.map(|Renamed { .. }| 0)
        })
    }
}
