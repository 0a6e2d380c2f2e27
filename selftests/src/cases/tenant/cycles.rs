//! SPEC N5: nothing that a device backs may back the device.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount, umount2},
    unistd::chown,
};

use super::super::{backing_files::expect_refused, host::Host};
use crate::{
    backing::{self, Backing},
    block, case,
    case::{Case, Context, Need, Who},
    expect, ext2,
    instance::Instance,
    loop_device::LoopDevice,
    nodes,
    tenant::{ORDINARY_USER, Tenant},
    uapi::LO_FLAGS_READ_ONLY,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(["N5"], file_of_a_file_system_on_a_private_device_backs_none),
        case!(["N5"], change_to_a_file_of_the_devices_own_file_system_is_eloop),
        case!(["N5"], file_of_a_file_system_on_a_host_device_on_a_private_one_backs_none),
        case!(["N5"], file_system_on_a_private_device_may_back_a_device_of_the_host),
    ];
    let mut cases: Vec<Case> =
        cases.into_iter().map(|case| case.needing(&[Need::Loopfs, Need::Loop, Need::Ext4])).collect();
    cases.push(case!(["N5"], file_of_an_overlay_over_such_a_file_system_backs_none).needing(&[
        Need::Loopfs,
        Need::Loop,
        Need::Ext4,
        Need::Overlayfs,
    ]));
    cases.into_iter().map(|case| case.only(&[Who::Root])).collect()
}

/// The file on the file systems of these cases, as large as the device below.
const FILE: &str = "file";

/// An ext4 with one sparse file of its own size, that is the tenant's.
fn image(ctx: &Context, host: &Host<'_>, path: &Path) -> Result<()> {
    let backing = Backing::new(path)?;
    backing.file().write_all_at(&ext2::image(), 0)?;
    let (_, node) = host.fresh()?;
    LoopDevice::open(&node)?.set_fd(&backing)?;
    let dir = mount_at(ctx, "prepare", &node, MsFlags::empty())?;
    let file = Backing::with_size(&dir.join(FILE), backing::SIZE)?;
    for path in [file.path(), &dir] {
        chown(path, Some(ORDINARY_USER.into()), Some(ORDINARY_USER.into()))?;
    }
    drop(file);
    umount(&dir)?;
    LoopDevice::open(&node)?.clear()?;
    chown(path, Some(ORDINARY_USER.into()), Some(ORDINARY_USER.into()))?;
    Ok(())
}

fn mount_at(ctx: &Context, name: &str, node: &Path, flags: MsFlags) -> Result<PathBuf> {
    let dir = ctx.dir.join(name);
    std::fs::create_dir(&dir)?;
    mount(Some(node), &dir, Some("ext4"), flags, None::<&str>).with_context(|| format!("cannot mount at {name}"))?;
    Ok(dir)
}

/// A tenant with a device on an image, which the host has mounted from it.
struct Mounted {
    tenant: Tenant,
    instance: Instance,
    number: u32,
    /// What was opened before the host mounted it.
    device: LoopDevice,
    dir: PathBuf,
}

impl Mounted {
    fn new(ctx: &Context, flags: MsFlags) -> Result<Self> {
        let path = ctx.dir.join("image");
        image(ctx, &Host::new(ctx)?, &path)?;
        let (tenant, instance) = super::tenant(ctx, "tenant")?;
        let number = tenant.run(|| Ok(instance.add()?))?;
        let device = tenant.descriptor(|| {
            let device = instance.open(number)?;
            let file = File::options().read(true).write(true).open(&path)?;
            let lo_flags = if flags.contains(MsFlags::MS_RDONLY) { LO_FLAGS_READ_ONLY } else { 0 };
            device.configure_with_flags(&file, lo_flags)?;
            Ok(device.into())
        })?;
        let dir = mount_at(ctx, "mounted", &nodes::loop_device(ctx, number)?, flags)?;
        Ok(Self { tenant, instance, number, device: device.into(), dir })
    }

    /// Ends the tenant and requires the device to go with what the host has mounted from it.
    fn end(self) -> Result<()> {
        drop(self.device);
        self.tenant.kill()?;
        umount2(&self.dir, MntFlags::MNT_DETACH)?;
        block::wait_until_gone(self.number).context("the device keeps itself")
    }
}

/// N5: "nor by a file on a file system that is mounted from a private device of the same chain: ELOOP".
fn file_of_a_file_system_on_a_private_device_backs_none(ctx: &Context) -> Result<()> {
    let mounted = Mounted::new(ctx, MsFlags::empty())?;
    let file = File::options().read(true).write(true).open(mounted.dir.join(FILE))?;
    mounted
        .tenant
        .run(|| expect_refused(&mounted.instance, &file, Errno::ELOOP, "a file on a private device's file system"))?;
    drop(file);
    mounted.end()
}

/// N5: "also through LOOP_CHANGE_FD". The device would keep its file, the file the file system, and that the device.
fn change_to_a_file_of_the_devices_own_file_system_is_eloop(ctx: &Context) -> Result<()> {
    let mounted = Mounted::new(ctx, MsFlags::MS_RDONLY)?;
    let file = File::open(mounted.dir.join(FILE))?;
    let device = &mounted.device;
    mounted.tenant.run(|| expect::errno(device.change_fd(&file), Errno::ELOOP, "CHANGE_FD to a file on the device"))?;
    drop(file);
    mounted.end()
}

/// N5: "of the same chain": a device of the host in between is seen through.
fn file_of_a_file_system_on_a_host_device_on_a_private_one_backs_none(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let path = ctx.dir.join("image");
    image(ctx, &host, &path)?;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let number = tenant.run(|| {
        let number = instance.add()?;
        instance.open(number)?.set_fd(File::options().read(true).write(true).open(&path)?)?;
        Ok(number)
    })?;
    let lower = LoopDevice::open(&nodes::loop_device(ctx, number)?)?;
    let (_, between) = host.fresh()?;
    LoopDevice::open(&between)?.set_fd(&lower)?;
    drop(lower);
    let dir = mount_at(ctx, "mounted", &between, MsFlags::empty())?;
    let file = File::options().read(true).write(true).open(dir.join(FILE))?;
    tenant.run(|| expect_refused(&instance, &file, Errno::ELOOP, "a file two floors up"))?;
    drop(file);
    umount(&dir)?;
    LoopDevice::open(&between)?.clear()?;
    tenant.kill()?;
    block::wait_until_gone(number)
}

/// N5, where the file is one of an overlay, and its data are below.
fn file_of_an_overlay_over_such_a_file_system_backs_none(ctx: &Context) -> Result<()> {
    let mounted = Mounted::new(ctx, MsFlags::MS_RDONLY)?;
    let [plain, merged] = ["plain", "merged"].map(|name| ctx.dir.join(name));
    for dir in [&plain, &merged] {
        std::fs::create_dir(dir)?;
    }
    let options = format!("lowerdir={}:{}", mounted.dir.display(), plain.display());
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))
        .context("cannot mount an overlay")?;
    let file = File::open(merged.join(FILE))?;
    mounted.tenant.run(|| expect_refused(&mounted.instance, &file, Errno::ELOOP, "a file of an overlay"))?;
    drop(file);
    umount(&merged)?;
    mounted.end()
}

/// N5 is about private devices. A device of the host is the host's to stack.
fn file_system_on_a_private_device_may_back_a_device_of_the_host(ctx: &Context) -> Result<()> {
    let mounted = Mounted::new(ctx, MsFlags::empty())?;
    let host = Host::new(ctx)?;
    let (_, node) = host.fresh()?;
    let top = LoopDevice::open(&node)?;
    top.set_fd(File::options().read(true).write(true).open(mounted.dir.join(FILE))?)?;
    top.write_at(b"three floors", 0)?;
    top.sync()?;
    ensure!(std::fs::read(mounted.dir.join(FILE))?.starts_with(b"three floors"));
    top.clear()?;
    drop(top);
    mounted.end()
}
