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
    task::Kuid,
    ucount,
    user_namespace::{
        Kgid,
        UserNamespace, //
    }, //
};

use crate::{
    device::Device,
    limit::Limit, //
};

/// The entry of the table for one device.
pub(crate) type Entry = RBTreeNode<u32, Arc<Device>>;

/// The devices of one superblock, and what limits them.
///
/// It outlives the superblock while a device of it is still open elsewhere.
#[pin_data]
pub(crate) struct Instance {
    /// Root in the user namespace it was mounted in.
    uid: Kuid,
    gid: Kgid,
    /// How many disks there are, of those in the table and of those that outlived their place in
    /// it. Nothing is done while it is held but to count.
    #[pin]
    limit: Mutex<Limit>,
    /// The devices that have a node, by index. No other lock is taken while it is held.
    #[pin]
    devices: Mutex<RBTree<u32, Arc<Device>>>,
}

impl Instance {
    /// Creates an instance without devices, for `owner`, that may have `max` of them.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(owner: &UserNamespace, max: Option<u32>) -> Result<Arc<Self>> {
        // Where the namespace has no root, the nodes belong to the initial one's.
        let init = UserNamespace::init();
        let uid = owner.make_kuid(0).or_else(|| init.make_kuid(0));
        let gid = owner.make_kgid(0).or_else(|| init.make_kgid(0));
        let (uid, gid) = uid.zip(gid).ok_or(EINVAL)?;

        Arc::pin_init(
            try_pin_init!(Self {
                uid,
                gid,
                limit <- new_mutex!(Limit::new(max), "loopfs_instance::limit"),
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
        self.limit.lock().max()
    }

    /// Changes how many devices it may have. Those it has, it keeps.
    pub(crate) fn set_max(&self, max: u32) {
        self.limit.lock().set_max(max);
    }

    /// Charges root in `owner`, the user namespace it was mounted in, with one device, whoever asks
    /// for it: it is the owner who lets them.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] if the owner or an ancestor has as many as `user.max_loop_devices` allows.
    pub(crate) fn charge(&self, owner: &UserNamespace) -> Result<ucount::Charge> {
        ucount::Charge::new(owner, self.uid, ucount::Type::LOOP_DEVICES)
    }

    /// Returns the lowest index of a device that is not bound.
    pub(crate) fn find_free(&self) -> Option<u32> {
        let devices = self.devices.lock();
        let mut free = devices.values().filter(|device| device.lo().is_free());
        free.next().map(|device| device.index())
    }

    /// Returns the device with the index `index`.
    pub(crate) fn find(&self, index: u32) -> Option<Arc<Device>> {
        self.devices.lock().get(&index).cloned()
    }

    /// Puts a device into the table, whose index nobody else has.
    pub(crate) fn insert(&self, entry: Entry) {
        let old = self.devices.lock().insert(entry);
        // There is none, and if there were, it must not go while the table is locked.
        drop(old);
    }

    /// Takes a device out of the table.
    pub(crate) fn forget(&self, device: &Device) {
        let entry = self.devices.lock().remove_node(&device.index());
        // It may be the last reference, which must not go while the table is locked.
        drop(entry);
    }

    /// Removes all devices but those that are still open elsewhere, which go with their last close.
    ///
    /// The disks are deleted at the same time, so that they share the RCU grace periods each has
    /// to wait for. No memory is needed for that.
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

/// A place for one device among those an instance may have.
pub(crate) struct Slot(Arc<Instance>);

impl Slot {
    /// Takes a place.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`] if there is none left.
    pub(crate) fn new(instance: Arc<Instance>) -> Result<Self> {
        if !instance.limit.lock().take() {
            return Err(ENOSPC);
        }
        Ok(Self(instance))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.limit.lock().give_back();
    }
}
