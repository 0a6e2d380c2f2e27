//! The control node: the host's `/dev/loop-control` or an instance's own.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::{
    Result,
    fcntl::{OFlag, open},
    sys::stat::Mode,
};

mod ioctl {
    nix::ioctl_write_int_bad!(add, 0x4c80);
    nix::ioctl_write_int_bad!(remove, 0x4c81);
    nix::ioctl_none_bad!(get_free, 0x4c82);
}

/// An open control node.
#[derive(Debug)]
pub struct LoopControl {
    file: File,
}

impl LoopControl {
    /// Opens the control node at `path` for reading and writing.
    ///
    /// # Errors
    ///
    /// What `open(2)` gives.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(open(path, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }

    /// Opens the host's `/dev/loop-control`.
    ///
    /// # Errors
    ///
    /// What `open(2)` gives.
    pub fn host() -> Result<Self> {
        Self::open(Path::new("/dev/loop-control"))
    }

    /// `LOOP_CTL_GET_FREE`: the number of an unbound device.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn get_free(&self) -> Result<u32> {
        // SAFETY: The descriptor is open and LOOP_CTL_GET_FREE takes no pointer.
        unsafe { ioctl::get_free(self.file.as_raw_fd()) }.map(i32::cast_unsigned)
    }

    /// `LOOP_CTL_ADD`: makes device `number`, or any where it is negative; returns its number.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn add(&self, number: i32) -> Result<u32> {
        // SAFETY: The descriptor is open and LOOP_CTL_ADD takes an int.
        unsafe { ioctl::add(self.file.as_raw_fd(), number) }.map(i32::cast_unsigned)
    }

    /// `LOOP_CTL_ADD` of exactly `number`.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn add_number(&self, number: u32) -> Result<u32> {
        self.add(number.cast_signed())
    }

    /// `LOOP_CTL_ADD` of any number.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn add_any(&self) -> Result<u32> {
        self.add(-1)
    }

    /// `LOOP_CTL_REMOVE`: removes device `number`.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn remove(&self, number: u32) -> Result<()> {
        self.remove_signed(number.cast_signed())
    }

    /// `LOOP_CTL_REMOVE` with a number that may be negative.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn remove_signed(&self, number: i32) -> Result<()> {
        // SAFETY: The descriptor is open and LOOP_CTL_REMOVE takes an int.
        unsafe { ioctl::remove(self.file.as_raw_fd(), number) }.map(drop)
    }

    /// An ioctl number of the family that no driver knows.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn unknown_ioctl(&self) -> Result<()> {
        self.other_ioctl(0x4c8f)
    }

    /// An ioctl that no control node has, with 0 for its argument.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn other_ioctl(&self, number: u32) -> Result<()> {
        // SAFETY: The descriptor is open, and a null pointer is nothing to read from or write to.
        let result = unsafe { nix::libc::ioctl(self.file.as_raw_fd(), number.into(), 0) };
        nix::errno::Errno::result(result).map(drop)
    }
}

impl From<OwnedFd> for LoopControl {
    fn from(fd: OwnedFd) -> Self {
        Self { file: fd.into() }
    }
}

impl AsFd for LoopControl {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
