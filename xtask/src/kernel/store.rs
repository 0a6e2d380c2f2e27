//! Finished kernels, by what decides them; the oldest go when they are too many.

use std::{
    cmp::Reverse,
    fs::{self, File},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result};

use crate::{cache, ctx::Ctx, kernel::config::Flavour};

/// How many bytes of finished kernels of one flavour are kept.
const LIMIT: u64 = 1 << 30;

/// The files of a finished kernel: their names in the build folder and in the store.
const FILES: [(&str, &str); 3] = [("vmlinux", "vmlinux"), (".config", "config"), ("System.map", "System.map")];

/// The kernels of one flavour.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    what: String,
}

impl Store {
    pub(super) fn of(ctx: &Ctx, flavour: Flavour) -> Self {
        Self { folder: ctx.cache().join("kernel").join(flavour.to_string()), what: format!("the {flavour} kernel") }
    }

    /// The kernel `key`, which counts as used from now on.
    pub(super) fn find(&self, key: &str) -> Option<PathBuf> {
        let entry = self.folder.join(key);
        // Only the order of removal hangs on the time: a cache that cannot be written still serves.
        let _ = File::open(&entry).ok()?.set_modified(SystemTime::now());
        Some(entry)
    }

    /// Keeps the kernel in the build folder `from` as `key`.
    pub(super) fn publish(&self, key: &str, from: &Path) -> Result<PathBuf> {
        let entry = cache::entry(&self.folder, key, &self.what, |half| {
            for (built, kept) in FILES {
                let built = from.join(built);
                fs::copy(&built, half.join(kept)).with_context(|| format!("cannot copy {}", built.display()))?;
            }
            Ok(())
        })?;
        self.prune(&entry)?;
        Ok(entry)
    }

    /// Removes the least recently used entries beyond [`LIMIT`], never `current`.
    fn prune(&self, current: &Path) -> Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder).with_context(|| format!("cannot read {}", self.folder.display()))? {
            let path = entry.with_context(|| format!("cannot read {}", self.folder.display()))?.path();
            if path.is_dir() && path != current && path.extension().is_none() {
                let used = path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                entries.push((used, size(&path), path));
            }
        }
        entries.sort_by_key(|(used, ..)| Reverse(*used));
        let mut kept = size(current);
        for (_, size, path) in entries {
            kept += size;
            if kept > LIMIT {
                cache::discard(&path)?;
            }
        }
        Ok(())
    }
}

/// The bytes in the files of an entry.
fn size(entry: &Path) -> u64 {
    FILES.iter().filter_map(|(_, name)| Some(entry.join(name).metadata().ok()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn build_folder(bytes: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, _) in FILES {
            fs::write(dir.path().join(name), name).unwrap();
        }
        File::options().write(true).open(dir.path().join("vmlinux")).unwrap().set_len(bytes).unwrap();
        dir
    }

    #[test]
    fn the_least_recently_used_kernels_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store { folder: dir.path().join("kernel"), what: "it".to_owned() };
        let from = build_folder(1);
        let old = SystemTime::now() - Duration::from_secs(3600);
        for key in ["a", "b", "c"] {
            let entry = store.publish(key, from.path()).unwrap();
            File::options().write(true).open(entry.join("vmlinux")).unwrap().set_len(LIMIT / 3).unwrap();
            File::open(&entry).unwrap().set_modified(old).unwrap();
        }
        store.find("a").unwrap();
        store.publish("d", from.path()).unwrap();
        assert!(store.find("d").is_some() && store.find("a").is_some());
        let others = ["b", "c"].iter().filter(|key| store.folder.join(key).is_dir()).count();
        assert_eq!(others, 1);
    }

    #[test]
    fn a_kernel_without_its_map_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store { folder: dir.path().join("kernel"), what: "it".to_owned() };
        let from = build_folder(1);
        fs::remove_file(from.path().join("System.map")).unwrap();
        assert!(store.publish("a", from.path()).is_err());
        assert!(store.find("a").is_none());
    }
}
