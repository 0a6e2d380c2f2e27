//! SPEC N1 and N2: what a private device takes, and what it gives no right to.

use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use caps::Capability;
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    unistd::unlink,
};

use crate::{
    backing::Backing,
    case,
    case::{Case, Context, Need},
    expect, ext2,
    fs_context::FsContext,
    instance::Instance,
    loop_device::LoopDevice,
    privilege, proc_fd,
    tenant::{IdMap, Tenant},
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["N1"], capability_is_asked_for_in_the_owner),
        case!(["N1"], capability_in_a_sibling_or_a_child_is_no_right),
        case!(["N1"], writable_descriptor_is_a_right_of_its_own),
        case!(["N1"], capability_in_the_owner_is_no_right_to_a_device_of_its_parent),
        case!(["N1", "M2"], owner_of_an_instance_is_who_opened_its_context),
        case!(["N1", "L2"], options_are_changed_by_the_owner_only),
        case!(["N1"], strangers_open_neither_device_nor_control_node),
        case!(["N2"], block_file_system_is_not_mountable_in_a_user_namespace).needing(&[Need::Loopfs, Need::Ext4]),
    ]
}

/// A tenant with an instance and one bound device.
struct Owner {
    tenant: Tenant,
    instance: Instance,
    number: u32,
}

impl Owner {
    fn new(ctx: &Context) -> Result<Self> {
        let tenant = Tenant::new(ctx, "owner")?;
        let instance = tenant.mount()?;
        let number = tenant.run(|| Ok(instance.add_bound(&Backing::new(&tenant.dir().join("file"))?)?))?;
        Ok(Self { tenant, instance, number })
    }

    /// A descriptor of the device, opened in the tenant.
    fn open(&self, open: fn(&Path) -> nix::Result<LoopDevice>) -> Result<LoopDevice> {
        let node = self.instance.node(self.number);
        let descriptor = self.tenant.descriptor(|| Ok(open(&node)?.into()))?;
        Ok(descriptor.into())
    }
}

fn expect_allowed(device: &LoopDevice, who: &str) -> Result<()> {
    for (name, result) in device.privileged_calls() {
        result.with_context(|| format!("{name} on a read-only descriptor, by {who}"))?;
    }
    Ok(())
}

fn expect_refused(device: &LoopDevice, who: &str) -> Result<()> {
    for (name, result) in device.privileged_calls() {
        expect::errno(result, Errno::EPERM, &format!("{name} on a read-only descriptor, by {who}"))?;
    }
    Ok(())
}

/// N1: "The loop ioctls that ask for CAP_SYS_ADMIN ask for it in the owner for a private device".
/// So its root may, root of a parent may, and a user without the capability may not.
fn capability_is_asked_for_in_the_owner(ctx: &Context) -> Result<()> {
    let owner = Owner::new(ctx)?;
    let device = owner.open(LoopDevice::open_read_only)?;
    owner.tenant.run(|| expect_allowed(&device, "root of the owner"))?;
    expect_allowed(&device, "root of the owner's parent")?;
    owner.tenant.run(|| {
        privilege::keep_only(&[Capability::CAP_SYS_ADMIN])?;
        expect_allowed(&device, "CAP_SYS_ADMIN alone")
    })?;
    owner.tenant.run(|| {
        privilege::give_up(Capability::CAP_SYS_ADMIN)?;
        expect_refused(&device, "root without CAP_SYS_ADMIN")
    })
}

/// N1: "A task with CAP_SYS_ADMIN in a sibling or child of the owner gets no more than its file
/// permissions give."
fn capability_in_a_sibling_or_a_child_is_no_right(ctx: &Context) -> Result<()> {
    let sibling = Tenant::new(ctx, "sibling")?;
    let owner = Owner::new(ctx)?;
    let device = owner.open(LoopDevice::open_read_only)?;
    sibling.run(|| expect_refused(&device, "root of a sibling"))?;
    owner.tenant.run(|| {
        let child = Tenant::nested(owner.tenant.dir(), "child")?;
        child.run(|| expect_refused(&device, "root of a child of the owner"))
    })
}

/// N1: "gets no more than its file permissions give", and no less: a writable descriptor handed to a
/// sibling is as good as for a host device.
fn writable_descriptor_is_a_right_of_its_own(ctx: &Context) -> Result<()> {
    let sibling = Tenant::new(ctx, "sibling")?;
    let owner = Owner::new(ctx)?;
    let device = owner.open(LoopDevice::open)?;
    sibling.run(|| expect_allowed(&device, "a sibling with a writable descriptor"))
}

/// N1: the case's own instance belongs to the parent of the tenant, whose root has no capability there.
fn capability_in_the_owner_is_no_right_to_a_device_of_its_parent(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add_bound(&Backing::new(&ctx.dir.join("file"))?)?;
    let device = LoopDevice::open_read_only(&instance.node(number))?;
    expect_allowed(&device, "root of the owner")?;
    tenant.run(|| expect_refused(&device, "root of a child of the owner"))
}

/// N1: the owner is "the user namespace the instance was mounted in". That is settled when the
/// context is opened; whoever goes on with the context makes an instance of that namespace (H28).
fn owner_of_an_instance_is_who_opened_its_context(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let opened = tenant.descriptor(|| Ok(FsContext::open(c"loop")?.into()))?;
    let context = FsContext::from(opened);
    context.create().context("root of the parent cannot go on with the tenant's context")?;
    let mount = context.mount()?;
    let instance = Instance::at(&proc_fd::path(&mount));
    let root = fs::metadata(instance.dir())?;
    ensure!(root.uid() == IdMap::USUAL.outside, "the instance belongs to {}", root.uid());
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let number = tenant.run(|| Ok(instance.add_bound(&backing)?))?;
    let node = instance.node(number);
    let device = LoopDevice::from(tenant.descriptor(|| Ok(LoopDevice::open_read_only(&node)?.into()))?);
    tenant.run(|| expect_allowed(&device, "root of the owner"))
}

/// N1 and L2: max= is the owner's to change. A child whose mounts include the instance may not.
fn options_are_changed_by_the_owner_only(ctx: &Context) -> Result<()> {
    let instance = Instance::new_with(ctx, "loopfs", "max=1")?;
    let child = Tenant::new(ctx, "child")?;
    child.run(|| {
        let remounted = instance.remount(MsFlags::empty(), "max=9");
        expect::errno(remounted, Errno::EPERM, "remount by a child of the owner")?;
        let picked = FsContext::pick(instance.dir())?;
        picked.set("max", "9")?;
        expect::errno(picked.reconfigure(), Errno::EPERM, "reconfiguration by a child of the owner")
    })?;
    child.kill()?;
    instance.add()?;
    expect::errno(instance.add(), Errno::ENOSPC, "a second device with max=1")
}

/// N1: "its file permissions". Nodes are 0600, and root of a stranger is nobody to them.
fn strangers_open_neither_device_nor_control_node(ctx: &Context) -> Result<()> {
    let ids = IdMap { inside: 0, outside: 2000, count: 1000 };
    let stranger = Tenant::with_ids(&ctx.dir, "stranger", ids)?;
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    // The stranger's mounts are a copy made before the instance; a descriptor leads it there.
    let dir = fs::File::open(instance.dir())?;
    let through = Instance::at(&proc_fd::path(&dir));
    stranger.run(|| {
        expect::errno(through.open(number), Errno::EACCES, "open of a device by a stranger")?;
        expect::errno(through.control(), Errno::EACCES, "open of a control node by a stranger")?;
        expect::errno(unlink(&through.node(number)), Errno::EACCES, "unlink by a stranger")
    })?;
    instance.expect_devices(&[number])
}

/// N2: "No block file system becomes mountable in a user namespace. A private device gives the
/// right to a block device, not to mount it."
fn block_file_system_is_not_mountable_in_a_user_namespace(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    tenant.run(|| {
        let backing = Backing::new(&tenant.dir().join("image"))?;
        backing.file().write_all_at(&ext2::image(), 0)?;
        let node = instance.node(instance.add_bound(&backing)?);
        let dir = tenant.dir().join("ext4");
        fs::create_dir(&dir)?;
        let mounted = mount(Some(&node), &dir, Some("ext4"), MsFlags::empty(), None::<&str>);
        expect::errno(mounted, Errno::EPERM, "mount of ext4 in a user namespace")?;
        let context = FsContext::open(c"ext4")?;
        context.set("source", &node.to_string_lossy())?;
        expect::errno(context.create(), Errno::EPERM, "a superblock of ext4 in a user namespace")
    })
}
