//! SPEC S2: a device held from outside its instance outlives it, for as long as it is held.
//!
//! An open file on the instance's own mount keeps the mount; what does not is a mounted file
//! system, and whoever reached the device by its number.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{sync, unlink},
};

use super::host::Host;
use crate::{
    backing::{self, Backing},
    block, case,
    case::{Case, Context, Need, Who},
    expect, ext2,
    instance::{Detached, Instance},
    loop_device::LoopDevice,
    nodes, swap,
    tenant::Tenant,
    wait,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let cases = [
        case!(["S2", "H6"], mounted_file_system_outlives_the_instance).needing(&[Need::Loopfs, Need::Ext4]),
        case!(["S2", "U1"], device_with_a_mounted_file_system_is_in_use).needing(&[Need::Loopfs, Need::Ext4]),
        case!(["S2", "R2"], file_system_on_a_detached_instance_cleans_up_alone).needing(&[Need::Loopfs, Need::Ext4]),
        case!(["S2", "H1", "H11", "H17"], device_the_host_holds_open_outlives_the_instance),
        case!(["S2", "H6"], bound_device_the_host_holds_stays_usable),
        case!(["S2", "H21"], loop_device_on_top_keeps_the_mount_it_was_opened_through)
            .needing(&[Need::Loopfs, Need::Loop]),
        case!(["S2", "H6"], loop_device_on_top_of_a_static_node_outlives_the_instance)
            .needing(&[Need::Loopfs, Need::Loop]),
        case!(["S2", "H24"], swap_keeps_the_mount_it_was_opened_through).needing(&[Need::Loopfs, Need::Swap]),
        case!(["S2", "H6"], swap_on_a_static_node_outlives_the_instance).needing(&[Need::Loopfs, Need::Swap]),
        case!(["S2", "C4"], orphan_belongs_to_nobody),
        case!(["S2", "C8"], orphan_takes_no_new_opener_once_it_is_cleared),
        case!(["S2", "L3"], owner_goes_with_its_last_device),
        case!(["S2"], tenant_death_leaves_what_the_host_holds),
    ];
    cases.into_iter().map(|case| case.only(&[Who::Root])).collect()
}

fn mount_ext4(device: &Path, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    mount(Some(device), dir, Some("ext4"), MsFlags::empty(), None::<&str>).context("cannot mount ext4")
}

/// A backing file with an empty file system on it.
fn formatted(path: &Path) -> Result<Backing> {
    let backing = Backing::new(path)?;
    backing.file().write_all_at(&ext2::image(), 0)?;
    Ok(backing)
}

/// S2: "A device still held from outside the instance (a file system mounted from it, ...) stays
/// usable for that holder, and is cleared and removed by its last close. Nothing survives that."
fn mounted_file_system_outlives_the_instance(ctx: &Context) -> Result<()> {
    let backing = formatted(&ctx.dir.join("image"))?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&backing)?;
    let idle = instance.add()?;
    let dir = ctx.dir.join("ext4");
    mount_ext4(&instance.node(number), &dir)?;
    instance.umount().context("a mounted file system keeps the instance")?;

    ensure!(!block::exists(idle), "an idle device outlives its instance beside a held one");
    ensure!(block::exists(number), "the device of a mounted file system is gone");
    fs::write(dir.join("file"), "written after the instance was gone")?;
    sync();
    ensure!(fs::read_to_string(dir.join("file"))? == "written after the instance was gone");

    umount2(&dir, MntFlags::empty())?;
    block::wait_until_gone(number)?;
    let image = backing.read_at(usize::try_from(backing::SIZE)?, 0)?;
    let needle = b"written after the instance was gone";
    ensure!(image.windows(needle.len()).any(|window| window == needle), "the data is not in the backing file");
    Ok(())
}

/// U1 and S2: in use is also what only the kernel has open.
fn device_with_a_mounted_file_system_is_in_use(ctx: &Context) -> Result<()> {
    let backing = formatted(&ctx.dir.join("image"))?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&backing)?;
    let dir = ctx.dir.join("ext4");
    mount_ext4(&instance.node(number), &dir)?;
    instance.open(number)?.clear()?;
    expect::errno(unlink(&instance.node(number)), Errno::EBUSY, "unlink below a file system")?;
    expect::errno(instance.control()?.remove(number), Errno::EBUSY, "REMOVE below a file system")?;
    fs::write(dir.join("file"), "still there")?;
    umount2(&dir, MntFlags::empty())?;
    // CLR_FD was asked for while the file system was mounted, so its last close has cleared it.
    expect::errno(instance.open(number)?.status(), Errno::ENXIO, "status after the last close")?;
    instance.control()?.remove(number)?;
    Ok(())
}

/// S2, as the 2020 cover letter used it: a detached instance, a file system mounted from its device,
/// and nothing to clean up but the mount.
fn file_system_on_a_detached_instance_cleans_up_alone(ctx: &Context) -> Result<()> {
    let backing = formatted(&ctx.dir.join("image"))?;
    let dir = ctx.dir.join("ext4");
    let detached = Detached::new()?;
    let instance = detached.instance();
    let number = instance.add_bound(&backing)?;
    mount_ext4(&instance.node(number), &dir)?;
    drop(detached);
    fs::write(dir.join("file"), "x")?;
    ensure!(block::exists(number));
    umount2(&dir, MntFlags::empty())?;
    block::wait_until_gone(number)
}

/// S2: "an open by the host". Through a node of its own (H17): that is no user of the instance.
/// An idle device is no good to its holder, and goes with the last close as well.
fn device_the_host_holds_open_outlives_the_instance(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let node = nodes::loop_device(ctx, number)?;
    let held = LoopDevice::open(&node).context("the host cannot open a private device by its number")?;
    expect::errno(instance.control()?.remove(number), Errno::EBUSY, "REMOVE of what the host holds")?;
    expect::errno(unlink(&instance.node(number)), Errno::EBUSY, "unlink of what the host holds")?;
    instance.umount().context("the host's open keeps the instance")?;
    ensure!(block::exists(number), "a device is gone while the host holds it open");
    drop(held);
    block::wait_until_gone(number)
}

/// S2: "stays usable for that holder", by all openers, until the last.
fn bound_device_the_host_holds_stays_usable(ctx: &Context) -> Result<()> {
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&backing)?;
    let held = LoopDevice::open(&nodes::loop_device(ctx, number)?)?;
    instance.umount()?;
    held.write_at(b"after the instance", 0)?;
    held.sync()?;
    ensure!(backing.read_at(18, 0)? == b"after the instance");
    ensure!(held.number()? == number && held.size()? == backing::SIZE);
    let copy = LoopDevice::from(OwnedFd::from(held.file().try_clone()?));
    drop(held);
    ensure!(copy.read_at(18, 0)? == b"after the instance", "a device is cleared before its last close");
    drop(copy);
    block::wait_until_gone(number)?;
    ensure!(backing.read_at(18, 0)? == b"after the instance");
    Ok(())
}

/// S2: "another loop device". One bound to a node of the instance is a user of the mount, like any
/// open file; when it is cleared, all goes.
fn loop_device_on_top_keeps_the_mount_it_was_opened_through(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let top = host.control().add_any()?;
    let top_node = PathBuf::from(format!("/dev/loop{top}"));
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&backing)?;
    LoopDevice::open(&top_node)?.set_fd(&instance.open(number)?)?;
    expect::errno(instance.umount(), Errno::EBUSY, "umount below a loop device on top")?;
    instance.detach()?;

    let device = LoopDevice::open(&top_node)?;
    device.write_at(b"two floors", 0)?;
    device.sync()?;
    ensure!(device.read_at(10, 0)? == b"two floors");
    device.clear()?;
    drop(device);
    block::wait_until_gone(number)?;
    ensure!(backing.read_at(10, 0)? == b"two floors");
    Ok(())
}

/// S2: "another loop device", where the upper one reached the lower one by its number.
fn loop_device_on_top_of_a_static_node_outlives_the_instance(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let top = host.control().add_any()?;
    let top_node = PathBuf::from(format!("/dev/loop{top}"));
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&backing)?;
    LoopDevice::open(&top_node)?.set_fd(&LoopDevice::open(&nodes::loop_device(ctx, number)?)?)?;
    instance.umount()?;

    ensure!(block::exists(number));
    let device = LoopDevice::open(&top_node)?;
    device.write_at(b"two floors", 0)?;
    device.sync()?;
    device.clear()?;
    drop(device);
    block::wait_until_gone(number)?;
    ensure!(block::exists(top), "the host's device on top is gone as well");
    ensure!(backing.read_at(10, 0)? == b"two floors");
    Ok(())
}

/// S2: "swap". Opened through the instance, it is a user of the mount.
fn swap_keeps_the_mount_it_was_opened_through(ctx: &Context) -> Result<()> {
    let backing = Backing::new(&ctx.dir.join("file"))?;
    swap::format(&backing)?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&backing)?;
    let swap = swap::Swap::on(&instance.node(number))?;
    expect::errno(instance.umount(), Errno::EBUSY, "umount below swap")?;
    expect::errno(instance.control()?.remove(number), Errno::EBUSY, "REMOVE below swap")?;
    swap.off()?;
    instance.umount()?;
    ensure!(!block::exists(number));
    Ok(())
}

/// S2: "swap" that reached the device by its number.
fn swap_on_a_static_node_outlives_the_instance(ctx: &Context) -> Result<()> {
    let backing = Backing::new(&ctx.dir.join("file"))?;
    swap::format(&backing)?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&backing)?;
    let swap = swap::Swap::on(&nodes::loop_device(ctx, number)?)?;
    instance.umount()?;
    ensure!(block::exists(number));
    swap.off()?;
    block::wait_until_gone(number)
}

/// S2 and C4: a dying device is neither the host's nor another instance's. In the 2020 series the
/// host's control found it (HISTORY 1.6 m).
fn orphan_belongs_to_nobody(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (first, other) = (Instance::new(ctx, "first")?, Instance::new(ctx, "other")?);
    let number = first.add()?;
    let held = LoopDevice::open(&nodes::loop_device(ctx, number)?)?;
    first.umount()?;

    for (whose, control) in [("the host's", host.control()), ("another instance's", &other.control()?)] {
        expect::errno(control.remove(number), Errno::ENODEV, &format!("{whose} REMOVE of an orphan"))?;
        expect::errno(control.add_number(number), Errno::EEXIST, &format!("{whose} ADD of an orphan's number"))?;
        ensure!(control.get_free()? != number, "{whose} GET_FREE returns an orphan");
    }
    let again = Instance::mount(first.dir())?;
    again.expect_devices(&[])?;
    expect::errno(again.control()?.remove(number), Errno::ENODEV, "REMOVE of an orphan in its old place")?;
    drop(held);
    block::wait_until_gone(number)
}

/// S2: "Nothing survives that." From its last close on, nobody gets the device any more, and in the
/// end its number is free.
fn orphan_takes_no_new_opener_once_it_is_cleared(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&backing)?;
    let node = nodes::loop_device(ctx, number)?;
    let held = LoopDevice::open(&node)?;
    instance.umount()?;
    drop(held);
    // Until the number is given up, an open finds a dead device or none; from then on a kernel that
    // autoloads makes it the host's.
    wait::until("the number to be the host's", || {
        if let Ok(device) = LoopDevice::open(&node) {
            expect::errno(device.status(), Errno::ENXIO, "status of a device after its last close")?;
        }
        Ok(host.control().add_number(number).is_ok() || host.control().remove(number).is_ok())
    })
}

/// S2: "Nothing survives that." Nor does the user namespace of a dead owner: its parent can make another
/// where it may have only one.
fn owner_goes_with_its_last_device(ctx: &Context) -> Result<()> {
    let outer = Tenant::new(ctx, "outer")?;
    let before = block::loop_devices()?;
    let inner = outer.hold(|| {
        fs::write("/proc/sys/user/max_user_namespaces", "1")?;
        let inner = Tenant::nested(outer.dir(), "inner")?;
        let instance = inner.mount()?;
        inner.run(|| Ok(instance.add_bound(&Backing::new(&inner.dir().join("file"))?)?))?;
        Ok(inner)
    })?;
    let made = block::loop_devices()?;
    let number = *made.difference(&before).next().context("the tenant made no device")?;
    let held = LoopDevice::open(&nodes::loop_device(ctx, number)?)?;
    inner.release()?;
    ensure!(block::exists(number), "the device the host holds is gone");
    drop(held);
    block::wait_until_gone(number)?;
    wait::until("the namespace of the dead owner to go", || {
        let another = outer.run(|| Tenant::nested(outer.dir(), "another").map(drop));
        let _ = fs::remove_dir(outer.dir().join("another"));
        Ok(another.is_ok())
    })
}

/// S2, where the whole tenant is killed.
fn tenant_death_leaves_what_the_host_holds(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    let path = tenant.dir().join("file");
    let (held, other): (u32, u32) = tenant.run(|| {
        let backing = Backing::new(&path)?;
        Ok((instance.add_bound(&backing)?, instance.add_bound(&backing)?))
    })?;
    let device = LoopDevice::open(&nodes::loop_device(ctx, held)?)?;
    tenant.kill()?;
    ensure!(!block::exists(other), "a device nobody holds outlives its tenant");
    device.write_at(b"held", 0)?;
    device.sync()?;
    ensure!(fs::read(&path)?.starts_with(b"held"));
    drop(device);
    block::wait_until_gone(held)
}
