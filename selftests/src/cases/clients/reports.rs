//! R1, R2: what users have reported as not working in a container, as they typed it.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::client;
use crate::{
    case,
    case::{Case, Context},
    shell::Shell,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        client(case!(["R1"], kind_1248_losetup_again_and_again)),
        client(case!(["R1"], moby_27886_losetup_find_then_show)),
        client(case!(["R2"], podman_27902_mount_o_loop)),
        client(case!(["R1"], podman_23368_many_losetups_at_once)),
        client(case!(["R1"], toolbox_1021_losetup_find)),
        client(case!(["R2"], lxd_2980_mount_read_only)),
        client(case!(["R1"], lxd_16070_losetup_find_show_of_a_disk)),
        client(case!(["R1"], mkosi_2412_losetup_in_a_script)),
        client(case!(["R1"], util_linux_2824_losetup_find_prints_a_device_of_ours)),
        client(case!(["R1"], util_linux_1582_sector_size)),
        client(case!(["R1"], osbuild_devices_by_a_directory_descriptor)),
        client(case!(["R1"], loopdev_the_crate_finds_attaches_and_detaches)),
        client(case!(["S1", "R1"], apptainer_2175_nothing_is_left_after_a_kill)),
        client(case!(["C4", "R1"], pi_gen_482_two_builds_at_once_do_not_meet)),
    ]
}

/// Ten devices: more than a static `/dev` has.
fn kind_1248_losetup_again_and_again(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 1G testfile")?;
    let devices = shell.run("for i in 1 2 3 4 5 6 7 8 9 10; do losetup -f --show /tmp/testfile; done")?;
    ensure!(devices.lines().count() == 10, "{devices}");
    shell.run("losetup -d $(losetup -n -O NAME -j testfile)")?;
    remove_from(&shell, ctx, 8)
}

/// The crate that programs in Rust use in place of losetup.
fn loopdev_the_crate_finds_attaches_and_detaches(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 1M disk.img")?;
    let device = loopdev::LoopControl::open()?.next_free()?;
    device.attach_file(ctx.dir.join("disk.img"))?;
    let node = device.path().context("the device has no path")?;
    shell.prints(&format!("blockdev --getsize64 {}", node.display()), "1048576")?;
    shell.run(&format!("mkfs.ext4 -q {}", node.display()))?;
    device.detach()?;
    shell.prints("blkid -p -o value -s TYPE disk.img", "ext4")
}

fn moby_27886_losetup_find_then_show(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 1M ofile.img")?;
    let device = shell.run("losetup -f ofile.img --show")?;
    shell.run(&format!("test -b {device} && losetup -d {device}")).map(drop)
}

fn podman_27902_mount_o_loop(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 4M test_ext4; mkfs.ext4 -q test_ext4; mkdir mnt; mount -o loop,rw test_ext4 mnt")?;
    shell.run("echo hello > mnt/file; umount mnt")?;
    shell.prints("debugfs -R 'cat file' test_ext4 2>/dev/null", "hello")?;
    shell.prints("losetup -j test_ext4", "")
}

fn podman_23368_many_losetups_at_once(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    let started = "for i in 1 2 3 4 5 6; do truncate -s 1M $i.img; losetup -f --show $i.img > $i.device & done";
    let devices = shell.run(&format!("{started}; wait; cat ?.device | sort -u"))?;
    ensure!(devices.lines().count() == 6, "six files are on\n{devices}");
    shell.run("for i in 1 2 3 4 5 6; do test $(losetup -n -O BACK-FILE $(cat $i.device)) = /tmp/$i.img; done")?;
    shell.run("losetup -d $(cat ?.device)").map(drop)
}

fn toolbox_1021_losetup_find(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    let device = shell.run("losetup -f")?;
    shell.run(&format!("blockdev --getsize64 {device}")).map(drop)
}

fn lxd_2980_mount_read_only(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 4M out.img; mkfs.ext4 -q out.img; mkdir mnt; mount -o loop,ro out.img mnt")?;
    shell.prints("findmnt -n -o OPTIONS mnt | cut -c 1-2", "ro")?;
    shell.run("umount mnt").map(drop)
}

fn lxd_16070_losetup_find_show_of_a_disk(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 8M pc.img; printf 'label: gpt\\n1M 2M\\n3M 2M\\n' | sfdisk -q pc.img")?;
    let device = shell.run("losetup --find --show pc.img")?;
    shell.prints(
        &format!("sfdisk -l -q -o Start,Size {device} | tail -n +2 | tr -s ' ' | sed 's/^ //'"),
        "2048 2M\n6144 2M",
    )?;
    shell.run(&format!("losetup -d {device}")).map(drop)
}

fn mkosi_2412_losetup_in_a_script(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run(
        "truncate -s 4M image.raw; printf '%s\\n' '#!/bin/sh -eu' 'losetup --find --show image.raw' > mkosi.finalize",
    )?;
    let device = shell.run("chmod +x mkosi.finalize; sh mkosi.finalize")?;
    shell.run(&format!("mkfs.ext4 -q {device}; losetup -d {device}"))?;
    shell.prints("blkid -o value -s TYPE -p image.raw", "ext4")
}

fn util_linux_2824_losetup_find_prints_a_device_of_ours(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    let device = shell.run("losetup --find")?;
    shell.run(&format!("test -b {device} -a -w {device}")).map(drop)
}

fn util_linux_1582_sector_size(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 4M disk.img")?;
    let device = shell.run("losetup --find --show --sector-size 4096 disk.img")?;
    shell.run(&format!("mkfs.ext4 -q {device}; e2fsck -fn {device}; losetup -d {device}")).map(drop)
}

/// Its helper outside of the sandbox takes a directory's descriptor, and is not needed where the sandbox has its own.
fn osbuild_devices_by_a_directory_descriptor(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    fs::write(ctx.dir.join("directory_fd.py"), include_str!("directory_fd.py"))?;
    let directory = if ctx.who.has_instance() { "/dev/loopfs" } else { "/dev" };
    shell.run(&format!("truncate -s 1M disk.img; python3 directory_fd.py {directory} disk.img")).map(drop)
}

/// In a mount namespace of its own, where there can be one with an instance of its own.
const IN_A_NAMESPACE: &str = "unshare --mount sh -euc 'if test -d /dev/loopfs; then mount -t loop own /dev/loopfs; fi";

fn apptainer_2175_nothing_is_left_after_a_kill(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 1M disk.img")?;
    shell.fails(&format!("{IN_A_NAMESPACE}; losetup -f --show disk.img > device; kill -9 $$'"), "")?;
    shell.run("test -s device")?;
    let left = shell.run("losetup -n -O NAME -j disk.img")?;
    if !left.is_empty() {
        shell.run(&format!("losetup -d {left}"))?;
    }
    ensure!(left.is_empty(), "{left} was left behind");
    Ok(())
}

fn pi_gen_482_two_builds_at_once_do_not_meet(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 1M mine.img other.img; mkfifo ready done")?;
    let other =
        format!("{IN_A_NAMESPACE}; losetup -f --show other.img > ready; read end < done; losetup -j other.img > seen'");
    let mine = "read other < ready; device=$(losetup -f --show mine.img); test $device != $other; losetup -a > all; losetup -D";
    shell.run(&format!("{other} &\n{mine}; echo > done; wait $!"))?;
    shell.prints("losetup -j mine.img", "")?;
    ensure!(!shell.run("cat all")?.contains("other.img"), "`losetup -a` shows the device of another build");
    ensure!(!shell.run("cat seen")?.is_empty(), "`losetup -D` has detached the device of another build");
    Ok(())
}

/// Removes the machine's devices from number `first` on, which were not there when the case began.
fn remove_from(shell: &Shell<'_>, ctx: &Context, first: u32) -> Result<()> {
    if ctx.who.has_instance() {
        return Ok(());
    }
    let remove =
        "import fcntl, os, sys\nfcntl.ioctl(os.open('/dev/loop-control', os.O_RDWR), 0x4C81, int(sys.argv[1]))";
    shell.run(&format!("for i in {first} {}; do python3 -c \"{remove}\" $i; done", first + 1)).map(drop)
}
