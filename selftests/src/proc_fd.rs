//! Reaching what a descriptor stands for by a path.

use std::{os::fd::AsRawFd, path::PathBuf};

/// The path of `fd` in `/proc`: of an `O_PATH` descriptor, of a folder, or of a mount that is attached
/// nowhere. It is good in this process, and in a child that inherited the descriptor.
pub fn path(fd: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}
