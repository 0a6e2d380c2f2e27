//! The control group: loop devices of the host behave as on a stock kernel.
//!
//! SPEC C4: "The host's results are the same, to the errno, with the option on, off, or with
//! instances mounted (host GET_FREE reuses host devices, REMOVE works, autoload works)." Each story
//! is told twice: alone, also on a kernel without loopfs, and beside instances with devices.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use caps::Capability;
use nix::errno::Errno;

use crate::{
    backing::{self, Backing},
    block, case,
    case::{Case, Context, Need, Who},
    expect,
    instance::Instance,
    loop_control::LoopControl,
    loop_device::LoopDevice,
    nodes, privilege, process,
    tenant::Tenant,
    uapi::{LO_FLAGS_AUTOCLEAR, LO_FLAGS_PARTSCAN, LO_FLAGS_READ_ONLY, LoopConfig, LoopInfo64, MINORS},
    uevent::{self, UeventListener},
};

/// The two cases that tell a story: without instances, and beside some.
macro_rules! told_twice {
    ($story:ident) => {
        told_twice!($story, [], [])
    };
    ($story:ident, [$($need:ident),*], [$($spec:literal),*]) => {
        [
            Case::new(concat!("host_", stringify!($story)), &["host", $($spec),*], |ctx| $story(&Host::new(ctx)?))
                .only(&[Who::Root])
                .needing(&[Need::Loop $(, Need::$need)*]),
            Case::new(
                concat!("host_", stringify!($story), "_beside_instances"),
                &["host", "C4", $($spec),*],
                |ctx| beside_instances(ctx, $story),
            )
            .only(&[Who::Root])
            .needing(&[Need::Loop, Need::Loopfs $(, Need::$need)*]),
        ]
    };
}

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = told_twice();
    cases.push(case!(["host"], refused_configure_leaves_uevents_on).only(&[Who::Root]).needing(&[
        Need::Loopfs,
        Need::Loop,
        Need::Uevent,
    ]));
    cases
}

fn told_twice() -> Vec<Case> {
    [
        told_twice!(get_free_returns_the_lowest_unbound_device),
        told_twice!(get_free_makes_a_device_where_none_is_unbound),
        told_twice!(add_and_remove_make_and_remove_the_device_they_are_told),
        told_twice!(remove_of_a_device_in_use_is_ebusy),
        told_twice!(refused_control_calls_have_their_errno),
        told_twice!(static_node_makes_its_device_when_opened, [LegacyAutoload], []),
        told_twice!(device_is_bound_used_and_cleared),
        told_twice!(configure_honours_offset_limit_flags_and_block_size),
        told_twice!(autoclear_clears_by_the_last_close),
        told_twice!(refused_device_calls_have_their_errno),
        told_twice!(failed_configure_leaves_the_device_as_it_was),
        told_twice!(read_only_descriptor_needs_cap_sys_admin, [], ["N1"]),
        told_twice!(device_can_back_another_device, [], ["N5"]),
        told_twice!(device_shows_in_devtmpfs_and_sysfs_to_everybody, [], ["N3", "N4"]),
        told_twice!(device_is_announced_by_uevents, [Uevent], ["N3"]),
    ]
    .concat()
}

/// The host's control device, and the devices there were. Dropping it removes what a story has
/// made since.
pub(super) struct Host<'ctx> {
    ctx: &'ctx Context,
    control: LoopControl,
    before: BTreeSet<u32>,
}

impl<'ctx> Host<'ctx> {
    pub(super) fn new(ctx: &'ctx Context) -> Result<Self> {
        let control = LoopControl::host().context("cannot open /dev/loop-control")?;
        Ok(Self { ctx, control, before: block::loop_devices()? })
    }

    pub(super) fn control(&self) -> &LoopControl {
        &self.control
    }

    /// A device that was not there, and its node.
    pub(super) fn fresh(&self) -> Result<(u32, PathBuf)> {
        let number = block::unused_number(0)?;
        self.control.add_number(number)?;
        Ok((number, node(number)))
    }

    pub(super) fn backing(&self, name: &str) -> Result<Backing> {
        Backing::new(&self.ctx.dir.join(name))
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        for &number in block::loop_devices().unwrap_or_default().difference(&self.before) {
            if let Ok(device) = LoopDevice::open(&node(number)) {
                let _ = device.clear();
            }
            // A private device is not ours to remove, and the kernel says so.
            let _ = self.control.remove(number);
        }
    }
}

/// The node devtmpfs makes for device `number` of the host.
fn node(number: u32) -> PathBuf {
    format!("/dev/loop{number}").into()
}

/// Tells `story` beside instances of the host and of a tenant, one of them with the lowest number
/// there is, and requires their devices to be what they were.
fn beside_instances(ctx: &Context, story: fn(&Host<'_>) -> Result<()>) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let control = LoopControl::host()?;
    let lowest = control.get_free()?;
    control.remove(lowest)?;

    let own = Instance::new(ctx, "own")?;
    own.control()?.add_number(lowest)?;
    let bound = own.add_bound(&Backing::new(&ctx.dir.join("private"))?)?;
    let theirs = Instance::at(&tenant.seen_from_outside(tenant.mount()?.dir()));
    let foreign = theirs.add()?;

    story(&Host::new(ctx)?)?;

    own.expect_devices(&[lowest, bound])?;
    theirs.expect_devices(&[foreign])?;
    own.umount()?;
    control.add_number(lowest)?;
    Ok(())
}

fn get_free_returns_the_lowest_unbound_device(host: &Host<'_>) -> Result<()> {
    let first = host.control.get_free()?;
    ensure!(host.control.get_free()? == first, "GET_FREE does not reuse an unbound device");
    let backing = host.backing("file")?;
    LoopDevice::open(&node(first))?.set_fd(&backing)?;
    let second = host.control.get_free()?;
    ensure!(second > first);
    LoopDevice::open(&node(first))?.clear()?;
    ensure!(host.control.get_free()? == first, "GET_FREE does not reuse a cleared device");
    Ok(())
}

fn get_free_makes_a_device_where_none_is_unbound(host: &Host<'_>) -> Result<()> {
    let backing = host.backing("file")?;
    let mut bound = Vec::new();
    let made = loop {
        let number = host.control.get_free()?;
        if !host.before.contains(&number) {
            break number;
        }
        LoopDevice::open(&node(number))?.set_fd(&backing)?;
        bound.push(number);
    };
    ensure!(LoopDevice::open(&node(made)).is_ok(), "loop{made} does not open");
    for number in bound {
        LoopDevice::open(&node(number))?.clear()?;
    }
    host.control.remove(made)?;
    ensure!(!block::exists(made));
    Ok(())
}

fn add_and_remove_make_and_remove_the_device_they_are_told(host: &Host<'_>) -> Result<()> {
    let number = block::unused_number(2)?;
    ensure!(host.control.add_number(number)? == number);
    ensure!(block::exists(number) && node(number).exists());
    host.control.remove(number)?;
    ensure!(!block::exists(number) && !node(number).exists());
    let any = host.control.add_any()?;
    ensure!(!host.before.contains(&any));
    host.control.remove(any)?;
    Ok(())
}

fn remove_of_a_device_in_use_is_ebusy(host: &Host<'_>) -> Result<()> {
    let (number, node) = host.fresh()?;
    let open = LoopDevice::open(&node)?;
    expect::errno(host.control.remove(number), Errno::EBUSY, "REMOVE of an open device")?;
    open.set_fd(&host.backing("file")?)?;
    drop(open);
    expect::errno(host.control.remove(number), Errno::EBUSY, "REMOVE of a bound device")?;
    LoopDevice::open(&node)?.clear()?;
    host.control.remove(number)?;
    Ok(())
}

fn refused_control_calls_have_their_errno(host: &Host<'_>) -> Result<()> {
    let (number, _) = host.fresh()?;
    expect::errno(host.control.add_number(number), Errno::EEXIST, "ADD of a device there is")?;
    expect::errno(host.control.add_number(MINORS), Errno::EINVAL, "ADD beyond the minors")?;
    expect::errno(host.control.remove(number + 1), Errno::ENODEV, "REMOVE of an unknown device")?;
    expect::errno(host.control.remove_signed(-1), Errno::EINVAL, "REMOVE of a negative number")?;
    expect::errno(host.control.unknown_ioctl(), Errno::ENOSYS, "an unknown ioctl")
}

fn static_node_makes_its_device_when_opened(host: &Host<'_>) -> Result<()> {
    let number = block::unused_number(3)?;
    let static_node = nodes::loop_device(host.ctx, number)?;
    LoopDevice::open(&static_node).context("opening a static node does not make the device")?;
    ensure!(block::exists(number) && node(number).exists());
    expect::errno(host.control.add_number(number), Errno::EEXIST, "ADD of an autoloaded device")?;
    host.control.remove(number).context("an autoloaded device cannot be removed")?;
    ensure!(!block::exists(number));
    Ok(())
}

fn device_is_bound_used_and_cleared(host: &Host<'_>) -> Result<()> {
    let (number, node) = host.fresh()?;
    let backing = host.backing("file")?;
    let device = LoopDevice::open(&node)?;
    ensure!(device.size()? == 0);
    device.set_fd(&backing)?;
    ensure!(device.size()? == backing::SIZE);
    let status = device.status()?;
    ensure!(status.lo_number == number && status.lo_flags == 0 && status.lo_offset == 0);
    ensure!(block::backing_file(number)? == backing.path().to_string_lossy());

    device.write_at(b"through the device", 4096)?;
    device.sync()?;
    ensure!(backing.read_at(18, 4096)? == b"through the device");
    backing.file().set_len(2 * backing::SIZE)?;
    device.set_capacity()?;
    ensure!(device.size()? == 2 * backing::SIZE);

    device.clear()?;
    drop(device);
    let device = LoopDevice::open(&node)?;
    expect::errno(device.status(), Errno::ENXIO, "status of a cleared device")?;
    ensure!(device.size()? == 0);
    Ok(())
}

fn configure_honours_offset_limit_flags_and_block_size(host: &Host<'_>) -> Result<()> {
    let (_, node) = host.fresh()?;
    let backing = host.backing("file")?;
    let device = LoopDevice::open(&node)?;
    let flags = LO_FLAGS_READ_ONLY | LO_FLAGS_PARTSCAN;
    let info = LoopInfo64 { lo_offset: 4096, lo_sizelimit: 8192, lo_flags: flags, ..LoopInfo64::ZERO };
    let config = LoopConfig { block_size: 4096, ..LoopConfig::new(raw(&backing), info) };
    device.configure(&config)?;
    let status = device.status()?;
    ensure!((status.lo_offset, status.lo_sizelimit) == (4096, 8192));
    ensure!(status.lo_flags == flags, "flags are {:#x}", status.lo_flags);
    ensure!(device.size()? == 8192);
    ensure!(device.block_size()? == 4096);

    device.set_status(&LoopInfo64 { lo_offset: 8192, lo_flags: LO_FLAGS_AUTOCLEAR, ..LoopInfo64::ZERO })?;
    let status = device.status()?;
    ensure!(status.lo_offset == 8192 && status.lo_flags & LO_FLAGS_AUTOCLEAR != 0);
    Ok(())
}

fn autoclear_clears_by_the_last_close(host: &Host<'_>) -> Result<()> {
    let (number, node) = host.fresh()?;
    let backing = host.backing("file")?;
    let device = LoopDevice::open(&node)?;
    device.configure_with_flags(&backing, LO_FLAGS_AUTOCLEAR)?;
    let other = LoopDevice::open(&node)?;
    drop(device);
    ensure!(other.status()?.lo_flags == LO_FLAGS_AUTOCLEAR);
    drop(other);
    expect::errno(LoopDevice::open(&node)?.status(), Errno::ENXIO, "status after the last close")?;
    ensure!(block::exists(number), "autoclear removes the device");
    Ok(())
}

fn refused_device_calls_have_their_errno(host: &Host<'_>) -> Result<()> {
    let (_, node) = host.fresh()?;
    let backing = host.backing("file")?;
    let device = LoopDevice::open(&node)?;
    expect::errno(device.status(), Errno::ENXIO, "GET_STATUS64 of an unbound device")?;
    expect::errno(device.set_status(&LoopInfo64::ZERO), Errno::ENXIO, "SET_STATUS64 of an unbound device")?;
    expect::errno(device.clear(), Errno::ENXIO, "CLR_FD of an unbound device")?;
    expect::errno(device.set_capacity(), Errno::ENXIO, "SET_CAPACITY of an unbound device")?;
    expect::errno(device.set_direct_io(true), Errno::ENXIO, "SET_DIRECT_IO of an unbound device")?;
    expect::errno(device.set_block_size(4096), Errno::ENXIO, "SET_BLOCK_SIZE of an unbound device")?;
    expect::errno(device.change_fd(&backing), Errno::ENXIO, "CHANGE_FD of an unbound device")?;
    expect::errno(device.set_fd(&device), Errno::EBADF, "SET_FD of the device itself")?;
    expect::errno(device.set_fd(File::open(&host.ctx.dir)?), Errno::EINVAL, "SET_FD of a folder")?;
    expect::errno(device.set_fd(File::open("/dev/null")?), Errno::EINVAL, "SET_FD of a character device")?;
    expect::errno(device.configure(&LoopConfig::new(-1, LoopInfo64::ZERO)), Errno::EBADF, "CONFIGURE of no file")?;
    let unknown = LoopInfo64 { lo_flags: 1 << 30, ..LoopInfo64::ZERO };
    expect::errno(device.configure(&LoopConfig::new(raw(&backing), unknown)), Errno::EINVAL, "an unknown flag")?;

    device.set_fd(&backing)?;
    expect::errno(device.set_fd(&backing), Errno::EBUSY, "SET_FD of a bound device")?;
    expect::errno(device.change_fd(&backing), Errno::EINVAL, "CHANGE_FD of a writable device")?;
    expect::errno(device.set_block_size(100), Errno::EINVAL, "SET_BLOCK_SIZE of 100 bytes")
}

fn failed_configure_leaves_the_device_as_it_was(host: &Host<'_>) -> Result<()> {
    let (_, node) = host.fresh()?;
    let backing = host.backing("file")?;
    let device = LoopDevice::open(&node)?;
    let odd = LoopConfig { block_size: 100, ..LoopConfig::new(raw(&backing), LoopInfo64::ZERO) };
    expect::errno(device.configure(&odd), Errno::EINVAL, "CONFIGURE with blocks of 100 bytes")?;
    expect::errno(device.status(), Errno::ENXIO, "status after a failed CONFIGURE")?;
    device.configure_with_flags(&backing, 0).context("a device cannot be bound after a failed CONFIGURE")?;
    device.write_at(b"works", 0)?;
    device.sync()?;
    ensure!(backing.read_at(5, 0)? == b"works");
    Ok(())
}

fn read_only_descriptor_needs_cap_sys_admin(host: &Host<'_>) -> Result<()> {
    let (_, node) = host.fresh()?;
    let backing = host.backing("file")?;
    LoopDevice::open(&node)?.set_fd(&backing)?;
    let device = LoopDevice::open_read_only(&node)?;
    for (name, result) in device.privileged_calls() {
        result.with_context(|| format!("{name} by CAP_SYS_ADMIN on a read-only descriptor"))?;
    }
    process::run(|| {
        privilege::give_up(Capability::CAP_SYS_ADMIN)?;
        for (name, result) in device.privileged_calls() {
            expect::errno(result, Errno::EPERM, &format!("{name} on a read-only descriptor"))?;
        }
        Ok(())
    })?;
    Tenant::new(host.ctx, "caller")?.run(|| {
        for (name, result) in device.privileged_calls() {
            expect::errno(result, Errno::EPERM, &format!("{name} by root of a user namespace"))?;
        }
        Ok(())
    })
}

fn device_can_back_another_device(host: &Host<'_>) -> Result<()> {
    let (_, lower_node) = host.fresh()?;
    let (upper_number, upper_node) = host.fresh()?;
    let backing = host.backing("file")?;
    let (lower, upper) = (LoopDevice::open(&lower_node)?, LoopDevice::open(&upper_node)?);
    expect::errno(upper.set_fd(&lower), Errno::EINVAL, "SET_FD of an unbound loop device")?;
    lower.set_fd(&backing)?;
    upper.set_fd(&lower)?;
    ensure!(block::backing_file(upper_number)? == lower_node.to_string_lossy());
    upper.write_at(b"two floors", 0)?;
    upper.sync()?;
    lower.sync()?;
    ensure!(backing.read_at(10, 0)? == b"two floors");
    upper.clear()?;
    Ok(())
}

fn device_shows_in_devtmpfs_and_sysfs_to_everybody(host: &Host<'_>) -> Result<()> {
    let (number, node) = host.fresh()?;
    let backing = host.backing("file")?;
    LoopDevice::open(&node)?.set_fd(&backing)?;
    ensure!(node.exists() && block::in_proc_partitions(number)? && block::in_proc_diskstats(number)?);
    let path = block::sysfs(number).join("loop/backing_file");
    ensure!(fs::metadata(&path)?.permissions().mode() & 0o777 == 0o444);
    process::run(|| {
        privilege::become_user(1234)?;
        let shown = block::backing_file(number).context("backing_file of a host device is hidden from users")?;
        ensure!(Path::new(&shown) == backing.path());
        Ok(())
    })
}

fn device_is_announced_by_uevents(host: &Host<'_>) -> Result<()> {
    let listener = UeventListener::new()?;
    let (number, node) = host.fresh()?;
    let backing = host.backing("file")?;
    let path = format!("/devices/virtual/block/loop{number}");
    ensure!(uevent::about(&listener.take()?, number).contains(&format!("add@{path}")));
    let device = LoopDevice::open(&node)?;
    device.set_fd(&backing)?;
    ensure!(uevent::about(&listener.take()?, number).contains(&format!("change@{path}")));
    device.clear()?;
    drop(device);
    ensure!(uevent::about(&listener.take()?, number).contains(&format!("change@{path}")));
    host.control.remove(number)?;
    ensure!(uevent::about(&listener.take()?, number).contains(&format!("remove@{path}")));
    Ok(())
}

/// A stock kernel forgets to undo part of a binding when it refuses the block size, and the device is
/// silent from then on. The series begins with the fix, so this needs a kernel with it.
fn refused_configure_leaves_uevents_on(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (number, node) = host.fresh()?;
    let backing = host.backing("file")?;
    let device = LoopDevice::open(&node)?;
    let odd = LoopConfig { block_size: 100, ..LoopConfig::new(raw(&backing), LoopInfo64::ZERO) };
    expect::errno(device.configure(&odd), Errno::EINVAL, "CONFIGURE with blocks of 100 bytes")?;
    drop(device);
    let listener = UeventListener::new()?;
    host.control.remove(number)?;
    let heard = uevent::about(&listener.take()?, number);
    ensure!(heard.iter().any(|event| event.starts_with("remove@")), "the removal is not announced: {heard:?}");
    Ok(())
}

fn raw(backing: &Backing) -> i32 {
    backing.file().as_raw_fd()
}
