// SPDX-License-Identifier: GPL-2.0

//! One device, and what it occupies.

use kernel::{
    prelude::*,
    str::CString,
    sync::Arc,
    ucount,
    user_namespace::UserNamespace, //
};

use crate::{
    file_system::DEVICE_INO,
    instance::{
        Instance,
        Slot, //
    },
    private::{
        Index,
        LoopDevice, //
    }, //
};

/// What a device occupies.
///
/// The disk and the node share it. While either is there, nobody else must get the index, or who
/// has the node would open the device of somebody else; and so long the owner is charged, or the
/// indices of the machine could be used up for nothing. The disk may well outlive the instance.
pub(crate) struct Claim {
    index: Index,
    _slot: Slot,
    _charge: ucount::Charge,
}

impl Claim {
    /// Claims the index `wish`, or any, for one more device of `instance`, and charges `owner`, the
    /// user namespace it was mounted in.
    ///
    /// # Errors
    ///
    /// Those of [`Index::reserve`]; [`ENOSPC`] if the instance, its owner or an ancestor of that
    /// has as many as it may; [`ENOMEM`].
    pub(crate) fn new(
        instance: Arc<Instance>,
        owner: &UserNamespace,
        wish: Option<u32>,
    ) -> Result<Arc<Self>> {
        // Who is at a limit must not take an index from others, not even for a moment.
        let charge = instance.charge(owner)?;
        let slot = Slot::new(instance)?;
        let claim = Self {
            index: Index::reserve(wish, owner)?,
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

/// A device of an instance.
///
/// It is shared by the table of the instance and the node. Neither has to be left when the last
/// user of the disk is gone, nor the other way round.
pub(crate) struct Device {
    lo: LoopDevice,
    claim: Arc<Claim>,
}

impl Device {
    /// Creates a device from the disk `lo`, which was made with `claim`.
    pub(crate) fn new(lo: LoopDevice, claim: Arc<Claim>) -> Self {
        Self { lo, claim }
    }

    /// Returns the number.
    pub(crate) fn index(&self) -> u32 {
        self.claim.index()
    }

    /// Returns the disk.
    pub(crate) fn lo(&self) -> &LoopDevice {
        &self.lo
    }

    /// Returns the inode number of its node, whatever the node is called.
    pub(crate) fn ino(&self) -> u64 {
        DEVICE_INO + u64::from(self.index())
    }

    /// Returns the name that its node is made with.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn name(index: u32) -> Result<CString> {
        CString::try_from_fmt(fmt!("loop{index}"))
    }
}
