//! SPEC U2 and U3: rename inside an instance.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
};

use crate::{
    backing::Backing,
    block, case,
    case::{Case, Context},
    expect,
    instance::Instance,
    loop_device::LoopDevice,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["U2"], rename_keeps_the_device),
        case!(["U2"], rename_of_or_onto_the_control_node_is_eperm),
        case!(["U2", "H13"], rename_onto_another_node_is_eexist),
        case!(["U2", "H5"], name_of_a_future_device_cannot_be_taken),
        case!(["U2"], exchange_and_whiteout_are_einval),
        case!(["U2"], rename_out_of_the_instance_is_exdev),
        case!(["U3", "H10"], remove_finds_a_renamed_device_by_its_number),
        case!(["U3"], unlink_removes_a_renamed_device),
        case!(["U3"], shutdown_finds_renamed_devices),
        case!(["U3", "H5"], number_of_a_renamed_device_stays_taken),
    ]
}

fn rename_with(from: &Path, to: &Path, flags: RenameFlags) -> nix::Result<()> {
    renameat2(AT_FDCWD, from, AT_FDCWD, to, flags)
}

/// U2: "rename within the instance keeps the device." An idle one and a bound and open one.
fn rename_keeps_the_device(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let (idle, bound) = (instance.add()?, instance.add_bound(&backing)?);
    let device = instance.open(bound)?;
    for (number, name) in [(idle, "idle"), (bound, "bound")] {
        let before = fs::symlink_metadata(instance.node(number))?;
        fs::rename(instance.node(number), instance.path(name))?;
        let after = fs::symlink_metadata(instance.path(name))?;
        ensure!((before.rdev(), before.ino(), before.mode()) == (after.rdev(), after.ino(), after.mode()));
        ensure!(!instance.node(number).exists());
        ensure!(block::exists(number));
    }
    device.write_at(b"renamed", 0)?;
    device.sync()?;
    ensure!(backing.read_at(7, 0)? == b"renamed");
    ensure!(LoopDevice::open(&instance.path("bound"))?.number()? == bound);

    rename_with(&instance.path("idle"), &instance.path("other"), RenameFlags::RENAME_NOREPLACE)?;
    fs::rename(instance.path("other"), instance.node(idle)).context("a device cannot get its own name back")?;
    instance.open(idle)?;
    Ok(())
}

/// U2: "`loop-control` on either side: EPERM."
fn rename_of_or_onto_the_control_node_is_eperm(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let (control, node) = (instance.control_path(), instance.node(number));
    expect::errno(fs::rename(&control, instance.path("other")), Errno::EPERM, "rename of loop-control")?;
    expect::errno(fs::rename(&node, &control), Errno::EPERM, "rename onto loop-control")?;
    expect::errno(fs::rename(&control, &node), Errno::EPERM, "rename of loop-control onto a device")?;
    instance.expect_devices(&[number])?;
    ensure!(instance.control()?.get_free()? == number);
    Ok(())
}

/// U2: "Onto another node: EEXIST." Whether that one is idle, open or bound: the 2020 series
/// dropped a device in use that way (HISTORY 1.6 j).
fn rename_onto_another_node_is_eexist(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let mover = instance.add()?;
    let bound = instance.add_bound(&backing)?;
    let open = instance.add()?;
    let idle = instance.add()?;
    let held = instance.open(open)?;
    for target in [idle, open, bound] {
        let renamed = fs::rename(instance.node(mover), instance.node(target));
        expect::errno(renamed, Errno::EEXIST, &format!("rename onto loop{target}"))?;
        let exclusive = rename_with(&instance.node(mover), &instance.node(target), RenameFlags::RENAME_NOREPLACE);
        expect::errno(exclusive, Errno::EEXIST, &format!("exclusive rename onto loop{target}"))?;
    }
    let foreign_name = instance.path("named");
    fs::rename(instance.node(idle), &foreign_name)?;
    expect::errno(fs::rename(instance.node(mover), &foreign_name), Errno::EEXIST, "rename onto a renamed device")?;
    drop(held);
    ensure!(instance.open(bound)?.number()? == bound);
    for number in [mover, bound, open, idle] {
        ensure!(block::exists(number), "loop{number} is gone");
    }
    Ok(())
}

/// U2: "A new name that is `loop-control`-like or `loopK` / `loopKpJ` for another K: EINVAL, so
/// that a future device can never be blocked." In the 2020 series it was, for ever (HISTORY 1.6 j).
fn name_of_a_future_device_cannot_be_taken(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let future = number + 1;
    for name in [
        format!("loop{future}"),
        format!("loop{future}p1"),
        format!("loop{future}p128"),
        "loop1048575".to_owned(),
        format!("loop{number}0"),
    ] {
        let renamed = fs::rename(instance.node(number), instance.path(&name));
        expect::errno(renamed, Errno::EINVAL, &format!("rename of loop{number} to {name}"))?;
    }
    instance.expect_devices(&[number])?;
    for name in ["disk", "loop", "loopback", "loop-", "Loop1", "xloop1", "loopx1", "p1"] {
        fs::rename(instance.node(number), instance.path(name))
            .with_context(|| format!("rename to {name}, which no device will ever have"))?;
        fs::rename(instance.path(name), instance.node(number))?;
    }
    let free = block::unused_number(0)?;
    instance.control()?.add_number(free).context("a device cannot be made after refused renames")?;
    Ok(())
}

/// U2: "RENAME_EXCHANGE, RENAME_WHITEOUT: EINVAL."
fn exchange_and_whiteout_are_einval(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let (first, second) = (instance.add()?, instance.add()?);
    let (one, two) = (instance.node(first), instance.node(second));
    expect::errno(rename_with(&one, &two, RenameFlags::RENAME_EXCHANGE), Errno::EINVAL, "exchange")?;
    let whiteout = rename_with(&one, &instance.path("other"), RenameFlags::RENAME_WHITEOUT);
    // Making a whiteout is making a device node, which the VFS itself refuses a user namespace.
    expect::one_of(whiteout, &[Errno::EINVAL, Errno::EPERM], "whiteout")?;
    instance.expect_devices(&[first, second])
}

/// U2: "within the instance". There is no way out of it and none into it.
fn rename_out_of_the_instance_is_exdev(ctx: &Context) -> Result<()> {
    let (own, other) = (Instance::new(ctx, "own")?, Instance::new(ctx, "other")?);
    let number = own.add()?;
    expect::errno(fs::rename(own.node(number), other.path("theirs")), Errno::EXDEV, "rename to another instance")?;
    expect::errno(fs::rename(own.node(number), ctx.dir.join("out")), Errno::EXDEV, "rename out of an instance")?;
    let file = ctx.dir.join("file");
    fs::write(&file, "")?;
    expect::errno(fs::rename(&file, own.path("in")), Errno::EXDEV, "rename into an instance")?;
    own.expect_devices(&[number])
}

/// U3: "After a rename, LOOP_CTL_REMOVE ... find the device by its identity, never by its name."
fn remove_finds_a_renamed_device_by_its_number(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let (renamed, other) = (control.add_any()?, control.add_any()?);
    fs::rename(instance.node(renamed), instance.path("disk"))?;
    control.remove(renamed)?;
    instance.expect_devices(&[other])?;
    ensure!(!block::exists(renamed) && block::exists(other));
    Ok(())
}

/// U3: the same of unlink, whose device is that of the node.
fn unlink_removes_a_renamed_device(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    fs::rename(instance.node(number), instance.path("disk"))?;
    fs::remove_file(instance.path("disk"))?;
    ensure!(!block::exists(number));
    instance.expect_devices(&[])
}

/// U3: "and shutdown find the device by its identity".
fn shutdown_finds_renamed_devices(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let (idle, bound) = (instance.add()?, instance.add_bound(&backing)?);
    fs::rename(instance.node(idle), instance.path("idle"))?;
    fs::rename(instance.node(bound), instance.path("bound"))?;
    instance.umount()?;
    ensure!(!block::exists(idle) && !block::exists(bound), "a renamed device outlives its instance");
    Ok(())
}

/// U3: a renamed device keeps its number, so nobody can add that number; its free name is no
/// matter. Once it is gone, both are free.
fn number_of_a_renamed_device_stays_taken(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let number = control.add_any()?;
    fs::rename(instance.node(number), instance.path("disk"))?;
    expect::errno(control.add_number(number), Errno::EEXIST, "ADD of the number of a renamed device")?;
    ensure!(control.get_free()? == number, "GET_FREE passes over a renamed device");
    control.remove(number)?;
    control.add_number(number)?;
    instance.expect_devices(&[number])
}
