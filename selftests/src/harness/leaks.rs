//! What a case must leave as it found it: everything outside its own namespaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, umount2};

use crate::{loop_control::LoopControl, loop_device::LoopDevice};

/// How long the kernel may take to let go of what a case held.
const SETTLE: Duration = Duration::from_secs(3);

/// Memory of shared mappings and tmpfs, beyond what the per-CPU counters blur, that counts as a file still held.
const SHMEM_SLACK_KB: u64 = 128;

/// Bits of `/proc/sys/kernel/tainted` that a test must not set, and what they say.
const TAINTS: [(u32, &str); 3] =
    [(5, "a bad page was found"), (7, "the kernel died (oops)"), (9, "the kernel gave a warning")];

/// What exists outside of the namespaces of any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    mounts: BTreeSet<String>,
    /// Loop devices and, for those that are bound, their backing file.
    loops: BTreeMap<String, String>,
    swaps: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    max_loop_devices: String,
    shmem_kb: u64,
    tainted: u64,
}

impl Footprint {
    /// What exists now. What this kernel does not have counts as empty.
    pub(super) fn take() -> Self {
        let lines = |path: &str| -> BTreeSet<String> {
            fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
        };
        // Folds the per-CPU counters, so that Shmem below is what it says.
        let _ = fs::read("/proc/sys/vm/stat_refresh");
        Self {
            mounts: lines("/proc/self/mountinfo"),
            loops: loops(Path::new("/sys/block")),
            swaps: lines("/proc/swaps"),
            cgroups: cgroups(Path::new("/sys/fs/cgroup")),
            max_loop_devices: fs::read_to_string("/proc/sys/user/max_loop_devices").unwrap_or_default(),
            shmem_kb: shmem_kb(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            tainted: fs::read_to_string("/proc/sys/kernel/tainted")
                .ok()
                .and_then(|t| t.trim().parse().ok())
                .unwrap_or(0),
        }
    }

    /// One line for each thing `after` has that this footprint has not, or that differs.
    pub(super) fn leaks(&self, after: &Self) -> Vec<String> {
        let mut leaks = Vec::new();
        leaks.extend(after.mounts.difference(&self.mounts).map(|m| format!("left a mount: {m}")));
        for (name, backing) in &after.loops {
            match self.loops.get(name) {
                None if backing.is_empty() => leaks.push(format!("left the loop device {name}, unbound")),
                None => leaks.push(format!("left the loop device {name}, bound to {backing}")),
                Some(before) if before != backing => {
                    leaks.push(format!("left {name} bound to {backing:?}, it was {before:?}"));
                }
                Some(_) => {}
            }
        }
        leaks.extend(self.loops.keys().filter(|n| !after.loops.contains_key(*n)).map(|n| format!("removed {n}")));
        leaks.extend(after.swaps.difference(&self.swaps).map(|s| format!("left swap on: {s}")));
        leaks.extend(after.cgroups.difference(&self.cgroups).map(|c| format!("left the cgroup {c}")));
        if self.max_loop_devices != after.max_loop_devices {
            let (was, is) = (self.max_loop_devices.trim(), after.max_loop_devices.trim());
            leaks.push(format!("left user.max_loop_devices at {is}, it was {was}"));
        }
        if after.shmem_kb > self.shmem_kb + SHMEM_SLACK_KB {
            leaks.push(format!("left {} kB of a tmpfs in use: a file is still held", after.shmem_kb - self.shmem_kb));
        }
        for (bit, meaning) in TAINTS {
            if after.tainted & !self.tainted & (1 << bit) != 0 {
                leaks.push(format!("{meaning}: kernel tainted ({:#x})", after.tainted));
            }
        }
        leaks
    }

    /// Compares with what exists now, for as long as the kernel may take to let go.
    pub(super) fn settle(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let leaks = self.leaks(&Self::take());
            if leaks.is_empty() || start.elapsed() > SETTLE {
                return leaks;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Undoes what can be undone, so that one case's leak is not the next one's trouble, and
    /// returns what there is then.
    pub(super) fn restore(&self) -> Self {
        let now = Self::take();
        for mount in now.mounts.difference(&self.mounts) {
            if let Some(point) = mount.split(' ').nth(4) {
                let _ = umount2(point, MntFlags::MNT_DETACH);
            }
        }
        // A child sorts after its parent and has to go first.
        for cgroup in now.cgroups.iter().rev().filter(|cgroup| !self.cgroups.contains(*cgroup)) {
            let _ = fs::remove_dir(cgroup);
        }
        if self.max_loop_devices != now.max_loop_devices {
            let _ = fs::write("/proc/sys/user/max_loop_devices", &self.max_loop_devices);
        }
        for name in now.loops.keys() {
            if self.loops.get(name) != now.loops.get(name) {
                let _ = remove_loop(name);
            }
        }
        Self::take()
    }
}

/// The loop devices under `/sys/block` and the backing file of each, empty if unbound.
fn loops(sys_block: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(sys_block) else { return BTreeMap::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with("loop"))
        .map(|name| {
            let backing = fs::read_to_string(sys_block.join(&name).join("loop/backing_file")).unwrap_or_default();
            (name, backing.trim_end().to_owned())
        })
        .collect()
}

fn cgroups(top: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Ok(entries) = fs::read_dir(top) else { return found };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())) {
        found.insert(entry.path().display().to_string());
        found.append(&mut cgroups(&entry.path()));
    }
    found
}

fn shmem_kb(meminfo: &str) -> u64 {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("Shmem:"));
    value.and_then(|v| v.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// Removes a host loop device; a private one has no node out here and stays.
fn remove_loop(name: &str) -> Result<()> {
    let number = name.strip_prefix("loop").and_then(|digits| digits.parse().ok()).context("no loop device")?;
    // Unbound already, as most are, it cannot be cleared; removing it tells whether all is well.
    let _ = LoopDevice::open(&Path::new("/dev").join(name)).map(|device| device.clear());
    Ok(LoopControl::host()?.remove(number)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footprint() -> Footprint {
        Footprint {
            mounts: ["22 1 0:20 / /proc rw - proc proc rw".to_owned()].into(),
            loops: [("loop0".to_owned(), String::new())].into(),
            max_loop_devices: "255\n".to_owned(),
            shmem_kb: 100,
            ..Footprint::default()
        }
    }

    #[test]
    fn nothing_left_is_no_leak() {
        assert_eq!(footprint().leaks(&footprint()), [""; 0]);
    }

    #[test]
    fn each_thing_left_behind_is_named() {
        let mut after = footprint();
        after.mounts.insert("30 1 0:31 / /mnt rw - loop x rw".to_owned());
        after.loops.insert("loop1".to_owned(), "/tmp/image".to_owned());
        after.loops.insert("loop0".to_owned(), "/tmp/other".to_owned());
        after.cgroups.insert("/sys/fs/cgroup/left".to_owned());
        after.swaps.insert("/dev/loop0 partition".to_owned());
        after.max_loop_devices = "3\n".to_owned();
        after.shmem_kb += SHMEM_SLACK_KB + 1;
        after.tainted = 1 << 9;
        let leaks = footprint().leaks(&after);
        for expected in [
            "mount: 30 1",
            "loop1, bound to /tmp/image",
            "loop0 bound to",
            "cgroup",
            "swap",
            "at 3, it was 255",
            "129 kB",
            "warning",
        ] {
            assert!(leaks.iter().any(|leak| leak.contains(expected)), "{expected}: {leaks:?}");
        }
        assert_eq!(leaks.len(), 8, "{leaks:?}");
    }

    #[test]
    fn a_removed_host_device_and_a_lasting_warning_are_told_apart() {
        let mut before = footprint();
        before.tainted = 1 << 9;
        let mut after = before.clone();
        after.loops.clear();
        assert_eq!(before.leaks(&after), ["removed loop0"]);
    }

    #[test]
    fn shmem_is_read_from_meminfo() {
        assert_eq!(shmem_kb("MemTotal:  1 kB\nShmem:             640 kB\nShmemHugePages: 7 kB\n"), 640);
        assert_eq!(shmem_kb(""), 0);
    }
}
