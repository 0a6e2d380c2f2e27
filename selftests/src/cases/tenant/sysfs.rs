//! SPEC N4: what sysfs says of a private device's file, and to whom.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;

use super::super::host::Host;
use crate::{
    backing::Backing,
    block, case,
    case::{Case, Context, Need, Who},
    expect,
    instance::Instance,
    loop_device::LoopDevice,
    privilege, process,
    tenant::Tenant,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["N4", "H16"], loop_group_of_sysfs_is_the_owners_alone).only(&[Who::Root]),
        case!(["N4"], loop_group_of_the_hosts_instance_is_the_hosts).only(&[Who::Root]),
        case!(["N4"], loop_group_of_a_device_of_the_host_is_everybodys)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop]),
    ]
}

/// The files of the group `loop` of device `number`.
fn attributes(number: u32) -> Result<Vec<PathBuf>> {
    let dir = block::sysfs(number).join("loop");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    ensure!(files.len() >= 6, "{} has only {files:?}", dir.display());
    Ok(files)
}

fn expect_readable(number: u32, who: &str) -> Result<()> {
    for file in attributes(number)? {
        fs::read_to_string(&file).with_context(|| format!("{} for {who}", file.display()))?;
    }
    Ok(())
}

fn expect_hidden(number: u32, who: &str) -> Result<()> {
    for file in attributes(number)? {
        expect::errno(fs::read_to_string(&file), Errno::EPERM, &format!("{} for {who}", file.display()))?;
    }
    Ok(())
}

/// N4: "is readable only in the owner itself, elsewhere EPERM, in its descendants and for the host's root too".
fn loop_group_of_sysfs_is_the_owners_alone(ctx: &Context) -> Result<()> {
    let sibling = Tenant::new(ctx, "sibling")?;
    let owner = Tenant::new(ctx, "owner")?;
    let instance = owner.mount()?;
    let path = owner.dir().join("file");
    let number = owner.run(|| Ok(instance.add_bound(&Backing::new(&path)?)?))?;
    owner.run(|| {
        expect_readable(number, "root of the owner")?;
        ensure!(block::backing_file(number)?.ends_with("/file"), "backing_file names another file");
        process::run(|| {
            privilege::become_user(5)?;
            expect_readable(number, "a user of the owner")
        })?;
        let child = Tenant::nested(owner.dir(), "child")?;
        child.run(|| expect_hidden(number, "a child of the owner"))
    })?;
    sibling.run(|| expect_hidden(number, "a sibling of the owner"))?;
    expect_hidden(number, "root of the host")
}

/// N4: the owner is the host where the host has mounted the instance. What programs there list is theirs.
fn loop_group_of_the_hosts_instance_is_the_hosts(ctx: &Context) -> Result<()> {
    let tenant = Tenant::ordinary(ctx, "tenant")?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&Backing::new(&ctx.dir.join("file"))?)?;
    expect_readable(number, "root of the host")?;
    tenant.run(|| expect_hidden(number, "a tenant"))
}

/// N4 is about private devices: the host's are shown as ever.
fn loop_group_of_a_device_of_the_host_is_everybodys(ctx: &Context) -> Result<()> {
    let tenant = Tenant::ordinary(ctx, "tenant")?;
    let host = Host::new(ctx)?;
    let (number, node) = host.fresh()?;
    LoopDevice::open(&node)?.set_fd(&host.backing("file")?)?;
    expect_readable(number, "root of the host")?;
    tenant.run(|| expect_readable(number, "a tenant"))
}
