//! `/proc/self/mountinfo`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// Where it is mounted.
    pub mount_point: String,
    /// The options of the mount, such as `ro`, `nosuid`.
    pub mount_options: Vec<String>,
    /// The file system type.
    pub fs_type: String,
    /// The options of the superblock.
    pub super_options: Vec<String>,
}

impl MountInfo {
    /// The topmost mount at `dir`.
    ///
    /// # Errors
    ///
    /// When nothing is mounted there.
    pub fn of(dir: &Path) -> Result<Self> {
        Self::all()?
            .into_iter()
            .rfind(|mount| Path::new(&mount.mount_point) == dir)
            .with_context(|| format!("{} is not a mount point", dir.display()))
    }

    /// All mounts of this process's mount namespace.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn all() -> Result<Vec<Self>> {
        let text = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        text.lines().map(|line| Self::parse(line).with_context(|| format!("bad mountinfo line {line:?}"))).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(4);
        let mut right = right.split(' ');
        let options = |list: &str| list.split(',').map(str::to_owned).collect();
        Some(Self {
            mount_point: left.next()?.replace("\\040", " "),
            mount_options: options(left.next()?),
            fs_type: right.next()?.to_owned(),
            super_options: options(right.nth(1)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_optional_fields_and_a_space_is_parsed() {
        let line = r"36 35 98:0 / /a\040b rw,noatime shared:1 master:2 - loop loop rw,max=3";
        let mount = MountInfo::parse(line).unwrap();
        assert_eq!(mount.mount_point, "/a b");
        assert_eq!(mount.mount_options, ["rw", "noatime"]);
        assert_eq!(mount.fs_type, "loop");
        assert_eq!(mount.super_options, ["rw", "max=3"]);
    }
}
