//! N3, C4: "no uevent for one reaches host listeners", seen from the host's udev.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};

use crate::{
    case,
    case::{Case, Context, Need, Who},
    process,
    shell::Shell,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["N3", "R3"], udev_of_the_host_knows_nothing_of_a_containers_devices)
            .only(&[Who::Root])
            .needing(&[Need::Clients, Need::Loopfs, Need::Fsnotify, Need::Uevent])
            .patient(6),
    ]
}

/// What the container does: a file system with a name on a device that stays bound until it is told to end.
const IN_THE_CONTAINER: &str = "
set -eux
cd /tmp/shared
truncate -s 8M disk.img
device=$(losetup --find --show disk.img)
mkfs.ext4 -q -L tenant $device
losetup --detach $device
losetup --find --show disk.img > device
mv device ready
while ! test -e done; do sleep 0.1; done
losetup --detach-all
";

fn udev_of_the_host_knows_nothing_of_a_containers_devices(ctx: &Context) -> Result<()> {
    let shell = Shell::plain(ctx);
    // What udev leaves there is the case's own.
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).context("no tmpfs at /run")?;
    let shared = ctx.dir.join("shared");
    fs::create_dir(&shared)?;
    shell.run("/lib/systemd/systemd-udevd --daemon; udevadm control --ping; chmod 1777 /tmp /tmp/shared")?;
    expect_host_devices_known(&shell)?;

    let recipe = include_str!("../../../recipes/unshare.sh");
    let container = process::start(|| {
        fs::write("/tmp/recipe.sh", recipe)?;
        Shell::plain(ctx)
            .feed("setpriv --reuid 1000 --regid 1000 --clear-groups sh -eu /tmp/recipe.sh", IN_THE_CONTAINER)
    })?;
    // A container takes its time to come up; how long all of this may take is the case's own deadline.
    shell.run("while ! test -e /tmp/shared/ready; do sleep 0.1; done; udevadm settle")?;
    let device = shell.run("cat /tmp/shared/ready")?;
    let number = device.strip_prefix("/dev/loop").with_context(|| format!("the container has {device:?}"))?;
    ensure!(!fs::exists(format!("/run/udev/data/b7:{number}"))?, "udev has an entry for {device}");
    ensure!(!fs::exists("/dev/disk/by-label/tenant")?, "the host has a link to the container's file system");
    let known = shell.run("udevadm info --export-db")?;
    ensure!(!known.contains("ID_FS_LABEL=tenant"), "udev knows what is on {device}");
    expect_host_devices_known(&shell)?;

    fs::write(shared.join("done"), "")?;
    container.join().context("the container")?;
    shell.run("udevadm settle; udevadm control --exit").map(drop)
}

/// Requires that udev finds the file system on a device of the host's and makes a link for it, and takes it away again.
fn expect_host_devices_known(shell: &Shell<'_>) -> Result<()> {
    let device = shell.run("truncate -s 8M host.img; mkfs.ext4 -q -L host host.img; losetup --find --show host.img")?;
    shell.run("udevadm settle")?;
    shell.prints("readlink -f /dev/disk/by-label/host", &device)?;
    shell.run(&format!("losetup --detach {device}; udevadm settle; test ! -e /dev/disk/by-label/host; rm host.img"))?;
    Ok(())
}
