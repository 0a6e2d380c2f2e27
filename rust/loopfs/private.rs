// SPDX-License-Identifier: GPL-2.0

//! The C side of a device.
//!
//! C header: [`private.h`](srctree/drivers/block/loopfs/private.h)

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::DevT,
    prelude::*,
    sync::Arc,
    types::ForeignOwnable,
    user_namespace::UserNamespace, //
};

use crate::claim::Claim;

/// Returns how many indices there are: one more than the highest. C: `loop_index_limit`.
pub(crate) fn index_limit() -> u32 {
    // SAFETY: It can always be called.
    let limit = unsafe { bindings::loop_index_limit() };
    // A minor number has 20 bits.
    limit as u32
}

/// The number of a device, which no other loop device of the machine has.
///
/// # Invariants
///
/// The number comes from `loop_index_reserve` and was not released.
pub(crate) struct Index(u32);

impl Index {
    /// Reserves the index `wish`, or any, for a device of `owner`.
    ///
    /// C: `loop_index_reserve`.
    ///
    /// # Errors
    ///
    /// [`EEXIST`] if it is taken; [`EPERM`] if it is one that only the initial user namespace may
    /// have; [`EINVAL`] if there is no such index; [`ENOSPC`] if none is left; [`ENOMEM`].
    pub(crate) fn reserve(wish: Option<u32>, owner: &UserNamespace) -> Result<Self> {
        let wish = match wish {
            Some(index) => c_int::try_from(index)?,
            None => -1,
        };
        // SAFETY: `owner` is a valid user namespace, and any number may be asked for.
        let index = unsafe { bindings::loop_index_reserve(wish, owner.as_ptr()) };
        to_result(index)?;

        // INVARIANT: Just reserved.
        Ok(Self(index as u32))
    }

    /// Returns the number.
    pub(crate) fn get(&self) -> u32 {
        self.0
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is reserved.
        unsafe { bindings::loop_index_release(self.0 as c_int) };
    }
}

/// A private device. C: `struct loop_device`.
///
/// # Invariants
///
/// Owns a reference to the device from `loop_private_add`, and no [`Removal`] was ever made of it
/// but by a function that tells the C side to let this happen once.
pub(crate) struct LoopDevice(NonNull<bindings::loop_device>);

// SAFETY: All functions of the C side can be called from any thread.
unsafe impl Send for LoopDevice {}
// SAFETY: All functions of the C side do their own locking.
unsafe impl Sync for LoopDevice {}

impl LoopDevice {
    /// Makes a device, which can be opened from then on.
    ///
    /// It belongs to the user namespace `owner`. The disk has its share of `claim` until
    /// nothing is left of it, which may be long after this object is dropped.
    ///
    /// C: `loop_private_add`.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], and what the block layer may find wrong.
    pub(crate) fn add(owner: &UserNamespace, claim: Arc<Claim>) -> Result<Self> {
        let index = claim.index() as c_int;
        let claim = claim.into_foreign();

        // SAFETY: `claim` has the index reserved, for longer than there is a disk. `owner` is a
        // valid user namespace, and `claim` is what `loopfs_release_claim` takes.
        let lo = unsafe { bindings::loop_private_add(index, owner.as_ptr(), claim) };
        match from_err_ptr(lo) {
            // INVARIANT: `loop_private_add` returns a reference for us.
            // SAFETY: `loop_private_add` does not return null.
            Ok(lo) => Ok(Self(unsafe { NonNull::new_unchecked(lo) })),
            Err(err) => {
                // SAFETY: `loop_private_add` takes the claim only if it succeeds.
                drop(unsafe { Arc::<Claim>::from_foreign(claim) });
                Err(err)
            }
        }
    }

    /// Returns the device number. C: `loop_private_devt`.
    pub(crate) fn devt(&self) -> DevT {
        // SAFETY: By the type invariants the device is valid.
        DevT::from_raw(unsafe { bindings::loop_private_devt(self.0.as_ptr()) })
    }

    /// Whether the device is not bound, at this moment. C: `loop_private_is_free`.
    pub(crate) fn is_free(&self) -> bool {
        // SAFETY: By the type invariants the device is valid.
        unsafe { bindings::loop_private_is_free(self.0.as_ptr()) }
    }

    /// Keeps the device from being opened, to remove it.
    ///
    /// C: `loop_private_begin_remove`.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] if it is bound or open; [`ENODEV`] if somebody else removes it.
    pub(crate) fn begin_remove(&self) -> Result<Removal<'_>> {
        // SAFETY: By the type invariants the device is valid.
        to_result(unsafe { bindings::loop_private_begin_remove(self.0.as_ptr()) })?;

        // INVARIANT: It has succeeded, and no further one does.
        Ok(Removal(self))
    }

    /// Unbinds the device to remove it, if nobody has it open; else lets its last close do both.
    ///
    /// C: `loop_private_shutdown`.
    pub(crate) fn shutdown(&self) -> Option<Removal<'_>> {
        // SAFETY: By the type invariants the device is valid.
        let remove = unsafe { bindings::loop_private_shutdown(self.0.as_ptr()) };

        // Not `then_some`: that makes a `Removal` in any case, and dropping it removes the device.
        // INVARIANT: It tells us to, and tells nobody else.
        remove.then(|| Removal(self))
    }

    /// Waits for [`Removal::queue`], if it was called.
    ///
    /// C: `loop_private_flush_remove`.
    pub(crate) fn flush_remove(&self) {
        // SAFETY: By the type invariants we have a reference to the device.
        unsafe { bindings::loop_private_flush_remove(self.0.as_ptr()) };
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own a reference.
        unsafe { bindings::loop_private_put(self.0.as_ptr()) };
    }
}

/// The duty to remove a device, which nobody can open any more.
///
/// If it is dropped, the device is removed [later](Self::later).
///
/// # Invariants
///
/// The device is in `Lo_deleting`, and there is no other `Removal` of it, and never was.
#[must_use]
pub(crate) struct Removal<'a>(&'a LoopDevice);

impl Removal<'_> {
    /// Removes the device, at once. The caller must not hold a lock.
    ///
    /// C: `loop_private_remove`.
    pub(crate) fn now(self) {
        let device = ManuallyDrop::new(self).0;
        // SAFETY: By the type invariants, and the duty is done with this.
        unsafe { bindings::loop_private_remove(device.0.as_ptr()) };
    }

    /// Removes the device before the task returns to user space, when it holds no lock.
    ///
    /// C: `loop_private_remove_later`.
    pub(crate) fn later(self) {
        drop(self);
    }

    /// Lets a workqueue remove the device, at the same time as others.
    ///
    /// C: `loop_private_queue_remove`.
    pub(crate) fn queue(self) {
        let device = ManuallyDrop::new(self).0;
        // SAFETY: By the type invariants, and the duty is done with this.
        unsafe { bindings::loop_private_queue_remove(device.0.as_ptr()) };
    }
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and the duty is done with this.
        unsafe { bindings::loop_private_remove_later(self.0 .0.as_ptr()) };
    }
}

/// Drops the claim of a device of which nothing is left.
///
/// # Safety
///
/// `claim` must have been given to `loop_private_add`, and this must be the only call for it.
// C: declared in private.h.
#[export]
pub(crate) unsafe extern "C" fn loopfs_release_claim(claim: *mut c_void) {
    // SAFETY: By the safety requirements it comes from `into_foreign` in `LoopDevice::add`.
    drop(unsafe { Arc::<Claim>::from_foreign(claim) });
}
