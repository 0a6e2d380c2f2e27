//! R1: "`losetup -f --show`, `-a`, `-d`, `-D`, `-j`, `-c`, `-P`, `--sector-size`, `--direct-io`, `-r`,
//! `-o/--sizelimit`; ... `blockdev`, `blkid`, `dd` ... on a private device, as userns root with the instance at
//! `/dev/loopfs` and links in `/dev`."

use anyhow::{Result, ensure};

use super::{bound, client, detach};
use crate::{
    case,
    case::{Case, Context},
    shell::Shell,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        client(case!(["R1"], losetup_find_show_binds_a_file_and_data_arrives_in_it)),
        client(case!(["R1"], losetup_binds_a_device_that_is_named)),
        client(case!(["R1"], losetup_lists_what_is_bound)),
        client(case!(["R1"], losetup_finds_the_devices_of_a_file)),
        client(case!(["R1"], losetup_detach_all_leaves_nothing_bound)),
        client(case!(["R1"], losetup_sees_that_a_file_has_grown)),
        client(case!(["R1"], losetup_offset_and_sizelimit_show_a_part)),
        client(case!(["R1"], losetup_read_only_refuses_writes)),
        client(case!(["R1"], losetup_sector_size_is_the_devices)),
        client(case!(["R1"], losetup_direct_io_is_on)),
        client(case!(["R1"], losetup_partscan_binds)),
        client(case!(["R1"], losetup_nooverlap_finds_the_same_device_again)),
        client(case!(["R1"], blockdev_asks_for_sizes)),
        client(case!(["R1"], lsblk_shows_the_device)),
    ]
}

fn losetup_find_show_binds_a_file_and_data_arrives_in_it(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "1M", "")?;
    ensure!(device.starts_with("/dev/loop"), "losetup printed {device:?}");
    shell.run(&format!("echo written through the device | dd of={device} conv=fsync status=none"))?;
    shell.prints("head -n 1 disk.img", "written through the device")?;
    detach(&shell, &device)?;
    shell.prints("losetup -j disk.img", "")
}

fn losetup_binds_a_device_that_is_named(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 1M disk.img")?;
    let device = shell.run("losetup -f")?;
    shell.run(&format!("losetup {device} disk.img"))?;
    shell.prints(&format!("losetup -n -O BACK-FILE {device}"), "/tmp/disk.img")?;
    detach(&shell, &device)
}

fn losetup_lists_what_is_bound(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 1M one.img two.img")?;
    let one = shell.run("losetup -f --show one.img")?;
    let two = shell.run("losetup -f --show two.img")?;
    for list in ["losetup -a", "losetup -l"] {
        let listed = shell.run(list)?;
        for (device, file) in [(&one, "/tmp/one.img"), (&two, "/tmp/two.img")] {
            let shown = listed.lines().any(|line| line.starts_with(device.as_str()) && line.contains(file));
            ensure!(shown, "`{list}` does not show {file} on {device}:\n{listed}");
        }
    }
    shell.run(&format!("losetup -d {one} {two}")).map(drop)
}

fn losetup_finds_the_devices_of_a_file(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 1M disk.img other.img")?;
    let device = shell.run("losetup -f --show disk.img")?;
    let other = shell.run("losetup -f --show other.img")?;
    let found = shell.run("losetup -n -O NAME -j disk.img")?;
    ensure!(found == device, "the device of disk.img is {device}, and -j found {found:?}");
    shell.run(&format!("losetup -d {device} {other}")).map(drop)
}

fn losetup_detach_all_leaves_nothing_bound(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 1M one.img two.img; losetup -f one.img; losetup -f two.img")?;
    shell.run("losetup -D")?;
    shell.prints("losetup -j one.img; losetup -j two.img", "")
}

fn losetup_sees_that_a_file_has_grown(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "1M", "")?;
    shell.run(&format!("truncate -s 3M disk.img; losetup -c {device}"))?;
    shell.prints(&format!("blockdev --getsize64 {device}"), "3145728")?;
    detach(&shell, &device)
}

fn losetup_offset_and_sizelimit_show_a_part(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 1M disk.img; printf middle | dd of=disk.img bs=1 seek=4096 conv=notrunc status=none")?;
    let device = shell.run("losetup -f --show -o 4096 --sizelimit 8192 disk.img")?;
    shell.prints(&format!("blockdev --getsize64 {device}"), "8192")?;
    shell.prints(&format!("head -c 6 {device}"), "middle")?;
    detach(&shell, &device)
}

fn losetup_read_only_refuses_writes(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "1M", "-r")?;
    shell.prints(&format!("blockdev --getro {device}"), "1")?;
    shell.fails(&format!("dd if=/dev/zero of={device} count=1 status=none"), "Operation not permitted")?;
    detach(&shell, &device)
}

fn losetup_sector_size_is_the_devices(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "1M", "--sector-size 4096")?;
    shell.prints(&format!("blockdev --getss {device}"), "4096")?;
    detach(&shell, &device)
}

fn losetup_direct_io_is_on(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "1M", "--direct-io=on")?;
    shell.prints(&format!("losetup -n -O DIO {device} | tr -d ' '"), "1")?;
    detach(&shell, &device)
}

fn losetup_partscan_binds(ctx: &Context) -> Result<()> {
    let shell = Shell::new(ctx)?;
    shell.run("truncate -s 4M disk.img; printf 'label: dos\\n1M 1M\\n' | sfdisk -q disk.img")?;
    let device = shell.run("losetup -P -f --show disk.img")?;
    shell.prints(&format!("test -b {device}p1 && echo yes"), "yes")?;
    detach(&shell, &device)
}

fn losetup_nooverlap_finds_the_same_device_again(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "1M", "--nooverlap")?;
    shell.prints("losetup --nooverlap -f --show disk.img", &device)?;
    detach(&shell, &device)
}

fn blockdev_asks_for_sizes(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "1M", "")?;
    shell.prints(&format!("blockdev --getsz --getss --getpbsz --getro {device}"), "2048\n512\n512\n0")?;
    detach(&shell, &device)
}

fn lsblk_shows_the_device(ctx: &Context) -> Result<()> {
    let (shell, device) = bound(ctx, "1M", "")?;
    shell.prints(&format!("lsblk -n -o SIZE,TYPE {device} | tr -s ' ' | sed 's/^ //'"), "1M loop")?;
    detach(&shell, &device)
}
