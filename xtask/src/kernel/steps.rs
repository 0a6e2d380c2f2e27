//! How many steps a build takes: what the last whole one took, or before there was one, what is
//! written down in `ci/kconfig/steps.toml`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::kconfig::Flavour;

/// The steps of a whole build of one flavour.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) total: u64,
    record: PathBuf,
}

impl Steps {
    /// Those of `flavour`, as recorded in the folder `builds` or known in the repository `root`.
    pub(super) fn of(root: &Path, builds: &Path, flavour: Flavour) -> Self {
        let record = builds.join(format!("{flavour}.steps"));
        let recorded = || fs::read_to_string(&record).ok()?.trim().parse().ok();
        let known = || {
            let text = fs::read_to_string(root.join("ci/kconfig/steps.toml")).ok()?;
            toml::from_str::<BTreeMap<String, u64>>(&text).ok()?.get(&flavour.to_string()).copied()
        };
        let total = recorded().or_else(known).unwrap_or_default();
        Self { total, record }
    }

    /// Remembers what a whole build took.
    pub(super) fn record(&self, total: u64) -> Result<()> {
        fs::write(&self.record, total.to_string()).with_context(|| format!("cannot write {}", self.record.display()))
    }
}

/// The steps whose results are in the build folder `path`: make leaves a `.cmd` file for each.
pub(super) fn done(path: &Path) -> Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // A link leads back to the source tree.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            count += done(&entry.path())?;
        } else if name.starts_with('.') && name.ends_with(".cmd") {
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_counts_more_than_what_is_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let steps = Steps::of(&root, dir.path(), Flavour::Default);
        assert!(steps.total > 500, "ci/kconfig/steps.toml has no number for the default kernel");
        steps.record(7).unwrap();
        assert_eq!(Steps::of(&root, dir.path(), Flavour::Default).total, 7);
    }

    #[test]
    fn finished_steps_are_counted_at_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("fs/ext4")).unwrap();
        for name in [".vmlinux.cmd", "fs/.inode.o.cmd", "fs/ext4/.super.o.cmd", "fs/inode.o", "plain.cmd"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(done(dir.path()).unwrap(), 3);
    }
}
