//! Another root for the guest than its initramfs: a read-only disk, with a tmpfs over it.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use loopfs_protocol::ADDED;
use nix::{
    mount::{MsFlags, mount},
    unistd::{chdir, chroot},
};

/// Where the pieces are mounted in the initramfs.
const DISK: &str = "/disk";
const LAYER: &str = "/layer";
const ROOT: &str = "/root";

/// Makes the root file system that the recipes for containers take.
pub(crate) const ROOTFS: &str = include_str!("rootfs.sh");

/// Any name does.
const MACHINE_ID: &str = "6c6f6f706673c11e9753e6c6f6f70667\n";

/// Makes the file system on the block device `device`, with this program in it, the root of all that is to come.
///
/// # Errors
///
/// When it cannot be mounted.
pub(super) fn enter(device: &str) -> Result<()> {
    for dir in [DISK, LAYER, ROOT] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {dir}"))?;
    }
    let nothing = None::<&str>;
    mount(Some(device), DISK, Some("squashfs"), MsFlags::MS_RDONLY, nothing)
        .with_context(|| format!("cannot mount {device}"))?;
    mount(Some("layer"), LAYER, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).context("cannot mount a tmpfs")?;
    let (upper, work) = (format!("{LAYER}/upper"), format!("{LAYER}/work"));
    for dir in [&upper, &work] {
        fs::create_dir(dir).with_context(|| format!("cannot make {dir}"))?;
    }
    let layers = format!("lowerdir={DISK},upperdir={upper},workdir={work}");
    mount(Some("root"), ROOT, Some("overlay"), MsFlags::empty(), Some(layers.as_str())).context("cannot overlay it")?;

    // Each case is another process of this program, and users call it by name.
    for name in ["init", "usr/bin/loopfs-selftests"] {
        let place = Path::new(ROOT).join(name);
        fs::copy("/init", &place).with_context(|| format!("cannot copy this program to {}", place.display()))?;
    }

    if Path::new(ADDED).exists() {
        copy(Path::new(ADDED), Path::new(ROOT))?;
    }

    // What the first boot of an installation does: systemd wants a name for the machine.
    let id = Path::new(ROOT).join("etc/machine-id");
    fs::write(&id, MACHINE_ID).with_context(|| format!("cannot write {}", id.display()))?;

    // podman wants to set a limit on pings, and the guest's kernel has no network that knows them.
    let containers = Path::new(ROOT).join("etc/containers");
    fs::create_dir_all(&containers).with_context(|| format!("cannot make {}", containers.display()))?;
    let conf = containers.join("containers.conf");
    fs::write(&conf, "[containers]\ndefault_sysctls = []\n")
        .with_context(|| format!("cannot write {}", conf.display()))?;

    // The initramfs cannot be unmounted, and with it no pivot_root. Covered by a mount, with our root moved there, it is
    // out of reach, and what the kernel asks for a user namespace holds: we are not in a chroot.
    chdir(ROOT)?;
    mount(Some("."), "/", nothing, MsFlags::MS_MOVE, nothing).context("cannot move the root")?;
    chroot(".").context("cannot enter the root")?;
    chdir("/")?;

    // For who copies a recipe into the shell of `cargo xtask run --clients`.
    let output = Command::new("/bin/sh").args(["-euc", ROOTFS]).output().context("cannot run /bin/sh")?;
    ensure!(output.status.success(), "no /srv/rootfs: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Copies what is in the folder `from` into the folder `to`.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        let done = if kind.is_dir() {
            copy(&source, &target)?;
            Ok(())
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)
        } else {
            fs::copy(&source, &target).map(drop)
        };
        done.with_context(|| format!("cannot copy {} to {}", source.display(), target.display()))?;
    }
    Ok(())
}
