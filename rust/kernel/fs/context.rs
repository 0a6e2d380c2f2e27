// SPDX-License-Identifier: GPL-2.0

//! File system contexts: the configuration of a mount or a remount.
//!
//! C headers: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h) and
//! [`include/linux/fs_parser.h`](srctree/include/linux/fs_parser.h)
//!
//! Reference: <https://docs.kernel.org/filesystems/mount_api.html>

use crate::{
    bindings,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    fmt,
    fs::{
        super_block::{
            self,
            SuperBlock, //
        },
        FileSystem, //
    },
    prelude::*,
    str::CStrExt as _,
    types::{
        ForeignOwnable,
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::marker::PhantomData;

/// How many options a file system can have.
const MAX_PARAMETERS: usize = 31;

/// A callback that takes the value of an option.
type Callback<T, V> = fn(Pin<&mut T>, &Context<<T as Operations>::FileSystem>, V) -> Result;

/// The type of an option, with what takes its value.
enum Kind<T: Operations> {
    U32(Callback<T, u32>),
}

/// A mount option of a file system with the context `T`.
///
/// # Examples
///
/// ```
/// # use kernel::fs::{file_system, inode, super_block, FileSystem, SuperBlock};
/// use kernel::{
///     fs::context::{
///         Context,
///         Operations,
///         Parameter, //
///     },
///     fs::invalfc,
///     prelude::*, //
/// };
/// # struct MyFs;
/// # #[vtable]
/// # impl FileSystem for MyFs {
/// #     const NAME: &'static CStr = c"doctest_parameter";
/// #     const FLAGS: file_system::Flags = file_system::Flags::empty();
/// #     type Context = Options;
/// #     type SuperOperations = Self;
/// #     type SuperData = ();
/// #     type InodeData = ();
/// # }
/// # #[vtable]
/// # impl super_block::Operations for MyFs { type FileSystem = Self; }
/// # #[vtable]
/// # impl inode::Operations for MyFs { type FileSystem = Self; }
///
/// struct Options {
///     max: Option<u32>,
/// }
///
/// impl Options {
///     fn set_max(mut self: Pin<&mut Self>, fc: &Context<MyFs>, max: u32) -> Result {
///         if max > 255 {
///             return Err(invalfc!(fc, "max={max} exceeds 255"));
///         }
///         self.max = Some(max);
///         Ok(())
///     }
/// }
///
/// #[vtable]
/// impl Operations for Options {
///     type FileSystem = MyFs;
///
///     const PARAMETERS: &'static [Parameter<Self>] = &[Parameter::u32(c"max", Self::set_max)];
///
///     fn init_fs_context(_fc: &Context<MyFs>) -> impl PinInit<Self, Error> {
///         Ok(Options { max: None })
///     }
///
/// #   fn fill_super<'a>(
/// #       self: Pin<&mut Self>,
/// #       _fc: &Context<MyFs>,
/// #       sb: super_block::New<'a, MyFs>,
/// #   ) -> Result<&'a SuperBlock<MyFs>> {
/// #       let sb = sb.set_data(());
/// #       let root = sb.new_inode()?;
/// #       sb.set_root(root.into_dir::<MyFs>(0o755))
/// #   }
///     // ...
/// }
/// ```
#[doc(alias = "fs_parameter_spec")]
pub struct Parameter<T: Operations> {
    name: &'static CStr,
    kind: Kind<T>,
}

impl<T: Operations> Parameter<T> {
    /// An option that takes an unsigned 32-bit number, which `set` is called with.
    #[doc(alias = "fsparam_u32")]
    pub const fn u32(name: &'static CStr, set: Callback<T, u32>) -> Self {
        Self {
            name,
            kind: Kind::U32(set),
        }
    }

    /// Returns the option for a table of C, with `opt` as its number.
    const fn spec(&self, opt: u8) -> bindings::fs_parameter_spec {
        bindings::fs_parameter_spec {
            name: crate::str::as_char_ptr_in_const_context(self.name),
            type_: match self.kind {
                Kind::U32(_) => Some(bindings::fs_param_is_u32),
            },
            opt,
            ..pin_init::zeroed()
        }
    }

    /// Calls what takes the value.
    ///
    /// # Safety
    ///
    /// `result` must be the result of parsing a value of this option, after all its bits were zero.
    unsafe fn set(
        &self,
        owned: Pin<&mut T>,
        fc: &Context<T::FileSystem>,
        result: &bindings::fs_parse_result,
    ) -> Result {
        match self.kind {
            // SAFETY: `fs_param_is_u32` has set this field by the safety requirements, and any
            // bits of the union that were zero before are a valid `u32` in any case.
            Kind::U32(set) => set(owned, fc, unsafe { result.__bindgen_anon_1.uint_32 }),
        }
    }
}

/// A mount or a remount that is being configured.
///
/// # Invariants
///
/// All instances are valid contexts for a file system of type `T`, to which no other thread has
/// access: the C side serializes calls with `uapi_mutex`.
#[doc(alias = "fs_context")]
#[repr(transparent)]
pub struct Context<T: FileSystem> {
    fc: Opaque<bindings::fs_context>,
    _t: PhantomData<T>,
    _not_sync: NotThreadSafe,
}

impl<T: FileSystem> Context<T> {
    /// Creates a reference from a raw pointer.
    ///
    /// # Safety
    ///
    /// `fc` must be a valid context for a file system of type `T`, to which no other thread has
    /// access for the duration of `'a`.
    pub(crate) unsafe fn from_raw<'a>(fc: *mut bindings::fs_context) -> &'a Self {
        // SAFETY: By the safety requirements, and `Context` is transparent.
        //
        // INVARIANT: Guaranteed by the safety requirements.
        unsafe { &*fc.cast() }
    }

    /// Logs an error message to the context. Used by [`invalfc!`](crate::invalfc).
    #[doc(hidden)]
    pub fn errorfc(&self, args: fmt::Arguments<'_>) {
        // SAFETY: By the type invariants `fc` is valid. `log` and `prefix` are its own, and passing
        // a void pointer to `Arguments` is valid for `%pA`.
        unsafe {
            let log = &raw mut (*self.fc.get()).log;
            bindings::logfc(
                (*log).log,
                (*log).prefix,
                b'e' as c_char,
                c"%pA".as_char_ptr(),
                core::ptr::from_ref(&args).cast::<c_void>(),
            );
        }
    }
}

/// Logs an error message to a [`Context`] and evaluates to [`EINVAL`].
///
/// The caller of `fsconfig(2)` can read the message from the context. For callers of `mount(2)` it
/// goes to the kernel log.
///
/// See [`Parameter`] for an example.
#[doc(alias = "errorfc")]
#[macro_export]
macro_rules! invalfc {
    ($fc:expr, $($arg:tt)+) => {{
        $fc.errorfc($crate::prelude::fmt!($($arg)+));
        $crate::error::code::EINVAL
    }};
}

/// The operations of a context.
///
/// The implementing type is the private data of the context, C's `fs_private`.
///
/// See [`FileSystem`] for an example.
#[doc(alias = "fs_context_operations")]
#[vtable]
pub trait Operations: Sized + Send + 'static {
    /// The type of file systems this is for.
    type FileSystem: FileSystem<Context = Self>;

    /// The mount options. Others are refused, but for those that all file systems have.
    const PARAMETERS: &'static [Parameter<Self>] = &[];

    /// Called when a mount or a remount begins.
    fn init_fs_context(fc: &Context<Self::FileSystem>) -> impl PinInit<Self, Error>;

    /// Fills a new superblock. C: the `fill_super` callback of `get_tree_nodev()`.
    ///
    /// `s_umount` is held for writing. On an error the superblock is destroyed.
    fn fill_super<'a>(
        self: Pin<&mut Self>,
        fc: &Context<Self::FileSystem>,
        sb: super_block::New<'a, Self::FileSystem>,
    ) -> Result<&'a SuperBlock<Self::FileSystem>>;

    /// Called to apply a remount. Without it a remount has no effect on the file system.
    ///
    /// `s_umount` is held for writing. The callbacks of all options that were given have succeeded.
    fn reconfigure(
        self: Pin<&mut Self>,
        _fc: &Context<Self::FileSystem>,
        _sb: &SuperBlock<Self::FileSystem>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Returns the options of `T` as C's table of them.
pub(crate) const fn parameters<T: Operations>() -> *const bindings::fs_parameter_spec {
    Vtable::<T>::PARAMETERS.as_ptr()
}

/// Sets the private data and the operations of a context.
///
/// # Safety
///
/// `fc` must be in the course of its initialization, by `init_fs_context` of `T::FileSystem`.
pub(crate) unsafe fn init<T: Operations>(fc: &Context<T::FileSystem>) -> Result {
    let context = KBox::try_pin_init(T::init_fs_context(fc), GFP_KERNEL_ACCOUNT)?;

    // SAFETY: By the type invariants of `Context` we have exclusive access, and what is being
    // initialized has no private data.
    unsafe {
        (*fc.fc.get()).fs_private = context.into_foreign();
        (*fc.fc.get()).ops = &Vtable::<T>::OPS;
    }
    Ok(())
}

/// A vtable for the operations of a context.
struct Vtable<T: Operations>(PhantomData<T>);

impl<T: Operations> Vtable<T> {
    const OPS: bindings::fs_context_operations = bindings::fs_context_operations {
        free: Some(Self::free),
        parse_param: Some(Self::parse_param),
        get_tree: Some(Self::get_tree),
        reconfigure: if T::HAS_RECONFIGURE {
            Some(Self::reconfigure)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// The options, numbered by their places, and an empty entry behind the last.
    const PARAMETERS: &'static [bindings::fs_parameter_spec; MAX_PARAMETERS + 1] = &{
        assert!(
            T::PARAMETERS.len() <= MAX_PARAMETERS,
            "PARAMETERS has more than MAX_PARAMETERS entries"
        );
        let mut specs = [pin_init::zeroed(); MAX_PARAMETERS + 1];
        let mut i = 0;
        while i < T::PARAMETERS.len() {
            specs[i] = T::PARAMETERS[i].spec(i as u8);
            i += 1;
        }
        specs
    };

    /// Returns the private data.
    ///
    /// # Safety
    ///
    /// `fc` must be a valid context that [`init`] succeeded for with the same `T`, and no other
    /// reference to its private data must exist for the duration of `'a`.
    unsafe fn owned<'a>(fc: *mut bindings::fs_context) -> Pin<&'a mut T> {
        // SAFETY: `fs_private` comes from `into_foreign` in `init`, and is given back by `free`
        // only. The rest is guaranteed by the safety requirements.
        unsafe { Pin::<KBox<T>>::borrow_mut((*fc).fs_private) }
    }

    /// # Safety
    ///
    /// `fc` must be a valid context that [`init`] was called for with the same `T`, and that is
    /// being freed.
    unsafe extern "C" fn free(fc: *mut bindings::fs_context) {
        // SAFETY: `fc` is valid by the safety requirements.
        let owned = unsafe { (*fc).fs_private };
        // SAFETY: `fs_private` is null or comes from `init`, and nobody uses it any more.
        drop(unsafe { Pin::<KBox<T>>::try_from_foreign(owned) });
    }

    /// # Safety
    ///
    /// `fc` must be a valid context that [`init`] succeeded for with the same `T`, exclusively
    /// accessible for the duration of the call, and `param` a valid parameter.
    unsafe extern "C" fn parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> c_int {
        from_result(|| {
            let mut result = bindings::fs_parse_result::default();

            // SAFETY: `fc` and `param` are valid, and the table ends with an empty entry.
            let opt = unsafe {
                bindings::__fs_parse(
                    &raw mut (*fc).log,
                    parameters::<T>(),
                    param,
                    &raw mut result,
                )
            };
            // Leave unknown options to the caller, which handles those common to all file systems.
            to_result(opt)?;

            // The options are numbered by their places.
            let param = T::PARAMETERS.get(opt as usize).ok_or(EINVAL)?;
            // SAFETY: By the safety requirements.
            let (owned, fc) = unsafe { (Self::owned(fc), Context::from_raw(fc)) };
            // SAFETY: `result` is that of this option, and was zero before.
            unsafe { param.set(owned, fc, &result) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `fc` must be a valid context that [`init`] succeeded for with the same `T`, exclusively
    /// accessible for the duration of the call.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: `fc` is valid, and `fill_super` is for file systems of its type.
        unsafe { bindings::get_tree_nodev(fc, Some(Self::fill_super)) }
    }

    /// # Safety
    ///
    /// `sb` must be a new superblock of type `T::FileSystem`, which was not published yet, and `fc`
    /// the context it was made for, exclusively accessible for the duration of the call.
    unsafe extern "C" fn fill_super(
        sb: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let (owned, fc) = unsafe { (Self::owned(fc), Context::from_raw(fc)) };
            // SAFETY: By the safety requirements.
            owned.fill_super(fc, unsafe { super_block::New::from_raw(sb) })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `fc` must be a valid context for a remount that [`init`] succeeded for with the same `T`,
    /// exclusively accessible for the duration of the call.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: A context for a remount has the root of the superblock, which keeps that
            // alive. It was filled successfully, or there would be no mount of it.
            let sb = unsafe { SuperBlock::from_raw((*(*fc).root).d_sb) };
            // SAFETY: By the safety requirements.
            let (owned, fc) = unsafe { (Self::owned(fc), Context::from_raw(fc)) };
            owned.reconfigure(fc, sb)?;
            Ok(0)
        })
    }
}
