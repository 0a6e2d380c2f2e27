//! What a test case is: a name, the SPEC lines it covers, what it needs, and a body.

use std::fmt;

/// One behaviour of the kernel, told as a story: set up, act, assert.
#[derive(Clone, Copy)]
pub struct Case {
    /// A sentence about behaviour, as an identifier: `unlink_of_a_bound_device_is_ebusy`.
    pub name: &'static str,
    /// The lines of SPEC.md it covers, such as `U1`; `["host"]` for the control group.
    pub spec: &'static [&'static str],
    /// As whom it runs; it becomes one trial for each.
    pub who: &'static [Who],
    /// What the kernel and the machine must have.
    pub needs: &'static [Need],
    /// How many times the usual deadline of a case this one may take.
    pub patience: u32,
    /// The body.
    pub run: fn(&Context) -> anyhow::Result<()>,
}

impl Case {
    /// A case that runs as both, needs loopfs and has the usual patience.
    pub const fn new(
        name: &'static str,
        spec: &'static [&'static str],
        run: fn(&Context) -> anyhow::Result<()>,
    ) -> Self {
        Self { name, spec, who: &[Who::Root, Who::UsernsRoot], needs: &[Need::Loopfs], patience: 1, run }
    }

    /// The same case, run as `who` only.
    pub const fn only(mut self, who: &'static [Who]) -> Self {
        self.who = who;
        self
    }

    /// The same case, with these needs in place of the usual ones.
    pub const fn needing(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    /// The same case, with `factor` times the usual deadline.
    pub const fn patient(mut self, factor: u32) -> Self {
        self.patience = factor;
        self
    }
}

/// Defines a case from a function of the same name: `case!(SPEC-LINES, name)`.
#[macro_export]
macro_rules! case {
    ([$($spec:literal),+], $name:ident) => {
        $crate::case::Case::new(stringify!($name), &[$($spec),+], $name)
    };
}

/// As whom a case runs. The runner has entered the namespaces before the body starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Root of the initial user namespace, in a mount and a pid namespace of its own.
    Root,
    /// Uid 0 of a new user namespace whose ids 0..65536 map to 100000.. of the initial one, with
    /// mount and pid namespaces of its own, and no privilege outside.
    UsernsRoot,
    /// As [`Who::Root`], with the loop devices of the machine: what loopfs is compared with.
    Stock,
    /// As [`Who::UsernsRoot`], with the loop devices of the machine, as far as a container has any.
    UsernsStock,
}

impl Who {
    /// Whether the case runs in a user namespace of its own.
    pub const fn is_in_user_namespace(self) -> bool {
        matches!(self, Self::UsernsRoot | Self::UsernsStock)
    }

    /// Whether the case is to use an instance of its own, and not the machine's loop devices.
    pub const fn has_instance(self) -> bool {
        matches!(self, Self::Root | Self::UsernsRoot)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::UsernsRoot => "userns",
            Self::Stock => "stock",
            Self::UsernsStock => "stock-userns",
        })
    }
}

/// What a case needs: each stands for kernel symbols the harness turns on, and for a probe that
/// turns into a skip with a reason on a machine that lacks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// The file system type `loop`.
    Loopfs,
    /// Debian's own programs and container managers.
    Clients,
    /// The stock loop driver with `/dev/loop-control`.
    Loop,
    /// A block device node that makes its device when it is opened.
    LegacyAutoload,
    /// ext4, to mount an image in the initial namespace.
    Ext4,
    /// FUSE, mountable in a user namespace.
    Fuse,
    /// overlayfs.
    Overlayfs,
    /// cgroup v2 with the memory controller.
    Memcg,
    /// cgroup v2 with the io controller and two of its policies.
    IoController,
    /// cgroup v2 with the pids controller.
    Pids,
    /// blktrace, which has ioctls on every block device.
    BlkTrace,
    /// The asynchronous I/O of POSIX (`io_submit(2)`).
    Aio,
    /// io_uring, for ordinary users too.
    IoUring,
    /// userfaultfd.
    Userfaultfd,
    /// Files with seals (`memfd_create(2)`).
    Memfd,
    /// Memory that is a file, and for its owner's eyes only (`memfd_secret(2)`).
    Secretmem,
    /// tmpfs that keeps quotas.
    TmpfsQuota,
    /// inotify and fanotify.
    Fsnotify,
    /// Network namespaces and uevent sockets.
    Uevent,
    /// Swap.
    Swap,
    /// More than one CPU.
    Smp,
    /// The fail-slab and fail-page-alloc fault injectors (debug configuration).
    FaultInjection,
    /// `/proc/config.gz`.
    Ikconfig,
    /// `/sys/kernel/debug/kmemleak` (debug configuration).
    Kmemleak,
    /// `/proc/lockdep` (debug configuration).
    Lockdep,
}

impl Need {
    /// The kernel symbols this need turns on.
    pub const fn kconfig(self) -> &'static [&'static str] {
        match self {
            Self::Loopfs => &["BLK_DEV_LOOP", "RUST", "USER_NS", "BLK_DEV_LOOPFS"],
            Self::Clients => &[],
            Self::Loop => &["BLK_DEV_LOOP"],
            Self::LegacyAutoload => &["BLOCK_LEGACY_AUTOLOAD"],
            Self::Ext4 => &["EXT4_FS"],
            Self::Fuse => &["FUSE_FS"],
            Self::Overlayfs => &["OVERLAY_FS"],
            Self::Memcg => &["CGROUPS", "MEMCG", "BLK_CGROUP"],
            Self::IoController => &["CGROUPS", "BLK_CGROUP", "BLK_DEV_THROTTLING", "BLK_CGROUP_IOCOST"],
            Self::Pids => &["CGROUPS", "CGROUP_PIDS"],
            Self::BlkTrace => &["FTRACE", "BLK_DEV_IO_TRACE"],
            Self::Aio => &["AIO"],
            Self::IoUring => &["IO_URING"],
            Self::Userfaultfd => &["USERFAULTFD"],
            Self::Memfd => &["MEMFD_CREATE"],
            Self::Secretmem => &["SECRETMEM"],
            Self::TmpfsQuota => &["TMPFS_QUOTA"],
            Self::Fsnotify => &["INOTIFY_USER", "FANOTIFY"],
            Self::Uevent => &["NET", "NET_NS"],
            Self::Swap => &["SWAP"],
            Self::Smp => &["SMP"],
            Self::FaultInjection => &["FAULT_INJECTION", "FAULT_INJECTION_DEBUG_FS", "FAILSLAB", "FAIL_PAGE_ALLOC"],
            Self::Ikconfig => &["IKCONFIG", "IKCONFIG_PROC"],
            Self::Kmemleak => &["DEBUG_KMEMLEAK"],
            Self::Lockdep => &["PROVE_LOCKING"],
        }
    }

    /// Whether only the debug configuration has it, so that its absence elsewhere is a skip.
    pub const fn debug_only(self) -> bool {
        matches!(self, Self::FaultInjection | Self::Kmemleak | Self::Lockdep)
    }
}

/// What a running case knows of its surroundings.
#[derive(Debug)]
pub struct Context {
    /// As whom the body runs.
    pub who: Who,
    /// An empty folder on a tmpfs of this case's own mount namespace, gone with it.
    pub dir: std::path::PathBuf,
}

/// Ends a case with the outcome *skip*; raised by [`skip`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Skip(pub String);

/// Ends the case as skipped, for `reason`.
///
/// # Errors
///
/// Always: the error *is* the skip.
pub fn skip<T>(reason: impl Into<String>) -> anyhow::Result<T> {
    Err(Skip(reason.into()).into())
}
