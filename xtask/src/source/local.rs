//! A kernel source that the person has: a git tree, a tarball or a folder.

use std::{
    fs::{self, File},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cache::{self, Key},
    ctx::Ctx,
    error::Failure,
    interrupt,
    progress::{self, Progress},
    source::{
        Base,
        import::{self, Files, Kind},
        unpack, version,
    },
};

/// The base that is at `path`. A git tree is used where it is, at its `HEAD`; a tarball or a folder
/// is imported into the cache.
///
/// # Errors
///
/// When there is nothing at `path`, or it is no kernel source, or it cannot be imported.
pub fn base(ctx: &Ctx, path: &Path) -> Result<Base> {
    let path = path
        .canonicalize()
        .with_context(|| format!("cannot use --from {}", path.display()))
        .context(Failure::Environment)?;
    if path.is_file() {
        return tarball(ctx, &path);
    }
    let work_tree = path.join(".git").exists();
    let bare = path.join("HEAD").is_file() && path.join("objects").is_dir();
    if work_tree || bare {
        let base = Base::at(&path, "HEAD", ctx.verbose).context(Failure::Environment)?;
        progress::say(&format!(
            "using {} at {}, its HEAD (Linux {}); what is not committed there is not used",
            path.display(),
            &base.commit[..12.min(base.commit.len())],
            base.version
        ));
        return Ok(base);
    }
    folder(ctx, &path)
}

fn tarball(ctx: &Ctx, path: &Path) -> Result<Base> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let length = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
    let progress = Progress::bytes(format!("read {}", path.display()), length);
    let hash =
        cache::sha256(file, |count| progress.add(count)).with_context(|| format!("cannot read {}", path.display()))?;
    drop(progress);
    let what = path.display().to_string();
    let key = Key::default().with("tarball 1").with(hash).name();
    let entry = cache::entry(&ctx.cache().join("base"), &key, &what, |half| {
        unpack(path, half, &title_of(path), ctx.verbose)?;
        // What is no kernel source must not become an entry.
        Base::at(half, import::BRANCH, ctx.verbose).map(drop)
    })?;
    Base::at(&entry, import::BRANCH, ctx.verbose)
}

/// The message of a tarball's commit: with the version if its name has one, so that kernel.org's own
/// tarball makes the same commit whether we download it or the person did.
fn title_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let version = name.strip_prefix("linux-").and_then(|rest| rest.split_once(".tar")).map(|(version, _)| version);
    match version {
        Some(version) if version.starts_with(|c: char| c.is_ascii_digit()) => format!("Linux {version}"),
        _ => "Linux".to_owned(),
    }
}

fn folder(ctx: &Ctx, path: &Path) -> Result<Base> {
    let makefile = fs::read_to_string(path.join("Makefile")).unwrap_or_default();
    let Some(version) = version(&makefile) else {
        bail!("{} is neither a git tree, nor a tarball, nor a folder with a kernel's source", path.display());
    };
    if path.join(".config").exists() || path.join("include/config").exists() {
        bail!(
            "{} has been built in, so it holds more than source: run `make mrproper` there, or give a git tree",
            path.display()
        );
    }
    let files = list(path)?;
    let key = files
        .iter()
        .fold(Key::default().with("folder 1").with(path.as_os_str().as_bytes()), |key, file| key.with(file.stamp()))
        .name();
    let what = path.display().to_string();
    let entry = cache::entry(&ctx.cache().join("base"), &key, &what, |half| {
        let progress = Progress::steps(format!("import {}", path.display()), files.len() as u64);
        let count = import::import(half, &format!("Linux {version}"), ctx.verbose, |to| {
            files.iter().try_for_each(|file| file.feed(path, to, &progress))
        })?;
        progress.done(&format!("{count} files"));
        Ok(())
    })?;
    Base::at(&entry, import::BRANCH, ctx.verbose)
}

/// A file in the folder.
#[derive(Debug)]
struct Listed {
    /// Relative to the folder.
    path: PathBuf,
    kind: Kind,
    /// In bytes.
    length: u64,
    /// Seconds and nanoseconds of the last change of content.
    modified: (i64, i64),
}

impl Listed {
    /// What changes when the file does, as far as that can be told without reading it: what git
    /// itself goes by in a work tree.
    fn stamp(&self) -> Vec<u8> {
        let (seconds, nanoseconds) = self.modified;
        let numbers = format!("{:?} {} {seconds} {nanoseconds} ", self.kind, self.length);
        [numbers.as_bytes(), self.path.as_os_str().as_bytes()].concat()
    }

    fn feed(&self, top: &Path, to: &mut Files<'_>, progress: &Progress) -> Result<()> {
        let full = top.join(&self.path);
        progress.detail(&self.path.to_string_lossy());
        progress.add(1);
        if self.kind == Kind::Symlink {
            let target = fs::read_link(&full).with_context(|| format!("cannot read {}", full.display()))?;
            let target = target.as_os_str().as_bytes();
            return to.add(&self.path, self.kind, target.len() as u64, &mut &*target);
        }
        let mut file = File::open(&full).with_context(|| format!("cannot open {}", full.display()))?;
        to.add(&self.path, self.kind, self.length, &mut file)
    }
}

/// All files below `top`, in an order that depends on nothing but their names.
fn list(top: &Path) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        interrupt::check()?;
        let full = top.join(&folder);
        for entry in fs::read_dir(&full).with_context(|| format!("cannot read {}", full.display()))? {
            let entry = entry.with_context(|| format!("cannot read {}", full.display()))?;
            let path = folder.join(entry.file_name());
            let data = entry.metadata().with_context(|| format!("cannot read {}", entry.path().display()))?;
            let kind = match data.file_type() {
                kind if kind.is_dir() => {
                    folders.push(path);
                    continue;
                }
                kind if kind.is_symlink() => Kind::Symlink,
                kind if !kind.is_file() => bail!("{}: a kernel's source has no such file", entry.path().display()),
                _ if data.mode() & 0o100 != 0 => Kind::Executable,
                _ => Kind::File,
            };
            files.push(Listed { path, kind, length: data.len(), modified: (data.mtime(), data.mtime_nsec()) });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_of_a_tarball_has_the_version_in_its_name() {
        assert_eq!(title_of(Path::new("/x/linux-7.3.4.tar.xz")), "Linux 7.3.4");
        assert_eq!(title_of(Path::new("linux-next.tar.gz")), "Linux");
        assert_eq!(title_of(Path::new("kernel.tgz")), "Linux");
    }
}
