// SPDX-License-Identifier: GPL-2.0

//! What `loop-control` does.

use kernel::{
    fs::{
        file_operations,
        inode::DevT,
        mount::WriteAccess,
        File,
        Inode,
        SuperBlock, //
    },
    prelude::*,
    rbtree::RBTreeNodeReservation,
    sync::{
        Arc,
        UniqueArc, //
    },
    uapi, //
};

use crate::{
    device::{
        Claim,
        Device, //
    },
    file_system::{
        Loopfs,
        CONTROL_INO, //
    },
    private::LoopDevice, //
};

/// The number of `/dev/loop-control`, which programs may look for.
const CONTROL_DEV: DevT = DevT::new(uapi::MISC_MAJOR, kernel::bindings::LOOP_CTRL_MINOR);

/// The name of the control node.
const CONTROL_NAME: &CStr = c"loop-control";

/// Makes the control node of a new superblock.
///
/// # Errors
///
/// [`ENOMEM`].
pub(crate) fn make_node(sb: &SuperBlock<Loopfs>) -> Result {
    let (uid, gid) = sb.data().root_ids();

    let mut inode = sb.new_inode()?;
    inode.set_ino(CONTROL_INO);
    inode.set_owner(uid, gid);
    inode.set_char_device::<Control>(CONTROL_DEV, 0o600);
    let creating = sb.root().start_creating(CONTROL_NAME)?;
    drop(creating.make_persistent(inode)?);
    Ok(())
}

/// The operations of an open control node.
struct Control;

#[vtable]
impl file_operations::Operations for Control {
    type FileSystem = Loopfs;

    fn ioctl(file: &File, inode: &Inode<Loopfs>, cmd: u32, arg: usize) -> Result<isize> {
        let sb = inode.super_block();
        // The C side takes an int, too.
        let arg = arg as i32;

        let index = match cmd {
            uapi::LOOP_CTL_ADD => add(sb, WriteAccess::new(file)?, u32::try_from(arg).ok())?,
            uapi::LOOP_CTL_REMOVE => {
                let index = u32::try_from(arg)?;
                remove(sb, WriteAccess::new(file)?, index)?;
                0
            }
            uapi::LOOP_CTL_GET_FREE => match sb.data().find_free() {
                Some(index) => index,
                None => add(sb, WriteAccess::new(file)?, None)?,
            },
            _ => return Err(ENOSYS),
        };
        Ok(index as isize)
    }

    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl(file: &File, inode: &Inode<Loopfs>, cmd: u32, arg: usize) -> Result<isize> {
        Self::ioctl(file, inode, cmd, arg)
    }
}

/// Makes a device with the index `wish`, or any, and returns its index.
///
/// The disk is there before the node, so that who finds the node can open it.
///
/// # Errors
///
/// [`EEXIST`] if the index is taken; [`EINVAL`] if there is no such index; [`ENOSPC`] at a limit;
/// [`ENOMEM`]; [`EINTR`] on a fatal signal. Nothing is left behind.
fn add(sb: &SuperBlock<Loopfs>, access: WriteAccess<'_>, wish: Option<u32>) -> Result<u32> {
    let instance = Arc::from(sb.data());
    let (uid, gid) = instance.root_ids();

    // All that can fail comes before there is a disk, except for the node itself.
    let claim = Claim::new(instance.clone(), sb.user_ns(), wish)?;
    let index = claim.index();
    let device = UniqueArc::new_uninit(GFP_KERNEL_ACCOUNT)?;
    let entry = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
    let name = Device::name(index)?;
    let mut inode = sb.new_inode()?;

    let lo = LoopDevice::add(sb.user_ns(), claim.clone())?;
    let device: Arc<Device> = device.write(Device::new(lo, claim)).into();

    inode.set_ino(device.ino());
    inode.set_owner(uid, gid);
    inode.set_block_device(device.lo().devt(), 0o600);
    inode.set_data(device.clone());

    let creating = sb.root().start_creating(&name);
    match creating.and_then(|creating| creating.make_persistent(inode)) {
        Ok(created) => {
            // Before somebody can unlink the node, for which the directory has to be unlocked.
            instance.insert(entry.into_node(index, device));
            drop(created);
            Ok(index)
        }
        Err(err) => {
            drop(access);
            // Who has guessed the number may have opened the disk meanwhile.
            if let Some(removal) = device.lo().shutdown() {
                removal.now();
            }
            Err(err)
        }
    }
}

/// Removes the device with the index `index`, and its node, whatever that is called by now.
///
/// # Errors
///
/// [`ENODEV`] if the instance has no such device; [`EBUSY`] if it is in use.
fn remove(sb: &SuperBlock<Loopfs>, access: WriteAccess<'_>, index: u32) -> Result {
    let device = sb.data().find(index).ok_or(ENODEV)?;
    let removal = device.lo().begin_remove()?;

    sb.data().forget(&device);
    let inode = sb.ilookup(device.ino());
    if let Some(dentry) = inode.and_then(|inode| inode.find_any_alias()) {
        dentry.remove();
    }

    // What is left waits for the device's workqueue, which gets write access to file systems.
    drop(access);
    removal.now();
    Ok(())
}
