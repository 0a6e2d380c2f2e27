//! SPEC L: how many devices there can be, and who pays.

use std::{
    fs,
    io::{Read as _, Write as _},
    sync::Barrier,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use caps::Capability;
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    mount::MsFlags,
    sys::stat::Mode,
    unistd::{setresuid, unlink},
};

use crate::{
    backing::Backing,
    block, case,
    case::{Case, Context, Need, Who},
    cgroup::Cgroup,
    expect,
    instance::{Detached, Instance},
    limit,
    loop_control::LoopControl,
    loop_device::LoopDevice,
    nodes, privilege,
    process::{self, Started},
    tenant::Tenant,
    uapi::MINORS,
    wait,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["L1", "H26"], limit_is_255_at_boot).only(&[Who::Root]),
        case!(["L1"], limit_of_the_initial_namespace_holds).only(&[Who::Root]).patient(4),
        case!(["L1"], limit_counts_all_instances_of_the_owner),
        case!(["L1"], limit_counts_instances_mounted_by_any_user_of_the_owner),
        case!(["L1", "H28"], charge_goes_to_the_owner_whoever_makes_the_device),
        case!(["L1"], limit_of_zero_allows_none),
        case!(["L1"], limit_lowered_below_the_count_only_stops_new_devices),
        case!(["L1"], limit_is_written_by_root_of_the_namespace_only),
        case!(["L1", "N7"], limit_of_an_ancestor_holds),
        case!(["L2"], max_bounds_one_instance),
        case!(["L2"], max_of_zero_allows_none),
        case!(["L2"], remount_raises_and_lowers_max),
        case!(["L2"], remount_that_does_not_name_max_keeps_it),
        case!(["L3", "H29"], every_way_to_lose_a_device_gives_its_charge_back).patient(2),
        case!(["L3"], failed_add_is_not_charged),
        case!(["L3"], death_of_the_namespace_gives_charges_back),
        case!(["L4", "H6"], device_that_outlives_its_instance_stays_charged)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop]),
        case!(["L3", "L4", "C8"], held_node_of_a_removed_device_stays_charged),
        case!(["L5", "H25"], memory_of_a_device_is_charged_to_the_cgroup_of_its_maker)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Memcg]),
        case!(["L6"], threads_at_a_limit_never_exceed_it).needing(&[Need::Loopfs, Need::Smp]).patient(2),
        case!(["L6", "L2"], threads_at_max_never_exceed_it).needing(&[Need::Loopfs, Need::Smp]).patient(2),
        case!(["L6"], namespaces_at_a_common_limit_never_exceed_it).needing(&[Need::Loopfs, Need::Smp]).patient(2),
    ]
}

/// L1: "255 at boot in the initial namespace."
fn limit_is_255_at_boot(_: &Context) -> Result<()> {
    ensure!(limit::get()? == 255);
    Ok(())
}

/// L1: "bounds the private devices of the owner". The whole of the default, and then it is all
/// given back at once.
fn limit_of_the_initial_namespace_holds(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let limit = limit::get()?;
    let made: Vec<u32> = (0..limit).map(|_| control.add_any()).collect::<Result<_, _>>()?;
    expect::errno(control.add_any(), Errno::ENOSPC, &format!("ADD beyond {limit} devices"))?;
    instance.expect_devices(&made)?;
    let other = Instance::new(ctx, "other")?;
    expect::errno(other.control()?.get_free(), Errno::ENOSPC, "GET_FREE of another instance")?;

    drop(control);
    instance.umount()?;
    ensure!(!made.iter().any(|&number| block::exists(number)), "devices outlive their instance");
    other.add().context("nothing is given back")?;
    Ok(())
}

/// Fills `instance` and requires it to take exactly `room` devices; leaves it full.
fn expect_room(instance: &Instance, room: u32) -> Result<Vec<u32>> {
    let control = instance.control()?;
    let mut made = Vec::new();
    for count in 0..room {
        made.push(control.add_any().with_context(|| format!("there is room for {count}, not for {room}"))?);
    }
    expect::errno(control.add_any(), Errno::ENOSPC, &format!("ADD beyond {room} devices"))?;
    Ok(made)
}

/// L1: "however many instances they mount. ... Over it: ENOSPC, nothing left behind."
fn limit_counts_all_instances_of_the_owner(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    tenant.run(|| {
        limit::set(3)?;
        let dirs = ["a", "b", "c"].map(|name| tenant.dir().join(name));
        for dir in &dirs {
            fs::create_dir(dir)?;
        }
        let [first, second, third] = dirs.map(|dir| Instance::mount(&dir));
        let (first, second, third) = (first?, second?, third?);
        let one = first.add()?;
        expect_room(&second, 2)?;
        expect::errno(third.control()?.add_any(), Errno::ENOSPC, "ADD in a third instance")?;
        expect::errno(third.control()?.get_free(), Errno::ENOSPC, "GET_FREE in a third instance")?;
        let taken = block::unused_number(7)?;
        expect::errno(third.control()?.add_number(taken), Errno::ENOSPC, "ADD of a number")?;
        ensure!(!block::exists(taken));
        third.expect_devices(&[])?;
        ensure!(first.control()?.get_free()? == one, "GET_FREE of a device there already hits the limit");

        first.control()?.remove(one)?;
        expect_room(&third, 1)?;
        Ok(())
    })
}

/// L1, where another user of the owner, with the same capability, mounts a second instance: the
/// limit is the owner's, not a user's.
fn limit_counts_instances_mounted_by_any_user_of_the_owner(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let other_dir = tenant.dir().join("other");
    tenant.run(|| {
        limit::set(2)?;
        Ok(fs::create_dir(&other_dir)?)
    })?;
    let instance = tenant.mount()?;
    tenant.run(|| {
        instance.add()?;
        let other = process::run(|| {
            caps::securebits::set_keepcaps(true)?;
            setresuid(5.into(), 5.into(), 5.into())?;
            caps::raise(None, caps::CapSet::Effective, Capability::CAP_SYS_ADMIN)?;
            Ok(Instance::mount(&other_dir)?)
        })?;
        expect_room(&other, 1)?;
        Ok(())
    })
}

/// L1: "the private devices of the owner". The parent that calls ADD on the tenant's control node
/// spends the tenant's room.
fn charge_goes_to_the_owner_whoever_makes_the_device(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    tenant.run(|| Ok(limit::set(2)?))?;
    let instance = tenant.mount()?;
    let outside = Instance::at(&tenant.seen_from_outside(instance.dir()));
    outside.add()?;
    tenant.run(|| expect_room(&instance, 1))?;
    expect::errno(outside.control()?.add_any(), Errno::ENOSPC, "ADD by the parent in a full instance")
}

/// L1, at its lowest.
fn limit_of_zero_allows_none(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    tenant.run(|| Ok(limit::set(0)?))?;
    let instance = tenant.mount().context("a limit of devices stops a mount")?;
    tenant.run(|| {
        expect_room(&instance, 0)?;
        limit::set(1)?;
        expect_room(&instance, 1)?;
        Ok(())
    })
}

/// L1: a limit says what may be made, not what may stay.
fn limit_lowered_below_the_count_only_stops_new_devices(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    tenant.run(|| {
        let control = instance.control()?;
        let made = [control.add_any()?, control.add_any()?, control.add_any()?];
        limit::set(2)?;
        instance.expect_devices(&made)?;
        instance.open(made[2])?;
        expect::errno(control.add_any(), Errno::ENOSPC, "ADD beyond a lowered limit")?;
        control.remove(made[0])?;
        expect::errno(control.add_any(), Errno::ENOSPC, "ADD at a lowered limit")?;
        control.remove(made[1])?;
        expect_room(&instance, 1)?;
        Ok(())
    })
}

/// L1: the file is like the others of `/proc/sys/user`: each namespace has its own value, which
/// takes CAP_SYS_RESOURCE there to change.
fn limit_is_written_by_root_of_the_namespace_only(ctx: &Context) -> Result<()> {
    let ours = limit::get()?;
    let tenant = Tenant::new(ctx, "tenant")?;
    tenant.run(|| {
        limit::set(7)?;
        ensure!(limit::get()? == 7);
        process::run(|| {
            privilege::give_up(Capability::CAP_SYS_RESOURCE)?;
            privilege::become_user(1234)?;
            ensure!(limit::get()? == 7);
            expect::one_of(limit::set(8), &[Errno::EACCES, Errno::EPERM], "writing the limit without privilege")
        })
    })?;
    ensure!(limit::get()? == ours, "a tenant's limit changes that of its parent");
    Ok(())
}

/// L1: "and, through the chain of parents, of all its ancestors".
fn limit_of_an_ancestor_holds(ctx: &Context) -> Result<()> {
    let outer = Tenant::new(ctx, "outer")?;
    let outer_instance = outer.mount()?;
    outer.run(|| {
        limit::set(2)?;
        let inner = Tenant::nested(outer.dir(), "inner")?;
        inner.run(|| Ok(limit::set(100)?))?;
        let inner_instance = inner.mount()?;
        let inside = inner.run(|| Ok(inner_instance.add()?))?;
        outer_instance.add().context("the parent has no room for its second device")?;
        inner.run(|| expect_room(&inner_instance, 0))?;
        expect_room(&outer_instance, 0)?;

        inner.run(|| Ok(inner_instance.control()?.remove(inside)?))?;
        expect_room(&outer_instance, 1)?;
        Ok(())
    })
}

/// L2: "`max=N` bounds one instance: ENOSPC."
fn max_bounds_one_instance(ctx: &Context) -> Result<()> {
    let limited = Instance::new_with(ctx, "limited", "max=2")?;
    let other = Instance::new(ctx, "other")?;
    other.add()?;
    let made = expect_room(&limited, 2)?;
    ensure!(limited.control()?.get_free()? == made[0], "GET_FREE of a device there already hits the limit");
    limited.expect_devices(&made)?;
    other.add().context("the max of one instance bounds another")?;
    limited.control()?.remove(made[0])?;
    expect_room(&limited, 1)?;
    Ok(())
}

/// L2: "`max=0` allows none."
fn max_of_zero_allows_none(ctx: &Context) -> Result<()> {
    let instance = Instance::new_with(ctx, "loopfs", "max=0")?;
    expect_room(&instance, 0)?;
    expect::errno(instance.control()?.get_free(), Errno::ENOSPC, "GET_FREE with max=0")?;
    instance.expect_devices(&[])
}

/// L2: "Remount changes it; ... lowering it below the present count only stops new devices."
fn remount_raises_and_lowers_max(ctx: &Context) -> Result<()> {
    let instance = Instance::new_with(ctx, "loopfs", "max=1")?;
    let mut made = expect_room(&instance, 1)?;
    instance.remount(MsFlags::empty(), "max=3")?;
    made.extend(expect_room(&instance, 2)?);
    instance.remount(MsFlags::empty(), "max=1")?;
    instance.expect_devices(&made)?;
    instance.open(made[2]).context("a device beyond the lowered max does not open")?;

    let control = instance.control()?;
    control.remove(made[0])?;
    expect::errno(control.add_any(), Errno::ENOSPC, "ADD with two devices and max=1")?;
    control.remove(made[1])?;
    expect::errno(control.add_any(), Errno::ENOSPC, "ADD with one device and max=1")?;
    control.remove(made[2])?;
    expect_room(&instance, 1)?;
    instance.remount(MsFlags::empty(), &format!("max={MINORS}"))?;
    control.add_any()?;
    Ok(())
}

/// L2: "a remount that does not name it keeps it". The 2020 series reset it (HISTORY 1.6 k).
fn remount_that_does_not_name_max_keeps_it(ctx: &Context) -> Result<()> {
    let instance = Instance::new_with(ctx, "loopfs", "max=1")?;
    instance.remount(MsFlags::empty(), "")?;
    instance.remount(MsFlags::MS_RDONLY, "")?;
    instance.remount(MsFlags::empty(), "")?;
    expect_room(&instance, 1)?;
    Ok(())
}

/// L3: "Every charge is given back exactly once: REMOVE, unlink, umount, ..., a killed process ...
/// After any history of these the full limit can be used again, and not one more." The 2020
/// series gave some back twice (HISTORY 1.6 c).
fn every_way_to_lose_a_device_gives_its_charge_back(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    tenant.run(|| Ok(limit::set(3)?))?;
    let instance = tenant.mount()?;
    tenant.run(|| {
        let full = |how: &str| -> Result<()> {
            let made = expect_room(&instance, 3).with_context(|| format!("after {how}"))?;
            for number in made {
                instance.control()?.remove(number)?;
            }
            Ok(())
        };
        full("nothing")?;

        unlink(&instance.node(instance.add()?))?;
        full("unlink")?;

        let renamed = instance.add()?;
        fs::rename(instance.node(renamed), instance.path("disk"))?;
        unlink(&instance.path("disk"))?;
        full("unlink of a renamed device")?;

        let dir = tenant.dir().join("second");
        fs::create_dir(&dir)?;
        let second = Instance::mount(&dir)?;
        second.add()?;
        let backing = Backing::new(&tenant.dir().join("file"))?;
        second.add_bound(&backing)?;
        second.umount()?;
        full("umount of an idle and a bound device")?;

        drop({
            let detached = Detached::new()?;
            detached.instance().add()?;
            detached
        });
        full("close of a detached instance")?;

        process::hold(|| {
            let detached = Detached::new()?;
            detached.instance().add_bound(&backing)?;
            Ok(detached)
        })?
        .kill()?;
        full("a process killed with a detached instance")
    })
}

/// L3: "a failed ADD". For want of a number, of room, of permission.
fn failed_add_is_not_charged(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    tenant.run(|| Ok(limit::set(3)?))?;
    let instance = tenant.mount_with("max=2")?;
    tenant.run(|| {
        let control = instance.control()?;
        let number = control.add_any()?;
        for _ in 0..5 {
            expect::errno(control.add_number(number), Errno::EEXIST, "ADD of a device there is")?;
            expect::errno(control.add_number(MINORS), Errno::EINVAL, "ADD beyond the minors")?;
        }
        instance.remount(MsFlags::MS_RDONLY, "")?;
        expect::errno(control.add_any(), Errno::EROFS, "ADD on a read-only instance")?;
        instance.remount(MsFlags::empty(), "")?;
        expect_room(&instance, 1)?;
        for _ in 0..5 {
            expect::errno(control.add_any(), Errno::ENOSPC, "ADD beyond max")?;
        }
        // Refused by max, none of them may have spent the owner's room.
        instance.remount(MsFlags::empty(), "max=10")?;
        expect_room(&instance, 1)?;
        Ok(())
    })
}

/// L3: "namespace death". The parent gets the room of its dead child back.
fn death_of_the_namespace_gives_charges_back(ctx: &Context) -> Result<()> {
    let outer = Tenant::new(ctx, "outer")?;
    let instance = outer.mount()?;
    outer.run(|| {
        limit::set(2)?;
        for name in ["first", "second"] {
            let inner = Tenant::nested(outer.dir(), name)?;
            let inside = inner.mount()?;
            inner.run(|| {
                inside.add_bound(&Backing::new(&inner.dir().join("file"))?)?;
                expect_room(&inside, 1)
            })?;
            expect_room(&instance, 0)?;
            inner.kill()?;
        }
        expect_room(&instance, 2)?;
        Ok(())
    })
}

/// L4: "A charge lives as long as its device: a device that outlives its instance is still
/// charged." The host holds it open.
fn device_that_outlives_its_instance_stays_charged(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    tenant.run(|| Ok(limit::set(1)?))?;
    let first = tenant.mount()?;
    let number = tenant.run(|| Ok(first.add_bound(&Backing::new(&tenant.dir().join("file"))?)?))?;
    let held = LoopDevice::open(&nodes::loop_device(ctx, number)?)?;
    tenant.run(|| Ok(first.umount()?))?;
    ensure!(block::exists(number), "a device the host holds open is gone");

    let second = tenant.mount()?;
    tenant.run(|| expect_room(&second, 0))?;
    drop(held);
    block::wait_until_gone(number)?;
    tenant.run(|| {
        wait::until("the charge to be given back", || Ok(second.add().is_ok()))?;
        expect_room(&second, 0)?;
        Ok(())
    })
}

/// L4 and C8: a node somebody holds keeps the number of its device from everybody, and so its charge:
/// else one tenant could use up all numbers of the machine with descriptors of dead nodes.
fn held_node_of_a_removed_device_stays_charged(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    tenant.run(|| Ok(limit::set(2)?))?;
    let instance = tenant.mount_with("max=2")?;
    tenant.run(|| {
        let hold = |number| open(&instance.node(number), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        let control = instance.control()?;
        let (removed, unlinked) = (control.add_any()?, control.add_any()?);
        let held = (hold(removed)?, hold(unlinked)?);
        control.remove(removed)?;
        expect_room(&instance, 0).context("after a REMOVE whose node is held")?;
        unlink(&instance.node(unlinked))?;
        expect_room(&instance, 0).context("after an unlink whose node is held")?;
        drop(held.0);
        expect_room(&instance, 1).context("after one node was let go")?;
        drop(held.1);
        expect_room(&instance, 1).context("after the other node was let go")?;
        Ok(())
    })
}

/// L5: "Memory that loop and loopfs themselves allocate for a private device is charged to the memory
/// cgroup of whoever made it." What the block layer allocates for it is not.
fn memory_of_a_device_is_charged_to_the_cgroup_of_its_maker(ctx: &Context) -> Result<()> {
    const DEVICES: u32 = 32;
    /// The least a device costs, in bytes: `struct loop_device` alone is larger.
    const EACH: u64 = 512;
    let cgroup = Cgroup::new("loopfs-maker", &["memory"])?;
    let instance = Instance::new(ctx, "loopfs")?;
    process::run(|| {
        cgroup.enter()?;
        let before = cgroup.slab_unreclaimable()?;
        let control = instance.control()?;
        for _ in 0..DEVICES {
            control.add_any()?;
        }
        // The kernel sums its statistics up now and then.
        let mut grown = 0;
        let charged = wait::until("the memory to be charged", || {
            grown = cgroup.slab_unreclaimable()?.saturating_sub(before);
            Ok(grown >= u64::from(DEVICES) * EACH)
        });
        charged.with_context(|| format!("{DEVICES} devices are charged with {grown} bytes"))
    })?;
    instance.umount()?;
    Ok(())
}

/// How often a contention starts anew.
const ROUNDS: usize = 8;

/// More devices than any room in a contention has.
const WISHES: usize = 3;

/// Makes as many devices as it wishes and can; any other failure than for want of room is an error.
fn take(control: &LoopControl) -> Result<Vec<u32>> {
    let mut made = Vec::new();
    for _ in 0..WISHES {
        match control.add_any() {
            Ok(number) => made.push(number),
            Err(Errno::ENOSPC) => {}
            Err(error) => return Err(error).context("ADD under contention"),
        }
    }
    Ok(made)
}

/// Lets a thread for each of `instances` take what it can, all at the same moment, and requires them to get `room`
/// devices together. Again and again: what they give back is there to be taken.
fn contend(instances: [&Instance; 4], room: usize) -> Result<()> {
    for round in 0..ROUNDS {
        let start = Barrier::new(instances.len());
        let taken: Vec<Vec<u32>> = thread::scope(|scope| {
            let threads = instances.map(|instance| {
                let start = &start;
                scope.spawn(move || {
                    let control = instance.control();
                    start.wait();
                    take(&control?)
                })
            });
            threads.into_iter().map(|thread| thread.join().expect("a thread panicked")).collect::<Result<_>>()
        })?;
        let count = taken.iter().flatten().count();
        ensure!(count == room, "{count} devices at a limit of {room}");
        for (instance, numbers) in instances.iter().zip(taken) {
            for number in numbers {
                if round % 2 == 0 {
                    instance.control()?.remove(number)?;
                } else {
                    unlink(&instance.node(number))?;
                }
            }
        }
    }
    Ok(())
}

/// L6: "Hitting a limit at the same time from many threads, instances ... never exceeds it." And it can be used in full.
fn threads_at_a_limit_never_exceed_it(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    tenant.run(|| Ok(limit::set(3)?))?;
    let first = tenant.mount()?;
    tenant.run(|| {
        let dir = tenant.dir().join("second");
        fs::create_dir(&dir)?;
        let second = Instance::mount(&dir)?;
        contend([&first, &second, &first, &second], 3)
    })
}

/// L6, of the limit of one instance.
fn threads_at_max_never_exceed_it(ctx: &Context) -> Result<()> {
    let instance = Instance::new_with(ctx, "loopfs", "max=3")?;
    contend([&instance; 4], 3)
}

/// L6: "and namespaces". Three children of one namespace contend for its room.
fn namespaces_at_a_common_limit_never_exceed_it(ctx: &Context) -> Result<()> {
    const ROOM: usize = 4;
    let outer = Tenant::new(ctx, "outer")?;
    outer.run(|| {
        limit::set(u32::try_from(ROOM)?)?;
        let inner = ["a", "b", "c"].map(|name| Tenant::nested(outer.dir(), name));
        let [a, b, c] = inner;
        let inner = [a?, b?, c?];
        let instances = [inner[0].mount()?, inner[1].mount()?, inner[2].mount()?];
        for _ in 0..ROUNDS {
            let (mut start, mut starter) = std::io::pipe()?;
            let mut contenders = Vec::new();
            for (tenant, instance) in inner.iter().zip(&instances) {
                let start = &mut start;
                contenders.push(tenant.start(move || {
                    let control = instance.control()?;
                    start.read_exact(&mut [0])?;
                    take(&control)
                })?);
            }
            starter.write_all(&[0; 3])?;
            let taken = contenders.into_iter().map(Started::join).collect::<Result<Vec<_>>>()?;
            let count = taken.iter().flatten().count();
            ensure!(count <= ROOM, "{count} devices at a common limit of {ROOM}");
            for ((tenant, instance), numbers) in inner.iter().zip(&instances).zip(taken) {
                tenant.run(|| {
                    let control = instance.control()?;
                    numbers.into_iter().try_for_each(|number| Ok(control.remove(number)?))
                })?;
            }
        }
        inner[0].run(|| expect_room(&instances[0], u32::try_from(ROOM)?)).context("a charge is lost")?;
        Ok(())
    })
}
