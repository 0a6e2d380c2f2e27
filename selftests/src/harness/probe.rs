//! Whether this kernel and this machine have what a case needs.

use std::{
    fs::{self, File},
    path::Path,
};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::{
    case::{Case, Need},
    cgroup::has_controller,
    fs_context::FsContext,
    kernel_config, lockdep,
    loop_control::LoopControl,
    memfd,
};

/// The first need of `case` that is not met here.
pub(super) fn first_missing(case: &Case) -> Option<Need> {
    case.needs.iter().copied().find(|need| !is_met(*need))
}

/// Programs of the packages that the client cases are about, one of each.
const CLIENTS: [&str; 8] = [
    "/usr/sbin/losetup",
    "/usr/sbin/sfdisk",
    "/usr/sbin/mke2fs",
    "/usr/bin/fuse2fs",
    "/usr/bin/bwrap",
    "/usr/bin/lxc-start",
    "/usr/bin/systemd-nspawn",
    "/usr/bin/crun",
];

/// What to say about a need that is not met.
pub(super) fn describe(need: Need) -> String {
    let symbols: Vec<String> = need.kconfig().iter().map(|symbol| format!("CONFIG_{symbol}")).collect();
    let what = match need {
        Need::Loopfs => "the file system type `loop`",
        Need::Clients => return "Debian's own programs are not here (cargo xtask test --clients)".to_owned(),
        Need::Loop => "the loop driver",
        Need::LegacyAutoload => "device made by opening its node",
        Need::Ext4 => "ext4",
        Need::Fuse => "FUSE",
        Need::Overlayfs => "overlayfs",
        Need::Memcg => "the memory controller of cgroup v2",
        Need::IoController => "the io controller of cgroup v2",
        Need::Pids => "the pids controller of cgroup v2",
        Need::BlkTrace => "blktrace",
        Need::Aio => "asynchronous I/O",
        Need::IoUring => "io_uring for ordinary users",
        Need::Userfaultfd => "userfaultfd",
        Need::Memfd => "memfd_create",
        Need::Secretmem => "memfd_secret",
        Need::TmpfsQuota => "tmpfs with quotas",
        Need::Fsnotify => "inotify or fanotify",
        Need::Uevent => "network namespaces with uevents",
        Need::Swap => "swap",
        Need::Smp => "a second CPU",
        Need::FaultInjection => "fault injection for slab and page allocations",
        Need::Ikconfig => kernel_config::PATH,
        Need::Kmemleak => "kmemleak",
        Need::Lockdep => "lockdep",
    };
    format!("{what} is not here ({})", symbols.join(", "))
}

fn is_met(need: Need) -> bool {
    let exists = |path: &str| Path::new(path).exists();
    match need {
        Need::Loopfs => has_filesystem("loop"),
        Need::Clients => exists("/etc/debian_version") && CLIENTS.iter().all(|program| exists(program)),
        Need::Loop => exists("/dev/loop-control"),
        Need::LegacyAutoload => opening_a_node_makes_its_device(),
        Need::Ext4 => has_filesystem("ext4"),
        Need::Fuse => has_filesystem("fuse") && exists("/dev/fuse"),
        Need::Overlayfs => has_filesystem("overlay"),
        Need::Memcg => has_controller("memory"),
        Need::IoController => has_controller("io"),
        Need::Pids => has_controller("pids"),
        Need::BlkTrace => a_disk_has("trace"),
        Need::Aio => exists("/proc/sys/fs/aio-max-nr"),
        Need::IoUring => fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|text| text.trim() == "0"),
        Need::Userfaultfd => exists("/proc/sys/vm/unprivileged_userfaultfd"),
        Need::Memfd => memfd::sealable("probe").is_ok(),
        Need::Secretmem => memfd::secret().is_ok(),
        Need::TmpfsQuota => {
            FsContext::open(c"tmpfs").and_then(|context| context.set("usrquota_block_hardlimit", "1M")).is_ok()
        }
        Need::Fsnotify => exists("/proc/sys/fs/inotify") && exists("/proc/sys/fs/fanotify"),
        Need::Uevent => exists("/proc/self/ns/net"),
        Need::Swap => exists("/proc/swaps"),
        Need::Smp => nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten() > Some(1),
        Need::FaultInjection => exists("/sys/kernel/debug/failslab") && exists("/sys/kernel/debug/fail_page_alloc"),
        Need::Ikconfig => exists(kernel_config::PATH),
        Need::Kmemleak => exists("/sys/kernel/debug/kmemleak"),
        Need::Lockdep => exists(lockdep::PATH),
    }
}

/// Tries it with the highest number there is, and removes what came of it.
fn opening_a_node_makes_its_device() -> bool {
    let node = Path::new("/dev/loopfs-probe");
    let number = (1 << 20) - 1;
    let made =
        mknod(node, SFlag::S_IFBLK, Mode::S_IRUSR, makedev(7, u64::from(number))).is_ok() && File::open(node).is_ok();
    if made {
        // It shows among the leaks of the case otherwise, so nothing needs to be said here.
        let _ = LoopControl::host().map(|control| control.remove(number));
    }
    let _ = fs::remove_file(node);
    made
}

/// Whether any disk has the entry `name` in sysfs.
fn a_disk_has(name: &str) -> bool {
    fs::read_dir("/sys/block").is_ok_and(|disks| disks.flatten().any(|disk| disk.path().join(name).exists()))
}

fn has_filesystem(name: &str) -> bool {
    names_filesystem(&fs::read_to_string("/proc/filesystems").unwrap_or_default(), name)
}

fn names_filesystem(filesystems: &str, name: &str) -> bool {
    filesystems.lines().any(|line| line.split('\t').nth(1) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_found_by_its_whole_name() {
        let filesystems = "nodev\tsysfs\nnodev\tloop\n\text4\n";
        assert!(names_filesystem(filesystems, "loop"));
        assert!(names_filesystem(filesystems, "ext4"));
        assert!(!names_filesystem(filesystems, "ext"));
        assert!(!names_filesystem("nodev\tloopback\n", "loop"));
    }

    #[test]
    fn a_missing_need_names_the_symbols_to_turn_on() {
        assert_eq!(describe(Need::Ext4), "ext4 is not here (CONFIG_EXT4_FS)");
    }
}
