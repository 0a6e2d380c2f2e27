// SPDX-License-Identifier: GPL-2.0

//! The ioctls of `loop-control`.

use kernel::{
    fs::{
        file,
        mount::WriteAccess,
        DevT,
        File,
        Inode,
        SuperBlock, //
    },
    miscdevice::LOOP_CTRL_MINOR,
    prelude::*,
    rbtree::RBTreeNodeReservation,
    sync::{
        Arc,
        UniqueArc, //
    },
    uapi, //
};

use crate::{
    device::Device,
    node,
    private::LoopDevice,
    Loopfs, //
};

/// The device number of `/dev/loop-control`; some programs check it.
const CONTROL_DEV: DevT = DevT::new(uapi::MISC_MAJOR, LOOP_CTRL_MINOR);

/// Creates the control node of a new superblock.
///
/// # Errors
///
/// [`ENOMEM`].
pub(crate) fn make_node(sb: &SuperBlock<Loopfs>) -> Result {
    let (uid, gid) = sb.data().root_ids();

    let mut inode = sb.new_inode()?;
    inode.set_ino(node::CONTROL_INO);
    inode.set_owner(uid, gid);
    let inode = inode.into_char_device::<Control>(CONTROL_DEV, 0o600);

    let creating = sb.root().start_creating(node::CONTROL_NAME)?;
    drop(creating.make_persistent(inode)?);
    Ok(())
}

/// The operations of an open control node.
struct Control;

#[vtable]
impl file::Operations for Control {
    type FileSystem = Loopfs;

    fn ioctl(file: &File, inode: &Inode<Loopfs>, cmd: u32, arg: usize) -> Result<isize> {
        let sb = inode.super_block();
        // loop.c, too, treats the argument as an int.
        let arg = arg as i32;

        match cmd {
            uapi::LOOP_CTL_ADD => {
                let index = add(sb, WriteAccess::new(file)?, u32::try_from(arg).ok())?;
                Ok(index as isize)
            }
            uapi::LOOP_CTL_REMOVE => {
                let index = u32::try_from(arg)?;
                remove(sb, WriteAccess::new(file)?, index)?;
                Ok(0)
            }
            uapi::LOOP_CTL_GET_FREE => {
                let index = match sb.data().find_free() {
                    Some(index) => index,
                    None => add(sb, WriteAccess::new(file)?, None)?,
                };
                Ok(index as isize)
            }
            _ => Err(ENOSYS),
        }
    }

    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl(file: &File, inode: &Inode<Loopfs>, cmd: u32, arg: usize) -> Result<isize> {
        Self::ioctl(file, inode, cmd, arg)
    }
}

/// Creates a device with the requested index, or with any free one, and returns its index.
///
/// The disk exists before the node, so that a user who finds the node can open it. The device is in
/// the table before the directory's watchers get the event, so that they can remove it.
///
/// # Errors
///
/// [`EEXIST`] if the index is taken; [`EINVAL`] if there is no such index; [`ENOSPC`] at a limit;
/// [`ENOMEM`]; [`EINTR`] on a fatal signal. Nothing is left behind.
fn add(sb: &SuperBlock<Loopfs>, access: WriteAccess<'_>, requested: Option<u32>) -> Result<u32> {
    let instance = Arc::from(sb.data());
    let (uid, gid) = instance.root_ids();

    // Everything that can fail is done before the disk exists, except for creating the node.
    let claim = instance.claim(sb.user_ns(), requested)?;
    let index = claim.index();
    let device = UniqueArc::new_uninit(GFP_KERNEL_ACCOUNT)?;
    let entry = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
    let name = node::device_name(index)?;
    let mut inode = sb.new_inode()?;

    let lo = LoopDevice::add(sb.user_ns(), claim.clone())?;
    let device: Arc<Device> = device.write(Device::new(lo, claim)).into();

    inode.set_ino(node::device_ino(index));
    inode.set_owner(uid, gid);
    inode.set_data(device.clone());
    let inode = inode.into_block_device(device.lo().devt(), 0o600);

    let creating = sb.root().start_creating(&name);
    match creating.and_then(|creating| creating.make_persistent(inode)) {
        Ok(created) => {
            // Insert it while the directory is still locked, before anybody can unlink the node.
            instance.insert(entry.into_node(index, device));
            drop(created);
            Ok(index)
        }
        Err(err) => {
            drop(access);
            // Somebody may have guessed the number and opened the disk in the meantime.
            if let Some(removal) = device.lo().shutdown() {
                removal.now();
            }
            Err(err)
        }
    }
}

/// Removes the device with the index `index` and its node, even if it was renamed.
///
/// # Errors
///
/// [`ENODEV`] if the instance has no such device; [`EBUSY`] if it is in use. That is as racy as
/// `loop_control_remove()`: an open that has just begun may be missed, and gets a dead disk.
fn remove(sb: &SuperBlock<Loopfs>, access: WriteAccess<'_>, index: u32) -> Result {
    let device = sb.data().find(index).ok_or(ENODEV)?;
    let removal = device.lo().begin_remove()?;

    sb.data().remove(&device);
    let inode = sb.ilookup(node::device_ino(index));
    if let Some(dentry) = inode.and_then(|inode| inode.find_any_alias()) {
        dentry.recursive_removal();
    }

    // Deleting the disk waits for its workqueue, whose work may itself need write access to a
    // mount.
    drop(access);
    removal.now();
    Ok(())
}
