// SPDX-License-Identifier: GPL-2.0

//! User namespaces.
//!
//! C headers: [`include/linux/user_namespace.h`](srctree/include/linux/user_namespace.h) and
//! [`include/linux/uidgid.h`](srctree/include/linux/uidgid.h)

use crate::{
    bindings,
    task::{
        Kgid,
        Kuid, //
    },
    types::Opaque, //
};

/// Wraps the kernel's `struct user_namespace`. Thread safe.
///
/// It can only be borrowed, from a superblock for instance, and is not reference counted.
///
/// # Invariants
///
/// All instances are valid user namespaces created by the C portion of the kernel.
#[doc(alias = "user_namespace")]
#[repr(transparent)]
pub struct UserNamespace {
    inner: Opaque<bindings::user_namespace>,
}

impl UserNamespace {
    /// Returns the initial user namespace.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     task::{
    ///         Kgid,
    ///         Kuid, //
    ///     },
    ///     user_namespace::UserNamespace, //
    /// };
    ///
    /// // The initial namespace maps every id but the invalid one to itself.
    /// let init = UserNamespace::init();
    /// assert!(init.make_kuid(0) == Some(Kuid::GLOBAL_ROOT));
    /// assert!(init.make_kgid(0) == Some(Kgid::GLOBAL_ROOT));
    /// assert!(init.make_kuid(u32::MAX).is_none());
    /// assert!(init.make_kgid(u32::MAX).is_none());
    /// ```
    #[doc(alias = "init_user_ns")]
    pub fn init() -> &'static Self {
        // SAFETY: `init_user_ns` is a static that is never freed.
        unsafe { Self::from_ptr(&raw const bindings::init_user_ns) }
    }

    /// Returns a raw pointer to the inner C struct.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::user_namespace {
        self.inner.get()
    }

    /// Creates a reference to a [`UserNamespace`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// The caller must ensure that `ptr` is valid and remains valid for the lifetime of the
    /// returned [`UserNamespace`] reference.
    pub unsafe fn from_ptr<'a>(ptr: *const bindings::user_namespace) -> &'a Self {
        // SAFETY: The safety requirements guarantee the validity of the dereference, while the
        // `UserNamespace` type being transparent makes the cast ok.
        unsafe { &*ptr.cast() }
    }

    /// Maps `uid` in this namespace to a [`Kuid`]; `None` if it is not mapped.
    pub fn make_kuid(&self, uid: bindings::uid_t) -> Option<Kuid> {
        // SAFETY: `self` is a valid user namespace by the type invariants.
        let kuid = unsafe { bindings::make_kuid(self.as_ptr(), uid) };
        // C: `uid_valid`.
        (kuid.val != bindings::uid_t::MAX).then(|| Kuid::from_raw(kuid))
    }

    /// Maps `gid` in this namespace to a [`Kgid`]; `None` if it is not mapped.
    pub fn make_kgid(&self, gid: bindings::gid_t) -> Option<Kgid> {
        // SAFETY: `self` is a valid user namespace by the type invariants.
        let kgid = unsafe { bindings::make_kgid(self.as_ptr(), gid) };
        // C: `gid_valid`.
        (kgid.val != bindings::gid_t::MAX).then(|| Kgid::from_raw(kgid))
    }
}

// SAFETY: It's OK to access `UserNamespace` through shared references from other threads because
// we're either accessing properties that don't change or that are properly synchronised by C code.
unsafe impl Sync for UserNamespace {}
