//! R1, R2: what is made of a loop device: file systems, partition tables, encrypted volumes.

use std::fs::File;

use anyhow::{Result, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::{bound, client, detach};
use crate::{
    case,
    case::{Case, Context, Need, Who},
    detached::device_of,
    proc_fd,
    shell::Shell,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        client(case!(["R1"], mkfs_e2fsck_and_resize2fs_work_on_a_device)),
        client(case!(["R1"], debugfs_writes_into_a_file_system)),
        client(case!(["R1"], fuse2fs_mounts_a_device)).needing(&[Need::Clients, Need::Loopfs, Need::Fuse]),
        client(case!(["R1"], sfdisk_writes_a_table)),
        client(case!(["R1"], parted_writes_a_table)),
        client(case!(["R1"], partitions_are_reached_by_offset)),
        client(case!(["R1"], blkid_and_wipefs_know_what_is_on_a_device)),
        client(case!(["R1"], mkswap_labels_a_device)),
        client(case!(["M7", "R1"], mkfs_works_on_a_device_without_a_name)).only(&[Who::Root, Who::UsernsRoot]),
        client(case!(["R2"], mount_o_loop_of_ext4_from_mkfs_to_umount)).needing(&[
            Need::Clients,
            Need::Loopfs,
            Need::Ext4,
        ]),
        client(case!(["R2"], mount_takes_a_bound_device)).needing(&[Need::Clients, Need::Loopfs, Need::Ext4]),
        client(case!(["R1"], cryptsetup_formats_a_device)),
        client(case!(["R2"], cryptsetup_opens_a_device)),
    ]
}

fn mkfs_e2fsck_and_resize2fs_work_on_a_device(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("mkfs.ext4 -q {device} 4M; e2fsck -fn {device}"))?;
    shell.run(&format!("resize2fs {device}; e2fsck -fn {device}; tune2fs -L grown {device}"))?;
    shell.prints(&format!("e2label {device}"), "grown")?;
    shell.prints(&format!("dumpe2fs -h {device} 2>/dev/null | sed -n 's/^Block count: *//p'"), "8192")?;
    detach(&shell, &device)
}

fn debugfs_writes_into_a_file_system(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("mkfs.ext4 -q {device}; echo hello > file; debugfs -w -R 'write file inside' {device}"))?;
    detach(&shell, &device)?;
    shell.prints("debugfs -R 'cat inside' disk.img 2>/dev/null", "hello")
}

fn fuse2fs_mounts_a_device(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("mkfs.ext4 -q {device}; mkdir mnt; fuse2fs -o fakeroot {device} mnt"))?;
    shell.run("echo hello > mnt/file; umount mnt")?;
    // The server writes its cache when it has noticed the umount.
    shell.run(&format!("while ! losetup -d {device} || losetup {device} 2>/dev/null; do sleep 0.1; done"))?;
    shell.prints("debugfs -R 'cat file' disk.img 2>/dev/null", "hello")
}

fn sfdisk_writes_a_table(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("printf 'label: gpt\\n1M 2M\\n3M 2M\\n' | sfdisk -q {device}"))?;
    shell.prints(&format!("sfdisk -d {device} | grep -c start="), "2")?;
    detach(&shell, &device)?;
    shell.run("sfdisk -q --verify disk.img").map(drop)
}

fn parted_writes_a_table(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("parted -s {device} mklabel msdos"))?;
    shell.prints(&format!("parted -s -m {device} print | sed -n 2p | cut -d : -f 6"), "msdos")?;
    detach(&shell, &device)
}

fn partitions_are_reached_by_offset(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("printf 'label: dos\\n2048 4096\\n' | sfdisk -q --no-reread --no-tell-kernel {device}"))?;
    let part = shell.run("losetup -f --show -o $((2048 * 512)) --sizelimit $((4096 * 512)) disk.img")?;
    shell.run(&format!("mkfs.ext4 -q {part}; losetup -d {part} {device}"))?;
    shell.prints("blkid -p -O 1048576 -o value -s TYPE disk.img", "ext4")
}

fn blkid_and_wipefs_know_what_is_on_a_device(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("mkfs.ext4 -q -L label {device}"))?;
    shell.prints(&format!("blkid -p -o value -s LABEL -s TYPE {device}"), "label\next4")?;
    shell.run(&format!("wipefs -q -a {device}"))?;
    shell.fails(&format!("blkid -p {device}"), "")?;
    detach(&shell, &device)
}

fn mkswap_labels_a_device(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("mkswap -q -L spare {device}"))?;
    shell.prints(&format!("swaplabel {device} | sed -n 's/^LABEL: *//p'"), "spare")?;
    detach(&shell, &device)
}

/// As `selftests/examples/detached.rs` hands it to a command.
fn mkfs_works_on_a_device_without_a_name(ctx: &Context) -> Result<()> {
    let shell = Shell::plain(ctx);
    shell.run("truncate -s 8M disk.img")?;
    let image = File::options().read(true).write(true).open(ctx.dir.join("disk.img"))?;
    let device = device_of(&image, |_| ())?;
    fcntl(device.file(), FcntlArg::F_SETFD(FdFlag::empty()))?;
    shell.run(&format!("mkfs.ext4 -q {}", proc_fd::path(device.file()).display()))?;
    drop(device);
    shell.run("e2fsck -fn disk.img").map(drop)
}

fn mount_o_loop_of_ext4_from_mkfs_to_umount(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 8M disk.img; mkfs.ext4 -q disk.img; mkdir mnt; mount -o loop disk.img mnt")?;
    let device = shell.run("findmnt -n -o SOURCE mnt")?;
    ensure!(device.starts_with("/dev/loop"), "it is mounted from {device}");
    shell.prints(&format!("losetup -n -O BACK-FILE,AUTOCLEAR {device} | tr -s ' '"), "/tmp/disk.img 1")?;
    shell.run("cp -r /etc/default mnt/; sync -f mnt; umount mnt; e2fsck -fn disk.img")?;
    shell.prints("losetup -j disk.img", "")
}

fn mount_takes_a_bound_device(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("mkfs.ext4 -q {device}; mkdir mnt; mount {device} mnt; echo hello > mnt/file; umount mnt"))?;
    detach(&shell, &device)?;
    shell.prints("debugfs -R 'cat file' disk.img 2>/dev/null", "hello")
}

/// With a key that costs next to nothing to derive.
const FORMAT: &str = "cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000";

fn cryptsetup_formats_a_device(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("echo secret > key; {FORMAT} {device} key; cryptsetup isLuks {device}"))?;
    shell.run(&format!("cryptsetup open --test-passphrase --key-file key {device}"))?;
    detach(&shell, &device)
}

fn cryptsetup_opens_a_device(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "8M", "")?;
    shell.run(&format!("echo secret > key; {FORMAT} {device} key; cryptsetup open --key-file key {device} opened"))?;
    shell.run("mkfs.ext4 -q /dev/mapper/opened; cryptsetup close opened")?;
    detach(&shell, &device)
}
