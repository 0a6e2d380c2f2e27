//! Memory mapped from a file or a device.

use std::{
    num::NonZeroUsize,
    os::fd::{AsFd, AsRawFd as _},
    ptr::{self, NonNull},
};

use nix::{
    Result,
    errno::Errno,
    libc::{self, c_void, off_t},
    sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap},
};

/// A mapping, for reading and writing unless it says otherwise, undone when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

impl Mapping {
    /// Maps `length` bytes of `file` at `offset` (`MAP_SHARED`).
    ///
    /// # Errors
    ///
    /// What `mmap(2)` gives.
    pub fn shared(file: impl AsFd, length: usize, offset: off_t) -> Result<Self> {
        Self::of_file(file, length, offset, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    /// As [`Mapping::shared`], for reading only.
    ///
    /// # Errors
    ///
    /// What `mmap(2)` gives.
    pub fn read_only(file: impl AsFd, length: usize, offset: off_t) -> Result<Self> {
        Self::of_file(file, length, offset, ProtFlags::PROT_READ)
    }

    fn of_file(file: impl AsFd, length: usize, offset: off_t, protection: ProtFlags) -> Result<Self> {
        let size = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
        // SAFETY: A mapping at an address of the kernel's choice touches no memory there is.
        let start = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, file, offset) }?;
        Ok(Self { start, length })
    }

    /// `length` bytes of memory that nobody has touched.
    ///
    /// # Errors
    ///
    /// What `mmap(2)` gives.
    pub fn anonymous(length: usize) -> Result<Self> {
        let size = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A mapping at an address of the kernel's choice touches no memory there is.
        let start = unsafe { mmap_anonymous(None, size, protection, MapFlags::MAP_PRIVATE) }?;
        Ok(Self { start, length })
    }

    /// Where it starts. No reference to the memory is ever made: its pages may never come.
    pub fn start(&self) -> *mut c_void {
        self.start.as_ptr()
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Writes what it holds to `file` at `offset` (`pwrite(2)`), and returns how much was written. The kernel reads the
    /// memory, so this waits for the pages, and fails with `EFAULT` where one cannot be had.
    ///
    /// # Errors
    ///
    /// What the call gives.
    pub fn write_to(&self, file: impl AsFd, offset: off_t) -> Result<usize> {
        write_to(&[self], file, offset)
    }

    /// Writes `byte` to all of it; the process dies by SIGBUS where a page cannot be had.
    pub fn fill(&self, byte: u8) {
        // SAFETY: The mapping is as long, writable for whoever calls this, and nobody has a reference to it.
        unsafe { ptr::write_bytes(self.start.as_ptr().cast::<u8>(), byte, self.length) }
    }
}

/// Writes what `mappings` hold to `file` at `offset`, one after the other in one call (`pwritev(2)`); see
/// [`Mapping::write_to`].
///
/// # Errors
///
/// What the call gives.
pub fn write_to(mappings: &[&Mapping], file: impl AsFd, offset: off_t) -> Result<usize> {
    let vectors: Vec<libc::iovec> =
        mappings.iter().map(|map| libc::iovec { iov_base: map.start(), iov_len: map.length }).collect();
    let count = i32::try_from(vectors.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: The vectors describe mappings that live as long as the call, and the kernel only reads them.
    let written = unsafe { libc::pwritev(file.as_fd().as_raw_fd(), vectors.as_ptr(), count, offset) };
    Errno::result(written).map(isize::cast_unsigned)
}

// SAFETY: It is an address and a length; whoever has it may use it from any thread.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: The mapping was made by `self`, and no reference into it was given out.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}
