//! R3: "A systemd-nspawn, an unprivileged LXC or bubblewrap container can be given an instance with nothing but
//! documented steps."
//!
//! The steps are the files in `selftests/recipes`, and they stand in the kernel's documentation word for word. Each
//! ends with a shell in the container.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    unistd::{Gid, Uid, chown},
};

use crate::{
    block, case,
    case::{Case, Context, Need, Who},
    harness::root::ROOTFS,
    shell::Shell,
    wait,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        recipe(case!(["R3"], recipe_for_unshare_works)),
        recipe(case!(["R3"], recipe_for_bubblewrap_works)),
        recipe(case!(["R3"], recipe_for_systemd_nspawn_works)),
        recipe(case!(["R3"], recipe_for_unprivileged_lxc_works)),
        recipe(case!(["R3"], recipe_for_rootless_crun_works)),
        recipe(case!(["R3"], recipe_for_podman_works)),
    ]
}

/// The case, run on the host and with all that containers want of a kernel.
const fn recipe(case: Case) -> Case {
    case.only(&[Who::Root]).needing(&[Need::Clients, Need::Loopfs, Need::Memcg, Need::Fsnotify]).patient(3)
}

/// The person without any privilege, whom the guest's Debian has an account for.
const USER: u32 = 1000;

/// What is done in the container: it prints who one is, and what was made of the device.
const IN_THE_CONTAINER: &str = "
set -eux
cd /tmp/shared
truncate -s 8M disk.img
device=$(losetup --find --show disk.img)
mkfs.ext4 -q $device
test \"$(losetup --noheadings --output NAME --associated disk.img)\" = $device
losetup --detach $device
echo user $(id -u) made $(blkid -p -o value -s TYPE disk.img)
losetup --find disk.img
";

fn recipe_for_unshare_works(ctx: &Context) -> Result<()> {
    follow(ctx, include_str!("../../../recipes/unshare.sh"), Some(USER))
}

fn recipe_for_bubblewrap_works(ctx: &Context) -> Result<()> {
    follow(ctx, include_str!("../../../recipes/bwrap.sh"), Some(USER))
}

fn recipe_for_systemd_nspawn_works(ctx: &Context) -> Result<()> {
    follow(ctx, include_str!("../../../recipes/nspawn.sh"), None)?;
    // Without a unit of its own, it divides the cgroup that it was started in.
    for name in ["payload", "supervisor"] {
        fs::remove_dir(format!("/sys/fs/cgroup/{name}")).with_context(|| format!("no cgroup {name} to remove"))?;
    }
    Ok(())
}

fn recipe_for_unprivileged_lxc_works(ctx: &Context) -> Result<()> {
    follow(ctx, include_str!("../../../recipes/lxc.sh"), None)?;
    // LXC keeps a cgroup to move its monitor to.
    fs::remove_dir("/sys/fs/cgroup/lxc.pivot").context("no lxc.pivot to remove")
}

fn recipe_for_rootless_crun_works(ctx: &Context) -> Result<()> {
    follow(ctx, include_str!("../../../recipes/crun.sh"), Some(USER))
}

fn recipe_for_podman_works(ctx: &Context) -> Result<()> {
    follow(ctx, include_str!("../../../recipes/podman.sh"), Some(USER))
}

/// Follows `recipe`, as the user with this id if there is one and else as root, and works in the container's shell.
/// A device is left bound when that ends.
fn follow(ctx: &Context, recipe: &str, user: Option<u32>) -> Result<()> {
    let before = block::loop_devices()?;
    let shell = Shell::plain(ctx);
    let shared = ctx.dir.join("shared");
    fs::create_dir(&shared)?;
    shell.run("chmod 1777 /tmp /tmp/shared")?;
    mount(Some("srv"), "/srv", Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).context("no tmpfs at /srv")?;
    shell.run(ROOTFS).context("no root for the container")?;

    let (folder, script) = (ctx.dir.join("home"), ctx.dir.join("recipe.sh"));
    fs::create_dir(&folder)?;
    fs::write(&script, recipe)?;
    let become_user = match user {
        Some(id) => {
            chown(&folder, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))?;
            shell.run(&format!("cd /srv/rootfs; chown -h {id}:{id} . dev proc sys tmp run var root etc etc/*"))?;
            let home = folder.display();
            format!(
                "setpriv --reuid {id} --regid {id} --clear-groups env HOME={home} XDG_RUNTIME_DIR={home} USER=user "
            )
        }
        None => String::new(),
    };
    let printed =
        shell.feed(&format!("cd {}; {become_user}sh -eu {}", folder.display(), script.display()), IN_THE_CONTAINER)?;
    ensure!(printed.lines().any(|line| line == "user 0 made ext4"), "the container's shell printed {printed:?}");
    // Some managers are done before the last process of the container is.
    wait::until("the end of the container's loop devices", || Ok(block::loop_devices()? == before))
}
