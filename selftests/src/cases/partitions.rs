//! SPEC P2, as far as it holds for any instance: the kernel parses no table that a tenant wrote.

use std::{
    fs,
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
};

use anyhow::{Result, ensure};
use nix::errno::Errno;

use crate::{
    backing::{self, Backing},
    block, case,
    case::{Case, Context},
    expect,
    loop_device::LoopDevice,
    tenant::Tenant,
    uapi::{LO_FLAGS_PARTSCAN, LoopInfo64},
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![case!(["P2", "H19"], partition_table_of_a_tenant_is_not_parsed)]
}

mod ioctl {
    nix::ioctl_none_bad!(blkrrpart, 0x125f);
}

/// Writes a DOS partition table with one Linux partition from sector 64 to the end.
fn write_table(backing: &Backing) -> Result<()> {
    const FIRST: u32 = 64;
    let sectors = u32::try_from(backing::SIZE / 512)?;
    let mut entry = [0; 16];
    entry[4] = 0x83;
    entry[8..12].copy_from_slice(&FIRST.to_le_bytes());
    entry[12..16].copy_from_slice(&(sectors - FIRST).to_le_bytes());
    backing.file().write_all_at(&entry, 446)?;
    Ok(backing.file().write_all_at(&[0x55, 0xaa], 510)?)
}

/// P2: "Scanning by the kernel (LO_FLAGS_PARTSCAN, BLKRRPART) parses a table the tenant wrote. It works
/// only in an instance mounted with `partscan` ...; otherwise EINVAL / EPERM".
fn partition_table_of_a_tenant_is_not_parsed(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    tenant.run(|| {
        let backing = Backing::new(&tenant.dir().join("disk"))?;
        write_table(&backing)?;
        let number = instance.add()?;
        let device = instance.open(number)?;
        let refused = &[Errno::EINVAL, Errno::EPERM];
        let configured = device.configure_with_flags(&backing, LO_FLAGS_PARTSCAN);
        expect::one_of(configured, refused, "CONFIGURE with LO_FLAGS_PARTSCAN")?;
        device.set_fd(&backing)?;
        let flags = LoopInfo64 { lo_flags: LO_FLAGS_PARTSCAN, ..LoopInfo64::ZERO };
        expect::one_of(device.set_status(&flags), refused, "SET_STATUS64 with LO_FLAGS_PARTSCAN")?;
        // SAFETY: The descriptor is open and BLKRRPART takes no argument.
        let reread = unsafe { ioctl::blkrrpart(device.file().as_raw_fd()) };
        expect::one_of(reread, &[Errno::EINVAL, Errno::EPERM, Errno::EACCES], "BLKRRPART")?;
        // Nor by the way, as the last close of a device scans again where scanning is on.
        drop(device);
        LoopDevice::open(&instance.node(number))?;

        let partition = block::sysfs(number).join(format!("loop{number}p1"));
        ensure!(!partition.exists(), "the kernel has parsed a table: {} is there", partition.display());
        ensure!(!fs::read_to_string("/proc/partitions")?.contains(&format!("loop{number}p1")));
        instance.expect_devices(&[number])
    })
}
