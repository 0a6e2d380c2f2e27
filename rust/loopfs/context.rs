// SPDX-License-Identifier: GPL-2.0

//! The mount options, and filling a superblock.

use kernel::{
    fs::{
        self,
        context::{
            Operations,
            Parameter, //
        },
        invalfc,
        super_block::{
            self,
            IFlag,
            SuperBlock, //
        }, //
    },
    prelude::*,
    uapi, //
};

use crate::{
    control,
    directory::Directory,
    instance::Instance,
    node,
    private,
    Loopfs, //
};

/// The options of one mount or remount.
pub(crate) struct Context {
    /// The option `max=`, if it was given.
    max: Option<u32>,
}

impl Context {
    fn set_max(mut self: Pin<&mut Self>, fc: &fs::context::Context<Loopfs>, max: u32) -> Result {
        let limit = private::index_limit();
        if max > limit {
            return Err(invalfc!(fc, "max={max} exceeds {limit}"));
        }
        self.max = Some(max);
        Ok(())
    }
}

#[vtable]
impl Operations for Context {
    type FileSystem = Loopfs;

    const PARAMETERS: &'static [Parameter<Self>] = &[Parameter::u32(c"max", Self::set_max)];

    fn init_fs_context(_fc: &fs::context::Context<Loopfs>) -> impl PinInit<Self, Error> {
        Ok(Self { max: None })
    }

    /// Sets up a new superblock as an instance with a root directory and `loop-control`.
    fn fill_super<'a>(
        self: Pin<&mut Self>,
        _fc: &fs::context::Context<Loopfs>,
        mut sb: super_block::New<'a, Loopfs>,
    ) -> Result<&'a SuperBlock<Loopfs>> {
        sb.set_magic(uapi::LOOPFS_SUPER_MAGIC);
        sb.set_iflags(IFlag::Noexec);
        // The nodes of a mount in a user namespace cannot be opened as devices, because its root
        // could make a node of any device. Here the only nodes are those of this instance's own
        // devices and of its `loop-control`: mknod(2) fails.
        sb.clear_iflags(IFlag::Nodev);

        // A file on an overlay of this file system would keep it mounted, and with it the device
        // that the file may be bound to.
        sb.set_stack_depth(super_block::MAX_STACK_DEPTH);

        let instance = Instance::new(sb.user_ns(), self.max)?;
        let (uid, gid) = instance.root_ids();
        let sb = sb.set_data(instance);

        let mut root = sb.new_inode()?;
        root.set_ino(node::ROOT_INO);
        root.set_owner(uid, gid);
        let sb = sb.set_root(root.into_dir::<Directory>(0o755))?;

        control::make_node(sb)?;
        Ok(sb)
    }

    fn reconfigure(
        self: Pin<&mut Self>,
        _fc: &fs::context::Context<Loopfs>,
        sb: &SuperBlock<Loopfs>,
    ) -> Result {
        // A remount for another reason must not lift the limit.
        if let Some(max) = self.max {
            sb.data().set_max(max);
        }
        Ok(())
    }
}
