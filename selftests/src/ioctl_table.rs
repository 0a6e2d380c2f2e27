//! Every ioctl that the kernel knows for block devices, and what it gives on a private device (SPEC T6).
//!
//! A host test holds the table against the headers of the kernel: what is new there has to be thought about here.

use nix::errno::Errno;

/// What is passed along.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// A number.
    Value(u64),
    /// A pointer to a number, and zero bytes behind it.
    Int(i32),
    /// A pointer to a range: the first 4096 bytes of the device.
    Range,
    /// A pointer to the description of a partition to be added.
    Partition,
    /// A descriptor of a file that could back the device.
    File,
    /// A pointer to a configuration with that descriptor.
    Config,
}

/// Zero bytes to be read or filled in.
const BUFFER: Argument = Argument::Int(0);
const ZERO: Argument = Argument::Int(0);

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It works.
    Works,
    /// It fails with one of these.
    Fails(&'static [Errno]),
    /// It works, or it fails with one of these where the kernel was built without it.
    WorksIfBuilt(&'static [Errno]),
}

const WORKS: Answer = Answer::Works;
/// It tells that there is nothing, or is not known.
const NOTHING: Answer = Answer::WorksIfBuilt(&[Errno::EINVAL, Errno::ENOTTY]);
/// The caller lacks a capability, or the descriptor is for reading where one for writing is needed.
const NO_RIGHT: Answer = Answer::Fails(&[Errno::EACCES, Errno::EPERM]);
/// A file is bound only from inside the owner (T8).
const FOREIGN: Answer = Answer::Fails(&[Errno::EPERM]);
/// The descriptor is not for writing.
const NOT_OPEN: Answer = Answer::Fails(&[Errno::EBADF]);
/// The device is bound.
const BUSY: Answer = Answer::Fails(&[Errno::EBUSY]);
/// The call is known, and not for this device in this state.
const INVALID: Answer = Answer::Fails(&[Errno::EINVAL]);
/// The kernel has it for devices of another kind; ENOTTY where it was built without.
const NO_SUCH: Answer = Answer::Fails(&[Errno::ENOTTY, Errno::EOPNOTSUPP]);
/// Nobody knows it: the driver says EINVAL to all that it does not know.
const UNKNOWN: Answer = Answer::Fails(&[Errno::EINVAL, Errno::ENOTTY]);

/// An ioctl on a private device of a tenant, bound to a file, and what each gets.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in the kernel's headers.
    pub name: &'static str,
    /// Its number.
    pub number: u32,
    /// What is passed along.
    pub argument: Argument,
    /// Root of the host, with a descriptor for reading and writing.
    pub host: Answer,
    /// Root of the owner, with such a descriptor.
    pub owner: Answer,
    /// A process in the owner without any capability, with such a descriptor.
    pub user: Answer,
    /// The same with a descriptor for reading.
    pub reader: Answer,
}

const fn row(
    name: &'static str,
    number: u32,
    argument: Argument,
    host: Answer,
    owner: Answer,
    user: Answer,
    reader: Answer,
) -> Row {
    Row { name, number, argument, host, owner, user, reader }
}

const fn all(name: &'static str, number: u32, argument: Argument, answer: Answer) -> Row {
    row(name, number, argument, answer, answer, answer, answer)
}

/// The table; the last row ends the device.
pub const TABLE: &[Row] = &[
    // <linux/fs.h>: block/ioctl.c
    row("BLKROSET", 0x125d, ZERO, WORKS, WORKS, NO_RIGHT, NO_RIGHT),
    all("BLKROGET", 0x125e, BUFFER, WORKS),
    row("BLKRRPART", 0x125f, Argument::Value(0), INVALID, INVALID, NO_RIGHT, NO_RIGHT),
    all("BLKGETSIZE", 0x1260, BUFFER, WORKS),
    row("BLKFLSBUF", 0x1261, Argument::Value(0), WORKS, WORKS, NO_RIGHT, NO_RIGHT),
    row("BLKRASET", 0x1262, Argument::Value(256), WORKS, WORKS, NO_RIGHT, NO_RIGHT),
    all("BLKRAGET", 0x1263, BUFFER, WORKS),
    row("BLKFRASET", 0x1264, Argument::Value(256), WORKS, WORKS, NO_RIGHT, NO_RIGHT),
    all("BLKFRAGET", 0x1265, BUFFER, WORKS),
    all("BLKSECTSET", 0x1266, Argument::Value(8), UNKNOWN),
    all("BLKSECTGET", 0x1267, BUFFER, WORKS),
    all("BLKSSZGET", 0x1268, BUFFER, WORKS),
    row("BLKPG", 0x1269, Argument::Partition, INVALID, INVALID, NO_RIGHT, NO_RIGHT),
    all("BLKELVGET", 0x8008_126a, BUFFER, UNKNOWN),
    all("BLKELVSET", 0x4008_126b, BUFFER, UNKNOWN),
    all("BLKBSZGET", 0x8008_1270, BUFFER, WORKS),
    row("BLKBSZSET", 0x4008_1271, Argument::Int(4096), WORKS, WORKS, NO_RIGHT, NO_RIGHT),
    all("BLKGETSIZE64", 0x8008_1272, BUFFER, WORKS),
    row("BLKDISCARD", 0x1277, Argument::Range, WORKS, WORKS, WORKS, NOT_OPEN),
    all("BLKIOMIN", 0x1278, BUFFER, WORKS),
    all("BLKIOOPT", 0x1279, BUFFER, WORKS),
    all("BLKALIGNOFF", 0x127a, BUFFER, WORKS),
    all("BLKPBSZGET", 0x127b, BUFFER, WORKS),
    all("BLKDISCARDZEROES", 0x127c, BUFFER, WORKS),
    row("BLKSECDISCARD", 0x127d, Argument::Range, NO_SUCH, NO_SUCH, NO_SUCH, NOT_OPEN),
    all("BLKROTATIONAL", 0x127e, BUFFER, WORKS),
    row("BLKZEROOUT", 0x127f, Argument::Range, WORKS, WORKS, WORKS, NOT_OPEN),
    all("BLKGETDISKSEQ", 0x8008_1280, BUFFER, WORKS),
    all("FS_IOC_GETLBMD_CAP", 0xc010_1502, BUFFER, NOTHING),
    // <linux/fs.h>: kernel/trace/blktrace.c. To trace is the host's; without a size there is nothing to set up.
    row("BLKTRACESETUP", 0xc048_1273, BUFFER, INVALID, NO_RIGHT, NO_RIGHT, NO_RIGHT),
    row("BLKTRACESTART", 0x1274, BUFFER, INVALID, NO_RIGHT, NO_RIGHT, NO_RIGHT),
    row("BLKTRACESTOP", 0x1275, BUFFER, INVALID, NO_RIGHT, NO_RIGHT, NO_RIGHT),
    row("BLKTRACETEARDOWN", 0x1276, BUFFER, INVALID, NO_RIGHT, NO_RIGHT, NO_RIGHT),
    row("BLKTRACESETUP2", 0xc0c0_128e, BUFFER, INVALID, NO_RIGHT, NO_RIGHT, NO_RIGHT),
    // <linux/blkzoned.h>: a loop device has no zones
    all("BLKREPORTZONE", 0xc010_1282, BUFFER, NO_SUCH),
    all("BLKRESETZONE", 0x4010_1283, BUFFER, NO_SUCH),
    all("BLKGETZONESZ", 0x8004_1284, BUFFER, WORKS),
    all("BLKGETNRZONES", 0x8004_1285, BUFFER, WORKS),
    all("BLKOPENZONE", 0x4010_1286, BUFFER, NO_SUCH),
    all("BLKCLOSEZONE", 0x4010_1287, BUFFER, NO_SUCH),
    all("BLKFINISHZONE", 0x4010_1288, BUFFER, NO_SUCH),
    all("BLKREPORTZONEV2", 0xc010_128e, BUFFER, NO_SUCH),
    // <linux/blk-crypto.h>: nor has it keys
    all("BLKCRYPTOIMPORTKEY", 0xc040_1289, BUFFER, NO_SUCH),
    all("BLKCRYPTOGENERATEKEY", 0xc030_128a, BUFFER, NO_SUCH),
    all("BLKCRYPTOPREPAREKEY", 0xc040_128b, BUFFER, NO_SUCH),
    // <linux/pr.h>: nor reservations. What a descriptor for writing is enough for, it is enough for on a device of the host.
    row("IOC_PR_REGISTER", 0x4018_70c8, BUFFER, NO_SUCH, NO_SUCH, NO_SUCH, NO_RIGHT),
    row("IOC_PR_RESERVE", 0x4010_70c9, BUFFER, NO_SUCH, NO_SUCH, NO_SUCH, NO_RIGHT),
    row("IOC_PR_RELEASE", 0x4010_70ca, BUFFER, NO_SUCH, NO_SUCH, NO_SUCH, NO_RIGHT),
    row("IOC_PR_PREEMPT", 0x4018_70cb, BUFFER, NO_SUCH, NO_SUCH, NO_SUCH, NO_RIGHT),
    row("IOC_PR_PREEMPT_ABORT", 0x4018_70cc, BUFFER, NO_SUCH, NO_SUCH, NO_SUCH, NO_RIGHT),
    row("IOC_PR_CLEAR", 0x4010_70cd, BUFFER, NO_SUCH, NO_SUCH, NO_SUCH, NO_RIGHT),
    all("IOC_PR_READ_KEYS", 0xc010_70ce, BUFFER, NO_SUCH),
    all("IOC_PR_READ_RESERVATION", 0x8010_70cf, BUFFER, NO_SUCH),
    // <linux/sed-opal.h>: nor locks. The driver is asked, and knows none of it.
    all("IOC_OPAL_SAVE", 0x4118_70dc, BUFFER, UNKNOWN),
    all("IOC_OPAL_LOCK_UNLOCK", 0x4118_70dd, BUFFER, UNKNOWN),
    all("IOC_OPAL_TAKE_OWNERSHIP", 0x4108_70de, BUFFER, UNKNOWN),
    all("IOC_OPAL_ACTIVATE_LSP", 0x4118_70df, BUFFER, UNKNOWN),
    all("IOC_OPAL_SET_PW", 0x4220_70e0, BUFFER, UNKNOWN),
    all("IOC_OPAL_ACTIVATE_USR", 0x4110_70e1, BUFFER, UNKNOWN),
    all("IOC_OPAL_REVERT_TPR", 0x4108_70e2, BUFFER, UNKNOWN),
    all("IOC_OPAL_LR_SETUP", 0x4128_70e3, BUFFER, UNKNOWN),
    all("IOC_OPAL_ADD_USR_TO_LR", 0x4118_70e4, BUFFER, UNKNOWN),
    all("IOC_OPAL_ENABLE_DISABLE_MBR", 0x4110_70e5, BUFFER, UNKNOWN),
    all("IOC_OPAL_ERASE_LR", 0x4110_70e6, BUFFER, UNKNOWN),
    all("IOC_OPAL_SECURE_ERASE_LR", 0x4110_70e7, BUFFER, UNKNOWN),
    all("IOC_OPAL_PSID_REVERT_TPR", 0x4108_70e8, BUFFER, UNKNOWN),
    all("IOC_OPAL_MBR_DONE", 0x4110_70e9, BUFFER, UNKNOWN),
    all("IOC_OPAL_WRITE_SHADOW_MBR", 0x4120_70ea, BUFFER, UNKNOWN),
    all("IOC_OPAL_GENERIC_TABLE_RW", 0x4138_70eb, BUFFER, UNKNOWN),
    all("IOC_OPAL_GET_STATUS", 0x8008_70ec, BUFFER, UNKNOWN),
    all("IOC_OPAL_GET_LR_STATUS", 0x4130_70ed, BUFFER, UNKNOWN),
    all("IOC_OPAL_GET_GEOMETRY", 0x8020_70ee, BUFFER, UNKNOWN),
    all("IOC_OPAL_DISCOVERY", 0x4010_70ef, BUFFER, UNKNOWN),
    all("IOC_OPAL_REVERT_LSP", 0x4110_70f0, BUFFER, UNKNOWN),
    all("IOC_OPAL_SET_SID_PW", 0x4220_70f1, BUFFER, UNKNOWN),
    all("IOC_OPAL_REACTIVATE_LSP", 0x4220_70f2, BUFFER, UNKNOWN),
    all("IOC_OPAL_LR_SET_START_LEN", 0x4128_70f3, BUFFER, UNKNOWN),
    all("IOC_OPAL_ENABLE_DISABLE_LR", 0x4128_70f4, BUFFER, UNKNOWN),
    all("IOC_OPAL_GET_SUM_STATUS", 0x4118_70f5, BUFFER, UNKNOWN),
    all("IOC_OPAL_STACK_RESET", 0x70f6, BUFFER, UNKNOWN),
    // <linux/hdreg.h>: nor a geometry
    all("HDIO_GETGEO", 0x0301, BUFFER, NO_SUCH),
    all("HDIO_GET_UNMASKINTR", 0x0302, BUFFER, UNKNOWN),
    all("HDIO_GET_MULTCOUNT", 0x0304, BUFFER, UNKNOWN),
    all("HDIO_GET_QDMA", 0x0305, BUFFER, UNKNOWN),
    all("HDIO_SET_XFER", 0x0306, BUFFER, UNKNOWN),
    all("HDIO_OBSOLETE_IDENTITY", 0x0307, BUFFER, UNKNOWN),
    all("HDIO_GET_KEEPSETTINGS", 0x0308, BUFFER, UNKNOWN),
    all("HDIO_GET_32BIT", 0x0309, BUFFER, UNKNOWN),
    all("HDIO_GET_NOWERR", 0x030a, BUFFER, UNKNOWN),
    all("HDIO_GET_DMA", 0x030b, BUFFER, UNKNOWN),
    all("HDIO_GET_NICE", 0x030c, BUFFER, UNKNOWN),
    all("HDIO_GET_IDENTITY", 0x030d, BUFFER, UNKNOWN),
    all("HDIO_GET_WCACHE", 0x030e, BUFFER, UNKNOWN),
    all("HDIO_GET_ACOUSTIC", 0x030f, BUFFER, UNKNOWN),
    all("HDIO_GET_ADDRESS", 0x0310, BUFFER, UNKNOWN),
    all("HDIO_GET_BUSSTATE", 0x031a, BUFFER, UNKNOWN),
    all("HDIO_TRISTATE_HWIF", 0x031b, BUFFER, UNKNOWN),
    all("HDIO_DRIVE_RESET", 0x031c, BUFFER, UNKNOWN),
    all("HDIO_DRIVE_TASKFILE", 0x031d, BUFFER, UNKNOWN),
    all("HDIO_DRIVE_TASK", 0x031e, BUFFER, UNKNOWN),
    all("HDIO_DRIVE_CMD", 0x031f, BUFFER, UNKNOWN),
    all("HDIO_SET_MULTCOUNT", 0x0321, BUFFER, UNKNOWN),
    all("HDIO_SET_UNMASKINTR", 0x0322, BUFFER, UNKNOWN),
    all("HDIO_SET_KEEPSETTINGS", 0x0323, BUFFER, UNKNOWN),
    all("HDIO_SET_32BIT", 0x0324, BUFFER, UNKNOWN),
    all("HDIO_SET_NOWERR", 0x0325, BUFFER, UNKNOWN),
    all("HDIO_SET_DMA", 0x0326, BUFFER, UNKNOWN),
    all("HDIO_SET_PIO_MODE", 0x0327, BUFFER, UNKNOWN),
    all("HDIO_SCAN_HWIF", 0x0328, BUFFER, UNKNOWN),
    all("HDIO_UNREGISTER_HWIF", 0x032a, BUFFER, UNKNOWN),
    all("HDIO_SET_NICE", 0x0329, BUFFER, UNKNOWN),
    all("HDIO_SET_WCACHE", 0x032b, BUFFER, UNKNOWN),
    all("HDIO_SET_ACOUSTIC", 0x032c, BUFFER, UNKNOWN),
    all("HDIO_SET_BUSSTATE", 0x032d, BUFFER, UNKNOWN),
    all("HDIO_SET_QDMA", 0x032e, BUFFER, UNKNOWN),
    all("HDIO_SET_ADDRESS", 0x032f, BUFFER, UNKNOWN),
    // <linux/blkdev.h>: commands of io_uring have numbers of their own, which are no ioctls
    all("BLOCK_URING_CMD_DISCARD", 0x1200, BUFFER, UNKNOWN),
    all("BLOCK_URING_CMD_ZONE_RESET_ALL", 0x1201, BUFFER, UNKNOWN),
    // <linux/loop.h>: drivers/block/loop.c, on a device that is bound. The host binds nothing to it.
    row("LOOP_SET_FD", 0x4c00, Argument::File, FOREIGN, BUSY, BUSY, BUSY),
    row("LOOP_SET_STATUS", 0x4c02, BUFFER, WORKS, WORKS, WORKS, NO_RIGHT),
    all("LOOP_GET_STATUS", 0x4c03, BUFFER, WORKS),
    row("LOOP_SET_STATUS64", 0x4c04, BUFFER, WORKS, WORKS, WORKS, NO_RIGHT),
    all("LOOP_GET_STATUS64", 0x4c05, BUFFER, WORKS),
    row("LOOP_CHANGE_FD", 0x4c06, Argument::File, FOREIGN, INVALID, INVALID, INVALID),
    row("LOOP_SET_CAPACITY", 0x4c07, Argument::Value(0), WORKS, WORKS, WORKS, NO_RIGHT),
    row("LOOP_SET_DIRECT_IO", 0x4c08, Argument::Value(0), WORKS, WORKS, WORKS, NO_RIGHT),
    row("LOOP_SET_BLOCK_SIZE", 0x4c09, Argument::Value(512), WORKS, WORKS, WORKS, NO_RIGHT),
    row("LOOP_CONFIGURE", 0x4c0a, Argument::Config, FOREIGN, BUSY, BUSY, BUSY),
    all("LOOP_CTL_ADD", 0x4c80, Argument::Value(0), UNKNOWN),
    all("LOOP_CTL_REMOVE", 0x4c81, Argument::Value(0), UNKNOWN),
    all("LOOP_CTL_GET_FREE", 0x4c82, Argument::Value(0), UNKNOWN),
    // Last, as it ends the device
    all("LOOP_CLR_FD", 0x4c01, Argument::Value(0), WORKS),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_ioctl_is_listed_once() {
        let names: HashSet<&str> = TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn nobody_gets_more_than_root_of_the_owner_and_a_reader_no_more_than_a_user() {
        for row in TABLE {
            assert!(row.user != Answer::Works || row.owner == Answer::Works, "{}", row.name);
            assert!(row.reader != Answer::Works || row.user == Answer::Works, "{}", row.name);
        }
    }
}
