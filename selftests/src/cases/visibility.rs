//! SPEC N3: where a private device shows, and where it does not.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use super::host::Host;
use crate::{
    backing::{self, Backing},
    block, case,
    case::{Case, Context, Need, Who},
    instance::Instance,
    tenant::Tenant,
    uapi::LO_FLAGS_READ_ONLY,
    uevent::{self, UeventListener},
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["N3", "H14"], devtmpfs_has_no_node_for_a_private_device)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop]),
        case!(["N3", "H15"], no_uevent_of_a_private_device_reaches_the_host).only(&[Who::Root]).needing(&[
            Need::Loopfs,
            Need::Loop,
            Need::Uevent,
        ]),
        case!(["N3", "H16"], sysfs_and_proc_show_a_private_device),
        case!(["N3"], uevent_file_of_a_private_device_tells_what_it_is),
        case!(["N3", "H15"], uevents_asked_for_by_hand_are_not_sent_either).only(&[Who::Root]).needing(&[
            Need::Loopfs,
            Need::Loop,
            Need::Uevent,
        ]),
    ]
}

/// N3: "Host devtmpfs never shows a private device".
fn devtmpfs_has_no_node_for_a_private_device(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let host = Host::new(ctx)?;
    let inside = tenant.mount()?;
    let theirs = Instance::at(&tenant.seen_from_outside(inside.dir()));
    let backing = Backing::new(&ctx.dir.join("file"))?;
    for (instance, is_theirs) in [(Instance::new(ctx, "own")?, false), (theirs, true)] {
        let number = if is_theirs {
            // Nobody else binds a file to a device of the tenant.
            tenant.run(|| Ok(inside.add_bound(&backing)?))?
        } else {
            instance.add_bound(&backing)?
        };
        let node = format!("/dev/loop{number}");
        ensure!(!Path::new(&node).exists(), "{node} is there");
        instance.open(number)?.clear()?;
        instance.control()?.remove(number)?;
        ensure!(!Path::new(&node).exists(), "{node} is there after the removal");

        // The same number as a device of the host has its node as ever, and keeps it.
        host.control().add_number(number)?;
        ensure!(Path::new(&node).exists(), "{node} of the host is missing");
        instance.add()?;
        ensure!(Path::new(&node).exists(), "{node} of the host is gone");
        host.control().remove(number)?;
    }
    Ok(())
}

/// N3: "and no uevent for one reaches host listeners." Neither for what makes and removes it nor for
/// what happens to it in between; a device of the host made afterwards tells that the listener hears.
fn no_uevent_of_a_private_device_reaches_the_host(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let host = Host::new(ctx)?;
    let instance = tenant.mount()?;
    let listener = UeventListener::new()?;
    let path = tenant.dir().join("file");
    let numbers: Vec<u32> = tenant.run(|| {
        let backing = Backing::new(&path)?;
        let number = instance.add()?;
        let device = instance.open(number)?;
        device.set_fd(&backing)?;
        backing.file().set_len(2 * backing::SIZE)?;
        device.set_capacity()?;
        device.set_block_size(4096)?;
        device.set_direct_io(true).or_else(|_| device.set_direct_io(false))?;
        device.clear()?;
        drop(device);
        let read_only = instance.open(number)?;
        read_only.configure_with_flags(&backing, LO_FLAGS_READ_ONLY)?;
        read_only.change_fd(&backing)?;
        read_only.clear()?;
        drop(read_only);
        instance.control()?.remove(number)?;

        let left = instance.add_bound(&backing)?;
        let idle = instance.add()?;
        instance.umount()?;
        Ok(vec![number, left, idle])
    })?;

    // A device of the host on a number that no private device had.
    let fence = block::unused_number(10)?;
    host.control().add_number(fence)?;
    let events = listener.take()?;
    ensure!(!uevent::about(&events, fence).is_empty(), "the listener hears nothing at all");
    for number in numbers {
        let heard = uevent::about(&events, number);
        ensure!(heard.is_empty(), "the host hears of private loop{number}: {heard:?}");
    }
    Ok(())
}

/// N3: "`/sys/block`, `/proc/partitions` and `/proc/diskstats` show it, so the host can see what
/// runs." From any namespace, as they show all disks.
fn sysfs_and_proc_show_a_private_device(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    let path = tenant.dir().join("file");
    let number = tenant.run(|| Ok(instance.add_bound(&Backing::new(&path)?)?))?;
    ensure!(block::exists(number));
    ensure!(block::in_proc_partitions(number)?, "/proc/partitions does not show loop{number}");
    ensure!(block::in_proc_diskstats(number)?, "/proc/diskstats does not show loop{number}");
    let size = fs::read_to_string(block::sysfs(number).join("size"))?;
    ensure!(size.trim() == (backing::SIZE / 512).to_string());

    tenant.run(|| {
        instance.open(number)?.clear()?;
        Ok(instance.control()?.remove(number)?)
    })?;
    ensure!(!block::in_proc_partitions(number)? && !block::in_proc_diskstats(number)?);
    Ok(())
}

/// N3: what is kept from the host's listeners is the sending. The file stays: programs in the owner look
/// there for the device number (`sd-device` does).
fn uevent_file_of_a_private_device_tells_what_it_is(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let text = fs::read_to_string(block::sysfs(number).join("uevent"))?;
    for line in ["MAJOR=7".to_owned(), format!("MINOR={number}"), format!("DEVNAME=loop{number}")] {
        ensure!(text.lines().any(|found| found == line), "uevent lacks {line}: {text:?}");
    }
    Ok(())
}

/// N3: "no uevent for one reaches host listeners", not even when root asks for one (`udevadm trigger`).
fn uevents_asked_for_by_hand_are_not_sent_either(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let listener = UeventListener::new()?;
    // Whether the kernel refuses or ignores it, it may not send it.
    let _ = fs::write(block::sysfs(number).join("uevent"), "change");
    let fence = block::unused_number(10)?;
    host.control().add_number(fence)?;
    let events = listener.take()?;
    ensure!(!uevent::about(&events, fence).is_empty(), "the listener hears nothing at all");
    let heard = uevent::about(&events, number);
    ensure!(heard.is_empty(), "the host hears of private loop{number}: {heard:?}");
    Ok(())
}
