//! SPEC T3, T4 and T10: a tenant that stalls its own device holds up nobody else.

use std::{
    fs::{self, File},
    io::{IoSlice, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    mount::{MsFlags, mount, umount},
    sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair},
    unistd::{sync, syncfs},
};

use super::super::host::Host;
use crate::{
    backing::Backing,
    case,
    case::{Case, Context, Need, Who},
    cgroup::Cgroup,
    ext2, limit,
    loop_device::LoopDevice,
    meminfo, process,
    stalled::{Cause, Load, Stalled},
    sysctl::Sysctl,
    tenant::Tenant,
    uapi::LoopInfo64,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    const FUSE: &[Need] = &[Need::Loopfs, Need::Loop, Need::Ext4, Need::Fuse];
    let cases = vec![
        case!(["T3", "T10", "N6"], others_go_on_beside_a_device_behind_a_page_of_fuse).needing(FUSE),
        case!(["T3", "T10", "N6"], others_go_on_beside_a_device_behind_a_page_of_userfaultfd).needing(&[
            Need::Loopfs,
            Need::Loop,
            Need::Ext4,
            Need::Userfaultfd,
        ]),
        case!(["T3", "T10", "N6"], others_go_on_beside_a_device_behind_a_frozen_cgroup).needing(&[
            Need::Loopfs,
            Need::Loop,
            Need::Ext4,
            Need::Fuse,
            Need::Memcg,
        ]),
        case!(["T3", "T10", "N6"], others_go_on_beside_a_device_whose_fuse_server_is_stopped).needing(FUSE),
        case!(["T3", "N6"], others_go_on_while_a_stalled_device_is_changed_and_cleared).needing(FUSE),
        case!(["T3"], sysfs_is_read_while_the_limits_of_a_stalled_device_change).needing(FUSE),
        case!(["T3", "T10"], last_close_of_a_stalled_device_by_a_kernel_thread_holds_up_no_other).needing(FUSE),
        case!(["T4"], stalled_device_takes_a_bounded_share_of_dirty_pages).needing(FUSE),
        case!(["T4"], stalled_device_takes_a_bounded_share_of_dirty_pages_across_cgroups).needing(&[
            Need::Loopfs,
            Need::Loop,
            Need::Ext4,
            Need::Fuse,
            Need::Memcg,
            Need::IoController,
        ]),
        case!(["T3"], sync_does_not_wait_for_a_tenant_over_its_memory_high).needing(&[
            Need::Loopfs,
            Need::Loop,
            Need::Memcg,
        ]),
        case!(["T5", "L3"], nothing_of_a_stalled_tenant_outlives_sigkill).needing(FUSE),
        Case::new("host_clearing_a_stalled_device_holds_up_no_other", &["host", "T3"], host_clear)
            .needing(&[Need::Loop, Need::Fuse]),
        Case::new("host_sysfs_is_read_while_the_limits_of_a_stalled_device_change", &["host", "T3"], host_sysfs)
            .needing(&[Need::Loop, Need::Fuse]),
    ];
    cases.into_iter().map(|case| case.only(&[Who::Root]).patient(6)).collect()
}

/// What any act may take on a slow machine, however fast it is when nothing is stalled.
const FLOOR: Duration = Duration::from_secs(8);

/// How long what was killed or released may take to go on.
const AFTERWARDS: Duration = Duration::from_secs(15);

/// Does `act` in a process of its own, and tells how long it took.
fn timed(what: &str, limit: Duration, act: &dyn Fn() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    let doing = process::start(act)?;
    if !doing.ends_within(limit)? {
        // It cannot be killed where it waits for the tenant.
        doing.abandon();
        bail!("{what}: not done after {limit:?}");
    }
    let took = start.elapsed();
    doing.join().with_context(|| what.to_owned())?;
    Ok(took)
}

/// Something that others do.
type Act = Box<dyn Fn() -> Result<()>>;

/// A call on an open device.
type Call<'call> = &'call dyn Fn(&LoopDevice) -> nix::Result<()>;

/// What others do: the host, and a tenant that has nothing to do with the one that is stalled.
struct Others {
    acts: Vec<(&'static str, Act)>,
    /// How long each takes when nothing is stalled.
    idle: Vec<Duration>,
    ext4: PathBuf,
}

impl Others {
    fn new(ctx: &Context, host: &Host<'_>) -> Result<Self> {
        // Before any mount of the case, so that no copy of one is kept.
        let neighbour = Tenant::ordinary(ctx, "neighbour")?;
        let theirs = neighbour.mount()?;
        let theirs_file = neighbour.dir().join("file");
        neighbour.run(|| Backing::new(&theirs_file).map(drop))?;

        let (_, below) = device_with(ctx, host, "ext4-image", &ext2::image())?;
        let ext4 = ctx.dir.join("others");
        fs::create_dir(&ext4)?;
        mount(Some(&below), &ext4, Some("ext4"), MsFlags::empty(), None::<&str>).context("cannot mount ext4")?;
        let (_, other_fs) = device_with(ctx, host, "other-image", &ext2::image())?;
        let mount_point = ctx.dir.join("mounted");
        fs::create_dir(&mount_point)?;
        let (_, idle_device) = host.fresh()?;
        let file = host.backing("others-file")?;
        let (_, plain) = device_with(ctx, host, "plain-image", &vec![0; 4 << 20])?;

        let acts: Vec<(&'static str, Act)> = vec![
            ("sync(2)", {
                let path = ext4.join("synced");
                Box::new(move || {
                    fs::write(&path, [1; 4096])?;
                    sync();
                    Ok(())
                })
            }),
            ("syncfs(2) of another file system", {
                let dir = ext4.clone();
                Box::new(move || {
                    fs::write(dir.join("syncfs"), [1; 4096])?;
                    Ok(syncfs(File::open(&dir)?)?)
                })
            }),
            ("fsync(2) of another file", {
                let path = ext4.join("fsync");
                Box::new(move || {
                    let file = File::create(&path)?;
                    file.write_all_at(&[1; 4096], 0)?;
                    Ok(file.sync_all()?)
                })
            }),
            ("losetup on another device", {
                let node = idle_device;
                Box::new(move || {
                    let device = LoopDevice::open(&node)?;
                    device.set_fd(&file)?;
                    device.status()?;
                    device.set_status(&LoopInfo64 { lo_offset: 4096, ..LoopInfo64::ZERO })?;
                    device.set_block_size(4096)?;
                    device.write_at(&[2; 4096], 0)?;
                    device.sync()?;
                    Ok(device.clear()?)
                })
            }),
            (
                "GET_FREE, ADD and REMOVE",
                Box::new(|| {
                    let control = crate::loop_control::LoopControl::host()?;
                    control.get_free()?;
                    let number = control.add_any()?;
                    Ok(control.remove(number)?)
                }),
            ),
            (
                "another tenant's device",
                Box::new(move || {
                    neighbour.run(|| {
                        let control = theirs.control()?;
                        let number = control.get_free()?;
                        let device = theirs.open(number)?;
                        device.set_fd(File::options().read(true).write(true).open(&theirs_file)?)?;
                        device.write_at(&[3; 65536], 0)?;
                        device.sync()?;
                        device.clear()?;
                        drop(device);
                        Ok(control.remove(number)?)
                    })
                }),
            ),
            ("reading sysfs", Box::new(read_sysfs)),
            (
                "reading /proc",
                Box::new(|| {
                    for path in ["/proc/partitions", "/proc/diskstats", "/proc/self/mountinfo", "/proc/swaps"] {
                        fs::read(path)?;
                    }
                    Ok(())
                }),
            ),
            (
                "mount and umount",
                Box::new(move || {
                    mount(Some(&other_fs), &mount_point, Some("ext4"), MsFlags::empty(), None::<&str>)?;
                    fs::write(mount_point.join("file"), [1; 4096])?;
                    Ok(umount(&mount_point)?)
                }),
            ),
            (
                "buffered writes",
                Box::new(move || {
                    let device = LoopDevice::open(&plain)?;
                    for at in 0..4 {
                        device.write_at(&vec![4; 1 << 20], at << 20)?;
                    }
                    Ok(device.sync()?)
                }),
            ),
        ];
        let idle = acts
            .iter()
            .map(|(what, act)| timed(what, Duration::from_secs(20), act.as_ref()))
            .collect::<Result<_>>()
            .context("with nothing stalled")?;
        Ok(Self { acts, idle, ext4 })
    }

    /// Requires each act to take no more than twice its time; all that do not are told.
    fn expect_to_go_on(&self) -> Result<()> {
        let mut held_up = Vec::new();
        for ((what, act), idle) in self.acts.iter().zip(&self.idle) {
            let limit = (*idle * 2).max(FLOOR);
            if let Err(error) = timed(what, limit, act.as_ref()) {
                held_up.push(format!("{error:#}"));
            }
        }
        ensure!(held_up.is_empty(), "others are held up: {}", held_up.join("; "));
        Ok(())
    }

    fn end(self) -> Result<()> {
        Ok(umount(&self.ext4)?)
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        // Done by `end` where the case has gone well. The devices below are to be removed in any case.
        let _ = umount(&self.ext4);
    }
}

/// A device of the host bound to a file with `content`.
fn device_with(ctx: &Context, host: &Host<'_>, name: &str, content: &[u8]) -> Result<(u32, PathBuf)> {
    let backing = Backing::with_size(&ctx.dir.join(name), content.len() as u64)?;
    backing.file().write_all_at(content, 0)?;
    let (number, node) = host.fresh()?;
    LoopDevice::open(&node)?.set_fd(&backing)?;
    Ok((number, node))
}

/// Reads all that `/sys/block` has of each loop device, as lsblk and exporters of metrics do. What cannot be read is passed over.
fn read_sysfs() -> Result<()> {
    for number in crate::block::loop_devices()? {
        let dir = crate::block::sysfs(number);
        for folder in [dir.clone(), dir.join("queue"), dir.join("loop"), dir.join("queue/iosched"), dir.join("trace")] {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
                let _ = fs::read(entry.path());
            }
        }
    }
    Ok(())
}

/// T3: "However a tenant stalls its own device ..., these go on for others, each within 2x of its idle time".
fn others_go_on(ctx: &Context, cause: Cause) -> Result<()> {
    let host = Host::new(ctx)?;
    let others = Others::new(ctx, &host)?;
    let stalled = Stalled::of_tenant(ctx, cause, Load::Buffered)?;
    let went_on = others.expect_to_go_on();
    let in_place = stalled.expect_in_place();
    let released = stalled.release(AFTERWARDS);
    went_on?;
    in_place?;
    released?;
    others.end()
}

/// T3: "a FUSE ... server that does not answer". The page is of a mapping: the backing file is on tmpfs.
fn others_go_on_beside_a_device_behind_a_page_of_fuse(ctx: &Context) -> Result<()> {
    others_go_on(ctx, Cause::FusePage)
}

/// T3: "or userfaultfd server that does not answer", where the host lets users have that.
fn others_go_on_beside_a_device_behind_a_page_of_userfaultfd(ctx: &Context) -> Result<()> {
    others_go_on(ctx, Cause::UserfaultPage)
}

/// T3: "a frozen cgroup".
fn others_go_on_beside_a_device_behind_a_frozen_cgroup(ctx: &Context) -> Result<()> {
    others_go_on(ctx, Cause::FrozenServer)
}

/// T3: "a stopped process".
fn others_go_on_beside_a_device_whose_fuse_server_is_stopped(ctx: &Context) -> Result<()> {
    others_go_on(ctx, Cause::StoppedServer)
}

/// Calls that wait for a stalled device with its locks held, all at once. Returns when each had time to get there.
fn change_and_clear(stalled: &Stalled) -> Result<Vec<process::Started<()>>> {
    let offset = LoopInfo64 { lo_offset: 4096, ..LoopInfo64::ZERO };
    let calls: [Call<'_>; 4] = [
        &|device| device.set_status(&offset),
        &|device| device.clear(),
        &|device| device.set_block_size(4096),
        // A loop device for a file takes more locks than another file.
        &|device| device.change_fd(device),
    ];
    let devices = calls.iter().map(|_| stalled.open()).collect::<Result<Vec<_>>>()?;
    let mut waiting = Vec::new();
    for (call, device) in calls.iter().zip(&devices) {
        let call = stalled.start(|| Ok(call(device)?))?;
        call.ends_within(Duration::from_millis(400))?;
        waiting.push(call);
    }
    ensure!(!waiting[0].ends_within(Duration::ZERO)?, "LOOP_SET_STATUS64 of a stalled device does not wait");
    Ok(waiting)
}

/// N6: "no lock is held across a tenant's I/O" that others want, and S3's "LOOP_CLR_FD".
fn others_go_on_while_a_stalled_device_is_changed_and_cleared(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let others = Others::new(ctx, &host)?;
    let stalled = Stalled::of_tenant(ctx, Cause::FusePage, Load::Buffered)?;
    let waiting = change_and_clear(&stalled)?;
    let went_on = others.expect_to_go_on();
    let in_place = stalled.expect_in_place();
    let released = stalled.release(AFTERWARDS);
    drop(waiting);
    went_on?;
    in_place?;
    released?;
    others.end()
}

/// T3: "reading /sys/block/*". A change of the queue's limits waits for the requests with the lock that readers take.
fn sysfs_is_read_while_the_limits_of_a_stalled_device_change(ctx: &Context) -> Result<()> {
    let stalled = Stalled::of_tenant(ctx, Cause::FusePage, Load::Direct)?;
    expect_sysfs_to_be_read(stalled)
}

fn expect_sysfs_to_be_read(stalled: Stalled) -> Result<()> {
    let (one, two) = (stalled.open()?, stalled.open()?);
    let change = stalled.start(|| Ok(one.set_direct_io(true)?))?;
    let waits = !change.ends_within(Duration::from_millis(700))?;
    let other = stalled.start(|| Ok(two.set_block_size(4096)?))?;
    other.ends_within(Duration::from_millis(300))?;
    let read = timed("reading sysfs", FLOOR, &read_sysfs);
    let in_place = stalled.expect_in_place();
    let released = stalled.release(AFTERWARDS);
    drop((change, other));
    read?;
    in_place?;
    released?;
    ensure!(waits, "LOOP_SET_DIRECT_IO does not wait: nothing was tried");
    Ok(())
}

/// The fault of the stock driver behind T3: one lock for all devices is held while a device is waited for.
fn host_clear(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (number, node) = host.fresh()?;
    let (_, other) = host.fresh()?;
    let file = host.backing("other-file")?;
    let stalled = Stalled::of_host(ctx, number, &node, Load::Buffered)?;
    let waiting = change_and_clear(&stalled)?;
    let cleared = timed("losetup -d of another device", FLOOR, &|| {
        let device = LoopDevice::open(&other)?;
        device.set_fd(&file)?;
        Ok(device.clear()?)
    });
    let in_place = stalled.expect_in_place();
    let released = stalled.release(AFTERWARDS);
    drop(waiting);
    cleared?;
    in_place?;
    released
}

/// The same: whoever reads sysfs waits for a device.
fn host_sysfs(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (number, node) = host.fresh()?;
    expect_sysfs_to_be_read(Stalled::of_host(ctx, number, &node, Load::Direct)?)
}

/// Lets the kernel's collector of sockets close `file`: it is in a cycle of sockets that nobody has any more.
fn close_by_a_kernel_thread(file: OwnedFd) -> Result<()> {
    let pair = || socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC);
    let (one, two) = pair()?;
    let fds = [file.as_raw_fd(), one.as_raw_fd(), two.as_raw_fd()];
    for socket in [&one, &two] {
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<UnixAddr>(socket.as_fd().as_raw_fd(), &[IoSlice::new(&[0])], &rights, MsgFlags::empty(), None)?;
    }
    drop((file, one, two));
    // The close of any socket starts the collector.
    drop(pair()?);
    Ok(())
}

/// T10: "the last umount of file systems of others", and T3: "umount". The kernel closes all files of its threads in one place, one
/// after the other.
fn last_close_of_a_stalled_device_by_a_kernel_thread_holds_up_no_other(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (_, below) = device_with(ctx, &host, "image", &ext2::image())?;
    let stalled = Stalled::of_tenant(ctx, Cause::FusePage, Load::Buffered)?;
    let tenant = stalled.tenant().context("no tenant")?;
    let node = stalled.node();
    // Another device of the tenant on the same file, so that its last close is the collector's.
    let number = tenant.run(|| {
        let instance = stalled.instance();
        let number = instance.add()?;
        let path = tenant.dir().join("file");
        instance.open(number)?.set_fd(File::options().read(true).write(true).open(path)?)?;
        let device = instance.open(number)?;
        device.write_at(&[1; 65536], 65536)?;
        close_by_a_kernel_thread(device.into())?;
        ensure!(node.exists());
        Ok(number)
    })?;
    // The collector comes to it in its own time.
    std::thread::sleep(Duration::from_secs(1));

    let mount_point = ctx.dir.join("mounted");
    fs::create_dir(&mount_point)?;
    let umounted = timed("umount of a file system whose file a kernel thread has closed", FLOOR, &|| {
        mount(Some(&below), &mount_point, Some("ext4"), MsFlags::empty(), None::<&str>)?;
        close_by_a_kernel_thread(File::create(mount_point.join("file"))?.into())?;
        crate::wait::until("umount", || match umount(&mount_point) {
            Ok(()) => Ok(true),
            Err(nix::errno::Errno::EBUSY) => Ok(false),
            Err(error) => Err(error.into()),
        })
    });
    let in_place = stalled.expect_in_place();
    let waits = crate::block::in_flight(number)? > 0;
    let released = stalled.release(AFTERWARDS);
    umounted?;
    in_place?;
    released?;
    ensure!(waits, "nothing is in flight on the device that the kernel thread closes: nothing was tried");
    Ok(())
}

/// T4: "A tenant's device takes a bounded share of the dirty page limit; a stalled one does not throttle other writers."
fn stalled_device_takes_a_bounded_share_of_dirty_pages(ctx: &Context) -> Result<()> {
    expect_bounded_share(ctx, || Ok(()))
}

/// T4, where pages are dirtied from another memory cgroup than the first one was: with writeback by cgroup, what counts
/// against the one is not what throttles the other.
fn stalled_device_takes_a_bounded_share_of_dirty_pages_across_cgroups(ctx: &Context) -> Result<()> {
    let cgroup = Cgroup::new("loopfs-dirty", &["memory", "io"])?;
    let door = cgroup.door()?;
    expect_bounded_share(ctx, || (&door).write_all(b"0").context("cannot enter the cgroup"))
}

/// Lets a tenant dirty a stalled device, after it has done `prepare`, while the host writes.
fn expect_bounded_share(ctx: &Context, prepare: impl FnOnce() -> Result<()>) -> Result<()> {
    const LIMIT: u64 = 16 << 20;
    let host = Host::new(ctx)?;
    let (_, node) = device_with(ctx, &host, "plain", &vec![0; 8 << 20])?;
    let write = || -> Result<()> {
        let device = LoopDevice::open(&node)?;
        for at in 0..8 {
            device.write_at(&vec![5; 1 << 20], at << 20)?;
        }
        Ok(())
    };
    // Both at once: setting one makes the kernel forget the other form.
    let _ratio = (Sysctl::set("vm/dirty_background_ratio", "10")?, Sysctl::set("vm/dirty_ratio", "20")?);
    let _bytes = (
        Sysctl::set("vm/dirty_background_bytes", &(LIMIT / 2).to_string())?,
        Sysctl::set("vm/dirty_bytes", &LIMIT.to_string())?,
    );
    let result = (|| -> Result<()> {
        let idle = timed("8 MiB of buffered writes", Duration::from_secs(20), &write)?;
        sync();
        let before = meminfo::get("Dirty")? + meminfo::get("Writeback")?;
        let stalled = Stalled::of_tenant(ctx, Cause::FusePage, Load::Buffered)?;
        let device = stalled.node();
        let dirtying = stalled.start(|| {
            prepare()?;
            let device = LoopDevice::open(device)?;
            for at in 1..16 {
                for part in 0..16 {
                    device.write_at(&[6; 65536], (at << 20) + (part << 16))?;
                }
            }
            Ok(())
        })?;
        dirtying.ends_within(Duration::from_secs(5))?;
        let taken = (meminfo::get("Dirty")? + meminfo::get("Writeback")?).saturating_sub(before);
        let written = timed("8 MiB of buffered writes beside a stalled device", (idle * 2).max(FLOOR), &write);
        let in_place = stalled.expect_in_place();
        let released = stalled.release(AFTERWARDS);
        drop(dirtying);
        in_place?;
        released?;
        ensure!(taken > 0, "the tenant has dirtied nothing");
        ensure!(
            taken <= LIMIT / 4,
            "a stalled device has {taken} bytes of {LIMIT} that may be dirty on the whole machine"
        );
        written.map(drop)
    })();
    // The ratios are what holds elsewhere.
    drop(_bytes);
    fs::write("/proc/sys/vm/dirty_background_ratio", "10")?;
    fs::write("/proc/sys/vm/dirty_ratio", "20")?;
    result
}

/// T3: "sync". The kernel lets whoever is over memory.high sleep, and the one who works for a tenant is the device's worker.
fn sync_does_not_wait_for_a_tenant_over_its_memory_high(ctx: &Context) -> Result<()> {
    let idle = timed("sync(2)", Duration::from_secs(20), &|| {
        sync();
        Ok(())
    })?;
    let cgroup = Cgroup::new("loopfs-high", &["memory", "io"])?;
    let tenant = Tenant::ordinary_in(ctx, "tenant", Some(&cgroup))?;
    let instance = tenant.mount()?;
    let path = tenant.dir().join("file");
    let dirty = tenant.hold(|| {
        let device = instance.open(instance.add_bound(&Backing::with_size(&path, 48 << 20)?)?)?;
        for at in 0..32 {
            device.write_at(&vec![7; 1 << 20], at << 20)?;
        }
        Ok(device)
    })?;
    cgroup.set("memory.high", &(1 << 20).to_string())?;
    let synced = timed("sync(2) beside a tenant over memory.high", (idle * 2).max(FLOOR), &|| {
        sync();
        Ok(())
    });
    cgroup.set("memory.high", "max")?;
    let died = dirty.dies_within(AFTERWARDS)?;
    tenant.kill()?;
    synced?;
    ensure!(died, "the tenant is not ended by SIGKILL");
    Ok(())
}

/// Restores the limit of the initial namespace when dropped.
struct Limit(u32);

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = limit::set(self.0);
    }
}

/// T5: "after that device, charge and instance are gone too". A limit of one device shows that the charge is given back.
fn nothing_of_a_stalled_tenant_outlives_sigkill(ctx: &Context) -> Result<()> {
    let _limit = Limit(limit::get()?);
    let before = crate::block::loop_devices()?;
    // There are none but where another case has failed; the host's have their nodes in its /dev.
    let private = before.iter().filter(|number| !std::path::Path::new(&format!("/dev/loop{number}")).exists()).count();
    limit::set(u32::try_from(private)? + 1)?;
    for load in [Load::Buffered, Load::Direct] {
        let round = Context { who: ctx.who, dir: ctx.dir.join(format!("{load:?}")) };
        fs::create_dir(&round.dir)?;
        let stalled = Stalled::of_tenant(&round, Cause::FusePage, load)?;
        let waiting = match load {
            Load::Buffered => change_and_clear(&stalled)?,
            Load::Direct => Vec::new(),
        };
        for process in &waiting {
            nix::sys::signal::kill(process.pid(), nix::sys::signal::Signal::SIGKILL)?;
        }
        stalled.kill(AFTERWARDS)?;
        for process in waiting {
            ensure!(process.dies_within(AFTERWARDS)?, "SIGKILL does not end a call on the device");
        }
        let next = Tenant::ordinary(&round, "next")?;
        let instance = next.mount()?;
        crate::wait::until("the charge to be given back", || Ok(next.run(|| Ok(instance.add()?)).is_ok()))?;
        next.kill()?;
        crate::wait::until("the next tenant's device to be gone", || Ok(crate::block::loop_devices()? == before))?;
    }
    Ok(())
}
