//! The parts of `<linux/loop.h>`, `<linux/blkpg.h>` and `<linux/major.h>` the suite speaks.
//! The numbers are those of the stock driver; loopfs adds none.

use std::os::fd::RawFd;

/// Major number of loop devices (`LOOP_MAJOR`).
pub const LOOP_MAJOR: u64 = 7;
/// Device number of the control node: misc major, `LOOP_CTRL_MINOR`.
pub const LOOP_CONTROL: (u64, u64) = (10, 237);
/// What `statfs` says of an instance (`LOOPFS_SUPER_MAGIC`).
pub const LOOPFS_MAGIC: i64 = 0x6c6f_6673;
/// How many minors a block major has (`1 << MINORBITS`), so how many loop devices there can be.
pub const MINORS: u32 = 1 << 20;

/// `LO_FLAGS_READ_ONLY`.
pub const LO_FLAGS_READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`: cleared by the last close.
pub const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// `LO_FLAGS_PARTSCAN`.
pub const LO_FLAGS_PARTSCAN: u32 = 8;
/// `LO_FLAGS_DIRECT_IO`.
pub const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields are those of <linux/loop.h>")]
pub struct LoopInfo64 {
    pub lo_device: u64,
    pub lo_inode: u64,
    pub lo_rdevice: u64,
    pub lo_offset: u64,
    pub lo_sizelimit: u64,
    pub lo_number: u32,
    pub lo_encrypt_type: u32,
    pub lo_encrypt_key_size: u32,
    pub lo_flags: u32,
    pub lo_file_name: [u8; 64],
    pub lo_crypt_name: [u8; 64],
    pub lo_encrypt_key: [u8; 32],
    pub lo_init: [u64; 2],
}

impl LoopInfo64 {
    /// All fields zero: no offset, no limit, no flags, no name.
    pub const ZERO: Self = Self {
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: 0,
        lo_sizelimit: 0,
        lo_number: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: 0,
        lo_file_name: [0; 64],
        lo_crypt_name: [0; 64],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
    };
}

/// `struct loop_info` of a 64-bit machine, the older form.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields are those of <linux/loop.h>")]
pub struct LoopInfo {
    pub lo_number: i32,
    pub lo_device: u64,
    pub lo_inode: u64,
    pub lo_rdevice: u64,
    pub lo_offset: i32,
    pub lo_encrypt_type: i32,
    pub lo_encrypt_key_size: i32,
    pub lo_flags: i32,
    pub lo_name: [u8; 64],
    pub lo_encrypt_key: [u8; 32],
    pub lo_init: [u64; 2],
    pub reserved: [u8; 4],
}

impl LoopInfo {
    /// All fields zero.
    pub const ZERO: Self = Self {
        lo_number: 0,
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: 0,
        lo_name: [0; 64],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
        reserved: [0; 4],
    };
}

/// `struct loop_config`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields are those of <linux/loop.h>")]
pub struct LoopConfig {
    pub fd: u32,
    pub block_size: u32,
    pub info: LoopInfo64,
    pub reserved: [u64; 8],
}

impl LoopConfig {
    /// Binds `fd` with the default block size and `info`.
    pub fn new(fd: RawFd, info: LoopInfo64) -> Self {
        Self { fd: fd.cast_unsigned(), block_size: 0, info, reserved: [0; 8] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_of_the_kernel_header() {
        assert_eq!(size_of::<LoopInfo>(), 168);
        assert_eq!(size_of::<LoopInfo64>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}
