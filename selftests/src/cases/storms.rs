//! SPEC S5 and L6: many at once. Whatever order things happen in, each call ends, with an errno
//! that the order explains, and in the end everything is gone and paid back.
//!
//! Deadlocks show as a case that does not end; KASAN, lockdep and kmemleak watch in the debug
//! configuration.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{
        signal::{Signal, kill},
        stat::{Mode, SFlag},
    },
    unistd::unlink,
};

use crate::{
    backing::Backing,
    block, case,
    case::{Case, Context, Need, Who},
    instance::{Detached, Instance},
    limit,
    loop_control::LoopControl,
    loop_device::LoopDevice,
    nodes, proc_fd, process,
    random::Random,
    tenant::Tenant,
    wait,
};

/// What a storm of instances needs: with one CPU, one party runs at a time, and most orders never happen.
const RACING: &[Need] = &[Need::Loopfs, Need::Smp];

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["S5", "H5"], storm_of_add_against_unlink).needing(RACING).patient(3),
        case!(["S5", "U2", "U3"], storm_of_all_acts_in_one_instance).needing(RACING).patient(4),
        case!(["S5", "L6", "N6"], storm_of_all_acts_in_many_namespaces).needing(RACING).patient(4),
        case!(["S5", "C3", "U1"], storm_of_opens_against_removal).needing(RACING).patient(3),
        case!(["S5", "C8", "H8", "H9"], storm_of_stale_nodes_against_removal).needing(RACING).patient(3),
        case!(["S5", "H4", "H17"], storm_of_opens_by_number_against_shutdown)
            .needing(RACING)
            .only(&[Who::Root])
            .patient(3),
        case!(["S5", "C5", "H7"], storm_of_acts_against_umount).needing(RACING).patient(3),
        case!(["S5", "S1", "L3"], storm_of_kills).needing(RACING).patient(4),
        case!(["S5"], storm_of_binding_against_clearing).needing(RACING).patient(3),
        case!(["S5", "C1"], storm_of_get_free_gives_only_devices_of_the_instance).needing(RACING).patient(3),
        case!(["S5", "M3"], storm_of_lookups_against_changes).needing(RACING).patient(3),
        case!(["S5", "C4"], storm_of_host_control_beside_instances)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop, Need::Smp])
            .patient(4),
        case!(["S5", "S1"], storm_of_hundreds_of_instances).needing(RACING).patient(4),
    ]
}

/// Tells the others that it is over, also where whoever has this fails: they would go on for ever.
struct SetsOnDrop<'a>(&'a AtomicBool);

impl Drop for SetsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Takes an outcome that racing with somebody else explains, and tells whether the act succeeded.
fn raced<T, E: Into<std::io::Error>>(act: Result<T, E>, explained: &[Errno], what: &str) -> Result<Option<T>> {
    match act {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let error = error.into();
            let errno = error.raw_os_error().map(Errno::from_raw);
            match errno {
                Some(errno) if explained.contains(&errno) => Ok(None),
                _ => Err(error).with_context(|| format!("{what} in a storm")),
            }
        }
    }
}

/// The devices of an instance by number, by the names that were not changed.
fn numbers(instance: &Instance) -> Result<Vec<u32>> {
    Ok(instance.entries()?.iter().filter_map(|name| name.strip_prefix("loop")?.parse().ok()).collect())
}

/// What a removal may run into: others that use, removed or replaced the device meanwhile.
const REMOVED_OR_BUSY: &[Errno] = &[Errno::EBUSY, Errno::ENODEV, Errno::ENOENT];
/// What an open may run into: a node that is gone, or a device that is going.
const GONE: &[Errno] = &[Errno::ENOENT, Errno::ENXIO, Errno::ENODEV];

/// One act on `instance`, chosen at random.
fn act(instance: &Instance, control: &LoopControl, backing: &Backing, random: &mut Random) -> Result<()> {
    let present = numbers(instance)?;
    let pick = |random: &mut Random| {
        let count = u32::try_from(present.len()).unwrap_or(0);
        (count > 0).then(|| present[random.below(count) as usize])
    };
    match random.below(8) {
        0 => {
            raced(control.add_any(), &[Errno::ENOSPC], "ADD")?;
        }
        1 => {
            raced(control.get_free(), &[Errno::ENOSPC], "GET_FREE")?;
        }
        2 => {
            if let Some(number) = pick(random) {
                raced(control.remove(number), REMOVED_OR_BUSY, "REMOVE")?;
            }
        }
        3 => {
            if let Some(number) = pick(random) {
                raced(unlink(&instance.node(number)), REMOVED_OR_BUSY, "unlink")?;
            }
        }
        4 => {
            if let Some(number) = pick(random) {
                let name = instance.path(&format!("renamed-{}", random.below(3)));
                let explained = &[Errno::ENOENT, Errno::EEXIST];
                raced(fs::rename(instance.node(number), &name), explained, "rename")?;
                raced(fs::remove_file(&name), REMOVED_OR_BUSY, "unlink of a renamed device")?;
            }
        }
        5 | 6 => {
            if let Some(number) = pick(random) {
                use_device(&instance.node(number), backing)?;
            }
        }
        _ => {
            instance.entries()?;
        }
    }
    Ok(())
}

/// Opens a device, binds it, writes to it and clears it, as far as others leave it alone.
fn use_device(node: &Path, backing: &Backing) -> Result<()> {
    let Some(device) = raced(LoopDevice::open(node), GONE, "open")? else {
        return Ok(());
    };
    if raced(device.set_fd(backing), &[Errno::EBUSY], "SET_FD")?.is_some() {
        // Somebody else may clear it at any time, and a cleared device has no room.
        let explained = &[Errno::ENOSPC, Errno::EIO, Errno::ENXIO];
        raced(device.write_at(&[0x5a; 4096], 0), explained, "write")?;
        raced(device.sync(), explained, "sync")?;
    }
    raced(device.clear(), &[Errno::ENXIO], "CLR_FD")?;
    Ok(())
}

/// Removes what a storm has left in an instance, whatever it is called.
fn tidy(instance: &Instance) -> Result<()> {
    for name in instance.entries()? {
        if name != "loop-control" {
            // A device that was bound when its last user let go of it is still bound.
            let _ = LoopDevice::open(&instance.path(&name))?.clear();
            fs::remove_file(instance.path(&name)).with_context(|| format!("{name} cannot be removed after a storm"))?;
        }
    }
    instance.expect_devices(&[])
}

/// Runs `workers` of `work` at the same time; the first error is that of all.
fn together(workers: u64, work: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|index| {
                scope.spawn({
                    let work = &work;
                    move || work(index)
                })
            })
            .collect();
        let mut outcome = Ok(());
        for thread in threads {
            match thread.join() {
                Ok(result) => outcome = outcome.and(result),
                Err(_) => outcome = outcome.and_then(|()| bail!("a worker panicked")),
            }
        }
        outcome
    })
}

/// S5, and the first deadlock of the 2020 series: unlink took the directory's lock and then the
/// driver's, ADD the other way round (HISTORY 1.6 i).
fn storm_of_add_against_unlink(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    together(4, |index| {
        let control = instance.control()?;
        for _ in 0..15 {
            if index % 2 == 0 {
                control.add_any()?;
            } else {
                for number in numbers(&instance)? {
                    if index == 1 {
                        raced(unlink(&instance.node(number)), REMOVED_OR_BUSY, "unlink")?;
                    } else {
                        raced(control.remove(number), REMOVED_OR_BUSY, "REMOVE")?;
                    }
                }
            }
        }
        Ok(())
    })?;
    tidy(&instance)
}

/// S5: "No order of open, bind, unlink, umount, ... deadlocks, leaks a device, a charge, ..."
fn storm_of_all_acts_in_one_instance(ctx: &Context) -> Result<()> {
    let random = Random::new();
    let before = block::loop_devices()?;
    let instance = Instance::new_with(ctx, "loopfs", "max=4")?;
    let backings: Vec<Backing> =
        (0..4).map(|index| Backing::new(&ctx.dir.join(format!("file-{index}")))).collect::<Result<_>>()?;
    together(4, |index| {
        let mut random = random.fork(index);
        let control = instance.control()?;
        for _ in 0..60 {
            act(&instance, &control, &backings[index as usize], &mut random)?;
            let present = instance.entries()?.len() - 1;
            ensure!(present <= 4, "{present} devices with max=4");
        }
        Ok(())
    })?;
    tidy(&instance)?;
    let control = instance.control()?;
    for _ in 0..4 {
        control.add_any().context("a place is lost")?;
    }
    ensure!(control.add_any() == Err(Errno::ENOSPC), "a place was given back twice");
    drop(control);
    instance.umount()?;
    ensure!(block::loop_devices()? == before);
    Ok(())
}

/// S5 and L6, from processes in namespaces of their own below a common limit, which umount and mount
/// as well.
fn storm_of_all_acts_in_many_namespaces(ctx: &Context) -> Result<()> {
    let random = Random::new();
    let before = block::loop_devices()?;
    let outer = Tenant::new(ctx, "outer")?;
    outer.run(|| {
        limit::set(5)?;
        let inner: Vec<Tenant> =
            (0..3).map(|index| Tenant::nested(outer.dir(), &format!("inner-{index}"))).collect::<Result<_>>()?;
        let mut storms = Vec::new();
        for (index, tenant) in inner.iter().enumerate() {
            let mut random = random.fork(index as u64);
            storms.push(tenant.start(move || {
                let backing = Backing::new(&tenant.dir().join("file"))?;
                let dir = tenant.dir().join("loopfs");
                fs::create_dir(&dir)?;
                for _ in 0..6 {
                    let instance = Instance::mount(&dir)?;
                    let control = instance.control()?;
                    for _ in 0..10 {
                        act(&instance, &control, &backing, &mut random)?;
                    }
                    drop(control);
                    instance.umount()?;
                }
                Ok(())
            })?);
        }
        for storm in storms {
            storm.join()?;
        }
        drop(inner);
        let dir = outer.dir().join("after");
        fs::create_dir(&dir)?;
        let control = Instance::mount(&dir)?.control()?;
        for _ in 0..5 {
            control.add_any().context("a charge is lost")?;
        }
        ensure!(control.add_any() == Err(Errno::ENOSPC), "a charge was given back twice");
        Ok(())
    })?;
    outer.kill()?;
    ensure!(block::loop_devices()? == before);
    Ok(())
}

/// S5, with "open racing with removal": who wins gets the device, who loses gets none.
fn storm_of_opens_against_removal(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let current = AtomicU32::new(instance.add()?);
    let done = AtomicBool::new(false);
    together(4, |index| {
        if index == 0 {
            let _over = SetsOnDrop(&done);
            let control = instance.control()?;
            for round in 0..20 {
                let number = current.load(Ordering::Relaxed);
                loop {
                    let removed = if round % 2 == 0 { control.remove(number) } else { unlink(&instance.node(number)) };
                    if raced(removed, &[Errno::EBUSY], "removal")?.is_some() {
                        break;
                    }
                    thread::yield_now();
                }
                ensure!(!block::exists(number), "loop{number} is there after its removal");
                current.store(control.add_any()?, Ordering::Relaxed);
            }
        } else {
            while !done.load(Ordering::Relaxed) {
                let node = instance.node(current.load(Ordering::Relaxed));
                drop(raced(LoopDevice::open(&node), GONE, "open")?);
                // Let the remover find it closed now and then.
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    })?;
    tidy(&instance)
}

/// C8 under contention: who took hold of the node before the removal never gets another device
/// through it, although others take numbers all the time.
fn storm_of_stale_nodes_against_removal(ctx: &Context) -> Result<()> {
    let (own, other) = (Instance::new(ctx, "own")?, Instance::new(ctx, "other")?);
    together(3, |index| {
        let control = if index == 0 { own.control()? } else { other.control()? };
        for _ in 0..12 {
            if index == 0 {
                let number = control.add_any()?;
                let held = open(&own.node(number), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
                control.remove(number)?;
                // The number as the other instance's, where it can be had while its node is held.
                let foreign = other.control()?;
                let taken = raced(foreign.add_number(number), &[Errno::EEXIST], "ADD of the number")?;
                let path = proc_fd::path(&held);
                for _ in 0..5 {
                    let opened = raced(LoopDevice::open(&path), &[Errno::ENXIO, Errno::ENODEV], "open")?;
                    ensure!(opened.is_none(), "a stale node of loop{number} opens a device");
                }
                drop(held);
                let mine = match taken {
                    None => raced(foreign.add_number(number), &[Errno::EEXIST], "ADD of the number")?,
                    taken => taken,
                };
                if mine.is_some() {
                    foreign.remove(number)?;
                }
            } else {
                let number = control.add_any()?;
                control.remove(number)?;
            }
        }
        Ok(())
    })
}

/// S5 and H17: the host opens devices by their number while their instance goes. What it gets is the
/// old device, or none, and in the end nothing is left.
fn storm_of_opens_by_number_against_shutdown(ctx: &Context) -> Result<()> {
    let before = block::loop_devices()?;
    let dir = ctx.dir.join("loopfs");
    fs::create_dir(&dir)?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    for round in 0..12 {
        let instance = Instance::mount(&dir)?;
        let number = if round % 2 == 0 { instance.add()? } else { instance.add_bound(&backing)? };
        let node = nodes::make(ctx, &format!("round-{round}"), SFlag::S_IFBLK, 7, number.into())?;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let opener = scope.spawn(|| -> Result<()> {
                while !done.load(Ordering::Relaxed) {
                    drop(raced(LoopDevice::open(&node), GONE, "open by number")?);
                }
                Ok(())
            });
            let unmounted = instance.umount().context("umount in a storm");
            done.store(true, Ordering::Relaxed);
            opener.join().expect("the opener panicked").and(unmounted)
        })?;
        expect_only_host_devices(&before, number)?;
    }
    Ok(())
}

/// Waits until device `number` is gone, or is what autoloading has made of it since, and takes that
/// away.
fn expect_only_host_devices(before: &BTreeSet<u32>, number: u32) -> Result<()> {
    wait::until(&format!("loop{number} to go"), || {
        if block::loop_devices()? == *before {
            return Ok(true);
        }
        if let Ok(host) = LoopControl::host() {
            let _ = host.remove(number);
        }
        Ok(false)
    })
}

/// S5, with umount: the place in the tree goes while others are at work through descriptors.
fn storm_of_acts_against_umount(ctx: &Context) -> Result<()> {
    let random = Random::new();
    let before = block::loop_devices()?;
    let dir = ctx.dir.join("loopfs");
    fs::create_dir(&dir)?;
    for round in 0..5 {
        let instance = Instance::mount(&dir)?;
        let controls: Vec<LoopControl> = (0..3).map(|_| Ok(instance.control()?)).collect::<Result<_>>()?;
        let ready = AtomicU32::new(0);
        thread::scope(|scope| {
            let workers: Vec<_> = controls
                .into_iter()
                .enumerate()
                .map(|(index, control)| {
                    let (ready, mut random) = (&ready, random.fork(round * 10 + index as u64));
                    scope.spawn(move || -> Result<()> {
                        for _ in 0..6 {
                            let number = control.add_any()?;
                            ready.fetch_add(1, Ordering::Relaxed);
                            if random.below(3) > 0 {
                                control.remove(number)?;
                            }
                        }
                        Ok(())
                    })
                })
                .collect();
            // One that fails is never ready.
            while ready.load(Ordering::Relaxed) < 3 && !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::yield_now();
            }
            let detached = instance.detach().context("detach in a storm");
            for worker in workers {
                worker.join().expect("a worker panicked")?;
            }
            detached
        })?;
        ensure!(block::loop_devices()? == before, "devices outlive the last descriptor of their instance");
    }
    Ok(())
}

/// S5 with "kill", and L3: SIGKILL at any moment of any call. Nothing is left but what can be paid
/// again in full. The 2020 series took killable locks on its cleanup paths (HISTORY 1.6 o).
fn storm_of_kills(ctx: &Context) -> Result<()> {
    let mut random = Random::new();
    let before = block::loop_devices()?;
    let tenant = Tenant::new(ctx, "tenant")?;
    tenant.run(|| Ok(limit::set(4)?))?;
    let path = tenant.dir().join("file");
    tenant.run(|| Backing::new(&path).map(drop))?;
    for _ in 0..15 {
        let index = u64::from(random.below(1000));
        let mut forked = random.fork(index);
        let victim = tenant.start::<()>(|| {
            let file = fs::File::options().read(true).write(true).open(&path)?;
            loop {
                let detached = Detached::new()?;
                let instance = detached.instance();
                let control = instance.control()?;
                for _ in 0..3 {
                    let number = control.add_any()?;
                    let device = instance.open(number)?;
                    device.set_fd(&file)?;
                    device.write_at(&[1; 8192], 0)?;
                    if forked.below(2) == 0 {
                        device.clear()?;
                        drop(device);
                        control.remove(number)?;
                    }
                }
            }
        })?;
        thread::sleep(Duration::from_micros(u64::from(random.below(60_000))));
        victim.kill()?;
        ensure!(block::loop_devices()? == before, "a killed process leaves devices behind");
    }
    let instance = tenant.mount()?;
    tenant.run(|| {
        let control = instance.control()?;
        for _ in 0..4 {
            control.add_any().context("a killed process leaves a charge behind")?;
        }
        ensure!(control.add_any() == Err(Errno::ENOSPC), "a charge was given back twice");
        Ok(())
    })
}

/// S5: one device, bound and cleared and asked by several at once.
fn storm_of_binding_against_clearing(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let backings: Vec<Backing> =
        (0..4).map(|index| Backing::new(&ctx.dir.join(format!("file-{index}")))).collect::<Result<_>>()?;
    together(4, |index| {
        for _ in 0..100 {
            use_device(&instance.node(number), &backings[index as usize])?;
            if let Some(device) = raced(LoopDevice::open(&instance.node(number)), GONE, "open")? {
                raced(device.status(), &[Errno::ENXIO], "GET_STATUS64")?;
                raced(device.set_capacity(), &[Errno::ENXIO], "SET_CAPACITY")?;
            }
        }
        Ok(())
    })?;
    tidy(&instance)
}

/// C1 under contention: GET_FREE does not reserve, so two may get one number, but always one of
/// their instance.
fn storm_of_get_free_gives_only_devices_of_the_instance(ctx: &Context) -> Result<()> {
    let instances = [Instance::new(ctx, "own")?, Instance::new(ctx, "other")?];
    let backings: Vec<Backing> =
        (0..4).map(|index| Backing::new(&ctx.dir.join(format!("file-{index}")))).collect::<Result<_>>()?;
    together(4, |index| {
        let instance = &instances[index as usize % 2];
        let control = instance.control()?;
        for _ in 0..10 {
            let number = control.get_free()?;
            let node = instance.node(number);
            ensure!(fs::symlink_metadata(&node).is_ok(), "GET_FREE gives loop{number}, which has no node here");
            use_device(&node, &backings[index as usize])?;
        }
        Ok(())
    })?;
    let [own, other] = instances.each_ref().map(numbers);
    let (own, other) = (own?, other?);
    ensure!(!own.iter().any(|number| other.contains(number)), "one number is in two instances");
    ensure!(own.len() <= 4 && other.len() <= 4, "GET_FREE makes devices although some are unbound");
    instances.iter().try_for_each(tidy)
}

/// M3 and S5: the directory can be read at any time. `loop-control` is always in it.
fn storm_of_lookups_against_changes(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let done = AtomicBool::new(false);
    together(3, |index| {
        if index == 0 {
            let _over = SetsOnDrop(&done);
            let control = instance.control()?;
            for _ in 0..20 {
                let number = control.add_any()?;
                raced(fs::rename(instance.node(number), instance.path("renamed")), &[], "rename")?;
                control.remove(number)?;
            }
            return Ok(());
        }
        while !done.load(Ordering::Relaxed) {
            let entries = instance.entries()?;
            ensure!(entries.contains("loop-control"), "readdir misses loop-control: {entries:?}");
            for name in entries {
                raced(fs::symlink_metadata(instance.path(&name)), &[Errno::ENOENT], "stat")?;
            }
        }
        Ok(())
    })?;
    tidy(&instance)
}

/// C4 under contention: the host's control device and instances ask for numbers at the same time.
fn storm_of_host_control_beside_instances(ctx: &Context) -> Result<()> {
    let host = super::host::Host::new(ctx)?;
    let instance = Instance::new(ctx, "loopfs")?;
    let base = block::unused_number(0)?;
    let random = Random::new();
    together(4, |index| {
        let mut random = random.fork(index);
        let control = instance.control()?;
        for _ in 0..12 {
            let number = base + random.below(4);
            let (control, foreign) = if index < 2 { (&control, false) } else { (host.control(), true) };
            if raced(control.add_number(number), &[Errno::EEXIST], "ADD")?.is_some() {
                let node = if foreign { PathBuf::from(format!("/dev/loop{number}")) } else { instance.node(number) };
                drop(raced(LoopDevice::open(&node), GONE, "open")?);
                raced(control.remove(number), REMOVED_OR_BUSY, "REMOVE")?;
            }
        }
        Ok(())
    })?;
    for number in numbers(&instance)? {
        ensure!(host.control().remove(number) == Err(Errno::ENODEV), "the host removes private loop{number}");
    }
    tidy(&instance)
}

/// S5: "mount and teardown of hundreds of instances", all at the same time in the end.
fn storm_of_hundreds_of_instances(ctx: &Context) -> Result<()> {
    const INSTANCES: usize = 200;
    const HOLDERS: usize = 8;
    let before = block::loop_devices()?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let holders: Vec<_> = (0..HOLDERS)
        .map(|_| {
            process::hold(|| {
                (0..INSTANCES / HOLDERS)
                    .map(|index| {
                        let detached = Detached::new()?;
                        let instance = detached.instance();
                        if index % 2 == 0 {
                            instance.add_bound(&backing)?;
                        } else {
                            instance.add()?;
                        }
                        Ok(detached)
                    })
                    .collect::<Result<Vec<_>>>()
            })
        })
        .collect::<Result<_>>()?;
    ensure!(block::loop_devices()?.len() == before.len() + INSTANCES);
    for holder in &holders {
        kill(holder.pid(), Signal::SIGKILL)?;
    }
    for holder in holders {
        holder.kill()?;
    }
    ensure!(block::loop_devices()? == before, "devices outlive the holders of their instances");
    Ok(())
}
