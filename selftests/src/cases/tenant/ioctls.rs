//! SPEC T6 and N1: every ioctl that a node takes, tried as everybody.

use std::{
    fs::File,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};
use caps::Capability;
use io_uring::{IoUring, opcode, squeue::Flags, types::Fd};
use nix::{errno::Errno, libc};

use super::super::host::Host;
use crate::{
    backing::{self, Backing},
    case,
    case::{Case, Context, Need, Who},
    expect,
    instance::Instance,
    ioctl_table::{Answer, Argument, Row, TABLE},
    loop_device::LoopDevice,
    privilege, process,
    tenant::{ORDINARY_USER, Tenant},
    uapi::{LoopConfig, LoopInfo64},
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(["T6", "N1", "H20"], every_ioctl_of_a_device_gives_what_the_table_says)
            .needing(&[Need::Loopfs, Need::BlkTrace]),
        case!(["T6"], what_a_tenants_user_may_call_needs_no_privilege_on_a_device_of_the_host).needing(&[
            Need::Loopfs,
            Need::Loop,
            Need::BlkTrace,
        ]),
        case!(["T6"], io_uring_gives_a_device_no_command_that_the_ioctl_does_not)
            .needing(&[Need::Loopfs, Need::IoUring]),
        case!(["N1", "T6"], owner_sets_its_device_read_only_and_writable).needing(&[Need::Loopfs]),
        case!(["N1"], capability_in_a_descendant_gives_no_block_ioctl).needing(&[Need::Loopfs]),
    ];
    cases.into_iter().map(|case| case.only(&[Who::Root]).patient(2)).collect()
}

/// `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlkpgArgument {
    op: i32,
    flags: i32,
    length: i32,
    data: *const Partition,
}

const BLKPG_ADD_PARTITION: i32 = 1;

/// Issues the ioctl of `row` on `device`.
fn issue(row: &Row, device: &LoopDevice, file: &File) -> nix::Result<()> {
    let mut buffer = [0_u64; 512];
    let partition = Partition { start: 4096, length: 8192, number: 1, names: [0; 128] };
    let blkpg = BlkpgArgument {
        op: BLKPG_ADD_PARTITION,
        flags: 0,
        length: i32::try_from(size_of::<Partition>()).expect("a small structure"),
        data: &raw const partition,
    };
    let config = LoopConfig::new(file.as_raw_fd(), LoopInfo64::ZERO);
    let argument: *const libc::c_void = match row.argument {
        Argument::Value(value) => std::ptr::without_provenance(usize::try_from(value).expect("64 bits")),
        Argument::Int(value) => {
            buffer[0] = u64::from(value.cast_unsigned());
            buffer.as_mut_ptr().cast()
        }
        Argument::Range => {
            buffer[1] = 4096;
            buffer.as_mut_ptr().cast()
        }
        Argument::Partition => (&raw const blkpg).cast(),
        Argument::File => std::ptr::without_provenance(usize::try_from(file.as_raw_fd()).expect("an open descriptor")),
        Argument::Config => (&raw const config).cast(),
    };
    // SAFETY: The argument is what the ioctl takes: a number, or a pointer to at least as much memory as it reads or fills in.
    let result = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), libc::c_ulong::from(row.number) as _, argument) };
    Errno::result(result).map(drop)
}

fn fits(found: nix::Result<()>, expected: Answer) -> bool {
    match (found, expected) {
        (Ok(()), Answer::Works | Answer::WorksIfBuilt(_)) => true,
        (Err(errno), Answer::Fails(errnos) | Answer::WorksIfBuilt(errnos)) => errnos.contains(&errno),
        _ => false,
    }
}

/// As whom an ioctl is issued.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Host,
    Owner,
    User,
    Reader,
}

impl Caller {
    const ALL: [Self; 4] = [Self::Host, Self::Owner, Self::User, Self::Reader];

    fn expects(self, row: &Row) -> Answer {
        match self {
            Self::Host => row.host,
            Self::Owner => row.owner,
            Self::User => row.user,
            Self::Reader => row.reader,
        }
    }

    fn opens(self, node: &std::path::Path) -> nix::Result<LoopDevice> {
        match self {
            Self::Reader => LoopDevice::open_read_only(node),
            _ => LoopDevice::open(node),
        }
    }
}

/// What each row of the table gives `caller` on a fresh device of `tenant`.
fn try_all(tenant: &Tenant, instance: &Instance, caller: Caller, name: &str) -> Result<Vec<Option<i32>>> {
    let path: PathBuf = tenant.dir().join(name);
    let number = tenant.run(|| Ok(instance.add_bound(&Backing::new(&path)?)?))?;
    let device: OwnedFd = tenant.descriptor(|| Ok(caller.opens(&instance.node(number))?.into()))?;
    let device = LoopDevice::from(device);
    let issue_all = || {
        let file = Backing::new(&path.with_extension(format!("{caller:?}")))?;
        Ok(TABLE.iter().map(|row| issue(row, &device, file.file()).err().map(|errno| errno as i32)).collect())
    };
    match caller {
        Caller::Host => process::run(issue_all),
        Caller::Owner => tenant.run(issue_all),
        Caller::User | Caller::Reader => tenant.run(|| {
            privilege::keep_only(&[])?;
            issue_all()
        }),
    }
}

/// T6: "Every ioctl that can be issued on a node ... is in a table with what a tenant gets, and is tried as the tenant."
fn every_ioctl_of_a_device_gives_what_the_table_says(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let mut wrong = Vec::new();
    for caller in Caller::ALL {
        let found = try_all(&tenant, &instance, caller, &format!("file-{caller:?}"))?;
        for (row, errno) in TABLE.iter().zip(found) {
            let found = errno.map_or(Ok(()), |errno| Err(Errno::from_raw(errno)));
            let expected = caller.expects(row);
            if !fits(found, expected) {
                wrong.push(format!("{} by {caller:?}: {found:?}, not {expected:?}", row.name));
            }
        }
    }
    ensure!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// T6: "None works that would need privilege on a device of the host."
fn what_a_tenants_user_may_call_needs_no_privilege_on_a_device_of_the_host(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let host = Host::new(ctx)?;
    let mut wrong = Vec::new();
    for caller in [Caller::User, Caller::Reader] {
        let private = try_all(&tenant, &instance, caller, &format!("file-{caller:?}"))?;
        let (_, node) = host.fresh()?;
        let backing = host.backing(&format!("host-{caller:?}"))?;
        LoopDevice::open(&node)?.set_fd(&backing)?;
        let device = caller.opens(&node)?;
        let theirs: Vec<bool> = process::run(|| {
            privilege::become_user(ORDINARY_USER)?;
            Ok(TABLE.iter().map(|row| issue(row, &device, backing.file()).is_ok()).collect())
        })?;
        for ((row, errno), works) in TABLE.iter().zip(private).zip(theirs) {
            if errno.is_none() && !works {
                wrong.push(format!("{} by {caller:?}", row.name));
            }
        }
    }
    ensure!(wrong.is_empty(), "what needs privilege on a device of the host works: {}", wrong.join(", "));
    Ok(())
}

const URING_DISCARD: u32 = 0x1200;
const URING_ZONE_RESET_ALL: u32 = 0x1201;

/// Gives the command `op` to the device by io_uring, for its first `length` bytes.
fn command(device: &LoopDevice, op: u32, length: u64) -> Result<nix::Result<()>> {
    let mut ring = IoUring::new(2).context("cannot make a ring")?;
    let mut argument = [0; 16];
    argument[..8].copy_from_slice(&length.to_ne_bytes());
    let entry = opcode::UringCmd16::new(Fd(device.as_fd().as_raw_fd()), op).cmd(argument).build().flags(Flags::empty());
    // SAFETY: The entry points to nothing, and the device is open until the command has ended.
    unsafe { ring.submission().push(&entry) }.context("no room in the ring")?;
    ring.submit_and_wait(1)?;
    let result = ring.completion().next().context("no completion")?.result();
    Ok(if result < 0 { Err(Errno::from_raw(-result)) } else { Ok(()) })
}

/// T6: "io_uring commands".
fn io_uring_gives_a_device_no_command_that_the_ioctl_does_not(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    tenant.run(|| {
        let backing = Backing::new(&tenant.dir().join("file"))?;
        let number = instance.add_bound(&backing)?;
        let writer = instance.open(number)?;
        let reader = LoopDevice::open_read_only(&instance.node(number))?;
        writer.write_at(&[1; 8192], 0)?;
        writer.sync()?;
        privilege::keep_only(&[])?;
        expect::errno(command(&reader, URING_DISCARD, 4096)?, Errno::EBADF, "DISCARD by a reader")?;
        expect::errno(command(&reader, URING_ZONE_RESET_ALL, 0)?, Errno::EBADF, "ZONE_RESET_ALL by a reader")?;
        expect::errno(command(&writer, URING_ZONE_RESET_ALL, 0)?, Errno::EOPNOTSUPP, "ZONE_RESET_ALL")?;
        expect::errno(command(&writer, 0x1202, 0)?, Errno::EINVAL, "an unknown command")?;
        command(&writer, URING_DISCARD, 4096)?.context("DISCARD")?;
        ensure!(backing.read_at(8192, 0)?.iter().map(|byte| u32::from(*byte)).sum::<u32>() == 4096);
        Ok(())
    })
}

/// N1: "for a private device where what they do stays within the device". `blockdev --setro` and mkfs use them.
fn owner_sets_its_device_read_only_and_writable(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    tenant.run(|| {
        let backing = Backing::new(&tenant.dir().join("file"))?;
        let device = instance.open(instance.add_bound(&backing)?)?;
        device.set_read_only(true).context("BLKROSET by the owner")?;
        ensure!(device.write_at(&[1; 4096], 0).and_then(|()| device.sync()).is_err(), "a read-only device is written");
        device.set_read_only(false)?;
        device.write_at(&[2; 4096], 0)?;
        device.flush_buffers().context("BLKFLSBUF by the owner")?;
        ensure!(backing.read_at(4096, 0)? == [2; 4096]);
        ensure!(device.size()? == backing::SIZE);
        Ok(())
    })
}

/// N1: "A task with CAP_SYS_ADMIN in a sibling or child of the owner gets no more than its file permissions give."
fn capability_in_a_descendant_gives_no_block_ioctl(ctx: &Context) -> Result<()> {
    let owner = Tenant::new(ctx, "owner")?;
    let instance = owner.mount()?;
    owner.run(|| {
        let device = instance.open(instance.add_bound(&Backing::new(&owner.dir().join("file"))?)?)?;
        let child = Tenant::nested(owner.dir(), "child")?;
        child.run(|| {
            expect::errno(device.set_read_only(true), Errno::EACCES, "BLKROSET by root of a child")?;
            expect::errno(device.flush_buffers(), Errno::EACCES, "BLKFLSBUF by root of a child")
        })?;
        device.set_read_only(true)?;
        process::run(|| {
            privilege::give_up(Capability::CAP_SYS_ADMIN)?;
            expect::errno(device.set_read_only(false), Errno::EACCES, "BLKROSET without CAP_SYS_ADMIN")
        })
    })
}
