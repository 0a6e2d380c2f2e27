//! SPEC U1: unlink of a device.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    unistd::{UnlinkatFlags, unlink, unlinkat},
};

use crate::{
    backing::Backing,
    block, case,
    case::{Case, Context},
    expect,
    instance::Instance,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["U1"], unlink_removes_node_and_device),
        case!(["U1"], unlink_of_a_bound_device_is_ebusy),
        case!(["U1"], unlink_of_an_open_device_is_ebusy),
        case!(["U1"], unlink_of_the_control_node_is_eperm),
        case!(["U1"], rmdir_removes_nothing),
    ]
}

/// U1: "unlink of a device not in use removes node and device."
fn unlink_removes_node_and_device(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let (gone, kept) = (control.add_any()?, control.add_any()?);
    unlink(&instance.node(gone))?;
    instance.expect_devices(&[kept])?;
    ensure!(!block::exists(gone), "loop{gone} is in /sys/block after its unlink");
    expect::errno(control.remove(gone), Errno::ENODEV, "REMOVE after unlink")?;
    expect::errno(unlink(&instance.node(gone)), Errno::ENOENT, "a second unlink")
}

/// U1: "In use: EBUSY, nothing changed."
fn unlink_of_a_bound_device_is_ebusy(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let number = instance.add_bound(&backing)?;
    expect::errno(unlink(&instance.node(number)), Errno::EBUSY, "unlink of a bound device")?;

    instance.expect_devices(&[number])?;
    let device = instance.open(number).context("a refused unlink has closed the device")?;
    device.write_at(b"still bound", 0)?;
    device.sync()?;
    ensure!(backing.read_at(11, 0)? == b"still bound");
    device.clear()?;
    drop(device);
    unlink(&instance.node(number)).context("a cleared device cannot be unlinked")?;
    ensure!(!block::exists(number));
    Ok(())
}

/// U1, where in use means open.
fn unlink_of_an_open_device_is_ebusy(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let device = instance.open(number)?;
    expect::errno(unlink(&instance.node(number)), Errno::EBUSY, "unlink of an open device")?;
    instance.expect_devices(&[number])?;
    device.set_fd(&Backing::new(&ctx.dir.join("file"))?).context("a refused unlink has broken the device")?;
    device.clear()?;
    drop(device);
    unlink(&instance.node(number)).context("a closed device cannot be unlinked")?;
    Ok(())
}

/// U1: "`loop-control`: EPERM."
fn unlink_of_the_control_node_is_eperm(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    expect::errno(unlink(&instance.control_path()), Errno::EPERM, "unlink of loop-control")?;
    instance.control()?.get_free().context("a refused unlink has broken the control node")?;
    Ok(())
}

/// U1, by the other call: no entry is a directory.
fn rmdir_removes_nothing(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let dir = fs::File::open(instance.dir())?;
    for name in ["loop-control".to_owned(), format!("loop{number}")] {
        let removed = unlinkat(&dir, name.as_str(), UnlinkatFlags::RemoveDir);
        expect::errno(removed, Errno::ENOTDIR, &format!("rmdir of {name}"))?;
    }
    instance.expect_devices(&[number])
}
