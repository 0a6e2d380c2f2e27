//! Device nodes on a mount of the case's own: its folder is on a mount without devices.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sys::stat::{Mode, SFlag, makedev, mknod},
};

use crate::{case::Context, uapi::LOOP_MAJOR};

/// Makes a node called `name` for the device `major:minor`, that everybody may open; takes root of
/// the initial namespace.
///
/// # Errors
///
/// When the mount or the node cannot be made.
pub fn make(ctx: &Context, name: &str, kind: SFlag, major: u64, minor: u64) -> Result<PathBuf> {
    let dir = ctx.dir.join("nodes");
    if !dir.exists() {
        fs::create_dir(&dir)?;
        mount(Some("nodes"), &dir, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).context("no tmpfs for nodes")?;
    }
    let node = dir.join(name);
    let all = 0o666;
    mknod(&node, kind, Mode::from_bits_truncate(all), makedev(major, minor))
        .with_context(|| format!("cannot make {}", node.display()))?;
    fs::set_permissions(&node, Permissions::from_mode(all))?;
    Ok(node)
}

/// Makes a static node for loop device `number`: how the host reaches a device outside of `/dev`,
/// and how a kernel that autoloads is asked for one.
///
/// # Errors
///
/// As [`make`].
pub fn loop_device(ctx: &Context, number: u32) -> Result<PathBuf> {
    make(ctx, &format!("loop{number}"), SFlag::S_IFBLK, LOOP_MAJOR, number.into())
}
