//! SPEC M: mounting an instance, and what is in a fresh one.

use std::{
    fs::{self, Permissions},
    num::NonZeroUsize,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
    },
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use caps::Capability;
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, open},
    mount::MsFlags,
    sys::{
        mman::{MapFlags, ProtFlags, mmap},
        stat::{Mode, SFlag, makedev, mknod, utimes},
        statfs::statfs,
        time::{TimeVal, TimeValLike as _},
    },
    unistd::{LinkatFlags, linkat, mkdir, mkfifo, symlinkat, unlink},
};

use crate::{
    backing::Backing,
    block, case,
    case::{Case, Context, Who},
    expect,
    fs_context::{self, FsContext},
    instance::{Detached, Instance},
    loop_device::LoopDevice,
    mount_info::MountInfo,
    privilege, process,
    tenant::{IdMap, Tenant},
    uapi::{LOOP_CONTROL, LOOPFS_MAGIC, MINORS},
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["M1"], each_mount_is_a_new_instance),
        case!(["M1"], bind_mount_shows_the_same_instance),
        case!(["M2"], cap_sys_admin_alone_is_enough_to_mount),
        case!(["M2"], mounting_without_cap_sys_admin_is_eperm),
        case!(["M3", "H12"], fresh_instance_holds_only_its_control_node),
        case!(["M3"], everything_belongs_to_root_of_the_owner),
        case!(["M3"], everything_belongs_to_global_root_where_the_owner_maps_no_root).only(&[Who::Root]),
        case!(["M3"], times_and_link_counts_are_sane),
        case!(["M3"], directory_is_modified_when_its_entries_change),
        case!(["M4"], bad_option_is_einval_with_a_message),
        case!(["M4"], largest_max_is_the_number_of_minors),
        case!(["M4", "L2"], refused_remount_changes_nothing),
        case!(["M4"], options_show_when_they_were_set_and_only_then),
        case!(["M5"], statfs_reports_the_magic),
        case!(["M6"], instance_is_noexec),
        case!(["M6"], device_nodes_open_on_the_mount_of_a_user_namespace),
        case!(["M7"], instance_made_by_fsmount_can_be_attached),
        case!(["M7"], instance_works_without_ever_being_attached),
        case!(["M8", "H23"], read_only_superblock_makes_and_removes_nothing),
        case!(["M8", "H23"], read_only_mount_makes_and_removes_nothing),
        case!(["M8", "H23"], instance_cannot_be_frozen),
        case!(["M9"], nothing_else_can_be_made_in_an_instance),
        case!(["M9"], mode_and_owner_and_times_last_as_long_as_the_node),
        case!(["M9"], users_other_than_root_change_no_node),
    ]
}

/// M1: "`mount -t loop NAME DIR` always makes a new, independent instance."
fn each_mount_is_a_new_instance(ctx: &Context) -> Result<()> {
    let (first, second) = (Instance::new(ctx, "first")?, Instance::new(ctx, "second")?);
    let number = first.add()?;
    first.expect_devices(&[number])?;
    second.expect_devices(&[])?;
    ensure!(
        fs::metadata(first.dir())?.dev() != fs::metadata(second.dir())?.dev(),
        "both mounts show the same superblock"
    );

    // On top of one another as well: the upper one hides the lower one and leaves it alone.
    let upper = Instance::mount(first.dir())?;
    upper.expect_devices(&[])?;
    upper.umount()?;
    first.expect_devices(&[number])
}

/// M1: "A bind mount shows the same instance." It lives until the last of its mounts goes.
fn bind_mount_shows_the_same_instance(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let other_dir = ctx.dir.join("bound");
    fs::create_dir(&other_dir)?;
    let bound = instance.bind(&other_dir)?;
    let number = bound.add()?;
    instance.expect_devices(&[number])?;

    instance.umount()?;
    bound.expect_devices(&[number])?;
    ensure!(block::exists(number), "loop{number} is gone while a mount of its instance is left");
    bound.umount()?;
    ensure!(!block::exists(number), "loop{number} outlives the last mount of its instance");
    Ok(())
}

/// M2: "CAP_SYS_ADMIN in the current user namespace is enough."
fn cap_sys_admin_alone_is_enough_to_mount(ctx: &Context) -> Result<()> {
    let dir = ctx.dir.join("loopfs");
    fs::create_dir(&dir)?;
    process::run(|| {
        privilege::keep_only(&[Capability::CAP_SYS_ADMIN])?;
        let instance = Instance::mount(&dir).context("cannot mount with CAP_SYS_ADMIN alone")?;
        instance.umount()?;
        Detached::new().context("cannot fsmount with CAP_SYS_ADMIN alone")?;
        Ok(())
    })
}

/// M2: "Without it: EPERM." Whatever other capability there is.
fn mounting_without_cap_sys_admin_is_eperm(ctx: &Context) -> Result<()> {
    let dir = ctx.dir.join("loopfs");
    fs::create_dir(&dir)?;
    process::run(|| {
        privilege::give_up(Capability::CAP_SYS_ADMIN)?;
        expect::errno(Instance::mount(&dir), Errno::EPERM, "mount(2) without CAP_SYS_ADMIN")?;
        expect::errno(FsContext::open(c"loop"), Errno::EPERM, "fsopen(2) without CAP_SYS_ADMIN")
    })
}

/// M3: "A fresh instance holds exactly one node, `loop-control`: character device 10:237, mode
/// 0600. The root directory is 0755."
fn fresh_instance_holds_only_its_control_node(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    instance.expect_devices(&[])?;

    let control = fs::symlink_metadata(instance.control_path())?;
    ensure!(control.file_type().is_char_device(), "loop-control is {:?}", control.file_type());
    ensure!(control.rdev() == makedev(LOOP_CONTROL.0, LOOP_CONTROL.1));
    ensure!(control.mode() & 0o7777 == 0o600, "loop-control has mode {:o}", control.mode());
    let root = fs::metadata(instance.dir())?;
    ensure!(root.mode() & 0o7777 == 0o755, "the root directory has mode {:o}", root.mode());
    Ok(())
}

/// M3: "Root, control node and devices belong to uid 0 / gid 0 *of the owner*".
fn everything_belongs_to_root_of_the_owner(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    let number = tenant.run(|| {
        let number = instance.add()?;
        expect_owner(&instance, number, 0)?;
        Ok(number)
    })?;
    let outside = Instance::at(&tenant.seen_from_outside(instance.dir()));
    expect_owner(&outside, number, IdMap::USUAL.outside)?;

    let own = Instance::new(ctx, "own")?;
    expect_owner(&own, own.add()?, 0)
}

/// M3: "(global root where the owner maps no 0)".
fn everything_belongs_to_global_root_where_the_owner_maps_no_root(ctx: &Context) -> Result<()> {
    let ids = IdMap { inside: 5, outside: 1000, count: 100 };
    let tenant = Tenant::with_ids(&ctx.dir, "tenant", ids)?;
    let instance = tenant.mount()?;
    let outside = Instance::at(&tenant.seen_from_outside(instance.dir()));
    let number = outside.add()?;
    expect_owner(&outside, number, 0)
}

fn expect_owner(instance: &Instance, number: u32, id: u32) -> Result<()> {
    for path in [instance.dir().to_owned(), instance.control_path(), instance.node(number)] {
        let found = fs::symlink_metadata(&path)?;
        ensure!(
            (found.uid(), found.gid()) == (id, id),
            "{} belongs to {}:{}, not to {id}:{id}",
            path.display(),
            found.uid(),
            found.gid()
        );
    }
    Ok(())
}

/// M3: "Times are sane; link counts and `readdir` agree with `stat`."
fn times_and_link_counts_are_sane(ctx: &Context) -> Result<()> {
    // Coarse kernel time may lag behind by a tick.
    let before = SystemTime::now() - Duration::from_secs(1);
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let after = SystemTime::now() + Duration::from_secs(1);

    for path in [instance.dir().to_owned(), instance.control_path(), instance.node(number)] {
        let found = fs::symlink_metadata(&path)?;
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(found.ctime())?);
        for (what, time) in [("accessed", found.accessed()?), ("modified", found.modified()?), ("changed", changed)] {
            ensure!(before <= time && time <= after, "{} was {what} at {time:?}", path.display());
        }
        let links = if found.is_dir() { 2 } else { 1 };
        ensure!(found.nlink() == links, "{} has {} links", path.display(), found.nlink());
    }
    for entry in fs::read_dir(instance.dir())? {
        let entry = entry?;
        let node = fs::symlink_metadata(entry.path())?;
        ensure!(entry.file_type()? == node.file_type(), "readdir is wrong about {:?}", entry.file_name());
        ensure!(std::os::unix::fs::DirEntryExt::ino(&entry) == node.ino());
    }

    ensure!(fs::metadata(instance.dir())?.nlink() == 2, "a device counts as a link of the root directory");
    Ok(())
}

/// M3: "Times are sane": the directory was modified when an entry came, went or changed its name.
fn directory_is_modified_when_its_entries_change(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let expect_modified = |what: &str| -> Result<()> {
        let found = fs::metadata(instance.dir())?;
        ensure!(found.mtime() != CHANGED_TIME, "{what} does not modify the directory");
        utimes(instance.dir(), &TimeVal::seconds(CHANGED_TIME), &TimeVal::seconds(CHANGED_TIME))?;
        Ok(())
    };
    expect_modified("the mount")?;
    let number = control.add_any()?;
    expect_modified("ADD")?;
    fs::rename(instance.node(number), instance.path("renamed"))?;
    expect_modified("rename")?;
    control.remove(number)?;
    expect_modified("REMOVE")?;
    let number = control.get_free()?;
    expect_modified("GET_FREE")?;
    unlink(&instance.node(number))?;
    expect_modified("unlink")
}

/// The options nothing may accept: unknown ones, no numbers, and more devices than minors.
const BAD_OPTIONS: &[(&str, &str)] = &[
    ("unknown", "1"),
    ("Max", "1"),
    ("max", ""),
    ("max", "x"),
    ("max", "-1"),
    ("max", "1k"),
    ("max", "1048577"),
    ("max", "4294967296"),
    ("max", "99999999999999999999"),
];

/// M4: "An unknown option, a non-number, or N above the size of the loop minor space: EINVAL with
/// a message in the fs_context log".
fn bad_option_is_einval_with_a_message(ctx: &Context) -> Result<()> {
    let dir = ctx.dir.join("loopfs");
    fs::create_dir(&dir)?;
    for (key, value) in BAD_OPTIONS {
        let option = format!("{key}={value}");
        let context = FsContext::open(c"loop")?;
        expect_refused(&context, key, value)?;
        expect::errno(Instance::mount_with(&dir, &option), Errno::EINVAL, &format!("mount -o {option}"))?;
    }
    let context = FsContext::open(c"loop")?;
    expect::errno(context.set_flag("max"), Errno::EINVAL, "max without a number")?;
    ensure!(!context.log()?.is_empty(), "nothing in the log says what is wrong with max without a number");
    Ok(())
}

/// Requires `key=value` to be refused, by `fsconfig` or when it is put into effect, with a message.
fn expect_refused(context: &FsContext, key: &str, value: &str) -> Result<()> {
    expect::errno(context.set(key, value), Errno::EINVAL, &format!("{key}={value}"))?;
    let log = context.log()?;
    ensure!(
        log.iter().any(|line| line.starts_with("e ") && line.contains(key)),
        "the log does not say what is wrong with {key}={value}: {log:?}"
    );
    Ok(())
}

/// M4: "N above the size of the loop minor space: EINVAL". That size itself is not above it.
fn largest_max_is_the_number_of_minors(ctx: &Context) -> Result<()> {
    let instance = Instance::new_with(ctx, "loopfs", &format!("max={MINORS}"))?;
    instance.add()?;
    Ok(())
}

/// M4: "and the instance (on remount) unchanged".
fn refused_remount_changes_nothing(ctx: &Context) -> Result<()> {
    let instance = Instance::new_with(ctx, "loopfs", "max=1")?;
    let number = instance.add()?;
    for (key, value) in BAD_OPTIONS {
        let option = format!("max=7,{key}={value}");
        expect::errno(instance.remount(MsFlags::empty(), &option), Errno::EINVAL, &format!("remount,{option}"))?;
        let context = FsContext::pick(instance.dir())?;
        expect_refused(&context, key, value)?;
    }
    let shown = MountInfo::of(instance.dir())?.super_options;
    ensure!(shown.contains(&"max=1".to_owned()), "after refused remounts the options are {shown:?}");
    expect::errno(instance.add(), Errno::ENOSPC, "a second device with max=1")?;
    instance.expect_devices(&[number])
}

/// M4: "Options show in `/proc/self/mountinfo` when they were set, and only then."
fn options_show_when_they_were_set_and_only_then(ctx: &Context) -> Result<()> {
    let shown = |instance: &Instance| -> Result<Vec<String>> {
        let mount = MountInfo::of(instance.dir())?;
        ensure!(mount.fs_type == "loop", "the type shows as {}", mount.fs_type);
        Ok(mount.super_options.into_iter().filter(|option| option.starts_with("max")).collect())
    };
    let plain = Instance::new(ctx, "plain")?;
    ensure!(shown(&plain)?.is_empty(), "max shows without having been set");
    let limited = Instance::new_with(ctx, "limited", "max=5")?;
    ensure!(shown(&limited)? == ["max=5"]);
    let none = Instance::new_with(ctx, "none", "max=0")?;
    ensure!(shown(&none)? == ["max=0"]);

    plain.remount(MsFlags::empty(), "max=3")?;
    ensure!(shown(&plain)? == ["max=3"]);
    plain.remount(MsFlags::empty(), "")?;
    ensure!(shown(&plain)? == ["max=3"], "a remount that does not name max hides it");
    Ok(())
}

/// M5: "`statfs` reports the loopfs magic; `stat -f`, `df`, `findmnt` work on it."
fn statfs_reports_the_magic(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    for path in [instance.dir().to_owned(), instance.control_path(), instance.node(number)] {
        let found = statfs(&path)?;
        ensure!(found.filesystem_type().0 == LOOPFS_MAGIC, "{} has type {:?}", path.display(), found.filesystem_type());
        // What `df` divides by, and what limits a name.
        ensure!(found.block_size() > 0);
        ensure!(found.maximum_name_length() == 255);
    }
    Ok(())
}

/// M6: "Always noexec." Nothing of an instance can be mapped executable, not even a device.
fn instance_is_noexec(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let number = instance.add_bound(&backing)?;
    let device = instance.open(number)?;
    let map = |protection| {
        let length = NonZeroUsize::MIN;
        // SAFETY: The kernel chooses the place; nobody uses the mapping, which goes with the process.
        unsafe { mmap(None, length, protection, MapFlags::MAP_PRIVATE, device.file(), 0) }
    };
    map(ProtFlags::PROT_READ).context("a device cannot be mapped at all")?;
    expect::errno(map(ProtFlags::PROT_READ | ProtFlags::PROT_EXEC), Errno::EPERM, "an executable mapping")
}

/// M6: "Device nodes can be opened although the mount is a user-namespace mount."
fn device_nodes_open_on_the_mount_of_a_user_namespace(ctx: &Context) -> Result<()> {
    let tenant = Tenant::new(ctx, "tenant")?;
    let instance = tenant.mount()?;
    tenant.run(|| {
        let number = instance.control().context("the control node does not open")?.add_any()?;
        instance.open(number).context("the device does not open")?;
        Ok(())
    })
}

/// M7: "Works the same through `mount(2)` and through `fsopen`/`fsconfig`/`fsmount`".
fn instance_made_by_fsmount_can_be_attached(ctx: &Context) -> Result<()> {
    let dir = ctx.dir.join("loopfs");
    fs::create_dir(&dir)?;
    let context = FsContext::open(c"loop")?;
    context.set("source", "name")?;
    context.set("max", "2")?;
    context.create()?;
    fs_context::attach(context.mount()?, &dir)?;

    let instance = Instance::at(&dir);
    let first = instance.add()?;
    let second = instance.add()?;
    instance.expect_devices(&[first, second])?;
    expect::errno(instance.add(), Errno::ENOSPC, "a third device with max=2")?;
    let picked = FsContext::pick(&dir)?;
    picked.set("max", "3")?;
    picked.reconfigure()?;
    instance.add()?;
    Ok(())
}

/// M7: "also when the mount is never attached".
fn instance_works_without_ever_being_attached(ctx: &Context) -> Result<()> {
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let detached = Detached::new()?;
    let instance = detached.instance();
    let number = instance.control()?.get_free()?;
    instance.expect_devices(&[number])?;
    {
        let device = instance.open(number)?;
        device.set_fd(&backing)?;
        device.write_at(b"through a detached mount", 0)?;
        device.sync()?;
    }
    ensure!(backing.read_at(24, 0)? == b"through a detached mount");
    unlink(&instance.path("nothing")).err().context("unlink of nothing succeeds")?;
    drop(detached);
    ensure!(!block::exists(number), "loop{number} outlives its detached mount");
    Ok(())
}

/// M8: "Read-only mount: making and removing devices gives EROFS, existing devices can still be
/// opened." Here the superblock is read-only, by remount and from the start.
fn read_only_superblock_makes_and_removes_nothing(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = add_bound_device(ctx, &instance)?;
    instance.remount(MsFlags::MS_RDONLY, "")?;
    expect_read_only(&instance, number)?;
    instance.remount(MsFlags::empty(), "")?;
    instance.open(number)?.clear()?;
    instance.control()?.remove(number)?;

    let dir = ctx.dir.join("from-the-start");
    fs::create_dir(&dir)?;
    let fresh = Instance::mount_with_flags(&dir, MsFlags::MS_RDONLY, "")?;
    fresh.expect_devices(&[])?;
    expect::errno(fresh.control()?.get_free(), Errno::EROFS, "GET_FREE in a fresh read-only instance")
}

/// M8, where only this mount of the instance is read-only and another one is not.
fn read_only_mount_makes_and_removes_nothing(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = add_bound_device(ctx, &instance)?;
    let dir = ctx.dir.join("read-only");
    fs::create_dir(&dir)?;
    let read_only = instance.bind(&dir)?;
    read_only.remount(MsFlags::MS_BIND | MsFlags::MS_RDONLY, "")?;
    expect_read_only(&read_only, number)?;
    instance.add().context("the writable mount of the same instance makes no device")?;
    Ok(())
}

fn add_bound_device(ctx: &Context, instance: &Instance) -> Result<u32> {
    let backing = Backing::new(&ctx.dir.join("file"))?;
    Ok(instance.add_bound(&backing)?)
}

fn expect_read_only(instance: &Instance, bound: u32) -> Result<()> {
    let control = instance.control().context("the control node of a read-only instance does not open")?;
    expect::errno(control.add_any(), Errno::EROFS, "ADD on a read-only instance")?;
    expect::errno(control.get_free(), Errno::EROFS, "GET_FREE on a read-only instance")?;
    expect::errno(control.remove(bound), Errno::EROFS, "REMOVE on a read-only instance")?;
    expect::errno(unlink(&instance.node(bound)), Errno::EROFS, "unlink on a read-only instance")?;
    instance.expect_devices(&[bound])?;
    let device = instance.open(bound).context("a device of a read-only instance does not open")?;
    device.write_at(b"still writable", 0).context("a device of a read-only instance is not writable")?;
    Ok(())
}

mod ioctl {
    nix::ioctl_readwrite!(fifreeze, b'X', 119, i32);
}

/// M8, by the other way to stop changes: there is nothing to freeze, and a frozen instance would keep its shutdown
/// waiting for whoever may thaw it.
fn instance_cannot_be_frozen(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let root = fs::File::open(instance.dir())?;
    // SAFETY: The descriptor is open and the argument is a live int.
    let frozen = unsafe { ioctl::fifreeze(root.as_raw_fd(), &mut 0) };
    expect::errno(frozen, Errno::EOPNOTSUPP, "FIFREEZE")?;
    instance.add()?;
    Ok(())
}

/// M9: "mkdir, mknod, create, symlink, link: EPERM."
fn nothing_else_can_be_made_in_an_instance(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let new = instance.path("new");
    let mode = Mode::from_bits_truncate(0o600);
    expect::errno(mkdir(&new, mode), Errno::EPERM, "mkdir")?;
    expect::errno(mkfifo(&new, mode), Errno::EPERM, "mkfifo")?;
    for kind in [SFlag::S_IFREG, SFlag::S_IFSOCK, SFlag::S_IFCHR, SFlag::S_IFBLK] {
        let device = if kind == SFlag::S_IFBLK { makedev(7, u64::from(number)) } else { makedev(10, 237) };
        expect::errno(mknod(&new, kind, mode, device), Errno::EPERM, &format!("mknod of {kind:?}"))?;
    }
    expect::errno(open(&new, OFlag::O_CREAT | OFlag::O_RDWR, mode), Errno::EPERM, "create")?;
    expect::errno(symlinkat("loop-control", AT_FDCWD, &new), Errno::EPERM, "symlink")?;
    for existing in [instance.node(number), instance.control_path()] {
        let linked = linkat(AT_FDCWD, &existing, AT_FDCWD, &new, LinkatFlags::empty());
        expect::errno(linked, Errno::EPERM, "link")?;
    }
    instance.expect_devices(&[number])
}

/// M9: "chmod, chown and utimes on nodes behave as on tmpfs for the owner's root, and last as long
/// as the node." A new node of the same number starts afresh.
fn mode_and_owner_and_times_last_as_long_as_the_node(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let device = instance.node(number);
    for node in [&device, &instance.control_path()] {
        change(node)?;
        expect_changed(node)?;
    }
    // Neither use of the device nor another name for it makes a new node of it.
    drop(instance.open(number)?);
    ensure!(instance.control()?.get_free()? == number, "GET_FREE passes over an unbound device");
    let renamed = instance.path("renamed");
    fs::rename(&device, &renamed)?;
    expect_changed(&renamed)?;

    instance.control()?.remove(number)?;
    instance.control()?.add_number(number)?;
    let fresh = fs::symlink_metadata(&device)?;
    ensure!(fresh.mode() & 0o7777 == 0o600, "a new node inherits mode {:o} of the old one", fresh.mode());
    ensure!((fresh.uid(), fresh.gid()) == (0, 0), "a new node inherits the owner of the old one");
    Ok(())
}

const CHANGED_TIME: i64 = 1_000_000_000;

fn change(node: &Path) -> Result<()> {
    fs::set_permissions(node, Permissions::from_mode(0o640))?;
    chown(node, Some(7), Some(8))?;
    utimes(node, &TimeVal::seconds(CHANGED_TIME), &TimeVal::seconds(CHANGED_TIME))?;
    Ok(())
}

fn expect_changed(node: &Path) -> Result<()> {
    let found = fs::symlink_metadata(node)?;
    ensure!(found.mode() & 0o7777 == 0o640, "{} has mode {:o}", node.display(), found.mode());
    ensure!((found.uid(), found.gid()) == (7, 8));
    ensure!(found.mtime() == CHANGED_TIME, "{} was modified at {}", node.display(), found.mtime());
    Ok(())
}

/// M9: "for the owner's root". A user without privilege may do nothing of it, and opens nothing.
fn users_other_than_root_change_no_node(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let node = instance.node(number);
    fs::set_permissions(&ctx.dir, Permissions::from_mode(0o755))?;
    process::run(|| {
        privilege::become_user(1234)?;
        let mode = Permissions::from_mode(0o666);
        expect::errno(fs::set_permissions(&node, mode), Errno::EPERM, "chmod by a stranger")?;
        expect::errno(chown(&node, Some(1234), None), Errno::EPERM, "chown by a stranger")?;
        expect::errno(LoopDevice::open(&node), Errno::EACCES, "open of a device by a stranger")?;
        expect::errno(instance.control(), Errno::EACCES, "open of the control node by a stranger")?;
        expect::errno(unlink(&node), Errno::EACCES, "unlink by a stranger")?;
        expect::errno(fs::rename(&node, instance.path("mine")), Errno::EACCES, "rename by a stranger")
    })?;
    instance.expect_devices(&[number])
}
