// SPDX-License-Identifier: GPL-2.0

//! File system contexts: what a mount or a remount is configured with.
//!
//! C headers: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h) and
//! [`include/linux/fs_parser.h`](srctree/include/linux/fs_parser.h)
//!
//! Reference: <https://docs.kernel.org/filesystems/mount_api.html>

use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
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
        Opaque, //
    }, //
};
use core::marker::PhantomData;

/// Describes a mount option. C: `struct fs_parameter_spec`.
#[repr(transparent)]
pub struct ParameterSpec(bindings::fs_parameter_spec);

// SAFETY: A `ParameterSpec` is never written to, and what it points to are statics.
unsafe impl Sync for ParameterSpec {}

impl ParameterSpec {
    /// Ends an array of options.
    pub const END: Self = Self(pin_init::zeroed());

    /// An option that takes an unsigned 32-bit number. C: `fsparam_u32`.
    ///
    /// `opt` is what [`Operations::parse_param`] knows the option by.
    pub const fn u32(name: &'static CStr, opt: u8) -> Self {
        Self(bindings::fs_parameter_spec {
            name: crate::str::as_char_ptr_in_const_context(name),
            type_: Some(bindings::fs_param_is_u32),
            opt,
            ..pin_init::zeroed()
        })
    }
}

/// A mount option that was given, of a type that its [`ParameterSpec`] allows. C:
/// `struct fs_parse_result`.
pub struct Parameter {
    opt: u8,
    result: bindings::fs_parse_result,
}

impl Parameter {
    /// Returns what the [`ParameterSpec`] was made with.
    pub fn opt(&self) -> u8 {
        self.opt
    }

    /// Returns the value of an option made with [`ParameterSpec::u32`], and something
    /// meaningless, but no worse, for one of another type.
    pub fn u32(&self) -> u32 {
        // SAFETY: All bits of the union were set to zero before `__fs_parse` wrote any, and each
        // combination of them is a `u32`.
        unsafe { self.result.__bindgen_anon_1.uint_32 }
    }
}

/// A mount or a remount that is being configured. C: `struct fs_context`.
///
/// # Invariants
///
/// All instances are valid contexts for a file system of type `T`, which no other thread has
/// access to: the C side serializes calls with `uapi_mutex`.
#[repr(transparent)]
pub struct Context<T: FileSystem> {
    fc: Opaque<bindings::fs_context>,
    _t: PhantomData<T>,
}

impl<T: FileSystem> Context<T> {
    /// Creates a reference from a raw pointer.
    ///
    /// # Safety
    ///
    /// `fc` must be a valid context for a file system of type `T`, which no other thread has
    /// access to for the duration of `'a`.
    pub(crate) unsafe fn from_raw<'a>(fc: *mut bindings::fs_context) -> &'a Self {
        // SAFETY: By the safety requirements, and `Context` is transparent.
        //
        // INVARIANT: Guaranteed by the safety requirements.
        unsafe { &*fc.cast() }
    }

    /// Puts a message where the caller of `fsconfig(2)` can read it, and into the kernel log for
    /// callers of `mount(2)`.
    ///
    /// Use [`fs_invalid!`](crate::fs_invalid).
    ///
    /// C: `errorfc`.
    #[doc(hidden)]
    pub fn error(&self, args: fmt::Arguments<'_>) {
        // SAFETY: By the type invariants `fc` is valid.
        let log = unsafe { &(*self.fc.get()).log };

        // SAFETY: `log` and `prefix` are those of the context, and passing a void pointer to
        // `Arguments` is valid for `%pA`.
        unsafe {
            bindings::logfc(
                log.log,
                log.prefix,
                b'e' as c_char,
                c"%pA".as_char_ptr(),
                core::ptr::from_ref(&args).cast::<c_void>(),
            );
        }
    }
}

/// Tells whoever mounts that what was asked for is not valid, and evaluates to
/// [`EINVAL`](crate::error::code::EINVAL). C: `invalfc`.
#[macro_export]
macro_rules! fs_invalid {
    ($fc:expr, $($arg:tt)+) => {{
        $fc.error($crate::prelude::fmt!($($arg)+));
        $crate::error::code::EINVAL
    }};
}
pub use fs_invalid;

/// What a mount or a remount is configured with. C: `struct fs_context_operations`.
///
/// The implementing type is what the context owns in `fs_private`.
pub trait Operations: Sized + Send + 'static {
    /// The type of file systems this is for.
    type FileSystem: FileSystem<Context = Self>;

    /// The mount options, with [`ParameterSpec::END`] as the last.
    const PARAMETERS: &'static [ParameterSpec];

    /// Called when a mount or a remount begins. C: `init_fs_context`.
    fn new(fc: &Context<Self::FileSystem>) -> Result<KBox<Self>>;

    /// Called for each of [`PARAMETERS`](Self::PARAMETERS) that is given. C: `parse_param`.
    fn parse_param(&mut self, fc: &Context<Self::FileSystem>, param: &Parameter) -> Result;

    /// Called to make a new superblock what it is to be. C: what `get_tree` gives to
    /// `get_tree_nodev`.
    ///
    /// `s_umount` is held.
    fn fill_super<'a>(
        &mut self,
        sb: super_block::New<'a, Self::FileSystem>,
    ) -> Result<&'a SuperBlock<Self::FileSystem>>;

    /// Called to apply a remount. C: `reconfigure`.
    ///
    /// `s_umount` is held. All options were accepted by [`parse_param`](Self::parse_param).
    fn reconfigure(&mut self, sb: &SuperBlock<Self::FileSystem>) -> Result;
}

/// Returns the options of `T` the way `struct file_system_type` wants them.
pub(crate) const fn parameters<T: Operations>() -> *const bindings::fs_parameter_spec {
    const {
        let [.., last] = T::PARAMETERS else {
            panic!("PARAMETERS is empty");
        };
        assert!(last.0.name.is_null(), "PARAMETERS does not end with END");
    };
    T::PARAMETERS.as_ptr().cast()
}

/// Gives a context what it owns.
///
/// # Safety
///
/// `fc` must be in the course of its initialization, by `init_fs_context` of `T::FileSystem`.
pub(crate) unsafe fn init<T: Operations>(fc: &Context<T::FileSystem>) -> Result {
    let context = T::new(fc)?;

    // SAFETY: By the type invariants of `Context` we have exclusive access, and what is being
    // initialized owns nothing in `fs_private`.
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
        reconfigure: Some(Self::reconfigure),
        ..pin_init::zeroed()
    };

    /// Returns what the context owns.
    ///
    /// # Safety
    ///
    /// `fc` must be a valid context that [`init`] succeeded for with the same `T`, and that no
    /// other reference to what it owns exists for the duration of `'a`.
    unsafe fn owned<'a>(fc: *mut bindings::fs_context) -> &'a mut T {
        // SAFETY: `init` put the pointer of a `KBox<T>` there, and by the safety requirements
        // there is no other reference to what is in the box.
        unsafe { &mut *(*fc).fs_private.cast::<T>() }
    }

    /// # Safety
    ///
    /// `fc` must be a valid context that [`init`] was called for with the same `T`, and that is
    /// being freed.
    unsafe extern "C" fn free(fc: *mut bindings::fs_context) {
        // SAFETY: `fc` is valid by the safety requirements.
        let owned = unsafe { (*fc).fs_private };
        // SAFETY: `fs_private` is null or comes from `init`, and nobody uses it any more.
        drop(unsafe { KBox::<T>::try_from_foreign(owned) });
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

            // SAFETY: `fc` and `param` are valid, and `parameters` ends with a null entry.
            let opt = unsafe {
                bindings::__fs_parse(
                    &raw mut (*fc).log,
                    parameters::<T>(),
                    param,
                    &raw mut result,
                )
            };
            // An unknown option is left to the caller, which knows some that all file systems have.
            to_result(opt)?;

            let param = Parameter {
                opt: opt as u8,
                result,
            };
            // SAFETY: By the safety requirements.
            let (owned, fc) = unsafe { (Self::owned(fc), Context::from_raw(fc)) };
            owned.parse_param(fc, &param)?;
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
    /// `sb` must be a new superblock of type `T::FileSystem`, which nobody else can access, and
    /// `fc` the context it was made for.
    unsafe extern "C" fn fill_super(
        sb: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirements.
            let (owned, sb) = unsafe { (Self::owned(fc), super_block::New::from_raw(sb)) };
            owned.fill_super(sb)?;
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
            unsafe { Self::owned(fc) }.reconfigure(sb)?;
            Ok(0)
        })
    }
}
