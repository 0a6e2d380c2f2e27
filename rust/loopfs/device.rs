// SPDX-License-Identifier: GPL-2.0

//! One device.

use kernel::sync::Arc;

use crate::{
    claim::Claim,
    private::LoopDevice, //
};

/// A device of an instance.
///
/// It is shared by the table of the instance and the node. Both may be gone before the last user of
/// the disk is, and the other way round.
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
}
