//! A tenant: a user namespace inside the case's own, with a mount namespace and a folder.
//!
//! The mount namespace is a copy: what the case has mounted when a tenant is made stays mounted
//! there for as long as the tenant lives. Make tenants before instances.

use std::{
    fs::{self, File},
    io::{IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, FromRawFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::prctl,
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, sendmsg,
        socketpair,
    },
    unistd::{Gid, Pid, Uid, chown, setgroups, setresgid, setresuid},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    case::Context,
    cgroup::Cgroup,
    instance::Instance,
    privilege,
    process::{self, Held, Started},
};

/// How the user ids of the tenant, and likewise its group ids, stand for those of its maker.
#[derive(Clone, Copy, Debug)]
pub struct IdMap {
    /// The first id inside.
    pub inside: u32,
    /// The id of the maker it stands for.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

impl IdMap {
    /// Ids 0.. of the tenant stand for 1000.. of its maker.
    pub const USUAL: Self = Self { inside: 0, outside: 1000, count: 60_000 };
    /// For a tenant inside a tenant.
    const NESTED: Self = Self { inside: 0, outside: 1000, count: 10_000 };

    fn line(self) -> String {
        format!("{} {} {}", self.inside, self.outside, self.count)
    }
}

/// The ordinary user that [`Tenant::ordinary`] starts as: nobody on the machine has made it root of anything.
pub const ORDINARY_USER: u32 = 1000;

/// A user namespace and a mount namespace, kept by a process parked in them.
pub struct Tenant {
    parked: Held,
    dir: PathBuf,
    first_id: u32,
    /// The user each process of the tenant is before it enters; nothing if whoever made the tenant.
    user: Option<u32>,
    /// The cgroup each process of the tenant is in; nothing if that of the case.
    cgroup: Option<PathBuf>,
}

impl Tenant {
    /// Makes a tenant called `name` with [`IdMap::USUAL`].
    ///
    /// # Errors
    ///
    /// When the namespaces cannot be made.
    pub fn new(ctx: &Context, name: &str) -> Result<Self> {
        Self::with_ids(&ctx.dir, name, IdMap::USUAL)
    }

    /// Makes a tenant inside another one, or of a case: its folder is made in `parent_dir`.
    ///
    /// # Errors
    ///
    /// When the namespaces cannot be made.
    pub fn nested(parent_dir: &Path, name: &str) -> Result<Self> {
        Self::with_ids(parent_dir, name, IdMap::NESTED)
    }

    /// Makes a tenant whose ids map as `ids` says, with a folder `name` of its own in `parent_dir`.
    ///
    /// # Errors
    ///
    /// When the namespaces cannot be made.
    pub fn with_ids(parent_dir: &Path, name: &str, ids: IdMap) -> Result<Self> {
        let dir = parent_dir.join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        chown(&dir, Some(Uid::from_raw(ids.outside)), Some(Gid::from_raw(ids.outside)))?;
        // Search permission on the way there, for ids that own none of it.
        for folder in dir.ancestors().skip(1).take_while(|folder| folder.starts_with(parent_dir)) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }

        let parked = process::hold(|| {
            close_inherited()?;
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).context("cannot make the namespaces")?;
            be_visible_to_the_maker()
        })?;
        for map in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{map}", parked.pid());
            fs::write(&path, ids.line()).with_context(|| format!("cannot write {path}"))?;
        }
        Ok(Self { parked, dir, first_id: ids.inside, user: None, cgroup: None })
    }

    /// Makes a tenant as an ordinary user does who wants one: [`ORDINARY_USER`] without any capability makes the
    /// namespaces, and maps root of the tenant to itself and nobody else.
    ///
    /// # Errors
    ///
    /// When the namespaces cannot be made.
    pub fn ordinary(ctx: &Context, name: &str) -> Result<Self> {
        Self::ordinary_in(ctx, name, None)
    }

    /// As [`Tenant::ordinary`], with each of its processes in `cgroup`.
    ///
    /// # Errors
    ///
    /// When the namespaces cannot be made, or the cgroup not be entered.
    pub fn ordinary_in(ctx: &Context, name: &str, cgroup: Option<&Cgroup>) -> Result<Self> {
        let dir = ctx.dir.join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        chown(&dir, Some(ORDINARY_USER.into()), Some(ORDINARY_USER.into()))?;
        let parked = process::hold(|| {
            close_inherited()?;
            if let Some(cgroup) = cgroup {
                cgroup.enter()?;
            }
            privilege::become_user(ORDINARY_USER)?;
            be_visible_to_the_maker()?;
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).context("a user cannot make namespaces")?;
            fs::write("/proc/self/setgroups", "deny")?;
            for map in ["uid_map", "gid_map"] {
                let path = format!("/proc/self/{map}");
                fs::write(&path, format!("0 {ORDINARY_USER} 1")).with_context(|| format!("cannot write {path}"))?;
            }
            Ok(())
        })?;
        let cgroup = cgroup.map(|cgroup| cgroup.dir().to_owned());
        Ok(Self { parked, dir, first_id: 0, user: Some(ORDINARY_USER), cgroup })
    }

    /// A folder that belongs to the tenant's first user.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process that keeps the namespaces, in the pid namespace of the case.
    pub fn pid(&self) -> Pid {
        self.parked.pid()
    }

    /// Where the case finds the tenant's `path`, through the tenant's own mounts.
    pub fn seen_from_outside(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").unwrap_or(path);
        Path::new(&format!("/proc/{}/root", self.pid())).join(inside)
    }

    /// Runs `body` as the tenant's first user, with all capabilities there, in a forked child.
    ///
    /// # Errors
    ///
    /// The error of `body`, or when the child cannot be started or enter the namespaces.
    pub fn run<T: Serialize + DeserializeOwned>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        process::run(|| {
            self.enter()?;
            body()
        })
    }

    /// As [`Tenant::run`], at the same time as what the case does next.
    ///
    /// # Errors
    ///
    /// When the child cannot be started.
    pub fn start<T: Serialize + DeserializeOwned>(&self, body: impl FnOnce() -> Result<T>) -> Result<Started<T>> {
        process::start(|| {
            self.enter()?;
            body()
        })
    }

    /// As [`Tenant::run`], with a child that keeps the value until it is released.
    ///
    /// # Errors
    ///
    /// As [`Tenant::run`].
    pub fn hold<V>(&self, body: impl FnOnce() -> Result<V>) -> Result<Held> {
        process::hold(|| {
            self.enter()?;
            body()
        })
    }

    /// Runs `body` in the tenant and hands the descriptor it returned to the case.
    ///
    /// # Errors
    ///
    /// As [`Tenant::run`].
    pub fn descriptor(&self, body: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).context("no socket")?;
        self.run(|| {
            let fd = body()?;
            let fds = [fd.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&fds)];
            sendmsg::<UnixAddr>(theirs.as_raw_fd(), &[IoSlice::new(&[0])], &rights, MsgFlags::empty(), None)?;
            Ok(())
        })?;
        let mut byte = [0];
        let mut buffers = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!([i32; 1]);
        let message =
            recvmsg::<UnixAddr>(ours.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let fd = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        let fd = fd.context("the tenant sent no descriptor")?;
        // SAFETY: The kernel has just installed this descriptor for us and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Mounts an instance in the tenant, at the folder `loopfs` of its own folder.
    ///
    /// # Errors
    ///
    /// When the tenant may not mount one.
    pub fn mount(&self) -> Result<Instance> {
        self.mount_with("")
    }

    /// As [`Tenant::mount`], with mount options.
    ///
    /// # Errors
    ///
    /// When the tenant may not mount one with these options.
    pub fn mount_with(&self, options: &str) -> Result<Instance> {
        self.run(|| {
            let dir = self.dir.join("loopfs");
            fs::create_dir_all(&dir)?;
            Instance::mount_with(&dir, options).context("the tenant cannot mount an instance")
        })
    }

    /// Ends the last process of the tenant with SIGKILL; its namespaces go with it.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    pub fn kill(self) -> Result<()> {
        self.parked.kill()
    }

    /// Lets the last process of the tenant exit; its namespaces go with it.
    ///
    /// # Errors
    ///
    /// When it is gone already.
    pub fn exit(self) -> Result<()> {
        self.parked.release()
    }

    fn enter(&self) -> Result<()> {
        let kinds = [("user", CloneFlags::CLONE_NEWUSER), ("mnt", CloneFlags::CLONE_NEWNS)];
        let namespaces = kinds.map(|(name, kind)| {
            let path = format!("/proc/{}/ns/{name}", self.pid());
            (File::open(&path).with_context(|| format!("cannot open {path}")), path, kind)
        });
        if let Some(cgroup) = &self.cgroup {
            fs::write(cgroup.join("cgroup.procs"), "0").context("cannot enter the cgroup of the tenant")?;
        }
        // The root of an ordinary user's tenant may not change its groups, so it is its user before it enters.
        if let Some(user) = self.user {
            privilege::become_user(user)?;
        }
        for (namespace, path, kind) in namespaces {
            setns(&namespace?, kind).with_context(|| format!("cannot enter {path}"))?;
        }
        if self.user.is_none() {
            let (uid, gid) = (Uid::from_raw(self.first_id), Gid::from_raw(self.first_id));
            setgroups(&[]).context("cannot drop the groups")?;
            setresgid(gid, gid, gid).context("cannot become the group of the tenant")?;
            setresuid(uid, uid, uid).context("cannot become the user of the tenant")?;
        }
        ensure!(Uid::effective() == Uid::from_raw(self.first_id), "the tenant has the wrong user");
        be_visible_to_the_maker()
    }
}

/// Gives the files of `/proc/self` back to the user of this process: a change of credentials has
/// given them to global root, and who made this process could no longer map its ids.
fn be_visible_to_the_maker() -> Result<()> {
    prctl::set_dumpable(true).context("cannot become dumpable")
}

/// Closes what a parked child inherited but for standard streams and its own pipes, which are the
/// only pipes: a tenant must not keep a device of the case in use.
fn close_inherited() -> Result<()> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd| fd > 2)
        .collect();
    for fd in open {
        let target = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        if target.starts_with("/") {
            // SAFETY: Closing a number is sound; a descriptor closed here belongs to a value of
            // the parent's that this forked copy never drops.
            unsafe { nix::libc::close(fd) };
        }
    }
    Ok(())
}
