//! A FUSE file system with one file, served by this process.

use std::{
    ffi::OsStr,
    io::{PipeReader, PipeWriter, Read as _, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    sync::Mutex,
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEntry, ReplyWrite, Request, Session, SessionACL, WriteFlags,
};
use nix::{
    fcntl::{OFlag, open},
    mount::{MsFlags, mount},
    sys::stat::Mode,
};

use crate::backing;

/// The name of the one file, which has [`backing::SIZE`] bytes.
pub const FILE: &str = "file";

const FILE_INODE: u64 = 2;
const TTL: Duration = Duration::from_secs(60);

/// Mounts the file system at `dir`, on behalf of `user`, and serves it until the returned session is
/// dropped. `device` is a node of `/dev/fuse`, opened here: the kernel wants it opened in the
/// namespace that mounts.
///
/// # Errors
///
/// When the device cannot be opened or the file system not be mounted.
pub fn serve(device: &Path, dir: &Path, user: u32) -> Result<BackgroundSession> {
    spawn(device, dir, user, None)
}

/// As [`serve`], but no read is answered until `gate` gives a byte. That a read has come is told by a byte to `arrived`.
///
/// # Errors
///
/// As [`serve`].
pub fn serve_gated(
    device: &Path,
    dir: &Path,
    user: u32,
    gate: PipeReader,
    arrived: PipeWriter,
) -> Result<BackgroundSession> {
    spawn(device, dir, user, Some(Mutex::new(Gate { gate, arrived, open: false })))
}

fn spawn(device: &Path, dir: &Path, user: u32, gate: Option<Mutex<Gate>>) -> Result<BackgroundSession> {
    let fd: OwnedFd = open(device, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
        .with_context(|| format!("cannot open {}", device.display()))?;
    let options = format!("fd={},rootmode=40000,user_id={user},group_id=0,allow_other", fd.as_raw_fd());
    mount(Some("fuse"), dir, Some("fuse"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))
        .context("cannot mount FUSE")?;
    let files = OneFile { data: Mutex::new(vec![0; backing::SIZE as usize]), gate };
    let session = Session::from_fd(files, fd, SessionACL::All, fuser::Config::default()).context("no FUSE session")?;
    session.spawn().context("cannot serve FUSE")
}

struct OneFile {
    data: Mutex<Vec<u8>>,
    gate: Option<Mutex<Gate>>,
}

/// What holds reads up.
struct Gate {
    gate: PipeReader,
    arrived: PipeWriter,
    open: bool,
}

impl Gate {
    /// Returns when the gate is open, which may be never.
    fn pass(&mut self) {
        if self.open {
            return;
        }
        // Nobody may be listening, and the server goes on.
        let _ = self.arrived.write_all(&[1]);
        while self.gate.read(&mut [0]).is_ok_and(|read| read == 0) {
            // All who could open it are gone.
            thread::park();
        }
        self.open = true;
    }
}

impl OneFile {
    fn attributes(inode: u64) -> Option<FileAttr> {
        let (kind, perm, size, nlink) = match inode {
            1 => (FileType::Directory, 0o755, 0, 2),
            FILE_INODE => (FileType::RegularFile, 0o666, backing::SIZE, 1),
            _ => return None,
        };
        let time = SystemTime::UNIX_EPOCH;
        Some(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for OneFile {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match Self::attributes(FILE_INODE) {
            Some(attributes) if parent.0 == 1 && name == FILE => reply.entry(&TTL, &attributes, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match Self::attributes(inode.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if let Some(gate) = &self.gate {
            gate.lock().expect("no reader panics").pass();
        }
        let data = self.data.lock().expect("no reader panics");
        let start = (offset as usize).min(data.len());
        let end = (start + size as usize).min(data.len());
        reply.data(&data[start..end]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        new: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut data = self.data.lock().expect("no writer panics");
        let start = offset as usize;
        match data.get_mut(start..start + new.len()) {
            Some(part) => {
                part.copy_from_slice(new);
                reply.written(new.len() as u32);
            }
            None => reply.error(Errno::ENOSPC),
        }
    }
}
