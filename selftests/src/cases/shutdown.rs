//! SPEC S1, S3 and S4: the end of an instance whose devices nobody else holds.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use crate::{
    backing::{self, Backing},
    block, case,
    case::{Case, Context, Who, skip},
    expect,
    fs_context::FsContext,
    instance::{Detached, Instance},
    process,
    tenant::Tenant,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["S1", "H2", "H3"], umount_removes_idle_and_bound_devices),
        case!(["S1"], umount_below_an_open_device_is_ebusy),
        case!(["S1"], detached_mount_lasts_until_the_last_close),
        case!(["S1"], exit_of_the_last_process_of_a_mount_namespace_removes_devices),
        case!(["S1"], kill_of_the_last_process_of_a_mount_namespace_removes_devices),
        case!(["S1", "M7"], close_of_a_detached_instance_removes_devices),
        case!(["S1", "M7"], kill_of_the_holder_of_a_detached_instance_removes_devices),
        case!(["S1"], umount_of_an_empty_instance_leaves_nothing),
        case!(["S1"], instance_dies_with_a_failed_mount),
        case!(["S3"], synced_data_is_in_the_backing_file),
        case!(["S3"], dirty_data_is_written_back_by_the_shutdown),
        case!(["S4", "H3"], umount_of_many_devices_is_batched).only(&[Who::Root]).patient(3),
    ]
}

/// A tmpfs of its own for backing files: it can be unmounted once they are released.
struct Store {
    dir: PathBuf,
}

impl Store {
    fn new(dir: &Path) -> Result<Self> {
        fs::create_dir(dir)?;
        mount(Some("store"), dir, Some("tmpfs"), MsFlags::empty(), None::<&str>).context("no tmpfs")?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn backing(&self, name: &str) -> Result<Backing> {
        Backing::new(&self.dir.join(name))
    }

    /// "its backing file released": nothing keeps the tmpfs of the files in use.
    fn expect_released(&self) -> Result<()> {
        umount2(&self.dir, MntFlags::empty()).context("a backing file is not released")
    }
}

fn expect_gone(numbers: &[u32]) -> Result<()> {
    let left: Vec<_> = numbers.iter().filter(|&&number| block::exists(number)).collect();
    ensure!(left.is_empty(), "still in /sys/block: {left:?}");
    Ok(())
}

/// S1: "When the last user of the superblock goes (umount, ...), every device not open elsewhere,
/// bound or not, is cleared, its backing file released, and is gone from `/sys/block` when the
/// call that dropped the last reference returns."
fn umount_removes_idle_and_bound_devices(ctx: &Context) -> Result<()> {
    let store = Store::new(&ctx.dir.join("store"))?;
    let instance = Instance::new(ctx, "loopfs")?;
    let mut made = vec![instance.add()?];
    for name in ["a", "b"] {
        made.push(instance.add_bound(&store.backing(name)?)?);
    }
    made.push(instance.add()?);
    expect::errno(umount2(&store.dir, MntFlags::empty()), Errno::EBUSY, "umount below bound files")?;
    instance.umount()?;
    expect_gone(&made)?;
    store.expect_released()
}

/// S1: an open device is a user of the superblock, as is any open file of a file system.
fn umount_below_an_open_device_is_ebusy(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let device = instance.open(number)?;
    expect::errno(instance.umount(), Errno::EBUSY, "umount below an open device")?;
    instance.expect_devices(&[number])?;
    drop(device);
    instance.umount()?;
    expect_gone(&[number])
}

/// S1: "MNT_DETACH and last close". Until then the open device works and the others stay too.
fn detached_mount_lasts_until_the_last_close(ctx: &Context) -> Result<()> {
    let store = Store::new(&ctx.dir.join("store"))?;
    let instance = Instance::new(ctx, "loopfs")?;
    let backing = store.backing("a")?;
    let (bound, idle) = (instance.add_bound(&backing)?, instance.add()?);
    let device = instance.open(bound)?;
    instance.detach()?;
    device.write_at(b"detached", 0)?;
    device.sync()?;
    ensure!(backing.read_at(8, 0)? == b"detached");
    ensure!(block::exists(bound) && block::exists(idle));
    drop(device);
    expect_gone(&[bound, idle])?;
    drop(backing);
    store.expect_released()
}

/// S1: "exit ... of the last process in the mount namespace".
fn exit_of_the_last_process_of_a_mount_namespace_removes_devices(ctx: &Context) -> Result<()> {
    let made: Vec<u32> = process::run(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let instance = Instance::new(ctx, "loopfs")?;
        let bound = instance.add_bound(&Backing::new(&ctx.dir.join("file"))?)?;
        Ok(vec![bound, instance.add()?])
    })?;
    expect_gone(&made)?;

    let tenant = Tenant::new(ctx, "tenant")?;
    let made = fill(&tenant)?;
    tenant.exit()?;
    expect_gone(&made)
}

/// S1: "or kill".
fn kill_of_the_last_process_of_a_mount_namespace_removes_devices(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let made = fill(&tenant)?;
    tenant.kill()?;
    expect_gone(&made)?;

    // The process may be in the middle of using a device.
    let (reader, writer) = std::io::pipe()?;
    let busy = process::start::<()>(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let instance = Instance::new(ctx, "loopfs")?;
        let number = instance.add_bound(&Backing::new(&ctx.dir.join("file"))?)?;
        let device = instance.open(number)?;
        (&writer).write_all(&number.to_le_bytes())?;
        loop {
            device.write_at(&[0x5a; 64 * 1024], 0)?;
            device.sync()?;
        }
    })?;
    let mut number = [0; 4];
    (&reader).read_exact(&mut number)?;
    busy.kill()?;
    expect_gone(&[u32::from_le_bytes(number)])
}

/// An instance in `tenant` with an idle and a bound device.
fn fill(tenant: &Tenant) -> Result<Vec<u32>> {
    let instance = tenant.mount()?;
    tenant.run(|| {
        let bound = instance.add_bound(&Backing::new(&tenant.dir().join("file"))?)?;
        Ok(vec![bound, instance.add()?])
    })
}

/// S1: "close of a detached mount's descriptor".
fn close_of_a_detached_instance_removes_devices(ctx: &Context) -> Result<()> {
    let store = Store::new(&ctx.dir.join("store"))?;
    let detached = Detached::new()?;
    let instance = detached.instance();
    let made = [instance.add_bound(&store.backing("a")?)?, instance.add()?];
    let copy = detached.mount().try_clone()?;
    drop(detached);
    ensure!(block::exists(made[0]), "an instance dies although a descriptor of it is left");
    drop(copy);
    expect_gone(&made)?;
    store.expect_released()
}

/// S1 and M7: an instance nobody can forget to unmount. Not even SIGKILL leaves anything.
fn kill_of_the_holder_of_a_detached_instance_removes_devices(ctx: &Context) -> Result<()> {
    let store = Store::new(&ctx.dir.join("store"))?;
    let before = block::loop_devices()?;
    let holder = process::hold(|| {
        let detached = Detached::new()?;
        let instance = detached.instance();
        let bound = instance.add_bound(&store.backing("a")?)?;
        instance.add()?;
        let open = instance.open(bound)?;
        Ok((detached, open))
    })?;
    let made: Vec<u32> = block::loop_devices()?.difference(&before).copied().collect();
    ensure!(made.len() == 2, "the holder made {made:?}");
    holder.kill()?;
    expect_gone(&made)?;
    store.expect_released()
}

/// S1, where there is nothing to remove; and again at the same place.
fn umount_of_an_empty_instance_leaves_nothing(ctx: &Context) -> Result<()> {
    let before = block::loop_devices()?;
    let dir = ctx.dir.join("loopfs");
    fs::create_dir(&dir)?;
    for _ in 0..10 {
        Instance::mount(&dir)?.umount()?;
        drop(Detached::new()?);
    }
    ensure!(block::loop_devices()? == before);
    Ok(())
}

/// S1: a superblock that was made and never became a mount goes with its context. The 2020 series
/// leaked it or crashed (HISTORY 1.6 e, l).
fn instance_dies_with_a_failed_mount(ctx: &Context) -> Result<()> {
    for _ in 0..10 {
        let context = FsContext::open(c"loop")?;
        context.set("max", "3")?;
        context.create()?;
        drop(context);
        drop(FsContext::open(c"loop")?);
        let missing = Instance::mount(&ctx.dir.join("missing"));
        expect::errno(missing, Errno::ENOENT, "mount on nothing")?;
    }
    Ok(())
}

/// S3: "Data written and synced before shutdown is in the backing file".
fn synced_data_is_in_the_backing_file(ctx: &Context) -> Result<()> {
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&backing)?;
    let device = instance.open(number)?;
    device.write_at(b"synced", 12_345)?;
    device.sync()?;
    instance.detach()?;
    drop(device);
    ensure!(backing.read_at(6, 12_345)? == b"synced");
    Ok(())
}

/// S3: "dirty data is written back by the clearing as for a host device." All of it, by umount, by
/// the last close, and by a kill.
fn dirty_data_is_written_back_by_the_shutdown(ctx: &Context) -> Result<()> {
    let pattern: Vec<u8> = (0..backing::SIZE).map(|at| (at / 512) as u8 ^ 0xa5).collect();
    let instance = Instance::new(ctx, "loopfs")?;
    let by_umount = Backing::new(&ctx.dir.join("umount"))?;
    let number = instance.add_bound(&by_umount)?;
    instance.open(number)?.write_at(&pattern, 0)?;
    instance.umount()?;
    ensure!(by_umount.read_at(pattern.len(), 0)? == pattern, "umount loses dirty data");

    let by_close = Backing::new(&ctx.dir.join("close"))?;
    let instance = Instance::mount(instance.dir())?;
    let number = instance.add_bound(&by_close)?;
    let device = instance.open(number)?;
    instance.detach()?;
    device.write_at(&pattern, 0)?;
    drop(device);
    ensure!(by_close.read_at(pattern.len(), 0)? == pattern, "the last close loses dirty data");

    let by_kill = Backing::new(&ctx.dir.join("kill"))?;
    process::hold(|| {
        let detached = Detached::new()?;
        let number = detached.instance().add_bound(&by_kill)?;
        let device = detached.instance().open(number)?;
        device.write_at(&pattern, 0)?;
        Ok((detached, device))
    })?
    .kill()?;
    ensure!(by_kill.read_at(pattern.len(), 0)? == pattern, "a kill loses dirty data");
    Ok(())
}

/// S4: "umount of 255 bound devices costs a small multiple of one, not 255 times one". How small is
/// measured by the bench, in instructions; here a coarse bound that serial removal cannot meet.
fn umount_of_many_devices_is_batched(ctx: &Context) -> Result<()> {
    const MANY: u32 = 64;
    if Path::new("/sys/kernel/debug/kmemleak").exists() {
        return skip("the checks of this kernel take longer than the waiting that is shared");
    }
    let dir = ctx.dir.join("loopfs");
    fs::create_dir(&dir)?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let umount_of = |count: u32| -> Result<Duration> {
        let instance = Instance::mount(&dir)?;
        let made: Vec<u32> = (0..count).map(|_| instance.add_bound(&backing)).collect::<nix::Result<_>>()?;
        let start = Instant::now();
        instance.umount()?;
        let took = start.elapsed();
        expect_gone(&made)?;
        Ok(took)
    };
    // A busy machine makes some of them slow: the middle one and the fastest are what can be compared.
    let times = |count| {
        let mut times = (0..3).map(|_| umount_of(count)).collect::<Result<Vec<_>>>()?;
        times.sort_unstable();
        anyhow::Ok(times)
    };
    let (one, many) = (times(1)?[1], times(MANY)?[0]);
    println!("umount of 1 device took {one:?}, of {MANY} {many:?}");
    ensure!(many < one * (MANY / 4), "umount of {MANY} devices takes {many:?}, of one {one:?}");
    Ok(())
}
