//! The mount API of descriptors: `fsopen`, `fsconfig`, `fsmount`, `fspick`, `move_mount`.
//! Neither std nor nix wraps it.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::Read as _,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
};

use nix::{Result, errno::Errno, libc};

const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSPICK_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSCONFIG_CMD_RECONFIGURE: libc::c_uint = 7;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;

/// A file system context: a mount in the making, or a mounted file system being reconfigured.
#[derive(Debug)]
pub struct FsContext {
    fd: OwnedFd,
}

impl FsContext {
    /// `fsopen(2)` of the file system type `name`.
    ///
    /// # Errors
    ///
    /// What the call gives; `ENODEV` where the kernel has no such type.
    pub fn open(name: &CStr) -> Result<Self> {
        // SAFETY: `name` ends with NUL and the call keeps no pointer.
        let fd = unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) };
        Ok(Self { fd: owned(fd)? })
    }

    /// `fspick(2)` of the file system mounted at `dir`, to reconfigure it.
    ///
    /// # Errors
    ///
    /// What the call gives.
    pub fn pick(dir: &Path) -> Result<Self> {
        let dir = c_string(dir.as_os_str().as_bytes())?;
        // SAFETY: `dir` ends with NUL and the call keeps no pointer.
        let fd = unsafe { libc::syscall(libc::SYS_fspick, libc::AT_FDCWD, dir.as_ptr(), FSPICK_CLOEXEC) };
        Ok(Self { fd: owned(fd)? })
    }

    /// Sets the option `key` to `value`.
    ///
    /// # Errors
    ///
    /// What `fsconfig(2)` gives.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (c_string(key.as_bytes())?, c_string(value.as_bytes())?);
        self.config(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    /// Sets the option `key`, which takes no value.
    ///
    /// # Errors
    ///
    /// What `fsconfig(2)` gives.
    pub fn set_flag(&self, key: &str) -> Result<()> {
        let key = c_string(key.as_bytes())?;
        self.config(FSCONFIG_SET_FLAG, key.as_ptr(), ptr::null())
    }

    /// Makes the superblock.
    ///
    /// # Errors
    ///
    /// What `fsconfig(2)` gives.
    pub fn create(&self) -> Result<()> {
        self.config(FSCONFIG_CMD_CREATE, ptr::null(), ptr::null())
    }

    /// Applies the options to the picked file system.
    ///
    /// # Errors
    ///
    /// What `fsconfig(2)` gives.
    pub fn reconfigure(&self) -> Result<()> {
        self.config(FSCONFIG_CMD_RECONFIGURE, ptr::null(), ptr::null())
    }

    /// `fsmount(2)`: a mount that is attached nowhere, kept by the returned descriptor.
    ///
    /// # Errors
    ///
    /// What the call gives.
    pub fn mount(&self) -> Result<OwnedFd> {
        // SAFETY: The descriptor is open and the call takes no pointer.
        let fd = unsafe { libc::syscall(libc::SYS_fsmount, self.fd.as_raw_fd(), FSMOUNT_CLOEXEC, 0) };
        owned(fd)
    }

    /// The messages the kernel has left in the context, oldest first, and takes them out of it.
    ///
    /// # Errors
    ///
    /// What reading the context gives, but for the end of the messages.
    pub fn log(&self) -> Result<Vec<String>> {
        let mut file = File::from(self.fd.try_clone().map_err(|_| Errno::EMFILE)?);
        let mut messages = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match file.read(&mut buffer) {
                Ok(length) => messages.push(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()),
                Err(error) if error.raw_os_error() == Some(libc::ENODATA) => return Ok(messages),
                Err(error) => return Err(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))),
            }
        }
    }

    fn config(&self, command: libc::c_uint, key: *const libc::c_char, value: *const libc::c_char) -> Result<()> {
        // SAFETY: `key` and `value` are null or end with NUL, and the call keeps neither.
        let result = unsafe { libc::syscall(libc::SYS_fsconfig, self.fd.as_raw_fd(), command, key, value, 0) };
        Errno::result(result).map(drop)
    }
}

impl From<OwnedFd> for FsContext {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<FsContext> for OwnedFd {
    fn from(context: FsContext) -> Self {
        context.fd
    }
}

/// Attaches the detached `mount` at `dir` (`move_mount(2)`).
///
/// # Errors
///
/// What the call gives.
pub fn attach(mount: impl AsFd, dir: &Path) -> Result<()> {
    let dir = c_string(dir.as_os_str().as_bytes())?;
    // SAFETY: Both paths end with NUL, the descriptor is open, and the call keeps no pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            dir.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    Errno::result(result).map(drop)
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Errno::EINVAL)
}

fn owned(fd: libc::c_long) -> Result<OwnedFd> {
    let fd = Errno::result(fd)?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: The call that gave the number has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
