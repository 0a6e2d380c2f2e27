//! The threads of the kernel, which the pid namespace of a case does not show.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MntFlags, umount2},
    sched::{CloneFlags, unshare},
};

use crate::process;

const PF_KTHREAD: u64 = 0x0020_0000;

/// The names of all threads of the kernel.
///
/// # Errors
///
/// When no `/proc` of the initial pid namespace is below that of the case.
pub fn names() -> Result<Vec<String>> {
    process::run(|| {
        unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
        umount2("/proc", MntFlags::MNT_DETACH).context("cannot look below /proc")?;
        let mut names = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            // A thread may end while it is looked at.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            names.extend(kernel_thread(&stat).map(str::to_owned));
        }
        ensure!(names.iter().any(|name| name == "kthreadd"), "this is not the initial pid namespace");
        Ok(names)
    })
}

/// The name in a line of `stat`, if it is that of a thread of the kernel.
fn kernel_thread(stat: &str) -> Option<&str> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let flags: u64 = tail.split_ascii_whitespace().nth(6)?.parse().ok()?;
    (flags & PF_KTHREAD != 0).then(|| head.split_once('(').map_or(head, |(_, name)| name))
}

#[cfg(test)]
mod tests {
    use super::kernel_thread;

    #[test]
    fn a_thread_of_the_kernel_is_told_by_its_flags() {
        let of_kernel = "23 (kworker/u9:0+loop8) I 2 0 0 0 -1 69238880 0 0 0 0";
        assert_eq!(kernel_thread(of_kernel), Some("kworker/u9:0+loop8"));
        assert_eq!(kernel_thread("1 (init) S 0 1 1 0 -1 4194560 0 0 0 0"), None);
    }
}
