// SPDX-License-Identifier: GPL-2.0

//! User namespaces.
//!
//! C headers: [`include/linux/user_namespace.h`](srctree/include/linux/user_namespace.h) and
//! [`include/linux/uidgid.h`](srctree/include/linux/uidgid.h)

use crate::{
    bindings,
    task::Kuid,
    types::Opaque, //
};
use core::ptr::addr_of_mut;

/// Wraps the kernel's `struct user_namespace`. Thread safe.
///
/// # Invariants
///
/// All instances are valid user namespaces created by the C portion of the kernel.
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
    /// use kernel::user_namespace::UserNamespace;
    ///
    /// // The initial namespace maps every id to itself.
    /// let root = UserNamespace::init().make_kuid(0).ok_or(EINVAL)?;
    /// assert_eq!(root.into_raw().val, 0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn init() -> &'static Self {
        // SAFETY: `init_user_ns` is a static that is never freed.
        unsafe { Self::from_ptr(addr_of_mut!(bindings::init_user_ns)) }
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

    /// Returns the kernel's id of the user that this namespace calls `uid`, or `None` if it maps
    /// none.
    ///
    /// C: `make_kuid`.
    pub fn make_kuid(&self, uid: bindings::uid_t) -> Option<Kuid> {
        // SAFETY: `self` is a valid user namespace by the type invariants.
        let kuid = unsafe { bindings::make_kuid(self.as_ptr(), uid) };
        // C: `uid_valid`.
        (kuid.val != bindings::uid_t::MAX).then(|| Kuid::from_raw(kuid))
    }

    /// Returns the kernel's id of the group that this namespace calls `gid`, or `None` if it maps
    /// none.
    ///
    /// C: `make_kgid`.
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

/// The kernel's id of a group, the same in all namespaces. C: `kgid_t`.
///
/// The counterpart of [`Kuid`].
#[derive(Copy, Clone)]
pub struct Kgid {
    kgid: bindings::kgid_t,
}

impl Kgid {
    /// Creates a `Kgid` from the raw C type.
    #[inline]
    pub fn from_raw(kgid: bindings::kgid_t) -> Self {
        Self { kgid }
    }

    /// Turns this kgid into the raw C type.
    #[inline]
    pub fn into_raw(self) -> bindings::kgid_t {
        self.kgid
    }
}
