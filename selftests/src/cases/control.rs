//! SPEC C: the control node makes, finds and removes devices.

use std::{
    fs::{self, File},
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt as _, MetadataExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{
        fanotify::MaskFlags,
        stat::{Mode, major, makedev, minor},
    },
    unistd::unlink,
};

use super::host::Host;
use crate::{
    backing::Backing,
    block, case,
    case::{Case, Context, Need, Who},
    expect,
    fsnotify::{Fanotified, Inotified},
    instance::{Instance, bind},
    loop_control::LoopControl,
    loop_device::LoopDevice,
    mount_info::MountInfo,
    nodes, proc_fd,
    tenant::Tenant,
    uapi::{LOOP_MAJOR, MINORS},
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["C1"], get_free_makes_a_device_where_none_is_unbound),
        case!(["C1"], get_free_returns_the_lowest_unbound_device),
        case!(["C1"], add_makes_the_device_it_is_told),
        case!(["C1"], add_of_a_negative_number_makes_any_device),
        case!(["C1"], add_beyond_the_minors_makes_nothing),
        case!(["C1"], remove_takes_device_and_node_away),
        case!(["C1", "H10"], remove_takes_away_what_is_mounted_on_the_node),
        case!(["C2"], node_and_sysfs_and_status_agree_on_the_number),
        case!(["C2"], node_is_there_when_the_ioctl_returns),
        case!(["C3", "H18"], add_of_a_number_in_use_anywhere_is_eexist),
        case!(["C3"], remove_of_a_device_in_use_is_ebusy),
        case!(["C3", "C4"], remove_of_an_unknown_or_foreign_number_is_enodev),
        case!(["C3"], remove_of_a_negative_number_is_einval),
        case!(["C3"], unknown_ioctl_is_enosys),
        case!(["C4"], instances_share_no_device),
        case!(["C4"], host_control_never_touches_a_private_device)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop]),
        case!(["C5"], control_works_through_a_symlink_and_a_bind_mount),
        case!(["C5", "H7"], control_descriptor_outlives_the_place_of_the_mount),
        case!(["C6"], inotify_tells_of_each_device).needing(&[Need::Loopfs, Need::Fsnotify]),
        case!(["C6"], fanotify_tells_of_each_device).needing(&[Need::Loopfs, Need::Fsnotify]),
        case!(["C7"], number_of_a_removed_device_is_free_at_once),
        case!(["C7", "C8", "H9"], number_stays_taken_while_the_node_is_held),
        case!(["C8", "H9"], stale_node_opens_nothing_whatever_happens_to_the_number),
        case!(["C8", "H9"], stale_node_opens_no_device_of_the_host)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop]),
        case!(["C8", "H10"], bind_mount_of_a_removed_node_opens_nothing),
    ]
}

/// C1: "`LOOP_CTL_GET_FREE` ... returns the number N of an unbound device *of this instance*, the
/// lowest first, else makes one."
fn get_free_makes_a_device_where_none_is_unbound(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let first = control.get_free()?;
    instance.expect_devices(&[first])?;
    ensure!(control.get_free()? == first, "GET_FREE makes a second device beside an unbound one");

    let backing = Backing::new(&ctx.dir.join("file"))?;
    instance.open(first)?.set_fd(&backing)?;
    let second = control.get_free()?;
    instance.expect_devices(&[first, second])
}

/// C1: "the lowest first". Also when it was not the first to be made.
fn get_free_returns_the_lowest_unbound_device(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let base = block::unused_number(0)?;
    for number in [base + 2, base + 1, base + 3] {
        control.add_number(number)?;
    }
    ensure!(control.get_free()? == base + 1);
    let backing = Backing::new(&ctx.dir.join("file"))?;
    instance.open(base + 1)?.set_fd(&backing)?;
    ensure!(control.get_free()? == base + 2);
    instance.open(base + 1)?.clear()?;
    ensure!(control.get_free()? == base + 1, "a cleared device is not found again");
    control.remove(base + 1)?;
    ensure!(control.get_free()? == base + 2, "a removed device is still found");
    Ok(())
}

/// C1: "`LOOP_CTL_ADD N` makes device N".
fn add_makes_the_device_it_is_told(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = block::unused_number(5)?;
    ensure!(instance.control()?.add_number(number)? == number);
    instance.expect_devices(&[number])?;
    ensure!(block::exists(number));
    Ok(())
}

/// C1: "(N < 0: any number)".
fn add_of_a_negative_number_makes_any_device(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let mut made = Vec::new();
    for negative in [-1, -2, i32::MIN] {
        made.push(control.add(negative)?);
    }
    instance.expect_devices(&made)?;
    ensure!(instance.entries()?.len() == 4, "one number was given twice: {made:?}");
    Ok(())
}

/// C1, where N has no minor: refused like by the host's control device, and nothing is left.
fn add_beyond_the_minors_makes_nothing(ctx: &Context) -> Result<()> {
    let instance = Instance::new_with(ctx, "loopfs", "max=1")?;
    let control = instance.control()?;
    for number in [MINORS, i32::MAX.cast_unsigned()] {
        expect::errno(control.add_number(number), Errno::EINVAL, &format!("ADD {number}"))?;
    }
    instance.expect_devices(&[])?;
    control.add_number(MINORS - 1).context("the last minor cannot be used, or a failed ADD stays charged")?;
    Ok(())
}

/// C1: "`LOOP_CTL_REMOVE N` removes it."
fn remove_takes_device_and_node_away(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let (gone, kept) = (control.add_any()?, control.add_any()?);
    control.remove(gone)?;
    instance.expect_devices(&[kept])?;
    ensure!(!block::exists(gone), "loop{gone} is in /sys/block after its removal");
    expect::errno(instance.open(gone), Errno::ENOENT, "open of a removed device")?;
    expect::errno(control.remove(gone), Errno::ENODEV, "a second REMOVE")
}

/// C1: something mounted on the node keeps it from unlink, as any mount point, but not from REMOVE,
/// which would otherwise be at the mercy of whoever mounts something there.
fn remove_takes_away_what_is_mounted_on_the_node(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let number = control.add_any()?;
    let node = instance.node(number);
    let file = ctx.dir.join("file");
    fs::write(&file, "on top")?;
    bind(&file, &node)?;
    expect::errno(unlink(&node), Errno::EBUSY, "unlink of a mount point")?;
    ensure!(fs::read_to_string(&node)? == "on top");
    control.remove(number)?;
    instance.expect_devices(&[])?;
    ensure!(MountInfo::of(&node).is_err(), "the mount is still there");
    ensure!(!block::exists(number));
    Ok(())
}

/// C2: "A made device is the block device 7:M named `loopN`, mode 0600, whose `stat`,
/// `/sys/dev/block/7:M` and LOOP_GET_STATUS64 number agree."
fn node_and_sysfs_and_status_agree_on_the_number(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.control()?.get_free()?;
    let node = fs::symlink_metadata(instance.node(number))?;
    ensure!(node.file_type().is_block_device(), "the node is {:?}", node.file_type());
    ensure!(node.mode() & 0o7777 == 0o600, "the node has mode {:o}", node.mode());
    let (found_major, found_minor) = (major(node.rdev()), minor(node.rdev()));
    ensure!(found_major == LOOP_MAJOR);
    let in_sysfs = block::name_of(found_major, found_minor)?;
    ensure!(
        in_sysfs == format!("loop{number}"),
        "device {found_major}:{found_minor} is {in_sysfs} in sysfs, not loop{number}"
    );

    let backing = Backing::new(&ctx.dir.join("file"))?;
    let device = instance.open(number)?;
    device.set_fd(&backing)?;
    ensure!(device.number()? == number, "LOOP_GET_STATUS64 says {}", device.number()?);
    Ok(())
}

/// C2: "The node exists before the ioctl returns". The 2020 series made it after the disk was
/// announced (HISTORY 1.6 d).
fn node_is_there_when_the_ioctl_returns(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    for _ in 0..5 {
        let number = control.add_any()?;
        instance.open(number).with_context(|| format!("loop{number} does not open right after ADD"))?;
        control.remove(number)?;
        let free = control.get_free()?;
        instance.open(free).with_context(|| format!("loop{free} does not open right after GET_FREE"))?;
        control.remove(free)?;
    }
    Ok(())
}

/// C3: "ADD of a number in use anywhere: EEXIST." In this instance, in another, on the host, of which a tenant is not told.
fn add_of_a_number_in_use_anywhere_is_eexist(ctx: &Context) -> Result<()> {
    let (own, other) = (Instance::new(ctx, "own")?, Instance::new(ctx, "other")?);
    let control = own.control()?;
    let (ours, theirs) = (control.add_any()?, other.add()?);
    expect::errno(control.add_number(ours), Errno::EEXIST, "ADD of one's own device")?;
    expect::errno(control.add_number(theirs), Errno::EEXIST, "ADD of another instance's device")?;
    for host in block::loop_devices()?.into_iter().filter(|&number| number != ours && number != theirs).take(1) {
        let errno =
            if ctx.who.is_in_user_namespace() && host < block::FIRST_PRIVATE { Errno::EPERM } else { Errno::EEXIST };
        expect::errno(control.add_number(host), errno, "ADD of a device of the host")?;
    }
    own.expect_devices(&[ours])?;
    other.expect_devices(&[theirs])
}

/// C3: "REMOVE of a device in use: EBUSY". In use is "bound to a backing file, or open".
fn remove_of_a_device_in_use_is_ebusy(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let number = control.add_any()?;

    let open = instance.open(number)?;
    expect::errno(control.remove(number), Errno::EBUSY, "REMOVE of an open device")?;
    drop(open);
    let backing = Backing::new(&ctx.dir.join("file"))?;
    instance.open(number)?.set_fd(&backing)?;
    expect::errno(control.remove(number), Errno::EBUSY, "REMOVE of a bound device")?;

    let device = instance.open(number).context("a refused REMOVE has closed the device")?;
    device.write_at(b"still bound", 0)?;
    device.sync()?;
    ensure!(backing.read_at(11, 0)? == b"still bound");
    device.clear()?;
    drop(device);
    control.remove(number)?;
    instance.expect_devices(&[])
}

/// C3: "of an unknown or foreign number: ENODEV". A foreign device is invisible, and stays.
fn remove_of_an_unknown_or_foreign_number_is_enodev(ctx: &Context) -> Result<()> {
    let (own, other) = (Instance::new(ctx, "own")?, Instance::new(ctx, "other")?);
    let control = own.control()?;
    let theirs = other.add()?;
    expect::errno(control.remove(block::unused_number(3)?), Errno::ENODEV, "REMOVE of an unknown number")?;
    expect::errno(control.remove(i32::MAX.cast_unsigned()), Errno::ENODEV, "REMOVE of the largest number")?;
    expect::errno(control.remove(theirs), Errno::ENODEV, "REMOVE of another instance's device")?;
    other.expect_devices(&[theirs])?;
    for host in block::loop_devices()?.into_iter().filter(|&number| number != theirs) {
        expect::errno(control.remove(host), Errno::ENODEV, "REMOVE of a device of the host")?;
        ensure!(block::exists(host), "loop{host} of the host is gone");
    }
    Ok(())
}

/// C3: "Negative REMOVE: EINVAL."
fn remove_of_a_negative_number_is_einval(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let number = control.add_any()?;
    for negative in [-1, i32::MIN] {
        expect::errno(control.remove_signed(negative), Errno::EINVAL, &format!("REMOVE {negative}"))?;
    }
    instance.expect_devices(&[number])
}

/// C3: "Unknown ioctl: ENOSYS, as the host's control device."
fn unknown_ioctl_is_enosys(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let mut controls = vec![("an instance", instance.control()?)];
    // Nobody in a container can open the host's.
    if ctx.who == Who::Root {
        controls.push(("the host", LoopControl::host()?));
    }
    // Beside the numbers that control nodes have, those of loop devices, of any block device, and of a terminal.
    for number in [0x4c7f, 0x4c83, 0x4c8f, 0x4c00, 0x4c05, 0x1261, 0x5401] {
        for (whose, control) in &controls {
            let what = format!("ioctl {number:#x} on the control node of {whose}");
            expect::errno(control.other_ioctl(number), Errno::ENOSYS, &what)?;
        }
    }
    Ok(())
}

/// C4: "Nothing is shared: an instance's control never lists, returns, opens, reuses or removes a
/// foreign device".
fn instances_share_no_device(ctx: &Context) -> Result<()> {
    let (own, other) = (Instance::new(ctx, "own")?, Instance::new(ctx, "other")?);
    let (control, other_control) = (own.control()?, other.control()?);
    // The other's is unbound and lower: what a search over all devices would find first.
    let theirs = other_control.get_free()?;
    let ours = control.get_free()?;
    ensure!(ours != theirs, "GET_FREE returns the device of another instance");
    own.expect_devices(&[ours])?;
    other.expect_devices(&[theirs])?;
    let any = control.add_any()?;
    own.expect_devices(&[ours, any])?;

    ensure!(other_control.get_free()? == theirs);
    expect::errno(other_control.remove(ours), Errno::ENODEV, "REMOVE of a foreign device")?;
    control.remove(ours)?;
    ensure!(control.get_free()? == any, "after a removal GET_FREE leaves its own instance");
    Ok(())
}

/// C4: "and the host's `/dev/loop-control` never a private one".
fn host_control_never_touches_a_private_device(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let host = Host::new(ctx)?;
    let host = host.control();
    for instance in [Instance::new(ctx, "own")?, Instance::at(&tenant.seen_from_outside(tenant.mount()?.dir()))] {
        let number = instance.control()?.get_free()?;
        let given = host.get_free()?;
        ensure!(given != number, "the host's GET_FREE returns private loop{number}");
        expect::errno(host.remove(number), Errno::ENODEV, "the host's REMOVE of a private device")?;
        expect::errno(host.add_number(number), Errno::EEXIST, "the host's ADD of a private device's number")?;
        instance.expect_devices(&[number])?;
        ensure!(block::exists(number));
    }
    Ok(())
}

/// C5: "The control node works through a symlink or bind mount at `/dev/loop-control`".
fn control_works_through_a_symlink_and_a_bind_mount(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let link = ctx.dir.join("symlink");
    symlink(instance.control_path(), &link)?;
    let bound = ctx.dir.join("bound");
    File::create(&bound)?;
    bind(&instance.control_path(), &bound)?;

    let number = LoopControl::open(&link)?.get_free()?;
    instance.expect_devices(&[number])?;
    let control = LoopControl::open(&bound).context("a bind mount of the control node does not open")?;
    ensure!(control.get_free()? == number);
    let second = control.add_any()?;
    instance.expect_devices(&[number, second])
}

/// C5: "and on a file descriptor that outlives the mount's place in the tree".
fn control_descriptor_outlives_the_place_of_the_mount(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    expect::errno(instance.umount(), Errno::EBUSY, "umount below an open control node")?;
    let before = control.get_free()?;
    instance.detach()?;

    ensure!(control.get_free()? == before, "GET_FREE no longer finds the device");
    let after = control.add_any()?;
    ensure!(block::exists(before) && block::exists(after));
    control.remove(before)?;
    ensure!(!block::exists(before));
    drop(control);
    ensure!(!block::exists(after), "loop{after} outlives the last descriptor of its instance");
    Ok(())
}

/// C6: "inotify/fanotify on the directory sees each device come and go."
fn inotify_tells_of_each_device(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let watch = Inotified::watch(instance.dir())?;

    let added = control.add_any()?;
    ensure!(watch.take()? == [format!("create loop{added}")]);
    control.remove(added)?;
    ensure!(watch.take()? == [format!("delete loop{added}")]);

    let free = control.get_free()?;
    ensure!(watch.take()? == [format!("create loop{free}")]);
    control.get_free()?;
    ensure!(watch.take()?.is_empty(), "GET_FREE of a device there already is told as something else");
    fs::rename(instance.node(free), instance.path("renamed"))?;
    ensure!(watch.take()? == [format!("from loop{free}"), "to renamed".to_owned()]);
    unlink(&instance.path("renamed"))?;
    ensure!(watch.take()? == ["delete renamed"]);

    expect::errno(control.remove(free), Errno::ENODEV, "REMOVE of an unknown device")?;
    ensure!(watch.take()?.is_empty(), "a refused REMOVE is told");
    Ok(())
}

/// C6, by fanotify.
fn fanotify_tells_of_each_device(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let watch = Fanotified::watch(instance.dir())?;
    let added = control.add_any()?;
    ensure!(watch.take()? == MaskFlags::FAN_CREATE);
    control.remove(added)?;
    ensure!(watch.take()? == MaskFlags::FAN_DELETE);
    let free = control.get_free()?;
    ensure!(watch.take()? == MaskFlags::FAN_CREATE);
    unlink(&instance.node(free))?;
    ensure!(watch.take()? == MaskFlags::FAN_DELETE);
    Ok(())
}

/// C7: "The number of a removed device is free again when the call returns". By either way of
/// removing, for either party.
fn number_of_a_removed_device_is_free_at_once(ctx: &Context) -> Result<()> {
    let (own, other) = (Instance::new(ctx, "own")?, Instance::new(ctx, "other")?);
    let (control, other_control) = (own.control()?, other.control()?);
    let number = control.add_any()?;
    control.remove(number)?;
    other_control.add_number(number).context("the number of a removed device is not free")?;
    unlink(&other.node(number))?;
    control.add_number(number).context("the number of an unlinked device is not free")?;
    own.umount().err().context("umount below an open control node succeeds")?;
    drop(control);
    own.umount()?;
    other_control.add_number(number).context("the number of a device whose instance is gone is not free")?;
    Ok(())
}

/// A node held by an `O_PATH` descriptor, to be opened through `/proc` after its device is gone.
struct HeldNode(OwnedFd);

impl HeldNode {
    fn new(node: &Path) -> Result<Self> {
        Ok(Self(open(node, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?))
    }

    fn path(&self) -> PathBuf {
        proc_fd::path(&self.0)
    }

    /// "ENXIO or ENODEV for ever".
    fn expect_dead(&self, when: &str) -> Result<()> {
        for flags in
            [OFlag::O_RDONLY, OFlag::O_RDWR, OFlag::O_RDONLY | OFlag::O_NONBLOCK, OFlag::O_RDWR | OFlag::O_EXCL]
        {
            let opened = LoopDevice::open_with(&self.path(), flags);
            expect::one_of(opened, &[Errno::ENXIO, Errno::ENODEV], &format!("open of a stale node {when}"))?;
        }
        Ok(())
    }
}

/// C7: "unless somebody still holds its node (C8)."
fn number_stays_taken_while_the_node_is_held(ctx: &Context) -> Result<()> {
    let (own, other) = (Instance::new(ctx, "own")?, Instance::new(ctx, "other")?);
    let (control, other_control) = (own.control()?, other.control()?);
    let number = control.add_any()?;
    let held = HeldNode::new(&own.node(number))?;
    control.remove(number)?;
    ensure!(!block::exists(number));
    own.expect_devices(&[])?;
    expect::errno(control.add_number(number), Errno::EEXIST, "ADD of a number whose node is held")?;
    expect::errno(other_control.add_number(number), Errno::EEXIST, "a foreign ADD of a number whose node is held")?;
    expect::errno(control.remove(number), Errno::ENODEV, "REMOVE of a number whose node is held")?;
    ensure!(control.get_free()? != number, "GET_FREE returns a number whose node is held");

    drop(held);
    other_control.add_number(number).context("the number is not free although nobody holds the node any more")?;
    Ok(())
}

/// C8: "A node that outlives its device (an O_PATH descriptor, ...) never opens another party's
/// device: ENXIO or ENODEV for ever, whatever happens to the number."
fn stale_node_opens_nothing_whatever_happens_to_the_number(ctx: &Context) -> Result<()> {
    let (own, other) = (Instance::new(ctx, "own")?, Instance::new(ctx, "other")?);
    let control = own.control()?;
    for by_unlink in [false, true] {
        let number = control.add_any()?;
        let held = HeldNode::new(&own.node(number))?;
        if by_unlink {
            unlink(&own.node(number))?;
        } else {
            control.remove(number)?;
        }
        held.expect_dead("after its removal")?;
        let metadata = fs::metadata(held.path())?;
        ensure!(metadata.rdev() == makedev(LOOP_MAJOR, u64::from(number)) || metadata.rdev() == 0);

        // Whether or not these succeed, the stale node is no way to what they make.
        let _ = other.control()?.add_number(number);
        held.expect_dead("after another instance asked for its number")?;
        let _ = control.add_number(number);
        held.expect_dead("after its own instance asked for its number")?;
        control.get_free()?;
        held.expect_dead("after GET_FREE")?;
    }
    Ok(())
}

/// C8, against the host: it asks for the number by ADD, and by opening a static node where the
/// kernel autoloads.
fn stale_node_opens_no_device_of_the_host(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = Instance::at(&tenant.seen_from_outside(tenant.mount()?.dir()));
    let number = instance.control()?.add_any()?;
    let held = HeldNode::new(&instance.node(number))?;
    instance.control()?.remove(number)?;

    let host = Host::new(ctx)?;
    let control = host.control();
    expect::errno(control.add_number(number), Errno::EEXIST, "the host's ADD of a number whose node is held")?;
    let static_node = nodes::loop_device(ctx, number)?;
    expect::one_of(LoopDevice::open(&static_node), &[Errno::ENXIO, Errno::ENODEV], "open of a static node")?;
    ensure!(!block::exists(number), "an open of 7:{number} made a device of the host on a number still held");
    held.expect_dead("after the host asked for its number")?;

    drop(held);
    control.add_number(number).context("the host cannot use the number of a removed private device")?;
    Ok(())
}

/// C8: "(... a bind mount of it)".
fn bind_mount_of_a_removed_node_opens_nothing(ctx: &Context) -> Result<()> {
    let (own, other) = (Instance::new(ctx, "own")?, Instance::new(ctx, "other")?);
    let control = own.control()?;
    for by_unlink in [false, true] {
        let number = control.add_any()?;
        let bound = ctx.dir.join(format!("bound-{by_unlink}"));
        File::create(&bound)?;
        bind(&own.node(number), &bound)?;
        LoopDevice::open(&bound).context("a bind mount of a device does not open")?;
        if by_unlink {
            unlink(&own.node(number))?;
        } else {
            control.remove(number)?;
        }
        let _ = other.control()?.add_number(number);
        let opened = LoopDevice::open(&bound);
        expect::one_of(opened, &[Errno::ENXIO, Errno::ENODEV], "open of a bind mount of a removed node")?;
        ensure!(!own.entries()?.contains(&format!("loop{number}")));
    }
    Ok(())
}
