//! A loopfs instance, mounted or detached.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use nix::{
    Result,
    mount::{MntFlags, MsFlags, mount, umount2},
};
use serde::{Deserialize, Serialize};

use crate::{
    backing::Backing, case::Context, fs_context::FsContext, loop_control::LoopControl, loop_device::LoopDevice, proc_fd,
};

/// An instance and where it is mounted. Dropping it unmounts nothing: the case's mount namespace
/// does that.
#[derive(Debug, Serialize, Deserialize)]
pub struct Instance {
    dir: PathBuf,
}

impl Instance {
    /// Mounts a new instance at a new folder `name` of the case's folder.
    ///
    /// # Errors
    ///
    /// When the folder or the mount cannot be made.
    pub fn new(ctx: &Context, name: &str) -> anyhow::Result<Self> {
        Self::new_with(ctx, name, "")
    }

    /// As [`Instance::new`], with mount options.
    ///
    /// # Errors
    ///
    /// When the folder or the mount cannot be made.
    pub fn new_with(ctx: &Context, name: &str, options: &str) -> anyhow::Result<Self> {
        let dir = ctx.dir.join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Self::mount_with(&dir, options).with_context(|| format!("cannot mount an instance at {}", dir.display()))
    }

    /// Mounts a new instance at `dir` by `mount(2)`.
    ///
    /// # Errors
    ///
    /// What the call gives.
    pub fn mount(dir: &Path) -> Result<Self> {
        Self::mount_with(dir, "")
    }

    /// Mounts a new instance at `dir` by `mount(2)` with options.
    ///
    /// # Errors
    ///
    /// What the call gives.
    pub fn mount_with(dir: &Path, options: &str) -> Result<Self> {
        Self::mount_with_flags(dir, MsFlags::empty(), options)
    }

    /// Mounts a new instance at `dir` by `mount(2)` with mount flags and options.
    ///
    /// # Errors
    ///
    /// What the call gives.
    pub fn mount_with_flags(dir: &Path, flags: MsFlags, options: &str) -> Result<Self> {
        mount(Some("loop"), dir, Some("loop"), flags, Some(options))?;
        Ok(Self::at(dir))
    }

    /// The instance that somebody has mounted at `dir`.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The root directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of the entry `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The path of the control node.
    pub fn control_path(&self) -> PathBuf {
        self.path("loop-control")
    }

    /// The path of the node that device `number` gets.
    pub fn node(&self, number: u32) -> PathBuf {
        self.path(&format!("loop{number}"))
    }

    /// Opens the control node.
    ///
    /// # Errors
    ///
    /// What `open(2)` gives.
    pub fn control(&self) -> Result<LoopControl> {
        LoopControl::open(&self.control_path())
    }

    /// Opens device `number` for reading and writing.
    ///
    /// # Errors
    ///
    /// What `open(2)` gives.
    pub fn open(&self, number: u32) -> Result<LoopDevice> {
        LoopDevice::open(&self.node(number))
    }

    /// Makes a device and returns its number.
    ///
    /// # Errors
    ///
    /// What opening the control node or the ioctl gives.
    pub fn add(&self) -> Result<u32> {
        self.control()?.add_any()
    }

    /// Makes a device and binds `backing` to it. Nothing holds it open afterwards.
    ///
    /// # Errors
    ///
    /// What the calls give.
    pub fn add_bound(&self, backing: &Backing) -> Result<u32> {
        let number = self.add()?;
        self.open(number)?.set_fd(backing.file())?;
        Ok(number)
    }

    /// The names of all entries.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn entries(&self) -> anyhow::Result<BTreeSet<String>> {
        let entries = fs::read_dir(&self.dir).with_context(|| format!("cannot list {}", self.dir.display()))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Requires the entries to be the control node and the devices `numbers`, and nothing else.
    ///
    /// # Errors
    ///
    /// When they are not; both lists are told.
    pub fn expect_devices(&self, numbers: &[u32]) -> anyhow::Result<()> {
        let mut expected: BTreeSet<String> = numbers.iter().map(|number| format!("loop{number}")).collect();
        expected.insert("loop-control".to_owned());
        let found = self.entries()?;
        ensure!(found == expected, "{} holds {found:?}, not {expected:?}", self.dir.display());
        Ok(())
    }

    /// Remounts with `flags` and options (`MS_REMOUNT`).
    ///
    /// # Errors
    ///
    /// What the call gives.
    pub fn remount(&self, flags: MsFlags, options: &str) -> Result<()> {
        mount(Some("loop"), &self.dir, Some("loop"), MsFlags::MS_REMOUNT | flags, Some(options))
    }

    /// Makes the instance visible at `dir` as well (`MS_BIND`).
    ///
    /// # Errors
    ///
    /// What the call gives.
    pub fn bind(&self, dir: &Path) -> Result<Self> {
        bind(&self.dir, dir)?;
        Ok(Self::at(dir))
    }

    /// Unmounts it.
    ///
    /// # Errors
    ///
    /// What `umount2(2)` gives; `EBUSY` where something below is open.
    pub fn umount(&self) -> Result<()> {
        umount2(&self.dir, MntFlags::empty())
    }

    /// Takes it out of the tree now; it lives on until its last user goes (`MNT_DETACH`).
    ///
    /// # Errors
    ///
    /// What `umount2(2)` gives.
    pub fn detach(&self) -> Result<()> {
        umount2(&self.dir, MntFlags::MNT_DETACH)
    }
}

/// Makes `from`, a folder or a file, visible at `to` as well (`MS_BIND`).
///
/// # Errors
///
/// What the call gives.
pub fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}

/// An instance that was never attached: it lives as long as its descriptor.
#[derive(Debug)]
pub struct Detached {
    mount: OwnedFd,
}

impl Detached {
    /// Makes one by `fsopen`, `fsconfig` and `fsmount`.
    ///
    /// # Errors
    ///
    /// What the calls give.
    pub fn new() -> Result<Self> {
        let context = FsContext::open(c"loop")?;
        context.create()?;
        Ok(Self { mount: context.mount()? })
    }

    /// The instance, reached through the descriptor.
    pub fn instance(&self) -> Instance {
        Instance::at(&proc_fd::path(&self.mount))
    }

    /// The descriptor of the mount.
    pub fn mount(&self) -> &OwnedFd {
        &self.mount
    }
}
