// SPDX-License-Identifier: GPL-2.0

//! loopfs: private loop devices.
//!
//! Each mount of this file system is a set of loop devices of its own, with its own
//! `loop-control`. It can be mounted in a user namespace.
//!
//! How it is made:
//!
//! - [`file_system`]: the file system type and what a new superblock looks like.
//! - [`context`]: the mount options.
//! - [`control`]: what `loop-control` does.
//! - [`directory`]: what can be done to the nodes, by `unlink(2)` and `rename(2)`.
//! - [`instance`]: the devices of one mount.
//! - [`device`]: one device, and what it occupies.
//! - [`private`]: the C side of a device, behind a safe interface.
//! - [`limit`], [`name`]: rules that need nothing of the kernel.
//!
//! The order of locks stands in [`private.c`](srctree/drivers/block/loopfs/private.c).

mod context;
mod control;
mod device;
mod directory;
mod file_system;
mod instance;
mod limit;
mod name;
mod private;

kernel::module_fs! {
    type: file_system::Loopfs,
    name: "loopfs",
    authors: ["loopfs developers"],
    description: "Private loop devices",
    license: "GPL",
}
