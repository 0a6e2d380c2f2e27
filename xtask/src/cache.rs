//! What is expensive to make, kept by content: one folder an entry, there completely or not at all.
//!
//! An entry is made under a temporary name beside its final one and renamed when it is complete.
//! Whoever makes it holds the entry's lock, so a second run waits and then finds it made; a
//! temporary folder that no lock protects is what a killed run left behind, and is removed.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{error::Failure, interrupt, progress};

/// How often a waiting run looks whether the lock is free.
const POLL: Duration = Duration::from_millis(100);

/// Returns the entry `key` of the store `folder`, and makes it with `make` if it is not there yet.
///
/// `make` is given an empty folder to fill; `what` names the entry in messages, such as "the base
/// of Linux 7.3.4".
///
/// # Errors
///
/// What `make` fails with, after its half-made entry has been removed, and what reading and writing
/// the cache fails with; a full disk is named as such.
pub fn entry(folder: &Path, key: &str, what: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let finished = folder.join(key);
    if finished.is_dir() {
        return Ok(finished);
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let _lock = Lock::acquire(&folder.join(format!("{key}.lock")), what)?;
    if finished.is_dir() {
        return Ok(finished);
    }
    let half = Half::new(folder.join(format!("{key}.partial")))?;
    make(&half.0).map_err(|error| explain_full_disk(error, folder))?;
    half.publish(&finished).map_err(|error| explain_full_disk(error, folder))?;
    Ok(finished)
}

/// An entry in the making; dropped without [`Half::publish`], it is removed.
#[derive(Debug)]
struct Half(PathBuf);

impl Half {
    fn new(path: PathBuf) -> Result<Self> {
        // We hold the lock: what is here was left by a run that was killed.
        remove(&path)?;
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    fn publish(self, finished: &Path) -> Result<()> {
        sync(&self.0)?;
        fs::rename(&self.0, finished)
            .with_context(|| format!("cannot rename {} to {}", self.0.display(), finished.display()))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // After `publish` there is nothing of this name; otherwise the error that brought us here is
        // the one to tell, and the next run tries the removal again.
        let _ = remove(&self.0);
    }
}

/// Waits until everything below `path` is on the disk: a rename must not outlive the content in a power cut.
fn sync(path: &Path) -> Result<()> {
    let failed = || format!("cannot write {} to the disk", path.display());
    let kind = path.symlink_metadata().with_context(failed)?.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path).with_context(failed)? {
            sync(&entry.with_context(failed)?.path())?;
        }
    }
    if kind.is_dir() || kind.is_file() {
        File::open(path).and_then(|file| file.sync_all()).with_context(failed)?;
    }
    Ok(())
}

/// Removes the folder `path` if there is one.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes the finished entry `path`, in one step for whoever looks at it.
///
/// # Errors
///
/// When it cannot be renamed or removed.
pub fn discard(path: &Path) -> Result<()> {
    let going = path.with_extension("going");
    remove(&going)?;
    fs::rename(path, &going).with_context(|| format!("cannot rename {}", path.display()))?;
    remove(&going)
}

/// Returns what the cache folder `cache` knows under `kind` and `key`, or finds it out with `find` and keeps it.
///
/// A failure of `find` is not kept.
pub fn finding<T: Serialize + DeserializeOwned>(
    cache: &Path,
    kind: &str,
    key: Key,
    find: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let key = key.name();
    if let Some(known) = known(cache, kind, &key) {
        return Ok(known);
    }
    let found = find()?;
    keep(cache, kind, &key, &found)?;
    Ok(found)
}

/// What is known under `kind` and `key`; a file that cannot be read counts as nothing.
pub fn known<T: DeserializeOwned>(cache: &Path, kind: &str, key: &str) -> Option<T> {
    serde_json::from_slice(&fs::read(finding_path(cache, kind, key)).ok()?).ok()
}

/// Keeps `found` under `kind` and `key`.
pub fn keep<T: Serialize>(cache: &Path, kind: &str, key: &str, found: &T) -> Result<()> {
    write_whole(&finding_path(cache, kind, key), &serde_json::to_vec(found).context("cannot write down a finding")?)
}

fn finding_path(cache: &Path, kind: &str, key: &str) -> PathBuf {
    cache.join("verify").join(kind).join(format!("{key}.json"))
}

/// Writes a file so that it is there with all of `bytes` or not at all, making its folder if need be.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let put = || -> Result<()> {
        let dir = path.parent().context("it has no folder")?;
        fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}

/// Adds what to do to an error whose cause is a full disk, whether met by us or by a command.
pub fn explain_full_disk(error: anyhow::Error, folder: &Path) -> anyhow::Error {
    let full = error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::StorageFull)
            || cause.downcast_ref::<nix::Error>() == Some(&nix::Error::ENOSPC)
            || ["No space left on device", "Out of diskspace"].iter().any(|words| cause.to_string().contains(words))
    });
    if !full {
        return error;
    }
    error
        .context(format!(
            "the disk that holds {} is full: free some space there, or set LOOPFS_CACHE to a folder on another disk",
            folder.display()
        ))
        .context(Failure::Environment)
}

/// A lock on a file, which the kernel releases when this process ends in whatever way.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Waits until no other run holds the lock file `path`, which is created if need be, and says so
    /// once if it has to wait. `what` names what the lock protects, such as "the kernel build".
    ///
    /// # Errors
    ///
    /// When the file cannot be created or locked, or on Ctrl-C.
    pub fn acquire(path: &Path, what: &str) -> Result<Self> {
        Self::wait(path, what, File::try_lock)
    }

    /// As [`Lock::acquire`], beside others that share the lock.
    pub fn share(path: &Path, what: &str) -> Result<Self> {
        Self::wait(path, what, File::try_lock_shared)
    }

    /// Lets others share the lock. For a moment it is nobody's, so that another lock has to keep those away who want it
    /// for themselves.
    pub fn downgrade(self) -> Result<Self> {
        self.0.lock_shared().context("cannot share a lock")?;
        Ok(self)
    }

    fn wait(path: &Path, what: &str, attempt: impl Fn(&File) -> Result<(), TryLockError>) -> Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let mut told = false;
        loop {
            match attempt(&file) {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        let mut holder = String::new();
                        // The holder writes its number just after locking: it may not be there yet.
                        let _ = file.read_to_string(&mut holder);
                        let holder = if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
                        progress::say(&format!("waiting for another run{holder} that works on {what} ..."));
                        told = true;
                    }
                    interrupt::check()?;
                    std::thread::sleep(POLL);
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(file))
    }
}

/// A key made of everything that decides the content of an entry.
#[derive(Clone, Debug, Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds one part, told apart from its neighbours whatever bytes it has.
    #[must_use]
    pub fn with(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// The key as a file name of 32 hexadecimal digits.
    pub fn name(self) -> String {
        hex(&self.0.finalize()[..16])
    }
}

/// The SHA-256 of what `reader` yields, in hexadecimal digits. `seen` is told of every piece's length in bytes.
///
/// # Errors
///
/// When reading fails, or on Ctrl-C.
pub fn sha256(mut reader: impl Read, mut seen: impl FnMut(u64)) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        interrupt::check()?;
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(count) => {
                hash.update(&buffer[..count]);
                seen(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks that the cache can be used: kernel builds do not work below a path with white space or a colon.
///
/// # Errors
///
/// [`Failure::Environment`], with what to do, when the path has such a character.
pub fn check_path(cache: &Path) -> Result<()> {
    let text = cache.to_string_lossy();
    let bad = text.chars().find(|c| c.is_whitespace() || *c == ':');
    match bad {
        None => Ok(()),
        Some(c) => Err(anyhow!(
            "the cache folder {text:?} has {c:?} in its path, below which the kernel's make does not work: \
             set LOOPFS_CACHE to a folder without white space and colons in its path"
        )
        .context(Failure::Environment)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use anyhow::bail;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_entry_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = entry(dir.path(), "k", "it", |half| Ok(fs::write(half.join("a"), "1")?)).unwrap();
        let second = entry(dir.path(), "k", "it", |_| bail!("made twice")).unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::read_to_string(first.join("a")).unwrap(), "1");
    }

    #[test]
    fn an_entry_whose_making_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let error = entry(dir.path(), "k", "it", |half| {
            fs::write(half.join("a"), "1")?;
            bail!("no luck")
        });
        assert_eq!(error.unwrap_err().to_string(), "no luck");
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn what_a_killed_run_left_is_not_taken_for_an_entry() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("k.partial")).unwrap();
        fs::write(dir.path().join("k.partial/half"), "").unwrap();
        let made = entry(dir.path(), "k", "it", |half| {
            assert_eq!(fs::read_dir(half)?.count(), 0);
            Ok(())
        });
        assert!(made.is_ok());
        assert_eq!(names(dir.path()), ["k"]);
    }

    #[test]
    fn a_second_run_waits_for_the_first_and_takes_its_entry() {
        let dir = tempfile::tempdir().unwrap();
        let (started, wait_for_start) = mpsc::channel();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                entry(dir.path(), "k", "it", |half| {
                    started.send(())?;
                    std::thread::sleep(POLL * 3);
                    Ok(fs::write(half.join("a"), "first")?)
                })
            });
            wait_for_start.recv().unwrap();
            let second = entry(dir.path(), "k", "it", |_| bail!("made twice")).unwrap();
            assert_eq!(fs::read_to_string(second.join("a")).unwrap(), "first");
            first.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_full_disk_is_named_with_what_to_do() {
        let io = anyhow::Error::new(io::Error::from(io::ErrorKind::StorageFull)).context("cannot write a");
        let command = anyhow!("`git fast-import` failed:\nfatal: write error: No space left on device");
        for error in [io, command] {
            let error = explain_full_disk(error, Path::new("/c"));
            assert_eq!(Failure::of(&error), Failure::Environment);
            assert!(format!("{error:#}").contains("the disk that holds /c is full: free some space"), "{error:#}");
        }
        assert_eq!(explain_full_disk(anyhow!("other"), Path::new("/c")).to_string(), "other");
    }

    #[test]
    fn a_lock_is_shared_with_those_who_share_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::acquire(&path, "it").unwrap();
        assert!(File::open(&path).unwrap().try_lock_shared().is_err());
        let shared = held.downgrade().unwrap();
        let _beside = Lock::share(&path, "it").unwrap();
        assert!(File::open(&path).unwrap().try_lock().is_err());
        drop(shared);
    }

    #[test]
    fn a_finding_is_found_out_once_unless_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("a cache");
        let key = || Key::default().with("k");
        assert!(finding::<u32>(&cache, "a", key(), || bail!("no")).is_err());
        assert_eq!(finding(&cache, "a", key(), || Ok(2)).unwrap(), 2);
        assert_eq!(finding(&cache, "a", key(), || Ok(3)).unwrap(), 2);
        assert_eq!(finding(&cache, "b", key(), || Ok(4)).unwrap(), 4);
    }

    #[test]
    fn a_finding_cut_short_is_found_out_again() {
        let dir = tempfile::tempdir().unwrap();
        let key = || Key::default().with("k");
        finding(dir.path(), "a", key(), || Ok(vec![1, 2])).unwrap();
        fs::write(finding_path(dir.path(), "a", &key().name()), "[1,").unwrap();
        assert_eq!(finding(dir.path(), "a", key(), || Ok(vec![3])).unwrap(), [3]);
    }

    #[test]
    fn parts_of_a_key_do_not_run_together() {
        assert_ne!(Key::default().with("ab").with("c").name(), Key::default().with("a").with("bc").name());
    }

    #[test]
    fn a_cache_path_with_a_space_is_refused_with_what_to_do() {
        let error = check_path(Path::new("/home/a b/.cache")).unwrap_err();
        assert_eq!(Failure::of(&error), Failure::Environment);
        assert!(format!("{error:#}").contains("LOOPFS_CACHE"), "{error}");
        assert!(check_path(Path::new("/home/a/.cache")).is_ok());
    }
}
