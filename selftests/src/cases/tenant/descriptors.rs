//! SPEC T1: a descriptor gives through a device no more than by itself.

use std::{
    fs::{self, File, Permissions},
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    libc,
    mount::{MsFlags, mount, umount},
    sys::{
        resource::{Resource, setrlimit},
        statfs::statfs,
    },
    unistd::{chown, sync},
};

use super::super::{
    backing_files::{expect_refused, mount_ext4},
    host::Host,
};
use crate::{
    backing::{self, Backing},
    case,
    case::{Case, Context, Need, Who},
    expect, ext2,
    instance::Instance,
    loop_device::LoopDevice,
    memfd, swap,
    tenant::{ORDINARY_USER, Tenant},
    uapi::LO_FLAGS_READ_ONLY,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    const EXT4: &[Need] = &[Need::Loopfs, Need::Loop, Need::Ext4];
    let cases = vec![
        case!(["T1"], write_only_descriptor_backs_no_device),
        case!(["T1"], descriptor_for_appending_backs_no_writable_device),
        case!(["T1"], device_on_a_read_only_descriptor_writes_nothing_whatever_is_set),
        case!(["T1"], append_only_file_loses_nothing_through_a_device).needing(EXT4),
        case!(["T1"], immutable_file_changes_through_no_device).needing(EXT4),
        case!(["T1"], discard_through_a_device_waits_for_a_frozen_file_system).needing(EXT4),
        case!(["T1"], writing_through_a_device_clears_set_id_bits),
        case!(["T1"], swap_area_changes_through_no_device).needing(&[Need::Loopfs, Need::Loop, Need::Swap]),
        case!(["T1"], sealed_memory_changes_through_no_device).needing(&[Need::Loopfs, Need::Memfd]),
        case!(["T1"], secret_memory_backs_no_device).needing(&[Need::Loopfs, Need::Secretmem]),
        case!(["T1"], descriptor_of_root_gives_a_tenant_no_reserved_blocks).needing(EXT4),
        case!(["T1"], descriptor_of_root_takes_a_tenant_past_no_quota).needing(&[Need::Loopfs, Need::TmpfsQuota]),
        case!(["T1"], size_limit_of_the_binder_holds_for_its_device),
        Case::new("host_device_takes_no_write_only_descriptor", &["host", "T1"], host_write_only)
            .needing(&[Need::Loop]),
        Case::new("host_device_takes_no_descriptor_for_appending", &["host", "T1"], host_appending)
            .needing(&[Need::Loop]),
        Case::new("host_discard_waits_for_a_frozen_file_system", &["host", "T1"], host_frozen)
            .needing(&[Need::Loop, Need::Ext4]),
    ];
    cases.into_iter().map(|case| case.only(&[Who::Root]).patient(2)).collect()
}

/// Requires LOOP_CHANGE_FD to `file` to fail with `errno`.
fn expect_no_change(instance: &Instance, good: &Backing, file: &File, errno: Errno, what: &str) -> Result<()> {
    let number = instance.add()?;
    let device = instance.open(number)?;
    device.configure_with_flags(good, LO_FLAGS_READ_ONLY)?;
    expect::errno(device.change_fd(file), errno, &format!("CHANGE_FD to {what}"))?;
    device.clear()?;
    drop(device);
    Ok(instance.control()?.remove(number)?)
}

/// Writes and discards all over the first 8 KiB of `device`. What each call says differs between file systems; what
/// counts is the file, which the caller looks at.
fn attack(device: &LoopDevice) {
    let _ = device.write_at(&[0xff; 4096], 0).and_then(|()| device.sync());
    let _ = device.discard(0, 8192);
    let _ = device.zero_out(0, 8192);
    let _ = device.sync();
}

/// Clears `device`. That tells of writes that have failed, as those of an attack are to.
fn end(device: &LoopDevice) {
    let _ = device.clear();
}

/// What the files of these cases hold.
fn content() -> Vec<u8> {
    vec![b's'; usize::try_from(backing::SIZE).expect("a small number")]
}

fn expect_content(path: &Path, what: &str) -> Result<()> {
    let found = fs::read(path)?;
    let differs = found.iter().zip(content()).position(|(found, written)| *found != written);
    ensure!(differs.is_none() && found.len() == content().len(), "{what} differs from byte {differs:?} on");
    Ok(())
}

/// T1: "Not open for reading: EBADF." An application whose log root has opened for it, and a drop box.
fn write_only_descriptor_backs_no_device(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let (log, box_) = (ctx.dir.join("log"), ctx.dir.join("box"));
    for (path, mode) in [(&log, 0o600), (&box_, 0o622)] {
        fs::write(path, content())?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    let log_of_root = File::options().write(true).open(&log)?;
    let appended_by_root = File::options().append(true).open(&log)?;
    tenant.run(|| {
        expect::errno(File::open(&log), Errno::EACCES, "open of the log by the tenant")?;
        expect::errno(File::open(&box_), Errno::EACCES, "open of the drop box by the tenant")?;
        let good = Backing::new(&tenant.dir().join("good"))?;
        let own = File::options().write(true).open(&box_).context("the tenant cannot write to the drop box")?;
        for (file, what) in [
            (&log_of_root, "a descriptor for writing"),
            (&own, "a drop box"),
            (&appended_by_root, "a descriptor for appending, not reading"),
        ] {
            expect_refused(&instance, file, Errno::EBADF, what)?;
            expect_no_change(&instance, &good, file, Errno::EBADF, what)?;
        }
        Ok(())
    })
}

/// T1: "Open for writing with O_APPEND: EINVAL." A device writes in place. Without writing it is good.
fn descriptor_for_appending_backs_no_writable_device(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    tenant.run(|| {
        let good = Backing::new(&tenant.dir().join("good"))?;
        let path = tenant.dir().join("log");
        fs::write(&path, content())?;
        let appending = File::options().read(true).append(true).open(&path)?;
        expect_refused(&instance, &appending, Errno::EINVAL, "a descriptor for appending")?;
        expect_no_change(&instance, &good, &appending, Errno::EINVAL, "a descriptor for appending")?;

        let reading = File::options().read(true).custom_flags(libc::O_APPEND).open(&path)?;
        let device = instance.open(instance.add()?)?;
        device.set_fd(&reading).context("a descriptor for reading with O_APPEND is refused")?;
        ensure!(device.read_at(1, 0)? == b"s");
        device.clear()?;
        Ok(())
    })
}

/// T1: "no more than by itself". The owner may set its device writable (N1), the file behind it not.
fn device_on_a_read_only_descriptor_writes_nothing_whatever_is_set(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = ctx.dir.join("library");
    fs::write(&path, content())?;
    tenant.run(|| {
        let number = instance.add()?;
        let device = instance.open(number)?;
        device.set_fd(File::open(&path)?)?;
        let set = device.set_read_only(false);
        let writable = instance.open(number).context("the device does not open for writing")?;
        attack(&writable);
        expect_content(&path, "a file that the tenant may only read")?;
        end(&device);
        set.context("BLKROSET by the owner")
    })
}

mod ioctl {
    use nix::libc::{c_int, c_long};

    nix::ioctl_write_ptr!(set_flags, b'f', 2, c_long);
    nix::ioctl_readwrite!(freeze, b'X', 119, c_int);
    nix::ioctl_readwrite!(thaw, b'X', 120, c_int);
}

/// What `chattr +i` sets.
const IMMUTABLE: libc::c_long = 0x10;
/// What `chattr +a` sets.
const APPEND_ONLY: libc::c_long = 0x20;

/// Sets the flags of an inode, as `chattr` does; cleared when dropped.
struct Flagged<'file>(&'file File);

impl<'file> Flagged<'file> {
    fn set(file: &'file File, flags: libc::c_long) -> Result<Self> {
        // SAFETY: The argument is a valid long that the kernel only reads.
        unsafe { ioctl::set_flags(file.as_raw_fd(), &flags) }.context("cannot set the flags of a file")?;
        Ok(Self(file))
    }
}

impl Drop for Flagged<'_> {
    fn drop(&mut self) {
        // SAFETY: The argument is a valid long that the kernel only reads.
        let _ = unsafe { ioctl::set_flags(self.0.as_raw_fd(), &0) };
    }
}

/// T1: "respect ... append-only ... files". What is there already cannot be discarded, and no descriptor that can back
/// a writable device can be had.
fn append_only_file_loses_nothing_through_a_device(ctx: &Context) -> Result<()> {
    flagged_file(ctx, APPEND_ONLY, |file, path, instance| {
        let number = instance.add()?;
        let device = instance.open(number)?;
        expect::errno(
            File::options().read(true).write(true).open(path),
            Errno::EPERM,
            "open of an append-only file for writing",
        )?;
        let appending = File::options().read(true).append(true).open(path)?;
        expect::errno(device.set_fd(&appending), Errno::EINVAL, "SET_FD of an append-only file")?;
        // Opened before the flag was set, the descriptor may still write, but fallocate(2) refuses it.
        let device = instance.open(instance.add()?)?;
        device.set_fd(file)?;
        let _ = device.discard(0, 8192);
        end(&device);
        Ok(())
    })
}

/// T1: "respect immutable ... files". Not even where the descriptor was opened before the flag was set.
fn immutable_file_changes_through_no_device(ctx: &Context) -> Result<()> {
    flagged_file(ctx, IMMUTABLE, |file, _, instance| {
        let device = instance.open(instance.add()?)?;
        device.set_fd(file)?;
        attack(&device);
        end(&device);
        Ok(())
    })
}

/// A file on the host's ext4 that the tenant may write, until the host sets `flags`. `act` is the tenant's, with the
/// descriptor it opened before; the file has to be the same afterwards.
fn flagged_file(ctx: &Context, flags: libc::c_long, act: fn(&File, &Path, &Instance) -> Result<()>) -> Result<()> {
    let host = Host::new(ctx)?;
    let dir = mount_ext4(ctx, &host, &ext2::image())?;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = dir.join("file");
    let content = &content()[..128 * 1024];
    fs::write(&path, content)?;
    chown(&path, Some(ORDINARY_USER.into()), Some(ORDINARY_USER.into()))?;
    let of_tenant: File = tenant.descriptor(|| Ok(File::options().read(true).write(true).open(&path)?.into()))?.into();
    sync();

    let of_host = File::open(&path)?;
    let flagged = Flagged::set(&of_host, flags)?;
    let acted = tenant.run(|| act(&of_tenant, &path, &instance));
    drop(flagged);
    let found = fs::read(&path)?;
    drop((of_tenant, of_host));
    tenant.kill()?;
    umount(&dir)?;
    acted?;
    ensure!(found == content, "the file has changed");
    Ok(())
}

/// A frozen file system, thawed when dropped.
struct Frozen(File);

impl Frozen {
    fn new(dir: &Path) -> Result<Self> {
        let root = File::open(dir)?;
        // SAFETY: The kernel reads no argument.
        unsafe { ioctl::freeze(root.as_raw_fd(), &mut 0) }.context("cannot freeze")?;
        Ok(Self(root))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: The kernel reads no argument.
        let _ = unsafe { ioctl::thaw(self.0.as_raw_fd(), &mut 0) };
    }
}

/// How long something that waits is watched to do so.
const WATCHED: Duration = Duration::from_millis(1500);
/// How long what may go on can take on a slow machine.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// T1: "Writes, discards and zeroing through the device wait for a frozen file system". A snapshot is being taken of it.
fn discard_through_a_device_waits_for_a_frozen_file_system(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let dir = mount_ext4(ctx, &host, &ext2::image())?;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = dir.join("file");
    let number = tenant.run(|| {
        fs::write(&path, vec![7; 512 * 1024])?;
        let file = File::options().read(true).write(true).open(&path)?;
        file.sync_all()?;
        let number = instance.add()?;
        instance.open(number)?.set_fd(&file)?;
        Ok(number)
    })?;
    let node = instance.node(number);
    let waited = frozen(&dir, &path, |body| tenant.start(|| body(&LoopDevice::open(&node)?)));
    tenant.kill()?;
    umount(&dir)?;
    waited
}

/// The same of a device of the host.
fn host_frozen(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let dir = mount_ext4(ctx, &host, &ext2::image())?;
    let path = dir.join("file");
    fs::write(&path, vec![7; 512 * 1024])?;
    let (_, node) = host.fresh()?;
    {
        let file = File::options().read(true).write(true).open(&path)?;
        file.sync_all()?;
        LoopDevice::open(&node)?.set_fd(&file)?;
    }
    let waited = frozen(&dir, &path, |body| crate::process::start(|| body(&LoopDevice::open(&node)?)));
    LoopDevice::open(&node)?.clear()?;
    umount(&dir)?;
    waited
}

/// Freezes the file system at `dir`, and requires the discard that `start` starts to wait until that is over.
fn frozen(
    dir: &Path,
    path: &Path,
    start: impl Fn(fn(&LoopDevice) -> Result<()>) -> Result<crate::process::Started<()>>,
) -> Result<()> {
    let before = fs::metadata(path)?.blocks();
    ensure!(before >= 1024, "the file has {before} blocks: there is nothing to discard");
    let frozen = Frozen::new(dir)?;
    let discard = start(|device| Ok(device.discard(128 * 1024, 256 * 1024)?))?;
    let discard_waits = !discard.ends_within(WATCHED)?;
    let meanwhile = fs::metadata(path)?.blocks();
    // Not before: requests are worked on one after the other, and the discard would wait behind the write.
    let write = start(|device| Ok(device.write_at(&[8; 4096], 0).and_then(|()| device.sync())?))?;
    let waits = discard_waits && !write.ends_within(WATCHED)?;
    drop(frozen);
    ensure!(discard.ends_within(AFTERWARDS)?, "the discard still waits when the file system is thawed");
    discard.join().context("the discard fails")?;
    ensure!(write.ends_within(AFTERWARDS)?, "the write still waits when the file system is thawed");
    write.join().context("the write fails")?;
    ensure!(meanwhile == before, "a frozen file lost {} blocks", before - meanwhile);
    ensure!(waits, "the discard or the write does not wait");
    ensure!(fs::metadata(path)?.blocks() < before, "the discard did nothing");
    Ok(())
}

/// T1: "the clearing of set-id bits, as if the binder had called write(2)". Root has opened the file.
fn writing_through_a_device_clears_set_id_bits(ctx: &Context) -> Result<()> {
    const SET_ID: u32 = 0o6777;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let prepare = |name: &str| -> Result<Backing> {
        let backing = Backing::new(&ctx.dir.join(name))?;
        fs::set_permissions(backing.path(), Permissions::from_mode(SET_ID))?;
        Ok(backing)
    };
    let (written, through, discarded) = (prepare("written")?, prepare("through")?, prepare("discarded")?);
    tenant.run(|| {
        written.file().write_all_at(b"x", 0)?;
        let device = instance.open(instance.add_bound(&through)?)?;
        device.write_at(&[1; 4096], 0)?;
        device.sync()?;
        device.clear()?;
        drop(device);
        let device = instance.open(instance.add_bound(&discarded)?)?;
        device.discard(0, 4096)?;
        device.clear()?;
        Ok(())
    })?;
    for (backing, how) in [(&written, "write(2)"), (&through, "a write through a device")] {
        let mode = fs::metadata(backing.path())?.mode() & 0o7777;
        ensure!(mode == 0o777, "{how} by a tenant leaves mode {mode:o}");
    }
    Ok(())
}

/// T1: "respect ... swap files". A device that the host swaps to, of which the tenant was given a descriptor. Only writes: what
/// fallocate(2) does to a block device it does to one with swap on it too, and so the descriptor by itself gives that.
fn swap_area_changes_through_no_device(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let (_, node) = host.fresh()?;
    let backing = host.backing("swap")?;
    swap::format(&backing)?;
    LoopDevice::open(&node)?.set_fd(&backing)?;
    let header = backing.read_at(4096, 0)?;
    let area = File::options().read(true).write(true).open(&node)?;
    let swap = swap::Swap::on(&node)?;
    tenant.run(|| {
        let device = instance.open(instance.add()?)?;
        if device.set_fd(&area).is_ok() {
            let written = device.write_at(&[0xff; 4096], 0).and_then(|()| device.sync());
            ensure!(written.is_err(), "a write to a swap area works");
            end(&device);
        }
        Ok(())
    })?;
    swap.off()?;
    drop(area);
    LoopDevice::open(&node)?.sync()?;
    ensure!(backing.read_at(4096, 0)? == header, "a tenant has changed an area that the host swaps to");
    LoopDevice::open(&node)?.clear()?;
    Ok(())
}

/// T1: "respect ... sealed ... files".
fn sealed_memory_changes_through_no_device(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let file = memfd::sealable("sealed")?;
    file.write_all_at(&content(), 0)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW))?;
    tenant.run(|| {
        let device = instance.open(instance.add()?)?;
        device.set_fd(&file)?;
        attack(&device);
        let mut found = vec![0; content().len()];
        file.read_exact_at(&mut found, 0)?;
        ensure!(found == content(), "sealed memory has changed");
        end(&device);
        Ok(())
    })
}

/// T1: what can only be mapped is read by no device.
fn secret_memory_backs_no_device(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    tenant.run(|| {
        let file = memfd::secret()?;
        file.set_len(backing::SIZE)?;
        expect_refused(&instance, &file, Errno::EINVAL, "secret memory")
    })
}

/// A sparse file in `dir` that root has opened, after the tenant has written all over it through a device. How much got
/// there is for the caller to see.
fn filled_through_a_device(tenant: &Tenant, instance: &Instance, dir: &Path) -> Result<Backing> {
    let sparse = Backing::new(&dir.join("sparse"))?;
    chown(sparse.path(), Some(ORDINARY_USER.into()), Some(ORDINARY_USER.into()))?;
    tenant.run(|| {
        let device = instance.open(instance.add_bound(&sparse)?)?;
        let _ = device.write_at(&content(), 0).and_then(|()| device.sync());
        end(&device);
        Ok(())
    })?;
    Ok(sparse)
}

/// T1: "respect ... reserved blocks ... as if the binder had called write(2)". A manager that is root has opened the image.
fn descriptor_of_root_gives_a_tenant_no_reserved_blocks(ctx: &Context) -> Result<()> {
    const RESERVED: u32 = 400;
    // ext4 takes these from the reserve for anybody's data, once it has promised the room for that.
    const METADATA: u32 = 16;
    let host = Host::new(ctx)?;
    let dir = mount_ext4(ctx, &host, &ext2::image_with_reserve(RESERVED))?;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let sparse = filled_through_a_device(&tenant, &instance, &dir)?;
    sync();
    let left = statfs(&dir)?.blocks_free();
    let written = fs::metadata(sparse.path())?.blocks();
    drop(sparse);
    tenant.kill()?;
    umount(&dir)?;
    ensure!(written > 200, "the tenant has written {written} blocks: the file system was not full");
    ensure!(left >= u64::from(RESERVED - METADATA), "{left} blocks are left of {RESERVED} reserved ones");
    Ok(())
}

/// T1: "respect ... quotas ... as if the binder had called write(2)". Root has opened the file, and is bound by none.
fn descriptor_of_root_takes_a_tenant_past_no_quota(ctx: &Context) -> Result<()> {
    const QUOTA: u64 = 256 * 1024;
    let dir = ctx.dir.join("quota");
    fs::create_dir(&dir)?;
    let options = format!("mode=1777,usrquota,usrquota_block_hardlimit={QUOTA}");
    mount(Some("quota"), &dir, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .context("cannot mount a tmpfs with quotas")?;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let sparse = filled_through_a_device(&tenant, &instance, &dir)?;
    let used = fs::metadata(sparse.path())?.blocks() * 512;
    ensure!(used >= QUOTA / 4, "the tenant has written {used} bytes: it did not come to its quota");
    ensure!(used <= QUOTA, "a tenant has {used} bytes with a quota of {QUOTA}");
    tenant.run(|| {
        let written = sparse.file().write_all_at(&content(), 0);
        expect::errno(written, Errno::EDQUOT, "write(2) by the tenant")
    })
}

/// T1: "respect ... size limits ... as if the binder had called write(2)". The limit is the binder's, whoever writes.
fn size_limit_of_the_binder_holds_for_its_device(ctx: &Context) -> Result<()> {
    const LIMIT: u64 = 64 * 1024;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    let number = tenant.run(|| {
        let backing = Backing::new(&path)?;
        setrlimit(Resource::RLIMIT_FSIZE, LIMIT, LIMIT)?;
        Ok(instance.add_bound(&backing)?)
    })?;
    tenant.run(|| {
        let device = instance.open(number)?;
        device.write_at(&[1; 4096], 0)?;
        device.sync().context("a write below the limit")?;
        let beyond = device.write_at(&[1; 4096], 2 * LIMIT).and_then(|()| device.sync());
        end(&device);
        drop(device);
        let found = fs::read(&path)?;
        ensure!(found[0] == 1, "a write below the limit is lost");
        ensure!(found[usize::try_from(LIMIT)?..].iter().all(|&byte| byte == 0), "the file is written beyond the limit");
        ensure!(beyond.is_err(), "a write beyond the limit is lost without an error");
        Ok(())
    })
}

/// A device of the host refuses `open` of its folder with `errno`.
fn host_refuses(ctx: &Context, options: &File, errno: Errno, what: &str) -> Result<()> {
    let host = Host::new(ctx)?;
    let (number, node) = host.fresh()?;
    let device = LoopDevice::open(&node)?;
    expect::errno(device.set_fd(options), errno, &format!("SET_FD with {what}"))?;
    let good = host.backing("good")?;
    device.configure_with_flags(&good, LO_FLAGS_READ_ONLY)?;
    expect::errno(device.change_fd(options), errno, &format!("CHANGE_FD to {what}"))?;
    device.clear()?;
    drop(device);
    Ok(host.control().remove(number)?)
}

/// The fault of the stock driver behind T1: it reads files that are not open for reading.
fn host_write_only(ctx: &Context) -> Result<()> {
    let path = ctx.dir.join("log");
    fs::write(&path, content())?;
    host_refuses(ctx, &File::options().write(true).open(&path)?, Errno::EBADF, "a descriptor for writing")
}

/// The same: it writes in place to files that are open for appending.
fn host_appending(ctx: &Context) -> Result<()> {
    let path = ctx.dir.join("log");
    fs::write(&path, content())?;
    host_refuses(
        ctx,
        &File::options().read(true).append(true).open(&path)?,
        Errno::EINVAL,
        "a descriptor for appending",
    )
}
