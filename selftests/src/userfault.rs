//! Memory whose faults nobody handles (`userfaultfd(2)`).

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::{Result, errno::Errno, libc};

use crate::mapping::Mapping;

const UFFD_API: u64 = 0xaa;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

mod ioctl {
    use super::{Api, Register};

    nix::ioctl_readwrite!(api, 0xaa, 0x3f, Api);
    nix::ioctl_readwrite!(register, 0xaa, 0x00, Register);
}

/// Lets whoever touches `memory`, the kernel on its behalf included, wait for as long as the returned descriptor lives.
/// An ordinary user needs `vm.unprivileged_userfaultfd` for that.
///
/// # Errors
///
/// What the calls give.
pub fn hold_up(memory: &Mapping) -> Result<OwnedFd> {
    // SAFETY: The call takes no pointer.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: The kernel has just installed this descriptor for us and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut api = Api { api: UFFD_API, features: 0, ioctls: 0 };
    // SAFETY: The argument is a valid structure for the kernel to read and fill in.
    unsafe { ioctl::api(fd.as_raw_fd(), &raw mut api) }?;
    let mut register = Register {
        start: memory.start() as u64,
        length: memory.length() as u64,
        mode: UFFDIO_REGISTER_MODE_MISSING,
        ioctls: 0,
    };
    // SAFETY: The argument is a valid structure for the kernel to read and fill in; the memory is never read by us.
    unsafe { ioctl::register(fd.as_raw_fd(), &raw mut register) }?;
    Ok(fd)
}
