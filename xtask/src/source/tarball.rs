//! A kernel tarball as a stream of files.

use std::{
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use tar::EntryType;

use crate::{
    process,
    progress::Progress,
    source::import::{Files, GitGone, Kind},
};

/// How a tarball is compressed, told from its first bytes and not from its name.
fn decompressor(start: &[u8]) -> Option<&'static [&'static str]> {
    match start {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(&["xz", "--decompress", "--stdout", "--threads=0"]),
        [0x1f, 0x8b, ..] => Some(&["gzip", "--decompress", "--stdout"]),
        [b'B', b'Z', b'h', ..] => Some(&["bzip2", "--decompress", "--stdout"]),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(&["zstd", "--decompress", "--stdout"]),
        _ => None,
    }
}

/// Hands every file in the tarball `path` to `files`, without the folder that all of them are in.
///
/// # Errors
///
/// When the tarball is truncated, damaged or none, or `files` takes no more.
pub fn feed(path: &Path, verbose: bool, files: &mut Files<'_>, progress: &Progress) -> Result<()> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(6).read_to_end(&mut start))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let Some(decompressor) = decompressor(&start) else {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        return feed_plain(file, files, progress).with_context(|| format!("cannot read {}", path.display()));
    };
    let mut command = Command::new(decompressor[0]);
    command.args(&decompressor[1..]).arg(path);
    let (running, output) = process::start_reader(&command, verbose)?;
    match feed_plain(output, files, progress) {
        Ok(()) => running.finish(),
        Err(error) if error.downcast_ref::<GitGone>().is_some() => Err(error),
        // If the decompressor failed, that is the cause of what we could not read.
        Err(error) => running.finish().and(Err(error)),
    }
    .with_context(|| format!("cannot unpack {}", path.display()))
}

fn feed_plain(mut reader: impl Read, files: &mut Files<'_>, progress: &Progress) -> Result<()> {
    let mut archive = tar::Archive::new(&mut reader);
    for entry in archive.entries().context("it is no tarball")? {
        let mut entry = entry.context("it is no tarball, or it is damaged")?;
        let kind = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous if entry.header().mode()? & 0o100 != 0 => Kind::Executable,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Symlink => Kind::Symlink,
            // git knows no folders; the global header of `git archive` has no file.
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            other => bail!("{}: a kernel's source has no {other:?}", entry.path()?.display()),
        };
        let path = inner(&entry.path()?)?;
        progress.detail(&path.to_string_lossy());
        progress.add(1);
        if kind == Kind::Symlink {
            let target = entry.link_name_bytes().with_context(|| format!("{} leads nowhere", path.display()))?;
            files.add(&path, kind, target.len() as u64, &mut &*target)?;
        } else {
            let length = entry.size();
            files.add(&path, kind, length, &mut entry)?;
        }
    }
    // What follows the end mark is padding; a decompressor must not be cut off before it has written it.
    std::io::copy(&mut reader, &mut std::io::sink()).context("cannot read to the end")?;
    Ok(())
}

/// The path without its first folder, and without tricks.
fn inner(path: &Path) -> Result<PathBuf> {
    let mut components = path.components().filter(|c| *c != Component::CurDir);
    components.next();
    let inner: PathBuf = components.collect();
    let plain = inner.components().all(|c| matches!(c, Component::Normal(name) if name != ".git"));
    if !plain || inner.as_os_str().is_empty() || path.is_absolute() {
        bail!("{} is not where a file of a kernel's source may be", path.display());
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_folder_is_left_out() {
        assert_eq!(inner(Path::new("linux-7.3.4/fs/inode.c")).unwrap(), Path::new("fs/inode.c"));
        assert_eq!(inner(Path::new("./linux/Makefile")).unwrap(), Path::new("Makefile"));
    }

    #[test]
    fn a_path_that_leaves_the_tree_is_refused() {
        for path in ["/linux/Makefile", "linux/../Makefile", "linux/.git/config", "linux"] {
            assert!(inner(Path::new(path)).is_err(), "{path}");
        }
    }
}
