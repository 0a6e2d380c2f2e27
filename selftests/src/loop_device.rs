//! An open loop device, private or the host's.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
};

use nix::{
    Result,
    fcntl::{OFlag, open},
    sys::stat::Mode,
};

use crate::uapi::{LoopConfig, LoopInfo, LoopInfo64};

mod ioctl {
    use crate::uapi::{LoopConfig, LoopInfo, LoopInfo64};

    nix::ioctl_write_int_bad!(set_fd, 0x4c00);
    nix::ioctl_none_bad!(clr_fd, 0x4c01);
    nix::ioctl_write_ptr_bad!(set_status, 0x4c02, LoopInfo);
    nix::ioctl_write_ptr_bad!(set_status64, 0x4c04, LoopInfo64);
    nix::ioctl_read_bad!(get_status64, 0x4c05, LoopInfo64);
    nix::ioctl_write_int_bad!(change_fd, 0x4c06);
    nix::ioctl_none_bad!(set_capacity, 0x4c07);
    nix::ioctl_write_int_bad!(set_direct_io, 0x4c08);
    nix::ioctl_write_int_bad!(set_block_size, 0x4c09);
    nix::ioctl_write_ptr_bad!(configure, 0x4c0a, LoopConfig);
    nix::ioctl_read!(blkgetsize64, 0x12, 114, usize);
    nix::ioctl_read_bad!(blksszget, 0x1268, nix::libc::c_int);
    nix::ioctl_write_ptr_bad!(blkroset, 0x125d, nix::libc::c_int);
    nix::ioctl_none_bad!(blkflsbuf, 0x1261);
    nix::ioctl_write_ptr_bad!(blkdiscard, 0x1277, [u64; 2]);
    nix::ioctl_write_ptr_bad!(blkzeroout, 0x127f, [u64; 2]);
}

/// An open loop device.
#[derive(Debug)]
pub struct LoopDevice {
    file: File,
}

impl LoopDevice {
    /// Opens the device node at `path` for reading and writing.
    ///
    /// # Errors
    ///
    /// What `open(2)` gives.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, OFlag::O_RDWR)
    }

    /// Opens the device node at `path` for reading only.
    ///
    /// # Errors
    ///
    /// What `open(2)` gives.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        Self::open_with(path, OFlag::O_RDONLY)
    }

    /// Opens the device node at `path` with `flags` and `O_CLOEXEC`.
    ///
    /// # Errors
    ///
    /// What `open(2)` gives.
    pub fn open_with(path: &Path, flags: OFlag) -> Result<Self> {
        Ok(open(path, flags | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }

    /// `LOOP_SET_FD`: binds `backing`.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn set_fd(&self, backing: impl AsFd) -> Result<()> {
        // SAFETY: Both descriptors are open; the argument is a descriptor number.
        unsafe { ioctl::set_fd(self.file.as_raw_fd(), backing.as_fd().as_raw_fd()) }.map(drop)
    }

    /// `LOOP_CONFIGURE`: binds and sets status in one call.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn configure(&self, config: &LoopConfig) -> Result<()> {
        // SAFETY: `config` is a valid `struct loop_config` that the kernel only reads.
        unsafe { ioctl::configure(self.file.as_raw_fd(), config) }.map(drop)
    }

    /// `LOOP_CLR_FD`: clears now or on the last close.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn clear(&self) -> Result<()> {
        // SAFETY: The descriptor is open and LOOP_CLR_FD takes no argument.
        unsafe { ioctl::clr_fd(self.file.as_raw_fd()) }.map(drop)
    }

    /// `LOOP_CHANGE_FD`: swaps the backing file of a read-only device.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn change_fd(&self, backing: impl AsFd) -> Result<()> {
        // SAFETY: Both descriptors are open; the argument is a descriptor number.
        unsafe { ioctl::change_fd(self.file.as_raw_fd(), backing.as_fd().as_raw_fd()) }.map(drop)
    }

    /// `LOOP_GET_STATUS64`.
    ///
    /// # Errors
    ///
    /// What the ioctl gives; `ENXIO` where the device is not bound.
    pub fn status(&self) -> Result<LoopInfo64> {
        let mut info = LoopInfo64::ZERO;
        // SAFETY: `info` is a valid `struct loop_info64` the kernel fills in.
        unsafe { ioctl::get_status64(self.file.as_raw_fd(), &raw mut info) }?;
        Ok(info)
    }

    /// `LOOP_SET_STATUS64`.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn set_status(&self, info: &LoopInfo64) -> Result<()> {
        // SAFETY: `info` is a valid `struct loop_info64` that the kernel only reads.
        unsafe { ioctl::set_status64(self.file.as_raw_fd(), info) }.map(drop)
    }

    /// `LOOP_SET_STATUS`, the older call, with all fields zero.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn set_status_old(&self) -> Result<()> {
        // SAFETY: The argument is a valid `struct loop_info` that the kernel only reads.
        unsafe { ioctl::set_status(self.file.as_raw_fd(), &LoopInfo::ZERO) }.map(drop)
    }

    /// `LOOP_SET_CAPACITY`: takes the size of the backing file again.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn set_capacity(&self) -> Result<()> {
        // SAFETY: The descriptor is open and LOOP_SET_CAPACITY takes no argument.
        unsafe { ioctl::set_capacity(self.file.as_raw_fd()) }.map(drop)
    }

    /// `LOOP_SET_DIRECT_IO`.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn set_direct_io(&self, on: bool) -> Result<()> {
        // SAFETY: The descriptor is open and LOOP_SET_DIRECT_IO takes an int.
        unsafe { ioctl::set_direct_io(self.file.as_raw_fd(), on.into()) }.map(drop)
    }

    /// `LOOP_SET_BLOCK_SIZE`, in bytes.
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn set_block_size(&self, bytes: i32) -> Result<()> {
        // SAFETY: The descriptor is open and LOOP_SET_BLOCK_SIZE takes an int.
        unsafe { ioctl::set_block_size(self.file.as_raw_fd(), bytes) }.map(drop)
    }

    /// The size in bytes (`BLKGETSIZE64`).
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn size(&self) -> Result<u64> {
        let mut bytes = 0_usize;
        // SAFETY: `bytes` is a valid u64, on a 64-bit machine, for the kernel to fill in.
        unsafe { ioctl::blkgetsize64(self.file.as_raw_fd(), &raw mut bytes) }?;
        Ok(bytes as u64)
    }

    /// The logical block size in bytes (`BLKSSZGET`).
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn block_size(&self) -> Result<i32> {
        let mut bytes = 0;
        // SAFETY: `bytes` is a valid int for the kernel to fill in.
        unsafe { ioctl::blksszget(self.file.as_raw_fd(), &raw mut bytes) }?;
        Ok(bytes)
    }

    /// Sets the device read-only, or writable again (`BLKROSET`).
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        // SAFETY: The argument is a valid int that the kernel only reads.
        unsafe { ioctl::blkroset(self.file.as_raw_fd(), &read_only.into()) }.map(drop)
    }

    /// Writes back the page cache of the device and drops it (`BLKFLSBUF`).
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn flush_buffers(&self) -> Result<()> {
        // SAFETY: The descriptor is open and BLKFLSBUF takes no argument.
        unsafe { ioctl::blkflsbuf(self.file.as_raw_fd()) }.map(drop)
    }

    /// Gives `length` bytes at byte `offset` up (`BLKDISCARD`).
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn discard(&self, offset: u64, length: u64) -> Result<()> {
        // SAFETY: The argument is a valid pair of u64 that the kernel only reads.
        unsafe { ioctl::blkdiscard(self.file.as_raw_fd(), &[offset, length]) }.map(drop)
    }

    /// Makes `length` bytes at byte `offset` zero (`BLKZEROOUT`).
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn zero_out(&self, offset: u64, length: u64) -> Result<()> {
        // SAFETY: The argument is a valid pair of u64 that the kernel only reads.
        unsafe { ioctl::blkzeroout(self.file.as_raw_fd(), &[offset, length]) }.map(drop)
    }

    /// Writes all of `data` at byte `offset`, into the page cache of the device.
    ///
    /// # Errors
    ///
    /// What `pwrite(2)` gives.
    pub fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    /// Reads `length` bytes at byte `offset`.
    ///
    /// # Errors
    ///
    /// What `pread(2)` gives; an unexpected end where the device is shorter.
    pub fn read_at(&self, length: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut data = vec![0; length];
        self.file.read_exact_at(&mut data, offset)?;
        Ok(data)
    }

    /// Writes back what is dirty (`fsync(2)`).
    ///
    /// # Errors
    ///
    /// What `fsync(2)` gives.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// The calls that a read-only descriptor is no right to: they ask for CAP_SYS_ADMIN. Each is made
    /// so that it changes nothing of a device bound without offset, limit and flags.
    pub fn privileged_calls(&self) -> [(&'static str, Result<()>); 5] {
        [
            ("LOOP_SET_STATUS", self.set_status_old()),
            ("LOOP_SET_STATUS64", self.set_status(&LoopInfo64::ZERO)),
            ("LOOP_SET_CAPACITY", self.set_capacity()),
            ("LOOP_SET_DIRECT_IO", self.set_direct_io(false)),
            ("LOOP_SET_BLOCK_SIZE", self.set_block_size(512)),
        ]
    }

    /// The number the device says it has.
    ///
    /// # Errors
    ///
    /// `ENXIO` where the device is not bound.
    pub fn number(&self) -> Result<u32> {
        Ok(self.status()?.lo_number)
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Binds `backing` by `LOOP_CONFIGURE` with `flags` (`LO_FLAGS_*`).
    ///
    /// # Errors
    ///
    /// What the ioctl gives.
    pub fn configure_with_flags(&self, backing: impl AsFd, flags: u32) -> Result<()> {
        let info = LoopInfo64 { lo_flags: flags, ..LoopInfo64::ZERO };
        self.configure(&LoopConfig::new(backing.as_fd().as_raw_fd(), info))
    }
}

impl From<OwnedFd> for LoopDevice {
    fn from(fd: OwnedFd) -> Self {
        Self { file: fd.into() }
    }
}

impl From<LoopDevice> for OwnedFd {
    fn from(device: LoopDevice) -> Self {
        device.file.into()
    }
}

impl AsFd for LoopDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
