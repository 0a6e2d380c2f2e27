// SPDX-License-Identifier: GPL-2.0

//! The operations of the root directory: `unlink(2)` and `rename(2)`.

use core::convert::Infallible;

use kernel::{
    fs::{
        dentry::{
            Child,
            Rename,
            RenameFlag,
            Renamed,
            Unlinked, //
        },
        inode::Operations,
        Inode, //
    },
    prelude::*,
    sync::ArcBorrow, //
};

use crate::{
    device::Device,
    name,
    Loopfs, //
};

/// The operations of the root directory, which is the only one.
pub(crate) struct Directory;

/// Returns the device of which `child` is the node.
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

    /// Files cannot be created here. Without this operation the VFS returns [`EACCES`].
    fn create(_child: Child<'_, Loopfs>, _mode: u16) -> Result<Infallible> {
        Err(EPERM)
    }

    /// Removes a device that is not in use.
    ///
    /// Its disk is deleted when the caller returns to user space, or when the task does that works
    /// for the caller's io_uring. An unmount in between does not wait for it.
    fn unlink<'a>(child: Child<'a, Loopfs>) -> Result<Unlinked<'a>> {
        let inode = child.inode().ok_or(ENOENT)?;
        let device = device(&child)?;
        let removal = device.lo().begin_remove().map_err(|err| {
            // Somebody else is removing the device, and is about to remove the node.
            if err == ENODEV {
                ENOENT
            } else {
                err
            }
        })?;

        inode.super_block().data().remove(&device);
        let unlinked = child.simple_unlink()?;
        // The directory is locked.
        removal.later();
        Ok(unlinked)
    }

    /// Renames a node. The new name must not be one that another device may need.
    fn rename<'a>(rename: Rename<'a, Loopfs>) -> Result<Renamed<'a>> {
        let new = rename.new_child();
        let device = device(rename.old_child())?;
        if new.name() == name::CONTROL {
            return Err(EPERM);
        }
        if rename
            .flags()
            .contains_any(RenameFlag::Exchange | RenameFlag::Whiteout)
        {
            return Err(EINVAL);
        }
        if new.inode().is_some() {
            return Err(EEXIST);
        }
        if !name::may_have(device.index(), new.name()) {
            return Err(EINVAL);
        }
        rename.simple_rename()
    }
}
