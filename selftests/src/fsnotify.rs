//! What inotify and fanotify tell of a directory.

use std::{ffi::OsStr, path::Path};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    fcntl::AT_FDCWD,
    sys::{
        fanotify::{EventFFlags, Fanotify, FanotifyEvent, InitFlags, MarkFlags, MaskFlags},
        inotify::{AddWatchFlags, InitFlags as InotifyFlags, Inotify},
    },
};

/// An inotify watch of one directory for entries that come, go or are renamed.
pub struct Inotified {
    inotify: Inotify,
}

impl Inotified {
    /// Starts to watch `dir`.
    ///
    /// # Errors
    ///
    /// When it cannot be watched.
    pub fn watch(dir: &Path) -> Result<Self> {
        let inotify = Inotify::init(InotifyFlags::IN_NONBLOCK | InotifyFlags::IN_CLOEXEC)?;
        let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
        inotify.add_watch(dir, events).with_context(|| format!("cannot watch {}", dir.display()))?;
        Ok(Self { inotify })
    }

    /// What has happened since the last call: `create NAME`, `delete NAME`, `from NAME`, `to NAME`.
    ///
    /// # Errors
    ///
    /// When the events cannot be read, or are of another kind.
    pub fn take(&self) -> Result<Vec<String>> {
        let mut told = Vec::new();
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return Ok(told),
                Err(error) => return Err(error).context("cannot read inotify events"),
            };
            for event in events {
                let what = match event.mask {
                    AddWatchFlags::IN_CREATE => "create",
                    AddWatchFlags::IN_DELETE => "delete",
                    AddWatchFlags::IN_MOVED_FROM => "from",
                    AddWatchFlags::IN_MOVED_TO => "to",
                    other => bail!("an inotify event of kind {other:?}"),
                };
                let name = event.name.as_deref().and_then(OsStr::to_str).context("an event without a name")?;
                told.push(format!("{what} {name}"));
            }
        }
    }
}

/// `FAN_REPORT_DIR_FID | FAN_REPORT_NAME`: events of directory entries need it; nix has no name for it.
const FAN_REPORT_DFID_NAME: u32 = 0xc00;

/// A fanotify mark on one directory for entries that come or go.
pub struct Fanotified {
    fanotify: Fanotify,
}

impl Fanotified {
    /// Starts to watch `dir`.
    ///
    /// # Errors
    ///
    /// When it cannot be watched.
    pub fn watch(dir: &Path) -> Result<Self> {
        let flags = InitFlags::from_bits_retain(FAN_REPORT_DFID_NAME)
            | InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK;
        let fanotify = Fanotify::init(flags, EventFFlags::O_RDONLY).context("no fanotify group")?;
        let mask = MaskFlags::FAN_CREATE | MaskFlags::FAN_DELETE | MaskFlags::FAN_ONDIR;
        fanotify
            .mark(MarkFlags::FAN_MARK_ADD, mask, AT_FDCWD, Some(dir))
            .with_context(|| format!("cannot mark {}", dir.display()))?;
        Ok(Self { fanotify })
    }

    /// The kinds of events since the last call, merged ones as one.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn take(&self) -> Result<MaskFlags> {
        let mut kinds = MaskFlags::empty();
        loop {
            match self.fanotify.read_events() {
                Ok(events) => kinds.extend(events.iter().map(FanotifyEvent::mask)),
                Err(Errno::EAGAIN) => return Ok(kinds),
                Err(error) => return Err(error).context("cannot read fanotify events"),
            }
        }
    }
}
