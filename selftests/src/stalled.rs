//! A loop device that does not answer: what a tenant can make of its own device, and root of one of the host.

use std::{
    fs::{self, File},
    io::pipe,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    fcntl::OFlag,
    sys::{
        signal::{Signal, kill},
        stat::SFlag,
    },
};

use crate::{
    aligned::Aligned,
    backing::{self, Backing},
    block,
    case::Context,
    cgroup::Cgroup,
    fuse,
    instance::Instance,
    loop_device::LoopDevice,
    mapping::Mapping,
    nodes,
    process::{self, Held, Started},
    sysctl::Sysctl,
    tenant::Tenant,
    userfault,
};

/// What the device waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The lock of the backing file, held by a write whose data are a page that a FUSE server does not send.
    FusePage,
    /// The same lock, held by a write whose data are a page that userfaultfd holds up.
    UserfaultPage,
    /// The same lock, held by a write whose data are a page of a FUSE server in a frozen cgroup.
    FrozenServer,
    /// A backing file on FUSE, whose server was stopped.
    StoppedServer,
}

/// What waits for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// A dirty page, and `fsync(2)` of the device.
    Buffered,
    /// A direct write.
    Direct,
}

/// The size of the backing file but for one on FUSE.
pub const SIZE: u64 = 16 * backing::SIZE;

/// A device that does not answer, until this is dropped.
pub struct Stalled {
    // Dropped in this order: what holds the device up before what waits for it.
    server: Option<Held>,
    writer: Option<Started<()>>,
    blocked: Started<()>,
    _setting: Option<Sysctl>,
    _cgroup: Option<Cgroup>,
    number: u32,
    node: PathBuf,
    tenant: Option<Tenant>,
}

impl Stalled {
    /// Makes a tenant with a device that waits for `cause`, with `load` on it.
    ///
    /// # Errors
    ///
    /// When the device cannot be made, or answers although it should not.
    pub fn of_tenant(ctx: &Context, cause: Cause, load: Load) -> Result<Self> {
        Self::of_tenant_in(ctx, cause, load, None)
    }

    /// As [`Stalled::of_tenant`], in `cgroup`.
    ///
    /// # Errors
    ///
    /// As [`Stalled::of_tenant`].
    pub fn of_tenant_in(ctx: &Context, cause: Cause, load: Load, cgroup: Option<&Cgroup>) -> Result<Self> {
        // Before the tenant, whose mounts are a copy.
        let fuse = nodes::make(ctx, "fuse", SFlag::S_IFCHR, 10, 229)?;
        let tenant = Tenant::ordinary_in(ctx, "stalled", cgroup)?;
        let instance = tenant.mount()?;
        let number = tenant.run(|| Ok(instance.add()?))?;
        let (node, dir) = (instance.node(number), tenant.dir().to_owned());
        Self::new(Some(tenant), number, node, &dir, &fuse, cause, load)
    }

    /// Lets the device of the host with `number` and `node` wait, on behalf of root.
    ///
    /// # Errors
    ///
    /// As [`Stalled::of_tenant`].
    pub fn of_host(ctx: &Context, number: u32, node: &Path, load: Load) -> Result<Self> {
        let fuse = nodes::make(ctx, "fuse", SFlag::S_IFCHR, 10, 229)?;
        let dir = ctx.dir.join("stalled");
        fs::create_dir(&dir)?;
        Self::new(None, number, node.to_owned(), &dir, &fuse, Cause::FusePage, load)
    }

    fn new(
        tenant: Option<Tenant>,
        number: u32,
        node: PathBuf,
        dir: &Path,
        fuse: &Path,
        cause: Cause,
        load: Load,
    ) -> Result<Self> {
        let setting = match cause {
            Cause::UserfaultPage => Some(Sysctl::set("vm/unprivileged_userfaultfd", "1")?),
            _ => None,
        };
        let mounted = dir.join("fuse");
        // Nobody ever writes to the gate, and whoever is forked from here on keeps it open.
        let (gate, _never) = pipe()?;
        let (_arrived, tell) = pipe()?;
        let server = match cause {
            Cause::UserfaultPage => None,
            _ => Some(hold(tenant.as_ref(), || {
                fs::create_dir(&mounted)?;
                match cause {
                    Cause::FusePage => fuse::serve_gated(fuse, &mounted, 0, gate.try_clone()?, tell.try_clone()?),
                    _ => fuse::serve(fuse, &mounted, 0),
                }
            })?),
        };
        let served = mounted.join(fuse::FILE);
        let path = dir.join("file");
        run(tenant.as_ref(), || {
            let device = LoopDevice::open(&node)?;
            match cause {
                Cause::StoppedServer => {
                    let file = File::options().read(true).write(true).open(&served)?;
                    device.set_fd(&file).context("cannot bind a file on FUSE")
                }
                _ => Ok(device.set_fd(Backing::with_size(&path, SIZE)?)?),
            }
        })?;
        if server.is_some() {
            // The server tells with the first close that it wants to hear of no other, for which it had to answer.
            run(tenant.as_ref(), || {
                File::open(&served)?;
                Ok(())
            })?;
        }
        // To open it takes an answer, to map it none.
        let data = match cause {
            Cause::FusePage | Cause::FrozenServer => Some(open(tenant.as_ref(), || Ok(File::open(&served)?.into()))?),
            Cause::UserfaultPage | Cause::StoppedServer => None,
        };
        let cgroup = match (cause, &server) {
            (Cause::FrozenServer, Some(server)) => {
                let cgroup = Cgroup::new("loopfs-frozen", &[])?;
                cgroup.set("cgroup.procs", &server.pid().to_string())?;
                cgroup.freeze(true)?;
                Some(cgroup)
            }
            (Cause::StoppedServer, Some(server)) => {
                kill(server.pid(), Signal::SIGSTOP)?;
                None
            }
            _ => None,
        };
        let writer = match cause {
            Cause::StoppedServer => None,
            _ => Some(start(tenant.as_ref(), || {
                let file = File::options().read(true).write(true).open(&path)?;
                let memory = match &data {
                    Some(data) => Mapping::read_only(data, 4096, 0)?,
                    None => Mapping::anonymous(4096)?,
                };
                let _held_up = match cause {
                    Cause::UserfaultPage => Some(userfault::hold_up(&memory)?),
                    _ => None,
                };
                memory.write_to(&file, 0)?;
                bail!("the page came")
            })?),
        };
        if let Some(writer) = &writer {
            // It has to hold the lock before anybody else wants it.
            ensure!(!writer.ends_within(Duration::from_millis(400))?, "the write to the backing file does not wait");
        }
        let blocked = start(tenant.as_ref(), || {
            match load {
                Load::Buffered => {
                    let device = LoopDevice::open(&node)?;
                    device.write_at(&[1; 4096], 256 * 1024)?;
                    device.sync()?;
                }
                Load::Direct => {
                    let device = LoopDevice::open_with(&node, OFlag::O_RDWR | OFlag::O_DIRECT)?;
                    device.write_at(Aligned::new(4096).bytes(), 256 * 1024)?;
                }
            }
            Ok(())
        })?;
        let stalled = Self { server, writer, blocked, _setting: setting, _cgroup: cgroup, number, node, tenant };
        let until = Instant::now() + Duration::from_secs(5);
        while block::in_flight(stalled.number)? == 0 {
            ensure!(Instant::now() < until, "no request is in flight: nothing is stalled");
            ensure!(!stalled.blocked.ends_within(Duration::from_millis(20))?, "the device answers");
        }
        stalled.expect_in_place()?;
        Ok(stalled)
    }

    /// Requires the device not to answer still.
    ///
    /// # Errors
    ///
    /// When it has answered: what was measured meanwhile says nothing.
    pub fn expect_in_place(&self) -> Result<()> {
        ensure!(!self.blocked.ends_within(Duration::from_millis(300))?, "the device has answered after all");
        ensure!(block::in_flight(self.number)? > 0, "no request is in flight any more");
        Ok(())
    }

    /// The number of the device.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its node, for the tenant.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// The tenant, unless it is a device of the host.
    pub fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    /// The instance of the tenant.
    pub fn instance(&self) -> Instance {
        Instance::at(self.node.parent().unwrap_or(&self.node))
    }

    /// Opens the device. Once somebody changes it, this waits as well.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(&self) -> Result<LoopDevice> {
        Ok(open(self.tenant.as_ref(), || Ok(LoopDevice::open(&self.node)?.into()))?.into())
    }

    /// Starts `body` as whoever has the device.
    ///
    /// # Errors
    ///
    /// When the child cannot be started.
    pub fn start(&self, body: impl FnOnce() -> Result<()>) -> Result<Started<()>> {
        start(self.tenant.as_ref(), body)
    }

    /// Ends what holds the device up, and requires what waits for it to end within `limit`, well or not.
    ///
    /// # Errors
    ///
    /// When something does not end.
    pub fn release(self, limit: Duration) -> Result<()> {
        let Self { server, writer, blocked, tenant, .. } = self;
        let gone = [
            server.map(|server| server.dies_within(limit)).transpose()?,
            writer.map(|writer| writer.dies_within(limit)).transpose()?,
        ];
        ensure!(!gone.contains(&Some(false)), "what held the device up is not ended by SIGKILL");
        if !blocked.ends_within(limit)? {
            blocked.abandon();
            bail!("the device does not answer when it can");
        }
        drop(blocked);
        drop(tenant);
        Ok(())
    }

    /// Ends all processes of the tenant with SIGKILL, and requires them and the device to be gone within `limit`.
    ///
    /// # Errors
    ///
    /// When something of it is left.
    pub fn kill(self, limit: Duration) -> Result<()> {
        let number = self.number;
        let Self { server, writer, blocked, tenant, .. } = self;
        let until = Instant::now() + limit;
        let gone = [
            server.map(|server| server.dies_within(limit)).transpose()?,
            writer.map(|writer| writer.dies_within(limit)).transpose()?,
            Some(blocked.dies_within(limit)?),
        ];
        ensure!(!gone.contains(&Some(false)), "SIGKILL does not end the tenant's processes: {gone:?}");
        if let Some(tenant) = tenant {
            tenant.kill()?;
            while block::exists(number) {
                ensure!(Instant::now() < until, "the device is there {limit:?} after the death of its tenant");
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

fn run(tenant: Option<&Tenant>, body: impl FnOnce() -> Result<()>) -> Result<()> {
    match tenant {
        Some(tenant) => tenant.run(body),
        None => process::run(body),
    }
}

fn open(tenant: Option<&Tenant>, body: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    match tenant {
        Some(tenant) => tenant.descriptor(body),
        None => body(),
    }
}

fn start(tenant: Option<&Tenant>, body: impl FnOnce() -> Result<()>) -> Result<Started<()>> {
    match tenant {
        Some(tenant) => tenant.start(body),
        None => process::start(body),
    }
}

fn hold<V>(tenant: Option<&Tenant>, body: impl FnOnce() -> Result<V>) -> Result<Held> {
    match tenant {
        Some(tenant) => tenant.hold(body),
        None => process::hold(body),
    }
}
