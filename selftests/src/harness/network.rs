//! The loopback interface.

use std::{io, os::fd::AsRawFd as _};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

mod ioctl {
    nix::ioctl_write_ptr_bad!(set_flags, nix::libc::SIOCSIFFLAGS, nix::libc::ifreq);
}

/// Brings `lo` up, where this kernel has networks.
///
/// # Errors
///
/// When the interface is there and cannot be brought up.
pub(super) fn bring_loopback_up() -> io::Result<()> {
    let socket = match socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None) {
        Err(Errno::EAFNOSUPPORT | Errno::ENOSYS) => return Ok(()),
        other => other?,
    };
    // SAFETY: An all-zero `ifreq` is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as _, b'o' as _]);
    request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
    // SAFETY: The descriptor is open and the pointer is to a live `ifreq`.
    unsafe { ioctl::set_flags(socket.as_raw_fd(), &request) }?;
    Ok(())
}
