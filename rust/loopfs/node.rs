// SPDX-License-Identifier: GPL-2.0

//! The inode numbers of the nodes, and the names they are created with.

use kernel::{
    prelude::*,
    str::CString, //
};

/// The inode number of the root directory.
pub(crate) const ROOT_INO: u64 = 1;

/// The inode number of `loop-control`.
pub(crate) const CONTROL_INO: u64 = 2;

/// The offset from a device's index to its inode number.
const DEVICE_INO: u64 = 3;

/// The name of the control node.
pub(crate) const CONTROL_NAME: &CStr = c"loop-control";

/// Returns the inode number of the node of a device, which a rename does not change.
pub(crate) fn device_ino(index: u32) -> u64 {
    DEVICE_INO + u64::from(index)
}

/// Returns the name that the node of a device is created with.
///
/// # Errors
///
/// [`ENOMEM`].
pub(crate) fn device_name(index: u32) -> Result<CString> {
    CString::try_from_fmt(fmt!("loop{index}"))
}
