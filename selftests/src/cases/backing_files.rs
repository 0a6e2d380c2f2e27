//! SPEC N5: what a private device may be backed by.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount, umount},
    sys::{stat::SFlag, statfs::statfs},
    unistd::{chown, sync},
};

use super::host::Host;
use crate::{
    backing::{self, Backing},
    case,
    case::{Case, Context, Need, Who},
    expect, ext2, fuse,
    instance::{Instance, bind},
    loop_device::LoopDevice,
    nodes, process,
    tenant::{IdMap, Tenant},
    uapi::LO_FLAGS_READ_ONLY,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["N5", "H21"], node_of_an_instance_backs_no_private_device),
        case!(["N5", "H21"], change_of_the_backing_file_is_checked_as_well),
        case!(["N5"], device_cannot_back_itself),
        case!(["N5"], host_device_may_be_backed_by_a_private_one)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop]),
        case!(["N5", "H21"], device_of_the_host_in_between_is_seen_through)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop]),
        case!(["N5", "S5", "H27"], instance_is_no_layer_of_an_overlay).needing(&[Need::Loopfs, Need::Overlayfs]),
        case!(["N6"], writing_through_a_device_takes_no_reserved_blocks).only(&[Who::Root]).needing(&[
            Need::Loopfs,
            Need::Loop,
            Need::Ext4,
        ]),
        case!(["N5"], file_of_procfs_or_sysfs_is_einval),
        case!(["N5"], file_on_tmpfs_works),
        case!(["N5"], file_on_overlayfs_works).needing(&[Need::Loopfs, Need::Overlayfs]),
        case!(["N5"], file_on_ext4_of_the_host_works).only(&[Who::Root]).needing(&[
            Need::Loopfs,
            Need::Loop,
            Need::Ext4,
        ]),
        case!(["N5", "H22"], fuse_file_of_a_user_namespace_works)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Fuse]),
        case!(["N5", "H22"], fuse_file_below_an_overlay_works).only(&[Who::Root]).needing(&[
            Need::Loopfs,
            Need::Fuse,
            Need::Overlayfs,
        ]),
        case!(["N5", "H22"], fuse_file_of_an_ordinary_user_works)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Fuse]),
        case!(["N5", "T5"], fuse_file_of_the_initial_namespace_backs_no_device_of_a_tenant)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Fuse]),
        case!(["N5"], fuse_file_of_the_initial_namespace_works).only(&[Who::Root]).needing(&[Need::Loopfs, Need::Fuse]),
    ]
}

/// Binds what `open` gives to a fresh device in all three ways, and requires each to fail.
pub(super) fn expect_refused(instance: &Instance, file: &File, errno: Errno, what: &str) -> Result<()> {
    let number = instance.add()?;
    let device = instance.open(number)?;
    expect::errno(device.set_fd(file), errno, &format!("SET_FD of {what}"))?;
    expect::errno(device.configure_with_flags(file, 0), errno, &format!("CONFIGURE with {what}"))?;
    let read_only = device.configure_with_flags(file, LO_FLAGS_READ_ONLY);
    expect::errno(read_only, errno, &format!("read-only CONFIGURE with {what}"))?;
    expect::errno(device.status(), Errno::ENXIO, "status after a refusal")?;
    drop(device);
    instance.control()?.remove(number).context("a device refused a file cannot be removed")?;
    Ok(())
}

/// Writes through a device bound to `backing` and reads it back from the file.
fn expect_works(instance: &Instance, backing: &Backing) -> Result<()> {
    let number = instance.add_bound(backing)?;
    let device = instance.open(number)?;
    device.write_at(b"through the device", 4096)?;
    device.sync()?;
    ensure!(backing.read_at(18, 4096)? == b"through the device");
    device.clear()?;
    drop(device);
    instance.control()?.remove(number)?;
    Ok(())
}

/// N5: "A private device cannot be backed by a node of any instance (it would pin its own mount):
/// ELOOP." A bound one, an unbound one, a foreign one; not even behind a renamed or bind-mounted node.
fn node_of_an_instance_backs_no_private_device(ctx: &Context) -> Result<()> {
    let (own, other) = (Instance::new(ctx, "own")?, Instance::new(ctx, "other")?);
    let backing = Backing::new(&ctx.dir.join("file"))?;
    for (instance, whose) in [(&own, "its own"), (&other, "another")] {
        let (bound, idle) = (instance.add_bound(&backing)?, instance.add()?);
        for (number, state) in [(bound, "a bound device"), (idle, "an unbound device")] {
            let device = instance.open(number)?;
            expect_refused(&own, device.file(), Errno::ELOOP, &format!("{state} of {whose} instance"))?;
        }
        fs::rename(instance.node(bound), instance.path("renamed"))?;
        let renamed = LoopDevice::open(&instance.path("renamed"))?;
        expect_refused(&own, renamed.file(), Errno::ELOOP, "a renamed device")?;
        let elsewhere = ctx.dir.join(format!("elsewhere-{bound}"));
        File::create(&elsewhere)?;
        bind(&instance.path("renamed"), &elsewhere)?;
        let bound_node = LoopDevice::open(&elsewhere)?;
        expect_refused(&own, bound_node.file(), Errno::ELOOP, "a bind mount of a device")?;
    }
    Ok(())
}

/// N5: LOOP_CHANGE_FD is another way to get a backing file.
fn change_of_the_backing_file_is_checked_as_well(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let lower = instance.open(instance.add_bound(&backing)?)?;
    let device = instance.open(instance.add()?)?;
    device.configure_with_flags(&backing, LO_FLAGS_READ_ONLY)?;
    expect::errno(device.change_fd(&lower), Errno::ELOOP, "CHANGE_FD to a device of an instance")?;
    let same_size = Backing::new(&ctx.dir.join("same"))?;
    device.change_fd(&same_size).context("CHANGE_FD to a file is refused")?;
    Ok(())
}

/// N5, and what the stock driver says of a device that would back itself.
fn device_cannot_back_itself(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let device = instance.open(instance.add()?)?;
    expect::one_of(device.set_fd(&device), &[Errno::ELOOP, Errno::EBADF], "SET_FD of the device itself")
}

/// N5 is about private devices. A host device on top of one pins a mount that is not its own.
fn host_device_may_be_backed_by_a_private_one(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let instance = Instance::new(ctx, "loopfs")?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let lower = instance.open(instance.add_bound(&backing)?)?;
    let top = LoopDevice::open(Path::new(&format!("/dev/loop{}", host.control().add_any()?)))?;
    top.set_fd(&lower)?;
    top.write_at(b"two floors", 0)?;
    top.sync()?;
    lower.sync()?;
    ensure!(backing.read_at(10, 0)? == b"two floors");
    top.clear()?;
    Ok(())
}

/// N5: "(it would pin its own mount)". So it would through a device of the host in between; one that is
/// backed by a file is as good as any.
fn device_of_the_host_in_between_is_seen_through(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let instance = Instance::new(ctx, "loopfs")?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let lower = instance.open(instance.add_bound(&backing)?)?;
    let between = LoopDevice::open(Path::new(&format!("/dev/loop{}", host.control().add_any()?)))?;
    between.set_fd(&lower)?;
    expect_refused(&instance, between.file(), Errno::ELOOP, "a host device backed by a device of an instance")?;

    let other = LoopDevice::open(Path::new(&format!("/dev/loop{}", host.control().add_any()?)))?;
    other.set_fd(&backing)?;
    let device = instance.open(instance.add()?)?;
    device.set_fd(&other).context("a private device cannot be backed by a device of the host")?;
    device.clear()?;
    drop(device);
    other.clear()?;
    between.clear()?;
    Ok(())
}

/// N5 and H27: "it would pin its own mount". So would a file of an overlay with the instance as a layer,
/// whatever layer the file is on. An instance is therefore no layer.
fn instance_is_no_layer_of_an_overlay(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let plain = ctx.dir.join("plain");
    fs::create_dir(&plain)?;
    mount_overlay(&ctx.dir, &plain).context("overlays do not work at all")?;
    umount(&ctx.dir.join("merged"))?;
    let merged = ctx.dir.join("merged");
    let [upper, work] = ["upper", "work"].map(|name| ctx.dir.join(name).display().to_string());
    for lower in [instance.dir().display().to_string(), format!("{}:{}", plain.display(), instance.dir().display())] {
        let options = format!("userxattr,lowerdir={lower},upperdir={upper},workdir={work}");
        let mounted = mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()));
        expect::errno(mounted, Errno::EINVAL, &format!("an overlay over {lower}"))?;
    }
    let read_only = format!("userxattr,lowerdir={}:{}", instance.dir().display(), plain.display());
    let mounted = mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(read_only.as_str()));
    expect::errno(mounted, Errno::EINVAL, "a read-only overlay over an instance")
}

/// N6, "beyond its share": what a tenant writes through a device is written with the rights of whoever
/// opened the backing file. The blocks that ext4 reserves for root are not for a tenant.
fn writing_through_a_device_takes_no_reserved_blocks(ctx: &Context) -> Result<()> {
    const RESERVED: u32 = 400;
    // ext4 takes these from the reserve for anybody's data, once it has promised the room for that.
    const METADATA: u32 = 16;
    let host = Host::new(ctx)?;
    let dir = mount_ext4(ctx, &host, &ext2::image_with_reserve(RESERVED))?;
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    tenant.run(|| {
        let sparse = Backing::new(&dir.join("sparse"))?;
        let device = instance.open(instance.add_bound(&sparse)?)?;
        // The driver takes a short write to its file for a whole one, so an error is not certain.
        let filled = device.write_at(&vec![0x5a; usize::try_from(backing::SIZE)?], 0).and_then(|()| device.sync());
        if filled.is_err() {
            expect::one_of(filled, &[Errno::ENOSPC, Errno::EIO], "filling a file system through a device")?;
        }
        Ok(())
    })?;
    sync();
    let left = statfs(&dir)?.blocks_free();
    ensure!(left >= u64::from(RESERVED - METADATA), "{left} blocks are left of {RESERVED} reserved ones");
    tenant.kill()?;
    umount(&dir)?;
    Ok(())
}

/// Mounts the ext4 `image` from a device of the host, for the usual tenant to write to.
pub(super) fn mount_ext4(ctx: &Context, host: &Host<'_>, image: &[u8]) -> Result<PathBuf> {
    let backing = Backing::new(&ctx.dir.join("image"))?;
    backing.file().write_all_at(image, 0)?;
    let node = format!("/dev/loop{}", host.control().add_any()?);
    LoopDevice::open(Path::new(&node))?.set_fd(&backing)?;
    let dir = ctx.dir.join("ext4");
    fs::create_dir(&dir)?;
    mount(Some(node.as_str()), &dir, Some("ext4"), MsFlags::empty(), None::<&str>).context("cannot mount ext4")?;
    chown(&dir, Some(IdMap::USUAL.outside.into()), Some(IdMap::USUAL.outside.into()))?;
    Ok(dir)
}

/// Next to N5: what such a file reads depends on who reads it, and acct(2) refuses it for that, too.
fn file_of_procfs_or_sysfs_is_einval(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let size = format!("/sys/block/loop{}/size", instance.add()?);
    for path in ["/proc/version", &size] {
        expect_refused(&instance, &File::open(path)?, Errno::EINVAL, path)?;
    }
    Ok(())
}

/// N5: "A regular file on tmpfs, ... inside the owner works."
fn file_on_tmpfs_works(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    tenant.run(|| {
        let dir = tenant.dir().join("tmpfs");
        fs::create_dir(&dir)?;
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        expect_works(&instance, &Backing::new(&dir.join("file"))?)
    })
}

/// Mounts an overlay of `lower` at `merged` below `dir`, with a fresh upper layer.
fn mount_overlay(dir: &Path, lower: &Path) -> Result<PathBuf> {
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| dir.join(name));
    for dir in [&upper, &work, &merged] {
        fs::create_dir(dir)?;
    }
    let options =
        format!("userxattr,lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .context("cannot mount an overlay")?;
    Ok(merged)
}

/// N5: "A regular file on ... overlayfs inside the owner works." A new one and a lower one.
fn file_on_overlayfs_works(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    tenant.run(|| {
        let lower = tenant.dir().join("lower");
        fs::create_dir(&lower)?;
        fs::write(lower.join("lower"), vec![7; usize::try_from(backing::SIZE)?])?;
        let merged = mount_overlay(tenant.dir(), &lower)?;
        expect_works(&instance, &Backing::new(&merged.join("file"))?)?;

        let number = instance.add()?;
        let device = LoopDevice::open_read_only(&instance.node(number))?;
        device.set_fd(File::open(merged.join("lower"))?)?;
        ensure!(device.read_at(4096, 8192)? == [7; 4096]);
        Ok(())
    })
}

/// N5: "A regular file on ... ext4, ... inside the owner works." The host has mounted it for the tenant.
fn file_on_ext4_of_the_host_works(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let dir = mount_ext4(ctx, &host, &ext2::image())?;
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    tenant.run(|| expect_works(&instance, &Backing::with_size(&dir.join("file"), 64 * 1024)?))?;
    tenant.kill()?;
    umount(&dir)?;
    Ok(())
}

/// A node of `/dev/fuse` that a tenant may open.
fn fuse_device(ctx: &Context) -> Result<PathBuf> {
    nodes::make(ctx, "fuse", SFlag::S_IFCHR, 10, 229)
}

/// Writes through a device bound to the served file in `dir`, reads it back from there, and binds it read-only as well.
fn expect_served_file_works(instance: &Instance, dir: &Path) -> Result<()> {
    let open = || File::options().read(true).write(true).open(dir.join(fuse::FILE));
    let number = instance.add()?;
    let device = instance.open(number)?;
    device.set_fd(open()?).context("SET_FD of a FUSE file")?;
    device.write_at(b"through the device", 4096)?;
    device.sync()?;
    ensure!(fs::read(dir.join(fuse::FILE))?[4096..].starts_with(b"through the device"));
    device.clear()?;
    drop(device);

    let device = instance.open(number)?;
    device.configure_with_flags(File::open(dir.join(fuse::FILE))?, LO_FLAGS_READ_ONLY)?;
    device.change_fd(File::open(dir.join(fuse::FILE))?).context("CHANGE_FD to a FUSE file")?;
    ensure!(device.read_at(18, 4096)? == b"through the device");
    device.clear()?;
    drop(device);
    Ok(instance.control()?.remove(number)?)
}

/// N5: "and FUSE mounted by the tenant (rootless container storage) works". A server that does not answer is for T3.
fn fuse_file_of_a_user_namespace_works(ctx: &Context) -> Result<()> {
    let device = fuse_device(ctx)?;
    let tenant = Tenant::ordinary(ctx, "tenant")?;
    let instance = tenant.mount()?;
    let dir = tenant.dir().join("fuse");
    let server = tenant.hold(|| {
        fs::create_dir(&dir)?;
        fuse::serve(&device, &dir, 0)
    })?;
    tenant.run(|| expect_served_file_works(&instance, &dir))?;
    server.kill()
}

/// N5, where an overlay is between: what rootless containers have for images.
fn fuse_file_below_an_overlay_works(ctx: &Context) -> Result<()> {
    let device = fuse_device(ctx)?;
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    let dir = tenant.dir().join("fuse");
    let server = tenant.hold(|| {
        fs::create_dir(&dir)?;
        fuse::serve(&device, &dir, 0)
    })?;
    tenant.run(|| {
        // Not truncated, which the server does not know.
        File::options().write(true).open(dir.join(fuse::FILE))?.write_all_at(b"below the overlay", 0)?;
        let merged = mount_overlay(tenant.dir(), &dir)?;
        let device = instance.open(instance.add()?)?;
        device.configure_with_flags(File::open(merged.join(fuse::FILE))?, LO_FLAGS_READ_ONLY)?;
        ensure!(device.read_at(17, 0)? == b"below the overlay");
        Ok(device.clear()?)
    })?;
    server.kill()
}

/// N5, where an ordinary user of the host serves the file: the device is not trusted, whatever is behind it.
fn fuse_file_of_an_ordinary_user_works(ctx: &Context) -> Result<()> {
    let device = fuse_device(ctx)?;
    let dir = ctx.dir.join("fuse");
    fs::create_dir(&dir)?;
    let server = process::hold(|| fuse::serve(&device, &dir, 1000))?;
    process::run(|| expect_served_file_works(&Instance::new(ctx, "loopfs")?, &dir))?;
    server.kill()
}

/// T5: its server may wait for the device, and nothing that the owner of the device may do would end that.
fn fuse_file_of_the_initial_namespace_backs_no_device_of_a_tenant(ctx: &Context) -> Result<()> {
    let device = fuse_device(ctx)?;
    let dir = ctx.dir.join("fuse");
    fs::create_dir(&dir)?;
    let server = process::hold(|| fuse::serve(&device, &dir, 1000))?;
    let tenant = Tenant::ordinary(ctx, "tenant")?;
    let instance = tenant.mount()?;
    tenant.run(|| {
        let file = File::options().read(true).write(true).open(dir.join(fuse::FILE))?;
        expect_refused(&instance, &file, Errno::EPERM, "a FUSE file of the initial namespace")
    })?;
    tenant.kill()?;
    server.kill()
}

/// N5, where root of the host serves it.
fn fuse_file_of_the_initial_namespace_works(ctx: &Context) -> Result<()> {
    let device = fuse_device(ctx)?;
    let dir = ctx.dir.join("fuse");
    fs::create_dir(&dir)?;
    process::run(|| {
        let server = process::hold(|| fuse::serve(&device, &dir, 0))?;
        let instance = Instance::new(ctx, "loopfs")?;
        let number = instance.add()?;
        let opened = instance.open(number)?;
        opened.set_fd(File::options().read(true).write(true).open(dir.join(fuse::FILE))?)?;
        opened.write_at(b"served", 0)?;
        opened.sync()?;
        ensure!(fs::read(dir.join(fuse::FILE))?.starts_with(b"served"));
        opened.clear()?;
        drop(opened);
        instance.umount()?;
        server.release()
    })
}
