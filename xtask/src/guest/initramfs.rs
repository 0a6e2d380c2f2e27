//! Makes the guest's root: an uncompressed newc archive, written without root and without a program.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use cpio::{
    NewcBuilder,
    newc::{ModeFileType, trailer},
};

use crate::cache::{Key, write_whole};

/// Where the program is that a root is made with: the guest's first process.
pub const INIT: &str = "/init";

/// What one entry of the archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Folder,
    File(PathBuf),
    Text(String),
    Link(PathBuf),
    CharDevice(u32, u32),
}

/// The archive in the making. Folders come by themselves.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    entries: Vec<(String, u32, Content)>,
    names: BTreeSet<String>,
}

impl Initramfs {
    /// A root with `init` as `/init` and the console the kernel opens for it.
    pub fn new(init: &Path) -> Self {
        let mut root = Self::default();
        root.file("init", init);
        root.add("dev/console", 0o600, Content::CharDevice(5, 1));
        root
    }

    /// Adds an executable file, read from `from` when the archive is written.
    pub fn file(&mut self, name: &str, from: &Path) {
        self.add(name, 0o755, Content::File(from.to_owned()));
    }

    /// Adds a file with this text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.add(name, 0o644, Content::Text(text.to_owned()));
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, to: &Path) {
        self.add(name, 0o777, Content::Link(to.to_owned()));
    }

    /// Adds a folder.
    pub fn folder(&mut self, name: &str) {
        self.add(name, 0o755, Content::Folder);
    }

    /// Whether an entry of this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn add(&mut self, name: &str, mode: u32, content: Content) {
        if let Some((parent, _)) = name.rsplit_once('/')
            && !self.has(parent)
        {
            self.folder(parent);
        }
        if self.names.insert(name.to_owned()) {
            self.entries.push((name.to_owned(), mode, content));
        }
    }

    /// Writes the archive to a file in `folder` that is named by its content, unless it is there
    /// already, and returns its path.
    ///
    /// # Errors
    ///
    /// When a file that goes in cannot be read, or the archive cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<PathBuf> {
        let archive = self.to_bytes()?;
        let path = folder.join(format!("{}.cpio", Key::default().with(&archive).name()));
        if path.exists() {
            return Ok(path);
        }
        write_whole(&path, &archive)?;
        Ok(path)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut archive = Vec::new();
        for (number, (name, mode, content)) in (1..).zip(&self.entries) {
            let builder = NewcBuilder::new(name).ino(number).nlink(1).mode(*mode);
            let (builder, bytes) = match content {
                Content::Folder => (builder.set_mode_file_type(ModeFileType::Directory), Vec::new()),
                Content::File(from) => {
                    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
                    (builder.set_mode_file_type(ModeFileType::Regular), bytes)
                }
                Content::Text(text) => (builder.set_mode_file_type(ModeFileType::Regular), text.clone().into_bytes()),
                Content::Link(to) => {
                    let bytes = to.as_os_str().as_encoded_bytes().to_vec();
                    (builder.set_mode_file_type(ModeFileType::Symlink), bytes)
                }
                Content::CharDevice(major, minor) => {
                    let builder = builder.set_mode_file_type(ModeFileType::Char);
                    (builder.rdev_major(*major).rdev_minor(*minor), Vec::new())
                }
            };
            let size = u32::try_from(bytes.len()).with_context(|| format!("{name} is too large for an initramfs"))?;
            let mut writer = builder.write(&mut archive, size);
            writer.write_all(&bytes)?;
            writer.finish()?;
        }
        trailer(&mut archive)?;
        Ok(archive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_what_cpio_reads() {
        let dir = tempfile::tempdir().unwrap();
        let init = dir.path().join("with a space");
        fs::write(&init, "#!\n").unwrap();
        let mut root = Initramfs::new(&init);
        root.text("etc/passwd", "root:x:0:0::/:/bin/sh\n");
        root.link("bin/sh", Path::new("dash"));
        let mut archive = &root.to_bytes().unwrap()[..];

        let mut seen = Vec::new();
        loop {
            let mut reader = cpio::NewcReader::new(archive).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = String::new();
            std::io::Read::read_to_string(&mut reader, &mut content).unwrap();
            let entry = reader.entry();
            seen.push((entry.name().to_owned(), entry.mode(), entry.rdev_major(), content));
            archive = reader.finish().unwrap();
        }
        let entry = |name: &str, mode, rdev, text: &str| (name.to_owned(), mode, rdev, text.to_owned());
        let expected = [
            entry("init", 0o100_755, 0, "#!\n"),
            entry("dev", 0o040_755, 0, ""),
            entry("dev/console", 0o020_600, 5, ""),
            entry("etc", 0o040_755, 0, ""),
            entry("etc/passwd", 0o100_644, 0, "root:x:0:0::/:/bin/sh\n"),
            entry("bin", 0o040_755, 0, ""),
            entry("bin/sh", 0o120_777, 0, "dash"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_same_content_is_the_same_file_and_another_content_another() {
        let dir = tempfile::tempdir().unwrap();
        let init = dir.path().join("init");
        fs::write(&init, "a").unwrap();
        let root = Initramfs::new(&init);
        let first = root.write_to(dir.path()).unwrap();
        assert_eq!(root.write_to(dir.path()).unwrap(), first);
        fs::write(&init, "b").unwrap();
        assert_ne!(root.write_to(dir.path()).unwrap(), first);
    }

    #[test]
    fn a_missing_file_is_named() {
        let root = Initramfs::new(Path::new("/nowhere/init"));
        let error = root.write_to(&std::env::temp_dir()).unwrap_err().to_string();
        assert_eq!(error, "cannot read /nowhere/init");
    }
}
