//! What was found out, kept by what decides it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Serialize, de::DeserializeOwned};

use crate::{cache::Key, ctx::Ctx};

/// Returns what is known under `kind` and `key`, or finds it out with `find` and keeps it.
///
/// `find` returns whether its finding depends on the key alone: what the machine lacks today is not kept.
///
/// # Errors
///
/// What `find` fails with, which is not kept, or when the cache cannot be written.
pub fn cached<T: Serialize + DeserializeOwned>(
    ctx: &Ctx,
    kind: &str,
    key: Key,
    find: impl FnOnce() -> Result<(T, Keep)>,
) -> Result<T> {
    let key = key.name();
    if let Some(known) = self::find(ctx, kind, &key) {
        return Ok(known);
    }
    let (found, keep) = find()?;
    if keep == Keep::Yes {
        self::keep(ctx, kind, &key, &found)?;
    }
    Ok(found)
}

/// What is known under `kind` and `key`; a record that cannot be read is none.
pub fn find<T: DeserializeOwned>(ctx: &Ctx, kind: &str, key: &str) -> Option<T> {
    serde_json::from_slice(&fs::read(path(ctx, kind, key)).ok()?).ok()
}

/// Keeps `found` under `kind` and `key`.
///
/// # Errors
///
/// When the cache cannot be written.
pub fn keep<T: Serialize>(ctx: &Ctx, kind: &str, key: &str, found: &T) -> Result<()> {
    write(&path(ctx, kind, key), &serde_json::to_vec(found).context("cannot write down a finding")?)
}

fn path(ctx: &Ctx, kind: &str, key: &str) -> PathBuf {
    ctx.cache().join("verify").join(kind).join(format!("{key}.json"))
}

/// Whether a finding is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It depends on its key alone.
    Yes,
    /// It may be another one the next time.
    No,
}

/// Writes a file whole, making its folder.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let put = || -> Result<()> {
        let dir = path.parent().context("it has no folder")?;
        fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_finding_is_found_out_once_unless_it_must_not_be_kept_or_failed() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Ctx::at(dir.path(), dir.path().join("a cache"));
        let key = || Key::default().with("k");
        assert!(cached::<u32>(&ctx, "a", key(), || bail!("no")).is_err());
        assert_eq!(cached(&ctx, "a", key(), || Ok((1, Keep::No))).unwrap(), 1);
        assert_eq!(cached(&ctx, "a", key(), || Ok((2, Keep::Yes))).unwrap(), 2);
        assert_eq!(cached(&ctx, "a", key(), || Ok((3, Keep::Yes))).unwrap(), 2);
        assert_eq!(cached(&ctx, "b", key(), || Ok((4, Keep::Yes))).unwrap(), 4);
    }

    #[test]
    fn a_record_cut_short_is_found_out_again() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Ctx::at(dir.path(), dir.path());
        let key = || Key::default().with("k");
        cached(&ctx, "a", key(), || Ok((vec![1, 2], Keep::Yes))).unwrap();
        fs::write(dir.path().join("verify/a").join(format!("{}.json", key().name())), "[1,").unwrap();
        assert_eq!(cached(&ctx, "a", key(), || Ok((vec![3], Keep::Yes))).unwrap(), [3]);
    }
}
