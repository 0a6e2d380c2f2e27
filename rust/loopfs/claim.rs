// SPDX-License-Identifier: GPL-2.0

//! The resources held by a device.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    task::Kuid,
    ucount,
    user_namespace::UserNamespace,
    warn_on, //
};

use crate::{
    limit::Limit,
    private::Index, //
};

/// How many devices an instance has, and may have.
///
/// It outlives the instance if a disk does.
#[pin_data]
pub(crate) struct Quota {
    /// The number of disks, including those no longer in the table of the instance. Held only to
    /// count: no other lock is taken with it.
    #[pin]
    limit: Mutex<Limit>,
}

impl Quota {
    /// Creates a quota of which nothing is used, limited to `max` if given.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(max: Option<u32>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                limit <- new_mutex!(Limit::new(max), "loopfs_instance::limit"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Returns how many devices there may be, if there is a limit.
    pub(crate) fn max(&self) -> Option<u32> {
        self.limit.lock().max()
    }

    /// Changes how many devices there may be. Those that exist stay.
    pub(crate) fn set_max(&self, max: u32) {
        self.limit.lock().set_max(max);
    }
}

/// A place for one device among those that a quota allows.
struct Slot(Arc<Quota>);

impl Slot {
    /// Takes a place.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] if there is none left.
    fn new(quota: Arc<Quota>) -> Result<Self> {
        if !quota.limit.lock().take() {
            return Err(ENOSPC);
        }
        Ok(Self(quota))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Each slot was taken once, in `new`.
        warn_on!(!self.0.limit.lock().give_back());
    }
}

/// The resources held by a device, shared by its disk and its node.
///
/// While either exists, the index must not be reused, or the holder of the node could open somebody
/// else's device; and the owner stays charged, or a tenant could exhaust the indices for free. The
/// disk may outlive the instance.
pub(crate) struct Claim {
    index: Index,
    _slot: Slot,
    _charge: ucount::Charge,
}

impl Claim {
    /// Claims the requested index, or any free one, for one more device of an instance with the
    /// quota `quota`, and charges `uid` in `owner`, the user namespace it was mounted in.
    ///
    /// # Errors
    ///
    /// Those of [`Index::reserve`]; [`ENOSPC`] if the instance, its owner or an ancestor of that is
    /// at its limit; [`ENOMEM`].
    pub(crate) fn new(
        quota: Arc<Quota>,
        owner: &UserNamespace,
        uid: Kuid,
        requested: Option<u32>,
    ) -> Result<Arc<Self>> {
        // An owner that is at its limit must not take an index from others, even briefly.
        let charge = ucount::Charge::new(owner, uid, ucount::Type::LOOP_DEVICES)?;
        let slot = Slot::new(quota)?;
        let claim = Self {
            index: Index::reserve(requested, owner)?,
            _slot: slot,
            _charge: charge,
        };
        Ok(Arc::new(claim, GFP_KERNEL_ACCOUNT)?)
    }

    /// Returns the index.
    pub(crate) fn index(&self) -> u32 {
        self.index.get()
    }
}
