//! Programs of this machine for a guest that a person looks at: a shell, and what makes and shows loop
//! devices. Those that are not here are left out.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::{guest::initramfs::Initramfs, process};

/// Shells, the best one first.
pub const SHELLS: [&str; 3] = ["bash", "dash", "busybox"];

/// What is taken along where this machine has it.
const PROGRAMS: &[&str] = &[
    // util-linux and other programs that a person tries loopfs with
    "losetup",
    "mount",
    "umount",
    "findmnt",
    "lsblk",
    "blkid",
    "blockdev",
    "unshare",
    "nsenter",
    "setpriv",
    "dmesg",
    "mountpoint",
    "fallocate",
    "sfdisk",
    "partx",
    "mkfs.ext4",
    "mke2fs",
    "dumpe2fs",
    "fsck.ext4",
    "fuse2fs",
    "strace",
    "bwrap",
    // coreutils and friends
    "cat",
    "chmod",
    "chown",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "echo",
    "env",
    "expr",
    "false",
    "grep",
    "head",
    "hexdump",
    "id",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mknod",
    "mv",
    "nproc",
    "od",
    "ps",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "stty",
    "sync",
    "tail",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "truncate",
    "uname",
    "wc",
    "whoami",
    "xxd",
];

/// Where programs are looked for: a person's search path may leave out those for administrators.
const FOLDERS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];

/// Adds a shell and the programs, with the libraries they load.
///
/// # Errors
///
/// When what a program loads cannot be found out.
pub fn add(root: &mut Initramfs, verbose: bool) -> Result<()> {
    let mut dynamic = Vec::new();
    for name in SHELLS.iter().chain(PROGRAMS) {
        let Some(path) = find(name) else { continue };
        root.file(&format!("usr/bin/{name}"), &path);
        if is_elf(&path) && *name != "busybox" {
            dynamic.push(path);
        }
    }
    for library in libraries(&dynamic, verbose)? {
        root.file(library.strip_prefix("/").unwrap_or(&library).to_string_lossy().as_ref(), &library);
    }
    if let Some(shell) = ["dash", "bash", "busybox"].iter().find(|shell| root.has(&format!("usr/bin/{shell}"))) {
        root.link("bin/sh", &Path::new("/usr/bin").join(shell));
    }
    root.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n");
    root.text("etc/group", "root:x:0:\nnogroup:x:65534:\n");
    root.link("etc/mtab", Path::new("/proc/self/mounts"));
    root.folder("root");
    root.folder("mnt");
    if let Some((name, description)) = terminal_description() {
        root.file(&name, &description);
    }
    Ok(())
}

fn find(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// The libraries that these programs load, and the loader itself.
fn libraries(programs: &[PathBuf], verbose: bool) -> Result<Vec<PathBuf>> {
    if programs.is_empty() {
        return Ok(Vec::new());
    }
    let sh = Shell::new()?;
    let listed = process::read(&cmd!(sh, "ldd {programs...}").into(), verbose)
        .context("cannot find out which libraries the guest's programs load")?;
    let mut found: Vec<PathBuf> = listed.lines().filter_map(library).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The path in a line of `ldd`, such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)`.
fn library(line: &str) -> Option<PathBuf> {
    let line = line.strip_prefix('\t')?;
    let path = line.split_once(" => ").map_or(line, |(_, path)| path);
    let path = path.split(" (").next()?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// The description of our terminal, as a name in the guest and a file here.
fn terminal_description() -> Option<(String, PathBuf)> {
    let term = std::env::var("TERM").ok().filter(|term| !term.contains('/'))?;
    let name = format!("{}/{term}", term.chars().next()?);
    let folders = ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"];
    let here = folders.iter().map(|folder| Path::new(folder).join(&name)).find(|path| fs::metadata(path).is_ok())?;
    Some((format!("lib/terminfo/{name}"), here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ldd_are_read() {
        for (line, path) in [
            (
                "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0000000000)",
                Some("/lib/x86_64-linux-gnu/libc.so.6"),
            ),
            ("\t/lib64/ld-linux-x86-64.so.2 (0x00007f0000000000)", Some("/lib64/ld-linux-x86-64.so.2")),
            ("\tlinux-vdso.so.1 (0x00007ffc00000000)", None),
            ("\tlibgone.so => not found", None),
            ("/usr/bin/bash:", None),
        ] {
            assert_eq!(library(line), path.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn a_shell_and_its_libraries_are_taken_along() {
        let mut root = Initramfs::new(Path::new("/init"));
        add(&mut root, false).unwrap();
        assert!(root.has("bin/sh") && root.has("usr/bin/cat"));
    }
}
