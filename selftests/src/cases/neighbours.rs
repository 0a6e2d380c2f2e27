//! SPEC N6 and N7: tenants beside the host, beside each other, and inside each other.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{errno::Errno, unistd::sync};

use super::host::Host;
use crate::{
    backing::Backing,
    block, case,
    case::{Case, Context, Need, Who},
    expect,
    instance::{Detached, Instance},
    limit,
    loop_device::LoopDevice,
    process::{self, Started},
    tenant::Tenant,
    wait,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["N6"], host_goes_on_beside_a_busy_tenant)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop])
            .patient(2),
        case!(["N6", "H3"], host_goes_on_while_a_full_instance_is_torn_down)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop])
            .patient(2),
        case!(["N6"], other_instances_go_on_beside_a_busy_tenant).patient(2),
        case!(["N7", "M2"], nested_user_namespace_mounts_an_instance_of_its_own),
        case!(["N7", "L1"], nested_namespaces_are_charged_up_the_chain),
        case!(["N7", "N1"], parent_rules_over_the_devices_of_a_nested_namespace),
    ]
}

/// How long any single act of the host may take. It is no measurement, which the bench makes, but
/// tells going on from waiting for the tenant.
const PATIENCE: Duration = Duration::from_secs(5);

fn in_time<T>(what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let value = act().with_context(|| what.to_owned())?;
    let took = start.elapsed();
    ensure!(took < PATIENCE, "{what} takes {took:?}");
    Ok(value)
}

/// A tenant's process that makes, writes and removes devices until it is killed. It is at it when
/// this returns.
fn keep_busy(tenant: &Tenant) -> Result<Started<()>> {
    let (instance, path) = (tenant.mount()?, tenant.dir().join("busy"));
    let dir = tenant.seen_from_outside(instance.dir());
    let busy = tenant.start(move || {
        let backing = Backing::new(&path)?;
        let held = instance.open(instance.add_bound(&backing)?)?;
        loop {
            held.write_at(&[0x5a; 256 * 1024], 0)?;
            let number = instance.add_bound(&backing)?;
            let device = instance.open(number)?;
            device.write_at(&[0xa5; 64 * 1024], 512 * 1024)?;
            device.clear()?;
            drop(device);
            instance.control()?.remove(number)?;
            held.sync()?;
        }
    })?;
    wait::until("the tenant to be busy", || Ok(fs::read_dir(&dir)?.count() > 2))?;
    Ok(busy)
}

/// What the host does of an ordinary day: sync, and a device bound, used, cleared and removed.
fn host_day(ctx: &Context, round: u32) -> Result<()> {
    let host = Host::new(ctx)?;
    in_time("sync", || {
        sync();
        Ok(())
    })?;
    let number = in_time("GET_FREE", || Ok(host.control().get_free()?))?;
    in_time("losetup", || {
        let backing = Backing::new(&ctx.dir.join(format!("host-{round}")))?;
        let device = LoopDevice::open(Path::new(&format!("/dev/loop{number}")))?;
        device.set_fd(&backing)?;
        device.write_at(b"the host's", 0)?;
        device.sync()?;
        Ok(device.clear()?)
    })?;
    in_time("mount of an instance", || {
        let detached = Detached::new()?;
        detached.instance().add()?;
        Ok(())
    })?;
    let added = in_time("ADD", || Ok(host.control().add_any()?))?;
    in_time("REMOVE", || Ok(host.control().remove(added)?))
}

/// N6: "Whatever a tenant does, the host's `sync`, `losetup`, mount and other instances keep working
/// and are not slowed by it beyond its share".
fn host_goes_on_beside_a_busy_tenant(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let busy = keep_busy(&tenant)?;
    for round in 0..5 {
        host_day(ctx, round)?;
    }
    busy.kill()
}

/// N6: "no lock is held across a tenant's I/O", and none across the grace periods of its teardown.
fn host_goes_on_while_a_full_instance_is_torn_down(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    let path = tenant.dir().join("file");
    let made: Vec<u32> = tenant.run(|| {
        let backing = Backing::new(&path)?;
        (0..48).map(|_| Ok(instance.add_bound(&backing)?)).collect()
    })?;
    let teardown = tenant.start(|| Ok(instance.umount()?))?;
    for round in 0..2 {
        host_day(ctx, round)?;
    }
    teardown.join()?;
    ensure!(!made.iter().any(|&number| block::exists(number)));
    Ok(())
}

/// N6: "and other instances keep working".
fn other_instances_go_on_beside_a_busy_tenant(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let other = Tenant::new(ctx, "other")?;
    let busy = keep_busy(&tenant)?;
    let instance = other.mount()?;
    let path = other.dir().join("file");
    other.run(|| {
        let backing = Backing::new(&path)?;
        for _ in 0..5 {
            let number = in_time("GET_FREE", || Ok(instance.control()?.get_free()?))?;
            in_time("use of a device", || {
                let device = instance.open(number)?;
                device.set_fd(&backing)?;
                device.write_at(b"undisturbed", 0)?;
                device.sync()?;
                Ok(device.clear()?)
            })?;
            ensure!(backing.read_at(11, 0)? == b"undisturbed");
            in_time("REMOVE", || Ok(instance.control()?.remove(number)?))?;
        }
        in_time("umount", || Ok(instance.umount()?))
    })?;
    busy.kill()
}

/// N7: "A nested user namespace can mount its own instance". Three deep.
fn nested_user_namespace_mounts_an_instance_of_its_own(ctx: &Context) -> Result<()> {
    let outer = Tenant::new(ctx, "outer")?;
    let outer_instance = outer.mount()?;
    outer.run(|| {
        let number = outer_instance.add()?;
        let inner = Tenant::nested(outer.dir(), "inner")?;
        let instance = inner.mount()?;
        inner.run(|| {
            instance.expect_devices(&[])?;
            let inside = instance.add_bound(&Backing::new(&inner.dir().join("file"))?)?;
            let device = instance.open(inside)?;
            device.write_at(b"nested", 0)?;
            device.sync()?;
            instance.expect_devices(&[inside])?;
            expect::errno(instance.control()?.remove(number), Errno::ENODEV, "REMOVE of the parent's device")
        })?;
        outer_instance.expect_devices(&[number])
    })
}

/// N7: "and is charged up the chain." Each level bounds all below it, itself included.
fn nested_namespaces_are_charged_up_the_chain(ctx: &Context) -> Result<()> {
    let outer = Tenant::new(ctx, "outer")?;
    let outer_instance = outer.mount()?;
    outer.run(|| {
        limit::set(3)?;
        let middle = Tenant::nested(outer.dir(), "middle")?;
        let middle_instance = middle.mount()?;
        middle.run(|| {
            limit::set(2)?;
            Ok(middle_instance.add()?)
        })?;
        let inner = Tenant::nested(outer.dir(), "inner")?;
        let inner_instance = inner.mount()?;
        inner.run(|| Ok(inner_instance.add()?))?;

        outer_instance.add()?;
        let full = [&middle, &inner];
        for (tenant, instance) in full.into_iter().zip([&middle_instance, &inner_instance]) {
            tenant.run(|| expect::errno(instance.add(), Errno::ENOSPC, "ADD below a full ancestor"))?;
        }
        limit::set(10)?;
        middle.run(|| {
            middle_instance.add()?;
            expect::errno(middle_instance.add(), Errno::ENOSPC, "ADD beyond one's own limit")
        })?;
        inner.run(|| Ok(inner_instance.add()?))?;
        Ok(())
    })
}

/// N7 and N1: root of a parent has every capability in the namespaces below. To open a device takes more (T8): root of the
/// host, or somebody in the owner, who may hand the descriptor out.
fn parent_rules_over_the_devices_of_a_nested_namespace(ctx: &Context) -> Result<()> {
    let outer = Tenant::new(ctx, "outer")?;
    outer.run(|| {
        let inner = Tenant::nested(outer.dir(), "inner")?;
        let instance = inner.mount()?;
        let number = inner.run(|| Ok(instance.add_bound(&Backing::new(&inner.dir().join("file"))?)?))?;
        let node = instance.node(number);
        let read_only = inner.descriptor(|| Ok(LoopDevice::open_read_only(&node)?.into()))?;
        let device = LoopDevice::from(read_only);
        for (name, result) in device.privileged_calls() {
            result.with_context(|| format!("{name} by root of the owner's parent"))?;
        }
        let outside = Instance::at(&inner.seen_from_outside(instance.dir()));
        process::run(|| {
            expect::errno(LoopDevice::open(&outside.node(number)), Errno::EPERM, "open by root of the owner's parent")?;
            Ok(())
        })?;
        device.clear()?;
        drop(device);
        process::run(|| {
            outside.control()?.remove(number)?;
            fs::metadata(outside.node(number)).err().context("the node is still there")?;
            Ok(())
        })
    })
}
