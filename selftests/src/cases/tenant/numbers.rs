//! SPEC C3 and T8: whose number it is, and who opens and binds the device behind it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;

use crate::{
    backing::Backing,
    block::{self, FIRST_PRIVATE},
    case,
    case::{Case, Context, Need, Who},
    expect,
    instance::Instance,
    limit,
    loop_control::LoopControl,
    loop_device::LoopDevice,
    nodes, privilege, process,
    tenant::Tenant,
    uapi::LO_FLAGS_READ_ONLY,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(["C3", "T8"], low_number_is_the_hosts),
        case!(["C3"], full_tenant_hears_of_its_limit_before_the_number),
        case!(["C3", "T8"], low_number_is_free_for_an_instance_of_the_host),
        case!(["C3"], lowest_free_number_from_256_on_is_taken),
        case!(["C3"], every_number_from_256_on_can_be_asked_for),
        case!(["T8"], host_opens_a_device_of_a_tenant_but_binds_no_file_to_it),
        case!(["T8"], stranger_opens_no_device_of_a_tenant_by_a_static_node),
        case!(["T8"], descendant_of_the_owner_opens_and_binds_its_devices),
        case!(["T8"], descriptor_of_a_device_is_no_right_to_bind_a_file),
        case!(["T8"], device_of_the_hosts_instance_is_opened_and_bound_by_the_host),
    ];
    cases.into_iter().map(|case| case.only(&[Who::Root]).needing(&[Need::Loopfs, Need::Loop])).collect()
}

/// The lowest number that an instance may have and no device has.
fn lowest_free() -> Result<u32> {
    let taken = block::loop_devices()?;
    (FIRST_PRIVATE..).find(|number| !taken.contains(number)).context("all numbers are taken")
}

/// C3: "Numbers 0 to 255 are the host's: ADD of one is EPERM". Whether anybody has it or not, which a tenant is not to learn.
fn low_number_is_the_hosts(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let taken = LoopControl::host()?.get_free()?;
    tenant.run(|| {
        let control = instance.control()?;
        for number in [0, 1, 7, 8, 12, 100, 254, FIRST_PRIVATE - 1, taken] {
            expect::errno(control.add_number(number), Errno::EPERM, &format!("ADD {number} by a tenant"))?;
        }
        instance.expect_devices(&[])?;
        ensure!(!block::exists(100), "the refused device is there");
        Ok(())
    })
}

/// C3: "At a limit ENOSPC comes first."
fn full_tenant_hears_of_its_limit_before_the_number(ctx: &Context) -> Result<()> {
    let tenant = Tenant::ordinary(ctx, "tenant")?;
    tenant.run(|| Ok(limit::set(0)?))?;
    let instance = tenant.mount()?;
    tenant.run(|| expect::errno(instance.control()?.add_number(100), Errno::ENOSPC, "ADD 100 by a full tenant"))
}

/// C3: "unless the owner is the initial namespace".
fn low_number_is_free_for_an_instance_of_the_host(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let taken = block::loop_devices()?;
    let low = (0..FIRST_PRIVATE).rev().find(|number| !taken.contains(number)).context("all low numbers are taken")?;
    ensure!(instance.control()?.add_number(low)? == low);
    Ok(instance.control()?.remove(low)?)
}

/// C3: "Without a wish the lowest free number from 256 on is taken". For the host's instance as for a tenant's.
fn lowest_free_number_from_256_on_is_taken(ctx: &Context) -> Result<()> {
    let (tenant, theirs) = super::tenant(ctx, "tenant")?;
    let ours = Instance::new(ctx, "loopfs")?;
    let in_order = |instance: &Instance| -> Result<()> {
        let control = instance.control()?;
        let mut made = Vec::new();
        for _ in 0..3 {
            let expected = lowest_free()?;
            let number = control.add_any()?;
            ensure!(number == expected, "ADD without a wish takes {number}, {expected} is free");
            made.push(number);
        }
        control.remove(made[1])?;
        let again = control.add_any()?;
        ensure!(again == made[1], "ADD without a wish takes {again}, {} is free", made[1]);
        let by_get_free = control.get_free()?;
        ensure!(by_get_free == made[0], "GET_FREE gives {by_get_free}, {} is unbound", made[0]);
        Ok(())
    };
    tenant.run(|| in_order(&theirs))?;
    in_order(&ours)
}

/// C3: a number that is free can be asked for, from the first on.
fn every_number_from_256_on_can_be_asked_for(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    tenant.run(|| {
        let control = instance.control()?;
        for number in [lowest_free()?, 1000, 1023, 500_000] {
            ensure!(control.add_number(number)? == number);
        }
        expect::errno(control.add_number(1000), Errno::EEXIST, "ADD of a number in use")
    })
}

/// T8: "a file is bound to it (CONFIGURE, SET_FD, CHANGE_FD) only by processes in the owner or its descendants, not even by
/// the host's root (EPERM)". Who opens a static node means to bind a file to a device of its own.
fn host_opens_a_device_of_a_tenant_but_binds_no_file_to_it(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    let (idle, read_only) = tenant.run(|| {
        let idle = instance.add()?;
        let control = instance.control()?;
        let read_only = control.add_any()?;
        instance.open(read_only)?.configure_with_flags(Backing::new(&path)?, LO_FLAGS_READ_ONLY)?;
        Ok((idle, read_only))
    })?;
    let secret = Backing::new(&ctx.dir.join("secret"))?;
    let device = LoopDevice::open(&nodes::loop_device(ctx, idle)?).context("the host cannot open the device")?;
    expect::errno(device.set_fd(&secret), Errno::EPERM, "SET_FD by the host")?;
    expect::errno(device.configure_with_flags(&secret, 0), Errno::EPERM, "CONFIGURE by the host")?;
    expect::errno(device.status(), Errno::ENXIO, "status of the device that the host did not bind")?;
    let bound = LoopDevice::open_read_only(&nodes::loop_device(ctx, read_only)?)?;
    expect::errno(bound.change_fd(&secret), Errno::EPERM, "CHANGE_FD by the host")?;
    bound.read_at(512, 0).context("the host cannot read the device")?;
    drop((device, bound));

    // Root of the host who means it enters the namespace.
    tenant.run(|| Ok(instance.open(idle)?.set_fd(&secret)?)).context("a file of the host, bound in the owner")?;
    tenant.run(|| Ok(instance.open(idle)?.clear()?))
}

/// T8: "opened only by processes in the owner, in its descendants, or with CAP_SYS_ADMIN in the initial namespace, through
/// whatever node".
fn stranger_opens_no_device_of_a_tenant_by_a_static_node(ctx: &Context) -> Result<()> {
    // Before the tenants, whose mounts are copies.
    let probe = nodes::loop_device(ctx, (1 << 20) - 2)?;
    let dir = probe.parent().context("a node has a folder")?.to_owned();
    let sibling = Tenant::new(ctx, "sibling")?;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    let number = tenant.run(|| Ok(instance.add_bound(&Backing::new(&path)?)?))?;
    let node = nodes::loop_device(ctx, number)?;
    ensure!(node.starts_with(&dir));

    let expect_refused = |who: &str, node: &Path| -> Result<()> {
        expect::errno(LoopDevice::open(node), Errno::EPERM, &format!("open by {who}"))?;
        expect::errno(LoopDevice::open_read_only(node), Errno::EPERM, &format!("open for reading by {who}"))
    };
    sibling.run(|| expect_refused("root of a sibling", &node))?;
    process::run(|| {
        privilege::become_user(1234)?;
        expect_refused("an ordinary user of the host", &node)
    })?;
    process::run(|| {
        privilege::become_user(crate::tenant::ORDINARY_USER)?;
        expect_refused("the user of the tenant outside of its namespace", &node)
    })?;
    LoopDevice::open(&node).context("root of the host cannot open the device")?;
    tenant.run(|| {
        LoopDevice::open(&node).context("the tenant cannot open its device by another node")?;
        Ok(())
    })
}

/// T8: "processes in the owner, in its descendants".
fn descendant_of_the_owner_opens_and_binds_its_devices(ctx: &Context) -> Result<()> {
    let owner = Tenant::new(ctx, "owner")?;
    let instance = owner.mount()?;
    owner.run(|| {
        let number = instance.add()?;
        let child = Tenant::nested(owner.dir(), "child")?;
        // The child is a stranger to the mode of the node, so it is given one that it may open.
        std::fs::set_permissions(instance.node(number), std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
        child.run(|| {
            let device = instance.open(number).context("a child of the owner cannot open the device")?;
            device.set_fd(&Backing::new(&child.dir().join("file"))?).context("SET_FD by a child of the owner")?;
            Ok(device.clear()?)
        })
    })
}

/// T8: "a file is bound to it ... only by processes in the owner or its descendants": a descriptor that has wandered off is
/// no way around it.
fn descriptor_of_a_device_is_no_right_to_bind_a_file(ctx: &Context) -> Result<()> {
    let sibling = Tenant::new(ctx, "sibling")?;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let number = tenant.run(|| Ok(instance.add()?))?;
    let device = LoopDevice::from(tenant.descriptor(|| Ok(instance.open(number)?.into()))?);
    let backing = Backing::new(&ctx.dir.join("file"))?;
    sibling.run(|| expect::errno(device.set_fd(&backing), Errno::EPERM, "SET_FD by a sibling with a descriptor"))?;
    expect::errno(device.set_fd(&backing), Errno::EPERM, "SET_FD by the host with a descriptor")
}

/// T8 is about tenants: the host's own instances are for the host, and everybody is below it.
fn device_of_the_hosts_instance_is_opened_and_bound_by_the_host(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&Backing::new(&ctx.dir.join("file"))?)?;
    let node = nodes::loop_device(ctx, number)?;
    process::run(|| {
        privilege::become_user(1234)?;
        LoopDevice::open(&node).context("a user to whom the node's mode gives the device")?;
        Ok(())
    })?;
    let device = LoopDevice::open(&node)?;
    device.clear()?;
    Ok(())
}
