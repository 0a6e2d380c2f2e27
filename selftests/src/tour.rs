//! The guided tour: what an ordinary user can do with an instance, shown step by step on the
//! running kernel. Whatever a step says was read from the system, and a step that finds the kernel
//! doing something else ends the tour as an error.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        stat::{major, minor},
    },
    unistd::{Gid, Uid, getegid, geteuid, unlink},
};

use crate::{
    backing::{self, Backing},
    block, expect,
    instance::Instance,
    limit, privilege, process,
};

/// The ordinary user the tour becomes where it is started as root. No account is needed.
const USER: u32 = 1000;

/// Shows the tour on standard output.
///
/// # Errors
///
/// When the kernel does not do what a step is to show, or lacks what the tour needs.
pub fn run() -> Result<()> {
    let before = block::loop_devices()?;
    // In a child: nothing the tour makes can outlive it, and this process stays who it is.
    process::run(|| as_ordinary_user(&before))?;
    let left: Vec<u32> = block::loop_devices()?.difference(&before).copied().collect();
    ensure!(left.is_empty(), "the tour has left loop devices behind: {left:?}");
    say("The tour is over, its processes are gone, and /sys/block is as it was before.");
    Ok(())
}

fn say(text: &str) {
    println!("{text}");
}

/// Prints the headline of a step.
fn step(number: u32, title: &str) {
    println!("\n{number}. {title}");
}

/// Prints what a user would type, and its output below.
fn show(command: &str, result: &str) {
    println!("   $ {command}");
    for line in result.lines() {
        println!("     {line}");
    }
}

/// Requires `act` to fail with `errno`, and shows that.
fn show_refusal<T: std::fmt::Debug>(command: &str, act: nix::Result<T>, errno: Errno) -> Result<()> {
    expect::errno(act, errno, command)?;
    show(command, &format!("{errno:?}: {}", errno.desc()));
    Ok(())
}

fn as_ordinary_user(before: &BTreeSet<u32>) -> Result<()> {
    if geteuid().is_root() {
        privilege::become_user(USER)?;
        // A change of credentials takes the own files of /proc away, and the id maps are among them.
        prctl::set_dumpable(true)?;
    }
    let user = geteuid();
    step(1, "An ordinary user, without any capability");
    show("id -u", &user.to_string());
    show("grep CapEff /proc/self/status", &effective_capabilities()?);
    ensure!(!user.is_root(), "the tour cannot become an ordinary user");

    step(2, "makes a user namespace, where it is root, and mounts an instance of its own");
    enter_user_namespace(user, getegid())?;
    show("unshare --user --map-root-user --mount", &effective_capabilities()?);
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    let dir = Path::new("/tmp");
    mount(Some("tour"), dir, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).context("cannot mount a tmpfs")?;
    let [own, other] = ["loopfs", "other"].map(|name| dir.join(name));
    fs::create_dir(&own)?;
    fs::create_dir(&other)?;
    let own =
        Instance::mount(&own).context("cannot mount the file system type `loop`: is this a kernel with loopfs?")?;
    show("mount -t loop tour /tmp/loopfs", "");
    own.expect_devices(&[])?;
    show("ls -l /tmp/loopfs", &listing(&own)?);

    let control = own.control()?;
    let number = use_a_device(&own, dir)?;

    step(5, "Nobody else has it: not the host's /dev, not a second instance");
    let host_node = format!("/dev/loop{number}");
    ensure!(!Path::new(&host_node).exists(), "{host_node} exists");
    show(&format!("ls {host_node}"), "No such file or directory");
    let other = Instance::mount(&other)?;
    other.expect_devices(&[])?;
    show("mount -t loop tour /tmp/other; ls -l /tmp/other", &listing(&other)?);
    let foreign = other.control()?.remove(number);
    show_refusal(&format!("LOOP_CTL_REMOVE {number}, on /tmp/other/loop-control"), foreign, Errno::ENODEV)?;
    ensure!(block::exists(number), "the host does not see loop{number} in /sys/block");
    show("ls -d /sys/block/loop*, as the host sees what runs", &new_devices(before)?);

    step(6, "Limits: of one instance by max=, of the whole namespace by user.max_loop_devices");
    own.remount(MsFlags::empty(), "max=2")?;
    show("mount -o remount,max=2 /tmp/loopfs", "");
    let second = control.add_any()?;
    show("LOOP_CTL_ADD", &format!("loop{second}"));
    show_refusal("LOOP_CTL_ADD", control.add_any(), Errno::ENOSPC)?;
    limit::set(3)?;
    show(&format!("echo 3 > {}", limit::PATH), "");
    let third = other.control()?.add_any()?;
    show("LOOP_CTL_ADD, on /tmp/other/loop-control", &format!("loop{third}"));
    show_refusal("LOOP_CTL_ADD, on /tmp/other/loop-control", other.control()?.add_any(), Errno::ENOSPC)?;

    step(7, "A device is removed by unlink, but not while it is in use");
    let node = own.node(number);
    show_refusal(&format!("rm {}", node.display()), unlink(&node), Errno::EBUSY)?;
    own.open(number)?.clear()?;
    show(&format!("losetup -d {}", node.display()), "");
    unlink(&node)?;
    own.expect_devices(&[second])?;
    show(&format!("rm {}; ls -l /tmp/loopfs", node.display()), &listing(&own)?);

    step(8, "What is left goes with the instance");
    drop(control);
    own.umount()?;
    other.umount()?;
    let left = new_devices(before)?;
    ensure!(left.is_empty(), "after umount /sys/block still has {left}");
    show("umount /tmp/loopfs /tmp/other", "");
    show("ls -d /sys/block/loop*, without those of before", "(none)");
    Ok(())
}

/// Steps 3 and 4: a device is made, bound, written and read back.
fn use_a_device(instance: &Instance, dir: &Path) -> Result<u32> {
    step(3, "asks for a device and binds a file to it");
    let number = instance.control()?.get_free()?;
    show("losetup --find", &instance.node(number).display().to_string());
    instance.expect_devices(&[number])?;
    show("ls -l /tmp/loopfs", &listing(instance)?);
    let backing = Backing::new(&dir.join("disk.img"))?;
    let device = instance.open(number)?;
    device.set_fd(&backing)?;
    let (status, size) = (device.status()?, device.size()?);
    ensure!(status.lo_number == number && size == backing::SIZE);
    let file = block::backing_file(number)?;
    show(
        &format!("losetup {} /tmp/disk.img; losetup --list", instance.node(number).display()),
        &format!("NAME        SIZE     BACK-FILE\nloop{:<7} {size}  {file}", status.lo_number),
    );

    step(4, "writes to the device and finds it in the file");
    let text = "written through a private loop device";
    device.write_at(text.as_bytes(), 4096)?;
    device.sync()?;
    show(&format!("echo '{text}' | dd of={} bs=4096 seek=1 conv=fsync", instance.node(number).display()), "");
    let found = String::from_utf8(backing.read_at(text.len(), 4096)?)?;
    ensure!(found == text, "the file holds {found:?}");
    show(&format!("dd if=/tmp/disk.img bs=4096 skip=1 | head -c {}", text.len()), &found);
    Ok(number)
}

fn enter_user_namespace(user: Uid, group: Gid) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).context("cannot make a user namespace")?;
    fs::write("/proc/self/setgroups", "deny").context("cannot write setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1")).context("cannot write uid_map")?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1")).context("cannot write gid_map")
}

/// The line of `/proc/self/status` about the effective capabilities.
fn effective_capabilities() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("CapEff")).context("no CapEff in /proc/self/status")?;
    Ok(line.to_owned())
}

/// The loop devices in `/sys/block` that are not among `before`.
fn new_devices(before: &BTreeSet<u32>) -> Result<String> {
    let new: Vec<String> = block::loop_devices()?.difference(before).map(|n| format!("/sys/block/loop{n}")).collect();
    Ok(new.join("\n"))
}

/// The entries of an instance as `ls -l` prints them, without the times.
fn listing(instance: &Instance) -> Result<String> {
    let mut lines = String::new();
    for name in instance.entries()? {
        let node = fs::symlink_metadata(instance.path(&name))?;
        let (major, minor) = (major(node.rdev()), minor(node.rdev()));
        writeln!(lines, "{} {} {} {} {major}, {minor:<6} {name}", mode(&node), node.nlink(), node.uid(), node.gid())?;
    }
    Ok(lines)
}

/// The mode as `ls -l` prints it.
fn mode(node: &Metadata) -> String {
    let kind = match node.file_type() {
        kind if kind.is_block_device() => 'b',
        kind if kind.is_char_device() => 'c',
        kind if kind.is_dir() => 'd',
        _ => '-',
    };
    let bits = (0..9).rev().zip("rwxrwxrwx".chars());
    std::iter::once(kind)
        .chain(bits.map(|(bit, letter)| if node.mode() >> bit & 1 == 1 { letter } else { '-' }))
        .collect()
}
