// SPDX-License-Identifier: GPL-2.0

//! File system types.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! Reference: <https://docs.kernel.org/filesystems/vfs.html#registering-and-mounting-a-filesystem>

use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    fs::{
        context::{
            self,
            Context, //
        },
        super_block, //
    },
    impl_flags,
    module::this_module,
    prelude::*,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use core::marker::PhantomData;

impl_flags!(
    /// A combination of flags of a [`FileSystem`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Flags(u32);

    /// A flag of a [`FileSystem`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Flag {
        /// Can be mounted by anyone with `CAP_SYS_ADMIN` in their user namespace. C:
        /// `FS_USERNS_MOUNT`.
        UsernsMount = bindings::FS_USERNS_MOUNT,
    }
);

impl Flags {
    /// [`Flag::UsernsMount`], for use in a constant.
    pub const USERNS_MOUNT: Self = Self(Flag::UsernsMount as u32);
}

/// The operations and the properties of a file system type.
///
/// The tables of operations of a superblock, of its inodes and of their files are traits of their
/// own, as they are tables of their own in C.
///
/// Superblocks are made with `get_tree_nodev()` and destroyed with `kill_anon_super()`. A file
/// system on a block device needs others; that choice would become part of
/// [`context::Operations`].
///
/// # Examples
///
/// A file system with an empty root directory.
///
/// ```
/// use kernel::{
///     fs::{
///         context,
///         file_system,
///         inode,
///         super_block,
///         FileSystem,
///         FileSystemType,
///         Registration,
///         SuperBlock, //
///     },
///     prelude::*, //
/// };
///
/// struct Empty;
///
/// #[vtable]
/// impl FileSystem for Empty {
///     const NAME: &'static CStr = c"doctest_empty";
///     const FLAGS: file_system::Flags = file_system::Flags::USERNS_MOUNT;
///
///     type Context = Options;
///     type SuperOperations = Self;
///     type SuperData = ();
///     type InodeData = ();
/// }
///
/// #[vtable]
/// impl super_block::Operations for Empty {
///     type FileSystem = Self;
/// }
///
/// #[vtable]
/// impl inode::Operations for Empty {
///     type FileSystem = Self;
/// }
///
/// /// Nothing can be configured.
/// struct Options;
///
/// #[vtable]
/// impl context::Operations for Options {
///     type FileSystem = Empty;
///
///     fn init_fs_context(_fc: &context::Context<Empty>) -> impl PinInit<Self, Error> {
///         Ok(Options)
///     }
///
///     fn fill_super<'a>(
///         self: Pin<&mut Self>,
///         _fc: &context::Context<Empty>,
///         sb: super_block::New<'a, Empty>,
///     ) -> Result<&'a SuperBlock<Empty>> {
///         let sb = sb.set_data(());
///         let root = sb.new_inode()?;
///         sb.set_root(root.into_dir::<Empty>(0o755))
///     }
/// }
///
/// // A module uses `module_fs!` instead.
/// static EMPTY: FileSystemType<Empty> = FileSystemType::new();
///
/// // SAFETY: This is a static, and the registration is dropped at the end of this example.
/// let registration = unsafe { Registration::register(&EMPTY) }?;
/// # drop(registration);
/// # Ok::<(), Error>(())
/// ```
#[doc(alias = "file_system_type")]
#[vtable]
pub trait FileSystem: Sized + 'static {
    /// The name given to `mount -t`. It must not contain a dot.
    const NAME: &'static CStr;

    /// What the file system allows. C: `fs_flags`.
    const FLAGS: Flags;

    /// What a mount or a remount is configured with. C: `fs_context_operations`.
    type Context: context::Operations<FileSystem = Self>;

    /// The operations of its superblocks. C: `super_operations`.
    type SuperOperations: super_block::Operations<FileSystem = Self>;

    /// The private data of a superblock. C: `s_fs_info`.
    type SuperData: ForeignOwnable + Send + Sync;

    /// The private data of an inode that has any. C: `i_private`.
    ///
    /// It is dropped when the inode is evicted, in a context that may sleep. An unmount evicts
    /// inodes with `s_umount` held for writing. The last reference to an inode whose name is gone
    /// may be dropped with the directory locked.
    type InodeData: ForeignOwnable + Send + Sync;

    /// Called with the superblock's data after the superblock was shut down and its inodes evicted.
    ///
    /// No lock of the superblock is held. After an error of [`fill_super`], the lock of the context
    /// that `fsconfig(2)` takes is held. If [`set_data`] was not reached, there is no data and this
    /// is not called.
    ///
    /// [`fill_super`]: context::Operations::fill_super
    /// [`set_data`]: super_block::New::set_data
    fn kill_sb(data: Self::SuperData) {
        drop(data);
    }
}

// `FileSystem` is a `#[vtable]` for its `OwnerModule`, which becomes `file_system_type.owner`. In C
// there is a `kill_sb` in any case, so `HAS_KILL_SB` has no use.

/// The C structure of a file system type.
///
/// It has lockdep keys in it, so it has to be a static.
///
/// # Invariants
///
/// `fs` contains a `struct file_system_type` for `T`. Only the C side changes it.
#[doc(alias = "file_system_type")]
#[repr(transparent)]
pub struct FileSystemType<T: FileSystem> {
    fs: Opaque<bindings::file_system_type>,
    _t: PhantomData<T>,
}

// SAFETY: The C side synchronizes what it changes, and there is no `T` in it.
unsafe impl<T: FileSystem> Sync for FileSystemType<T> {}

impl<T: FileSystem> FileSystemType<T> {
    /// Creates the C structure, for a static.
    pub const fn new() -> Self {
        const {
            let name = T::NAME.to_bytes();
            let mut i = 0;
            while i < name.len() {
                // `register_filesystem()` has a `BUG_ON()` for it.
                assert!(name[i] != b'.', "NAME has a dot in it");
                i += 1;
            }
        }

        // INVARIANT: This is what the fields of C's structure mean.
        Self {
            fs: Opaque::new(bindings::file_system_type {
                owner: this_module::<T::OwnerModule>().as_ptr(),
                name: crate::str::as_char_ptr_in_const_context(T::NAME),
                fs_flags: T::FLAGS.0 as c_int,
                init_fs_context: Some(Self::init_fs_context),
                parameters: context::parameters::<T::Context>(),
                kill_sb: Some(Self::kill_sb),
                ..pin_init::zeroed()
            }),
            _t: PhantomData,
        }
    }

    /// # Safety
    ///
    /// `fc` must be a valid `struct fs_context` that is being initialized for a mount or a remount
    /// of a file system of type `T`.
    unsafe extern "C" fn init_fs_context(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements `fc` is valid, and it is for a `T`. Nobody else
            // has it during its initialization.
            let context = unsafe { Context::<T>::from_raw(fc) };
            // SAFETY: As above.
            unsafe { context::init::<T::Context>(context) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `sb` must be a valid superblock of a file system of type `T`, without active references.
    unsafe extern "C" fn kill_sb(sb: *mut bindings::super_block) {
        // SAFETY: `sb` is valid by the safety requirements.
        let data = unsafe { (*sb).s_fs_info };

        // SAFETY: `sb` is valid and has an anonymous device, since `get_tree_nodev` made it.
        unsafe { bindings::kill_anon_super(sb) };

        // SAFETY: `s_fs_info` of a superblock of this type is null or comes from `into_foreign`
        // (see `super_block::New::set_data`). All that borrows it is gone with the superblock's
        // inodes and its root.
        if let Some(data) = unsafe { T::SuperData::try_from_foreign(data) } {
            T::kill_sb(data);
        }
    }
}

impl<T: FileSystem> Default for FileSystemType<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A registration of a file system type.
///
/// # Invariants
///
/// `fs` is registered using `register_filesystem()`.
pub struct Registration<T: FileSystem> {
    fs: &'static FileSystemType<T>,
}

impl<T: FileSystem> Registration<T> {
    /// Registers a file system type.
    ///
    /// Modules that consist of one file system should use [`module_fs!`](crate::module_fs), which
    /// upholds the requirements below.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if there is a file system type of this name.
    ///
    /// # Safety
    ///
    /// `fs` must be a static of the module that `T` is from. The registration must be dropped
    /// before that is unloaded, so it must not be leaked.
    #[doc(alias = "register_filesystem")]
    pub unsafe fn register(fs: &'static FileSystemType<T>) -> Result<Self> {
        // SAFETY: By the type invariants `fs` is valid, and it is static by the safety
        // requirements. It stays in the list no longer than its module is loaded, and each
        // superblock and each context of it holds a reference to the module.
        to_result(unsafe { bindings::register_filesystem(fs.fs.get()) })?;

        // INVARIANT: `register_filesystem` has succeeded.
        Ok(Self { fs })
    }
}

impl<T: FileSystem> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants `fs` is registered. Superblocks that there are still use
        // the structure, which is static.
        unsafe { bindings::unregister_filesystem(self.fs.fs.get()) };
    }
}

/// Declares a kernel module that consists of one file system.
///
/// The module has no alias by which `mount(2)` would load it. A file system that can be a loadable
/// module gives one, as `MODULE_ALIAS_FS()` does in C: `alias: ["fs-my_file_system"]`.
///
/// # Examples
///
/// See [`FileSystem`] for what `MyFileSystem` could be.
///
/// ```ignore
/// kernel::module_fs! {
///     type: MyFileSystem,
///     name: "my_file_system",
///     authors: ["Author name"],
///     description: "Description",
///     license: "GPL",
///     alias: ["fs-my_file_system"],
/// }
/// ```
#[macro_export]
macro_rules! module_fs {
    (type: $type:ty, $($f:tt)*) => {
        struct FileSystemModule {
            _registration: $crate::fs::Registration<$type>,
        }

        impl $crate::Module for FileSystemModule {
            fn init(_module: &'static $crate::ThisModule) -> $crate::error::Result<Self> {
                static FILE_SYSTEM_TYPE: $crate::fs::FileSystemType<$type> =
                    $crate::fs::FileSystemType::new();

                Ok(Self {
                    // SAFETY: It is a static. The module structure has the registration, and is
                    // dropped when the module is unloaded. A second structure cannot have one that
                    // could be leaked, although this function is safe to call: the type is
                    // registered already, as long as the module is loaded.
                    _registration: unsafe {
                        $crate::fs::Registration::register(&FILE_SYSTEM_TYPE)
                    }?,
                })
            }
        }

        $crate::prelude::module! {
            type: FileSystemModule,
            $($f)*
        }
    }
}
