// SPDX-License-Identifier: GPL-2.0

//! One device, and what it occupies.

use kernel::{
    prelude::*,
    str::CString,
    sync::Arc,
    ucount, //
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

/// What a disk occupies. It is given back when nothing is left of the disk, be that long after its
/// instance is gone.
pub(crate) struct Claim {
    index: Arc<Index>,
    _slot: Slot,
    _charge: ucount::Charge,
}

impl Claim {
    /// Claims a place for one more device with the number `index` in `instance`, and charges its
    /// owner.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] if the instance, its owner or an ancestor of that has as many as it may.
    pub(crate) fn new(instance: Arc<Instance>, index: Arc<Index>) -> Result<Self> {
        let charge = instance.charge()?;
        Ok(Self {
            index,
            _slot: Slot::new(instance)?,
            _charge: charge,
        })
    }

    /// Returns the index.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }
}

/// A device of an instance.
///
/// It is shared by the table of the instance and the node. Neither has to be left when the last
/// user of the disk is gone, nor the other way round.
pub(crate) struct Device {
    /// Both the disk and the node are found by the index. While either is there, nobody else must
    /// get it, or who has the node would open the device of somebody else.
    index: Arc<Index>,
    lo: LoopDevice,
}

impl Device {
    /// Creates a device from the disk `lo`, which was made with the number `index`.
    pub(crate) fn new(index: Arc<Index>, lo: LoopDevice) -> Self {
        Self { index, lo }
    }

    /// Returns the number.
    pub(crate) fn index(&self) -> u32 {
        self.index.get()
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
