// SPDX-License-Identifier: GPL-2.0

//! The file system type.

use kernel::{
    fs::{
        file_system::flags,
        super_block::{
            self,
            SuperBlock, //
        },
        FileSystem, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc,
    uapi, //
};

use crate::{
    context::Context,
    control,
    device::Device,
    directory::Directory,
    instance::Instance, //
};

/// The inode number of the root directory.
const ROOT_INO: u64 = 1;

/// The inode number of `loop-control`.
pub(crate) const CONTROL_INO: u64 = 2;

/// What the inode number of a device is more than its index.
pub(crate) const DEVICE_INO: u64 = 3;

/// The file system type `loop`.
pub(crate) struct Loopfs;

#[vtable]
impl FileSystem for Loopfs {
    const NAME: &'static CStr = c"loop";
    const FLAGS: u32 = flags::USERNS_MOUNT;

    type Context = Context;
    type SuperOperations = Self;
    type SuperData = Arc<Instance>;
    /// Nodes of devices have one, the root and `loop-control` have none.
    type InodeData = Arc<Device>;

    fn kill_sb(instance: Arc<Instance>) {
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

/// Makes a new superblock an instance with a root directory and `loop-control`.
///
/// `max` is how many devices it may have.
pub(crate) fn fill_super<'a>(
    mut sb: super_block::New<'a, Loopfs>,
    max: Option<u32>,
) -> Result<&'a SuperBlock<Loopfs>> {
    sb.set_magic(uapi::LOOPFS_SUPER_MAGIC);
    sb.set_noexec();
    // The nodes of a mount in a user namespace cannot be opened as devices, because its root could
    // make a node of any device. Here the only nodes are those of this instance's own devices and
    // of its `loop-control`: mknod(2) fails.
    sb.allow_devices();

    // A file on an overlay of this file system would keep it mounted, and with it the device that
    // the file may be bound to.
    sb.forbid_stacking();

    let instance = Instance::new(sb.user_ns(), max)?;
    let (uid, gid) = instance.root_ids();
    let sb = sb.set_data(instance);

    let mut root = sb.new_inode()?;
    root.set_ino(ROOT_INO);
    root.set_owner(uid, gid);
    root.set_dir::<Directory>(0o755);
    let sb = sb.set_root(root)?;

    control::make_node(sb)?;
    Ok(sb)
}
