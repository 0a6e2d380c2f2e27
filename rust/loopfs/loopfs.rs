// SPDX-License-Identifier: GPL-2.0

//! loopfs: private loop devices.
//!
//! Each mount of this file system is a set of loop devices of its own, with its own
//! `loop-control`. It can be mounted in a user namespace.
//!
//! Modules, each of which uses only those below it and the type [`Loopfs`]:
//!
//! - [`context`]: the mount options, and filling a superblock.
//! - [`control`]: the ioctls of `loop-control`.
//! - [`directory`]: `unlink(2)` and `rename(2)`.
//! - [`node`]: the nodes' inode numbers and first names.
//! - [`instance`]: the devices of one mount.
//! - [`device`]: one device.
//! - [`claim`]: the resources held by a device.
//! - [`private`]: the C side of a device, behind a safe interface.
//! - [`limit`], [`name`]: rules that do not depend on kernel types.
//!
//! Terms:
//!
//! - A *claim* is the reserved index of a device, the charge for it and its slot. The disk and the
//!   node share it.
//! - A *slot* is a place for one device among those that the mount option `max` allows.
//! - A *removal* is the obligation to remove a device that can no longer be opened.
//!
//! The lock order is documented in [`private.c`](srctree/drivers/block/loopfs/private.c), and the
//! mutexes of this side in [`instance`] and [`claim`].

use kernel::{
    fs::{
        file_system::Flags,
        super_block,
        FileSystem,
        SuperBlock, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc, //
};

mod claim;
mod context;
mod control;
mod device;
mod directory;
mod instance;
mod limit;
mod name;
mod node;
mod private;

/// The file system type `loop`.
struct Loopfs;

#[vtable]
impl FileSystem for Loopfs {
    const NAME: &'static CStr = c"loop";
    const FLAGS: Flags = Flags::USERNS_MOUNT;

    type Context = context::Context;
    type SuperOperations = Self;
    type SuperData = Arc<instance::Instance>;
    /// Nodes of devices have one, the root and `loop-control` have none.
    type InodeData = Arc<device::Device>;

    fn kill_sb(instance: Arc<instance::Instance>) {
        instance.shutdown();
    }
}

#[vtable]
impl super_block::Operations for Loopfs {
    type FileSystem = Self;

    fn show_options(sb: &SuperBlock<Self>, m: &SeqFile) -> Result {
        if let Some(max) = sb.data().max() {
            seq_print!(m, ",max={max}");
        }
        Ok(())
    }
}

kernel::module_fs! {
    type: Loopfs,
    name: "loopfs",
    authors: ["loopfs developers"],
    description: "Private loop devices",
    license: "GPL",
}
