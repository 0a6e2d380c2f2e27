// SPDX-License-Identifier: GPL-2.0

//! Per-namespace resource counts.
//!
//! C header: [`include/linux/user_namespace.h`](srctree/include/linux/user_namespace.h)

use crate::{
    bindings,
    prelude::*,
    task::Kuid,
    user_namespace::UserNamespace, //
};
use core::ptr::NonNull;

/// A resource that is counted.
#[doc(alias = "ucount_type")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type(bindings::ucount_type);

impl Type {
    /// Loop devices that belong to an instance of loopfs: `user.max_loop_devices`.
    pub const LOOP_DEVICES: Self = Self(bindings::ucount_type_UCOUNT_LOOP_DEVICES);
}

/// One unit of a resource, charged to a user in a user namespace and to the creators of that
/// namespace and of all its ancestors.
///
/// Dropping it gives the charge back.
///
/// # Invariants
///
/// `ucounts` comes from a successful `inc_ucount` with `ty` that has not been followed by its
/// `dec_ucount`.
///
/// # Examples
///
/// ```
/// use kernel::{
///     task::Kuid,
///     ucount,
///     user_namespace::UserNamespace, //
/// };
///
/// let init = UserNamespace::init();
/// let charge = ucount::Charge::new(init, Kuid::GLOBAL_ROOT, ucount::Type::LOOP_DEVICES)?;
/// // ... and back.
/// drop(charge);
/// # Ok::<(), Error>(())
/// ```
pub struct Charge {
    ucounts: NonNull<bindings::ucounts>,
    ty: Type,
}

// The functions are inline so that a module needs what C exports to it.
impl Charge {
    /// Charges one `ty` to `uid` in `ns`.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] if `ns` or an ancestor is at its limit in `/proc/sys/user`, or if there is no
    /// memory for a user that was never charged before; the C function does not tell them apart.
    #[doc(alias = "inc_ucount")]
    #[inline]
    pub fn new(ns: &UserNamespace, uid: Kuid, ty: Type) -> Result<Self> {
        // SAFETY: `ns` is a valid user namespace by its type invariants, and `ty` a valid type.
        let ucounts = unsafe { bindings::inc_ucount(ns.as_ptr(), uid.into_raw(), ty.0) };

        // INVARIANT: A pointer other than null means that the charge was made.
        Ok(Self {
            ucounts: NonNull::new(ucounts).ok_or(ENOSPC)?,
            ty,
        })
    }
}

impl Drop for Charge {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants the charge was made and not yet given back.
        unsafe { bindings::dec_ucount(self.ucounts.as_ptr(), self.ty.0) };
    }
}

// SAFETY: A charge is not bound to the task that made it, and `dec_ucount` can be called from any
// thread.
unsafe impl Send for Charge {}

// SAFETY: A shared reference has no methods.
unsafe impl Sync for Charge {}
