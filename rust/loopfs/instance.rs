// SPDX-License-Identifier: GPL-2.0

//! The devices of one mount.

use kernel::{
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        Arc,
        Mutex, //
    },
    task::{
        Kgid,
        Kuid, //
    },
    user_namespace::UserNamespace, //
};

use crate::{
    claim::{
        Claim,
        Quota, //
    },
    device::Device, //
};

/// The entry of the table for one device.
pub(crate) type Entry = RBTreeNode<u32, Arc<Device>>;

/// The devices of one superblock.
///
/// It has references to its devices, and they have none to it.
#[pin_data]
pub(crate) struct Instance {
    /// Root in the user namespace it was mounted in.
    uid: Kuid,
    gid: Kgid,
    quota: Arc<Quota>,
    /// The devices that have a node, by index. No other lock is taken while it is held.
    #[pin]
    devices: Mutex<RBTree<u32, Arc<Device>>>,
}

impl Instance {
    /// Creates an instance without devices for `owner`, limited to `max` of them if given.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(owner: &UserNamespace, max: Option<u32>) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                // If the namespace maps no root, the nodes belong to global root.
                uid: owner.make_kuid(0).unwrap_or(Kuid::GLOBAL_ROOT),
                gid: owner.make_kgid(0).unwrap_or(Kgid::GLOBAL_ROOT),
                quota: Quota::new(max)?,
                devices <- new_mutex!(RBTree::new(), "loopfs_instance::devices"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Returns the user and the group that all its nodes belong to.
    pub(crate) fn root_ids(&self) -> (Kuid, Kgid) {
        (self.uid, self.gid)
    }

    /// Returns how many devices it may have, if there is a limit of its own.
    pub(crate) fn max(&self) -> Option<u32> {
        self.quota.max()
    }

    /// Changes how many devices it may have. Those that it has stay.
    pub(crate) fn set_max(&self, max: u32) {
        self.quota.set_max(max);
    }

    /// Claims the requested index, or any free one, for one more device.
    ///
    /// Charges root in `owner`, the user namespace it was mounted in, regardless of who asks: the
    /// owner decides who may.
    ///
    /// # Errors
    ///
    /// Those of [`Claim::new`].
    pub(crate) fn claim(
        &self,
        owner: &UserNamespace,
        requested: Option<u32>,
    ) -> Result<Arc<Claim>> {
        Claim::new(self.quota.clone(), owner, self.uid, requested)
    }

    /// Returns the lowest index of a device that is not bound.
    ///
    /// As with loop.c, that does not reserve it, and its node may have another name by now.
    pub(crate) fn find_free(&self) -> Option<u32> {
        let devices = self.devices.lock();
        let mut free = devices.values().filter(|device| device.lo().is_free());
        free.next().map(|device| device.index())
    }

    /// Returns the device with the index `index`.
    pub(crate) fn find(&self, index: u32) -> Option<Arc<Device>> {
        self.devices.lock().get(&index).cloned()
    }

    /// Inserts a device into the table, which has none with this index.
    pub(crate) fn insert(&self, entry: Entry) {
        let old = self.devices.lock().insert(entry);
        // There is none; if there were, it must not be dropped with the table locked.
        drop(old);
    }

    /// Removes a device from the table.
    pub(crate) fn remove(&self, device: &Device) {
        let entry = self.devices.lock().remove_node(&device.index());
        // This may be the last reference, which must not be dropped with the table locked.
        drop(entry);
    }

    /// Removes all devices but those that are still open elsewhere, which go with their last close.
    ///
    /// The disks are deleted in parallel and so share RCU grace periods. This allocates no memory.
    pub(crate) fn shutdown(&self) {
        let devices = core::mem::take(&mut *self.devices.lock());

        for device in devices.values() {
            if let Some(removal) = device.lo().shutdown() {
                removal.queue();
            }
        }
        for device in devices.values() {
            device.lo().flush_remove();
        }
    }
}
