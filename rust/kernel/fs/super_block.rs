// SPDX-License-Identifier: GPL-2.0

//! Superblocks.
//!
//! C headers: [`include/linux/fs/super_types.h`](srctree/include/linux/fs/super_types.h)
//!
//! Reference: <https://docs.kernel.org/filesystems/vfs.html#the-superblock-object>

use crate::{
    bindings,
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    fs::{
        dentry::Dentry,
        inode,
        FileSystem, //
    },
    impl_flags,
    page::PAGE_SHIFT,
    prelude::*,
    seq_file::SeqFile,
    types::{
        ForeignOwnable,
        Opaque, //
    },
    user_namespace::UserNamespace, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

impl_flags!(
    /// A combination of internal flags of a superblock. C: `s_iflags`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct IFlags(u32);

    /// An internal flag of a superblock. C: `SB_I_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum IFlag {
        /// Files cannot be executed. C: `SB_I_NOEXEC`.
        Noexec = bindings::SB_I_NOEXEC,

        /// Device nodes cannot be opened. C: `SB_I_NODEV`.
        ///
        /// It is set if the file system is mounted in a user namespace. A file system that clears
        /// it must not let its users choose to which devices its nodes refer.
        Nodev = bindings::SB_I_NODEV,
    }
);

/// The stack depth that keeps other file systems, such as overlayfs, from using a file system as a
/// layer.
#[doc(alias = "FILESYSTEM_MAX_STACK_DEPTH")]
pub const MAX_STACK_DEPTH: u32 = bindings::FILESYSTEM_MAX_STACK_DEPTH;

/// The superblock of a mounted file system.
///
/// # Invariants
///
/// All instances are valid superblocks of type `T`, with `s_fs_info` from
/// [`into_foreign`](ForeignOwnable::into_foreign) of a `T::SuperData` and with the operations of
/// `T`. `s_root` is the root, except in a [`Rootless`], which does not give the reference out.
#[doc(alias = "super_block")]
#[repr(transparent)]
pub struct SuperBlock<T: FileSystem> {
    sb: Opaque<bindings::super_block>,
    _t: PhantomData<T>,
}

// SAFETY: `SuperBlock` is not owned, and the C side synchronizes what the methods access. `T` is
// not in it, and its data is `Sync`.
unsafe impl<T: FileSystem> Sync for SuperBlock<T> {}

impl<T: FileSystem> SuperBlock<T> {
    /// Creates a reference from a raw pointer.
    ///
    /// # Safety
    ///
    /// `sb` must be a valid superblock of type `T`, which was filled successfully, for the
    /// duration of `'a`.
    pub(crate) unsafe fn from_raw<'a>(sb: *mut bindings::super_block) -> &'a Self {
        // SAFETY: By the safety requirements, and `SuperBlock` is transparent.
        //
        // INVARIANT: Only `Rootless::set_root` makes the result of a successful `fill_super`, and
        // it follows `New::set_data`.
        unsafe { &*sb.cast() }
    }

    /// Returns a raw pointer to the C structure.
    pub(crate) fn as_ptr(&self) -> *mut bindings::super_block {
        self.sb.get()
    }

    /// Returns the superblock's data. C: `s_fs_info`.
    pub fn data(&self) -> <T::SuperData as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: By the type invariants, and `from_foreign` is not called before the superblock
        // is gone.
        unsafe { T::SuperData::borrow((*self.as_ptr()).s_fs_info) }
    }

    /// Returns the user namespace the file system was mounted in. C: `s_user_ns`.
    pub fn user_ns(&self) -> &UserNamespace {
        // SAFETY: `s_user_ns` is set when the superblock is allocated, does not change, and is
        // kept alive by it.
        unsafe { UserNamespace::from_ptr((*self.as_ptr()).s_user_ns) }
    }

    /// Returns the root. C: `s_root`.
    pub fn root(&self) -> &Dentry<T> {
        // SAFETY: By the type invariants, as a `Rootless` gives out no reference before it has set
        // the root. The superblock keeps a reference to its root.
        unsafe { Dentry::from_raw((*self.as_ptr()).s_root) }
    }

    /// Creates an inode to which nothing refers yet.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new_inode(&self) -> Result<inode::New<'_, T>> {
        // SAFETY: `self` is a valid superblock by the type invariants.
        let inode = NonNull::new(unsafe { bindings::new_inode(self.as_ptr()) }).ok_or(ENOMEM)?;

        // SAFETY: We own the reference, `i_private` of a new inode is null, and evicting it ends
        // in the `evict_inode` of `T`, since that is among the operations of this superblock.
        Ok(unsafe { inode::New::from_raw(inode) })
    }

    /// Looks up the inode with the number `ino`.
    ///
    /// Only inodes whose number was set by [`set_ino`](inode::New::set_ino) and that were given a
    /// name are found, until they are evicted. The root is not. It may sleep, waiting for an inode
    /// that is being evicted.
    ///
    /// See [`recursive_removal`](crate::fs::dentry::Ref::recursive_removal) for an example.
    pub fn ilookup(&self, ino: u64) -> Option<inode::Ref<'_, T>> {
        // SAFETY: `self` is a valid superblock by the type invariants.
        let inode = NonNull::new(unsafe { bindings::ilookup(self.as_ptr(), ino) })?;

        // SAFETY: `ilookup` returns an inode of `self` with a reference for us.
        Some(unsafe { inode::Ref::from_raw(inode) })
    }
}

/// A new superblock that has no data yet.
///
/// It is a type of its own, as is [`Rootless`], and not a state in a parameter of [`SuperBlock`],
/// because it is owned: each step consumes it, whereas there are only references to a `SuperBlock`.
///
/// # Invariants
///
/// `sb` is a valid superblock of type `T` for the duration of `'a`, which is being filled: it is in
/// the kernel's list of superblocks, but everybody else waits for `SB_BORN` before they look into
/// it. It has no data and no root.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::{
///         inode,
///         super_block::{
///             IFlag,
///             New,
///             MAX_STACK_DEPTH, //
///         },
///         FileSystem,
///         SuperBlock, //
///     },
///     prelude::*, //
/// };
///
/// fn fill<'a, T: FileSystem, O: inode::Operations<FileSystem = T>>(
///     mut sb: New<'a, T>,
///     data: T::SuperData,
/// ) -> Result<&'a SuperBlock<T>> {
///     sb.set_magic(0x6578616d);
///     sb.set_iflags(IFlag::Noexec);
///     sb.clear_iflags(IFlag::Nodev);
///     sb.set_stack_depth(MAX_STACK_DEPTH);
///
///     let sb = sb.set_data(data);
///     let root = sb.new_inode()?.into_dir::<O>(0o755);
///     sb.set_root(root)
/// }
/// ```
///
/// A superblock without a root is not returned:
///
/// ```ignore,compile_fail,E0308
/// # use kernel::{fs::{super_block::New, FileSystem, SuperBlock}, prelude::*};
/// fn fill<'a, T: FileSystem>(sb: New<'a, T>, data: T::SuperData) -> Result<&'a SuperBlock<T>> {
///     Ok(sb.set_data(data))
/// }
/// ```
pub struct New<'a, T: FileSystem> {
    sb: NonNull<bindings::super_block>,
    _p: PhantomData<&'a T>,
}

impl<'a, T: FileSystem> New<'a, T> {
    /// Takes ownership of a new superblock and sets its operations.
    ///
    /// # Safety
    ///
    /// `sb` must be a valid superblock of type `T` for the duration of `'a`, which is being filled
    /// and has neither `SB_BORN` nor data nor a root.
    pub(crate) unsafe fn from_raw(sb: *mut bindings::super_block) -> Self {
        // SAFETY: By the safety requirements `sb` is valid and ours.
        unsafe {
            (*sb).s_op = &Vtable::<T::SuperOperations>::OPS;
            (*sb).s_blocksize_bits = PAGE_SHIFT as u8;
            (*sb).s_blocksize = 1 << PAGE_SHIFT;
            (*sb).s_time_gran = 1;
        }

        // INVARIANT: By the safety requirements.
        Self {
            // SAFETY: A valid pointer is not null.
            sb: unsafe { NonNull::new_unchecked(sb) },
            _p: PhantomData,
        }
    }

    /// Returns the user namespace the file system is being mounted in. C: `s_user_ns`.
    pub fn user_ns(&self) -> &UserNamespace {
        // SAFETY: `s_user_ns` is set when the superblock is allocated, does not change, and is
        // kept alive by it.
        unsafe { UserNamespace::from_ptr((*self.sb.as_ptr()).s_user_ns) }
    }

    /// Sets the magic number, which `statfs(2)` reports. C: `s_magic`.
    pub fn set_magic(&mut self, magic: u32) {
        // SAFETY: By the type invariants the superblock is ours.
        unsafe { (*self.sb.as_ptr()).s_magic = magic as c_ulong };
    }

    /// Sets internal flags. C: `s_iflags`.
    pub fn set_iflags(&mut self, flags: impl Into<IFlags>) {
        let flags: IFlags = flags.into();
        // SAFETY: By the type invariants the superblock is ours.
        unsafe { (*self.sb.as_ptr()).s_iflags |= flags.0 as c_ulong };
    }

    /// Clears internal flags. C: `s_iflags`.
    pub fn clear_iflags(&mut self, flags: impl Into<IFlags>) {
        let flags: IFlags = flags.into();
        // SAFETY: By the type invariants the superblock is ours.
        unsafe { (*self.sb.as_ptr()).s_iflags &= !(flags.0 as c_ulong) };
    }

    /// Sets how many file systems are stacked up to this one, [`MAX_STACK_DEPTH`] at most. C:
    /// `s_stack_depth`.
    pub fn set_stack_depth(&mut self, depth: u32) {
        // SAFETY: By the type invariants the superblock is ours.
        unsafe { (*self.sb.as_ptr()).s_stack_depth = depth.min(MAX_STACK_DEPTH) as c_int };
    }

    /// Sets the superblock's data. C: `s_fs_info`.
    ///
    /// [`FileSystem::kill_sb`] receives it in the end, even if the mount fails later.
    pub fn set_data(self, data: T::SuperData) -> Rootless<'a, T> {
        // SAFETY: By the type invariants the superblock is ours and has no data yet.
        unsafe { (*self.sb.as_ptr()).s_fs_info = data.into_foreign() };

        // INVARIANT: `s_fs_info` was set, `from_raw` has set the operations, and there is no root.
        Rootless {
            // SAFETY: By the type invariants `sb` is valid for `'a`, and `SuperBlock` is
            // transparent.
            sb: unsafe { self.sb.cast().as_ref() },
        }
    }
}

/// A new superblock that has data but no root yet.
///
/// # Invariants
///
/// `sb` is being filled, see [`New`], and its `s_root` is null.
pub struct Rootless<'a, T: FileSystem> {
    sb: &'a SuperBlock<T>,
}

impl<'a, T: FileSystem> Rootless<'a, T> {
    /// Creates an inode, see [`SuperBlock::new_inode`].
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new_inode(&self) -> Result<inode::New<'a, T>> {
        self.sb.new_inode()
    }

    /// Sets the root.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`EXDEV`] if the inode is of another superblock.
    #[doc(alias = "d_make_root")]
    pub fn set_root(self, root: inode::New<'a, T, inode::Dir>) -> Result<&'a SuperBlock<T>> {
        if !root.is_of(self.sb) {
            return Err(EXDEV);
        }

        // SAFETY: The inode is a directory, and `d_make_root` takes its reference. It is not
        // hashed, so that `ilookup` does not find it.
        let root = unsafe { bindings::d_make_root(root.into_raw().as_ptr()) };
        if root.is_null() {
            return Err(ENOMEM);
        }

        // SAFETY: By the type invariants nobody else accesses the superblock.
        unsafe { (*self.sb.as_ptr()).s_root = root };
        Ok(self.sb)
    }
}

/// The operations of a superblock.
///
/// `statfs` is `simple_statfs()`, and `drop_inode` is `inode_just_drop()`: an inode is evicted as
/// soon as nothing refers to it, and its data is dropped then.
///
/// # Examples
///
/// ```
/// use core::marker::PhantomData;
/// use kernel::{
///     fs::{
///         super_block,
///         FileSystem,
///         SuperBlock, //
///     },
///     prelude::*,
///     seq_file::SeqFile,
///     seq_print, //
/// };
///
/// struct Super<T>(PhantomData<T>);
///
/// #[vtable]
/// impl<T: FileSystem<SuperData = KBox<u32>>> super_block::Operations for Super<T> {
///     type FileSystem = T;
///
///     fn show_options(sb: &SuperBlock<T>, m: &SeqFile) -> Result {
///         seq_print!(m, ",max={}", sb.data());
///         Ok(())
///     }
/// }
/// ```
#[doc(alias = "super_operations")]
#[vtable]
pub trait Operations: 'static {
    /// The type of file systems this is for.
    type FileSystem: FileSystem;

    /// Shows the mount options, each with a comma before it, in `/proc/self/mounts` and similar
    /// files.
    fn show_options(_sb: &SuperBlock<Self::FileSystem>, _m: &SeqFile) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A vtable for the operations of a superblock.
struct Vtable<O: Operations>(PhantomData<O>);

impl<O: Operations> Vtable<O> {
    const OPS: bindings::super_operations = bindings::super_operations {
        drop_inode: Some(bindings::inode_just_drop),
        evict_inode: Some(Self::evict_inode),
        statfs: Some(bindings::simple_statfs),
        show_options: if O::HAS_SHOW_OPTIONS {
            Some(Self::show_options)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `inode` must be an inode of a superblock of type `O::FileSystem` that is being evicted.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: These are what `evict_inode` has to call, and `inode` is valid.
        unsafe {
            bindings::truncate_inode_pages_final(&raw mut (*inode).i_data);
            bindings::clear_inode(inode);
        }

        // SAFETY: `inode` is valid.
        let data = unsafe { (*inode).i_private };
        // SAFETY: `i_private` is null or was set by `inode::New::set_data`, and nobody refers to
        // the inode any more. It is freed next, so this is not called again for it.
        drop(unsafe { <O::FileSystem as FileSystem>::InodeData::try_from_foreign(data) });
    }

    /// # Safety
    ///
    /// `m` must be a valid `struct seq_file` that nobody else accesses, and `root` a valid dentry
    /// of a file system of type `O::FileSystem`.
    unsafe extern "C" fn show_options(
        m: *mut bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `root` is valid, which keeps its superblock alive, and has a mount, so that
            // the superblock was filled successfully.
            let sb = unsafe { SuperBlock::from_raw((*root).d_sb) };
            // SAFETY: By the safety requirements.
            O::show_options(sb, unsafe { SeqFile::from_raw(m) })?;
            Ok(0)
        })
    }
}
