// SPDX-License-Identifier: GPL-2.0

//! What can be done to the nodes of an instance.

use kernel::{
    fs::{
        dentry::Child,
        inode::{
            rename_flags,
            Operations, //
        },
        Inode, //
    },
    prelude::*,
    sync::ArcBorrow, //
};

use crate::{
    device::Device,
    file_system::Loopfs,
    name, //
};

/// The operations of the root directory, which is the only one.
pub(crate) struct Directory;

/// Returns the device that `child` is the node of.
///
/// # Errors
///
/// [`EPERM`] if it is `loop-control`, which has to stay where it is.
fn device<'a>(child: &Child<'a, Loopfs>) -> Result<ArcBorrow<'a, Device>> {
    child.inode().and_then(Inode::data).ok_or(EPERM)
}

#[vtable]
impl Operations for Directory {
    type FileSystem = Loopfs;

    /// Nobody makes a file here. Without this, the error would be [`EACCES`].
    fn create(_child: Child<'_, Loopfs>, _mode: u16) -> Result {
        Err(EPERM)
    }

    /// Removes a device that is not in use.
    fn unlink(child: Child<'_, Loopfs>) -> Result {
        let inode = child.inode().ok_or(ENOENT)?;
        let device = device(&child)?;
        let removal = device.lo().begin_remove().map_err(|err| {
            // Somebody else removes the device, and is about to remove the node.
            if err == ENODEV {
                ENOENT
            } else {
                err
            }
        })?;

        inode.super_block().data().forget(&device);
        child.simple_unlink()?;
        // The directory is locked.
        removal.later();
        Ok(())
    }

    /// Gives a device another name, which must not be one that some device may need.
    fn rename(old: Child<'_, Loopfs>, new: Child<'_, Loopfs>, flags: u32) -> Result {
        let device = device(&old)?;
        if new.name() == name::CONTROL {
            return Err(EPERM);
        }
        if flags & !rename_flags::NOREPLACE != 0 {
            return Err(EINVAL);
        }
        if new.inode().is_some() {
            return Err(EEXIST);
        }
        if !name::may_have(device.index(), new.name()) {
            return Err(EINVAL);
        }
        old.simple_rename(new, flags)
    }
}
