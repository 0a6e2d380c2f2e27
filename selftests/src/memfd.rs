//! Files without a name: memory with seals, and memory for its owner's eyes only.

use std::{
    ffi::CString,
    fs::File,
    os::fd::{FromRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::memfd::{MFdFlags, memfd_create},
};

/// An empty file in memory that takes seals (`memfd_create(2)`).
///
/// # Errors
///
/// What the call gives.
pub fn sealable(name: &str) -> nix::Result<File> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    Ok(memfd_create(name.as_c_str(), MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC)?.into())
}

/// An empty file in memory that can only be mapped (`memfd_secret(2)`).
///
/// # Errors
///
/// What the call gives.
pub fn secret() -> nix::Result<File> {
    // SAFETY: The call takes no pointer.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: The kernel has just installed this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}
