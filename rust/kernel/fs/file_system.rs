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
    module::this_module,
    prelude::*,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use core::marker::PhantomData;

/// Flags of a [`FileSystem`]. C: `FS_*`.
pub mod flags {
    /// Whoever has `CAP_SYS_ADMIN` in a user namespace can mount it there.
    pub const USERNS_MOUNT: u32 = bindings::FS_USERNS_MOUNT;
}

/// A type of file systems. C: `struct file_system_type`.
///
/// The tables of operations of a superblock, of its inodes and of their files are traits of their
/// own, as they are tables of their own in C.
#[vtable]
pub trait FileSystem: Sized + 'static {
    /// The name given to `mount -t`.
    const NAME: &'static CStr;

    /// A combination of [`flags`].
    const FLAGS: u32;

    /// What a mount or a remount is configured with. C: `fs_context_operations`.
    type Context: context::Operations<FileSystem = Self>;

    /// The operations of its superblocks. C: `super_operations`.
    type SuperOperations: super_block::Operations<FileSystem = Self>;

    /// What a superblock owns. C: `s_fs_info`.
    type SuperData: ForeignOwnable + Send + Sync;

    /// What an inode owns, if anything. C: `i_private`.
    type InodeData: ForeignOwnable + Send + Sync;

    /// Called when a superblock has gone, with what it owned, after all its inodes were evicted.
    ///
    /// No lock is held.
    fn kill_sb(data: Self::SuperData) {
        drop(data);
    }
}

/// A registration of a file system type.
///
/// The C structure has lockdep keys in it, so it has to be in static memory, which the module
/// structure is that [`module_fs!`](crate::module_fs) makes.
///
/// # Invariants
///
/// `fs` contains a `struct file_system_type` that is registered using `register_filesystem()`,
/// from the end of the initializer to [`Drop`].
#[repr(transparent)]
#[pin_data(PinnedDrop)]
pub struct Registration<T: FileSystem> {
    #[pin]
    fs: Opaque<bindings::file_system_type>,
    _t: PhantomData<T>,
}

// SAFETY: `unregister_filesystem` can be called from any thread.
unsafe impl<T: FileSystem> Send for Registration<T> {}
// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: FileSystem> Sync for Registration<T> {}

impl<T: FileSystem> Registration<T> {
    /// Registers the file system type.
    ///
    /// A module that is nothing but a file system uses [`module_fs!`](crate::module_fs), which
    /// calls this and keeps what it requires.
    ///
    /// C: `register_filesystem`.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if there is a file system type of this name.
    ///
    /// # Safety
    ///
    /// The registration must be dropped when the module is unloaded, and not before: that is when
    /// there are no superblocks of this type, because each holds a reference to the module.
    pub unsafe fn register() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            fs <- Opaque::try_ffi_init(|slot: *mut bindings::file_system_type| {
                let fs = bindings::file_system_type {
                    owner: this_module::<T::OwnerModule>().as_ptr(),
                    name: crate::str::as_char_ptr_in_const_context(T::NAME),
                    fs_flags: T::FLAGS as c_int,
                    init_fs_context: Some(Self::init_fs_context),
                    parameters: context::parameters::<T::Context>(),
                    kill_sb: Some(Self::kill_sb),
                    ..pin_init::zeroed()
                };

                // SAFETY: The initializer can write to the provided `slot`.
                unsafe { slot.write(fs) };

                // SAFETY: `slot` has just been initialized. It is pinned, and unregistered before
                // it is deallocated by the destructor of this type.
                //
                // INVARIANT: If this returns `Ok(())`, then `slot` contains a registered file
                // system type.
                to_result(unsafe { bindings::register_filesystem(slot) })
            }),
            _t: PhantomData,
        })
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

#[pinned_drop]
impl<T: FileSystem> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: We know that the file system type is registered by the type invariants. By the
        // safety requirements of `register` there are no superblocks of it.
        unsafe { bindings::unregister_filesystem(self.fs.get()) };
    }
}

/// Declares a kernel module that is one file system.
///
/// # Examples
///
/// ```ignore
/// kernel::module_fs! {
///     type: MyFileSystem,
///     name: "my_file_system",
///     authors: ["Author name"],
///     description: "Description",
///     license: "GPL",
/// }
/// ```
#[macro_export]
macro_rules! module_fs {
    (type: $type:ty, $($f:tt)*) => {
        #[$crate::prelude::pin_data]
        struct FileSystemModule {
            #[pin]
            _registration: $crate::fs::Registration<$type>,
        }

        impl $crate::InPlaceModule for FileSystemModule {
            fn init(
                _module: &'static $crate::ThisModule
            ) -> impl $crate::prelude::PinInit<Self, $crate::error::Error> {
                $crate::try_pin_init!(Self {
                    // SAFETY: The module structure is static, and dropped when the module is
                    // unloaded.
                    _registration <- unsafe { $crate::fs::Registration::register() },
                })
            }
        }

        $crate::prelude::module! {
            type: FileSystemModule,
            $($f)*
        }
    }
}
