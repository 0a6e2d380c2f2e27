//! Keeps the cache small: removes what belongs to clones that are gone, and what was not used for longest.
//!
//! What the cache holds apart from findings and settings comes in units: a base, the trees of a clone, a build folder, a
//! disk, an initramfs. A unit that another one needs or that a run holds is never removed, nor are the trees of a clone
//! that is there: a user may work in them.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};

use crate::{
    cache::{self, Key},
    ctx::Ctx,
    progress,
};

/// How many bytes the cache may have before what was not used for longest goes, unless `LOOPFS_CACHE_LIMIT` says
/// otherwise, in GB.
const LIMIT: u64 = 20_000_000_000;

/// How often a run looks whether the cache is too large: walking through it takes a second.
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The file in the trees of a clone that holds the clone's path.
pub const CLONE: &str = "clone";

/// Something in the cache that is removed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Where it is.
    pub path: PathBuf,
    /// What it takes on the disk.
    pub bytes: u64,
    /// When it was used last.
    pub used: SystemTime,
    /// Why nothing needs it any more; such a unit goes whatever the size of the cache is.
    pub idle: Option<&'static str>,
    /// Whether another unit needs it, or a run holds it.
    pub needed: bool,
}

/// The bytes that the cache may have.
pub fn limit() -> u64 {
    let given = std::env::var("LOOPFS_CACHE_LIMIT").ok().and_then(|text| text.trim().parse::<u64>().ok());
    given.map_or(LIMIT, |gigabytes| gigabytes * 1_000_000_000)
}

/// The units of the cache, those that were not used for longest first.
pub fn units(cache: &Path) -> Result<Vec<Unit>> {
    let trees = trees(cache)?;
    let mut units = Vec::new();
    for clone in folders(&cache.join("series"))? {
        // The trees of a clone that is there may hold work of the user.
        let path = fs::read_to_string(clone.join(CLONE)).ok();
        let gone = path.is_some_and(|path| !Path::new(&path).exists());
        let lock = clone.join("series.lock");
        let held = trees.iter().any(|tree| tree.starts_with(&clone) && is_held(&lock_of(tree)));
        units.push(Unit {
            bytes: bytes(&clone),
            used: modified(&lock),
            idle: gone.then_some("its clone is gone"),
            needed: !gone || held || is_held(&lock),
            path: clone,
        });
    }
    let borrowed: String = trees.iter().filter_map(|tree| alternates(tree)).collect();
    for base in folders(&cache.join("base"))? {
        let needed = borrowed.contains(&*base.to_string_lossy());
        units.push(Unit { bytes: bytes(&base), used: modified(&base), idle: None, needed, path: base });
    }
    // A build folder is named by the tree it builds.
    let keys: Vec<String> = trees.iter().map(|tree| tree_key(tree)).collect();
    for build in folders(&cache.join("build"))? {
        let name = build.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lock = build.with_file_name(format!("{name}.lock"));
        let gone = !keys.iter().any(|key| name.ends_with(key.as_str()));
        units.push(Unit {
            bytes: bytes(&build),
            used: modified(&lock),
            idle: gone.then_some("its tree is gone"),
            needed: is_held(&lock),
            path: build,
        });
    }
    for kind in ["debian", "initramfs"] {
        for path in entries(&cache.join(kind))? {
            units.push(Unit { bytes: bytes(&path), used: modified(&path), idle: None, needed: false, path });
        }
    }
    units.sort_by_key(|unit| unit.used);
    Ok(units)
}

/// Which of `units`, in their order, have to go for the rest to fit into `limit` bytes.
pub fn surplus(units: &[Unit], limit: u64) -> Vec<&Unit> {
    let mut total: u64 = units.iter().map(|unit| unit.bytes).sum();
    let mut going = Vec::new();
    for unit in units.iter().filter(|unit| !unit.needed) {
        if unit.idle.is_some() || total > limit {
            total -= unit.bytes;
            going.push(unit);
        }
    }
    going
}

/// Removes what has to go, and tells what.
pub fn trim(ctx: &Ctx, limit: u64) -> Result<()> {
    for unit in surplus(&units(ctx.cache())?, limit) {
        let why = unit.idle.unwrap_or("not used for longest");
        progress::say(&format!("removing {} ({}, {why})", unit.path.display(), megabytes(unit.bytes)));
        if unit.path.is_dir() {
            cache::discard(&unit.path)?;
        } else {
            fs::remove_file(&unit.path).with_context(|| format!("cannot remove {}", unit.path.display()))?;
        }
    }
    Ok(())
}

/// Trims the cache if no run has done so for a day.
pub fn trim_now_and_then(ctx: &Ctx) -> Result<()> {
    let stamp = ctx.cache().join("trimmed");
    if modified(&stamp).elapsed().is_ok_and(|passed| passed < INTERVAL) {
        return Ok(());
    }
    cache::write_whole(&stamp, b"")?;
    trim(ctx, limit())
}

/// `12 MB`, `3.4 GB`.
pub fn megabytes(bytes: u64) -> String {
    match bytes / 1_000_000 {
        megabytes @ 0..1000 => format!("{megabytes} MB"),
        megabytes => format!("{}.{} GB", megabytes / 1000, megabytes % 1000 / 100),
    }
}

/// The bytes on the disk of everything below `path`.
pub fn bytes(path: &Path) -> u64 {
    let Ok(data) = path.symlink_metadata() else { return 0 };
    let below = if data.is_dir() { entries(path).unwrap_or_default().iter().map(|path| bytes(path)).sum() } else { 0 };
    data.blocks() * 512 + below
}

/// The kernel trees of all clones.
fn trees(cache: &Path) -> Result<Vec<PathBuf>> {
    let mut trees = Vec::new();
    for clone in folders(&cache.join("series"))? {
        for base in folders(&clone)? {
            trees.extend(folders(&base)?.into_iter().filter(|tree| tree.join(".git").exists()));
        }
    }
    Ok(trees)
}

/// The lock of those who use the files of `tree`.
fn lock_of(tree: &Path) -> PathBuf {
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    tree.with_file_name(format!("{name}.files.lock"))
}

/// The end of the names of the folders that `tree` is built in.
fn tree_key(tree: &Path) -> String {
    format!("-{}", &Key::default().with(tree.as_os_str().as_encoded_bytes()).name()[..8])
}

fn alternates(tree: &Path) -> Option<String> {
    fs::read_to_string(tree.join(".git/objects/info/alternates")).ok()
}

fn is_held(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|file| file.try_lock().is_err())
}

fn modified(path: &Path) -> SystemTime {
    path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let list = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(list.flatten().map(|entry| entry.path()).collect())
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir() && !path.is_symlink()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, bytes: u64, idle: bool, needed: bool) -> Unit {
        let idle = idle.then_some("gone");
        Unit { path: name.into(), bytes, used: SystemTime::UNIX_EPOCH, idle, needed }
    }

    fn going(units: &[Unit], limit: u64) -> Vec<&str> {
        surplus(units, limit).iter().map(|unit| unit.path.to_str().unwrap()).collect()
    }

    #[test]
    fn what_was_not_used_for_longest_goes_until_the_rest_fits() {
        let units = [unit("old", 5, false, false), unit("held", 5, false, true), unit("new", 5, false, false)];
        assert_eq!(going(&units, 15), [""; 0]);
        assert_eq!(going(&units, 14), ["old"]);
        assert_eq!(going(&units, 1), ["old", "new"]);
    }

    #[test]
    fn what_nothing_needs_goes_at_any_size() {
        let units = [unit("a", 5, false, false), unit("gone", 5, true, false), unit("gone and held", 5, true, true)];
        assert_eq!(going(&units, 100), ["gone"]);
    }

    #[test]
    fn the_trees_and_builds_of_a_clone_that_is_gone_are_idle_and_a_borrowed_base_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        for (clone, path) in [("here", dir.path().to_owned()), ("gone", dir.path().join("no clone"))] {
            let tree = cache.join("series").join(clone).join("abc/linux");
            fs::create_dir_all(tree.join(".git/objects/info")).unwrap();
            fs::write(cache.join("series").join(clone).join(CLONE), path.to_str().unwrap()).unwrap();
            let base = cache.join("base").join(clone);
            fs::create_dir_all(&base).unwrap();
            fs::write(tree.join(".git/objects/info/alternates"), base.join("objects").to_str().unwrap()).unwrap();
            fs::create_dir_all(cache.join("build").join(format!("default{}", tree_key(&tree)))).unwrap();
        }
        fs::create_dir_all(cache.join("build/default-12345678")).unwrap();
        fs::create_dir_all(cache.join("base/unused")).unwrap();
        let units = units(&cache).unwrap();
        let find = |name: &str| units.iter().find(|unit| unit.path.ends_with(name)).unwrap();
        assert!(find("series/here").needed && !find("series/gone").needed && find("series/gone").idle.is_some());
        assert!(find("base/here").needed && !find("base/unused").needed);
        assert!(find("build/default-12345678").idle.is_some());
        let build = format!("build/default{}", tree_key(&cache.join("series/here/abc/linux")));
        assert!(find(&build).idle.is_none());
    }

    #[test]
    fn a_unit_that_a_run_holds_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("build/a")).unwrap();
        let _lock = cache::Lock::acquire(&dir.path().join("build/a.lock"), "it").unwrap();
        assert!(units(dir.path()).unwrap()[0].needed);
    }

    #[test]
    fn sizes_are_told_in_megabytes_and_gigabytes() {
        assert_eq!([megabytes(999_999), megabytes(2_345_678_901)], ["0 MB", "2.3 GB"]);
    }
}
