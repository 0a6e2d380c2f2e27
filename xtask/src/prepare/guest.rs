//! Guest options shared by `test` and `run`, and how a guest is prepared from them.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::atomic::{AtomicBool, AtomicUsize},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use loopfs_protocol::{CaseInfo, Missing};

use crate::{
    clean,
    ctx::Ctx,
    error::Failure,
    guest::{
        accel::Accel,
        debian,
        initramfs::Initramfs,
        machine::Machine,
        probe::{self, Choice, Decision},
        programs,
        qemu::Qemu,
    },
    kernel::config::Flavour,
    prepare::patched_kernel::{Order, build_patched},
    progress,
    suite::{binary, deadline::Deadlines, drive::Setup, splat::Detector},
    toolchain::{install, needs::Purpose, version::Minimum},
};

/// How many runs' recordings of consoles are kept.
const KEPT: usize = 20;

/// Options on what a guest is made of.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Guest")]
pub struct Parts {
    /// Boot this vmlinux instead of building one.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH", conflicts_with = "kernel")]
    from: Option<PathBuf>,
    /// Use this build of the suite instead of building it.
    #[arg(long, value_name = "FILE")]
    suite: Option<PathBuf>,
    /// Use this QEMU.
    #[arg(long, value_name = "PROGRAM", env = "LOOPFS_QEMU")]
    qemu: Option<PathBuf>,
}

/// Options on the guest.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Guest")]
pub struct GuestOptions {
    #[command(flatten)]
    parts: Parts,
    /// Accelerator to use.
    #[arg(long, value_enum, default_value_t)]
    accel: Choice,
    /// Give every guest this many CPUs; the default is one, or two for the cases that need them.
    #[arg(long, value_name = "CPUS", value_parser = clap::value_parser!(u16).range(1..))]
    smp: Option<u16>,
    /// Give every guest this much memory, in MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..))]
    memory: Option<u32>,
    /// Copy this program, file or folder into the guest, with the libraries it loads; to /root unless DEST is given.
    #[arg(long, value_name = "PATH[:DEST]")]
    add: Vec<Added>,
    /// Append this to the kernel's command line.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    append: Option<String>,
    /// Wait for a debugger before starting the kernel; disables all deadlines.
    #[arg(long)]
    gdb: bool,
}

/// The home directory of root in the guest.
const GUEST_HOME: &str = "/root";

/// Something of this machine that goes into the guest, as `PATH[:DEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    from: PathBuf,
    /// Where it goes, from the root on.
    to: String,
}

impl FromStr for Added {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = match text.rsplit_once(':') {
            Some((from, to)) if to.starts_with('/') && to.len() > 1 => {
                (from, Some(to.trim_end_matches('/').to_owned()))
            }
            Some((_, to)) if !Path::new(text).exists() => return Err(format!("DEST has to start with /, not {to:?}")),
            _ => (text, None),
        };
        let from = Path::new(from).canonicalize().map_err(|error| format!("{from}: {error}"))?;
        let name = from.file_name().ok_or("it has no name")?.to_string_lossy();
        let to = to.unwrap_or_else(|| format!("{GUEST_HOME}/{name}"));
        Ok(Self { from, to })
    }
}

/// All that a guest needs, found, built and decided.
#[derive(Debug)]
pub struct Prepared {
    /// The QEMU.
    pub qemu: Qemu,
    /// The machine, with one CPU.
    pub machine: Machine,
    /// An empty folder for the consoles' recordings.
    pub logs: PathBuf,
}

impl Prepared {
    /// What the guests of a run of the suite have in common; `scale` multiplies every deadline, unless a debugger waits.
    pub fn setup(self, ctx: &Ctx, flavour: Flavour, scale: f64, rounds: u64, missing: Missing) -> Result<Setup> {
        let debug = flavour == Flavour::Debug;
        let deadlines = Deadlines::new(if self.machine.gdb.is_some() { 1e6 } else { scale }, debug);
        Ok(Setup {
            qemu: self.qemu,
            machine: self.machine,
            detector: Detector::from_file(&ctx.root().join("ci/splats.toml"))?,
            until: deadlines.run(rounds.try_into().ok()).map(|run| Instant::now() + run),
            deadlines,
            missing,
            debug,
            logs: self.logs,
            started: AtomicUsize::new(0),
            kunit_told: AtomicBool::new(false),
            verbose: ctx.verbose,
        })
    }
}

impl Parts {
    /// The suite's program: the one named, or one just built.
    pub fn suite(&self, ctx: &Ctx) -> Result<PathBuf> {
        match &self.suite {
            Some(program) => existing(program, "the suite"),
            None => binary::build(ctx),
        }
    }

    /// Builds or finds all that a guest with the root `root` needs, to run with TCG; `cases` decide symbols of the kernel.
    pub fn prepare(&self, ctx: &Ctx, flavour: Flavour, root: &Initramfs, cases: &[CaseInfo]) -> Result<Prepared> {
        // All at once, and before the long build.
        let mut purposes = Vec::new();
        if self.kernel.is_none() {
            purposes.extend([Purpose::Source, Purpose::Build]);
        }
        if flavour == Flavour::Clients {
            purposes.push(Purpose::Clients);
        }
        if self.qemu.is_none() {
            purposes.push(Purpose::Guest);
        }
        install::ensure(ctx, &purposes, Minimum::default())?;
        let kernel = match &self.kernel {
            Some(kernel) => existing(kernel, "the kernel")?,
            None => {
                let order = Order { flavour, from: self.from.as_deref(), loopfs: true, cases };
                build_patched(ctx, &order)?.vmlinux
            }
        };
        let disk = if flavour == Flavour::Clients { Some(debian::disk(ctx)?) } else { None };
        let initramfs = root.write_to(&ctx.cache().join("initramfs"))?;
        let qemu = Qemu::find(self.qemu.as_deref(), ctx.verbose)?;
        let logs = new_log_folder(ctx)?;
        let machine = Machine {
            kernel,
            initramfs,
            disk,
            accel: Accel::tcg(),
            cpus: 1,
            memory_mib: match flavour {
                Flavour::Default | Flavour::Verify => 512,
                // KASAN's shadow takes an eighth, and what is freed stays in quarantine.
                Flavour::Debug => 1024,
                // The roots of containers are written to memory.
                Flavour::Clients => 1024,
            },
            // KUnit reports at the level of information; otherwise warnings are all that is of interest.
            log_level: if flavour == Flavour::Debug { 7 } else { 5 },
            append: None,
            with_streams: false,
            gdb: None,
        };
        Ok(Prepared { qemu, machine, logs })
    }
}

impl GuestOptions {
    /// A guest with this kernel and this build of the suite, and the usual otherwise.
    pub fn of(kernel: PathBuf, suite: PathBuf) -> Self {
        Self { parts: Parts { kernel: Some(kernel), suite: Some(suite), ..Parts::default() }, ..Self::default() }
    }

    /// As [`Parts::suite`].
    pub fn suite(&self, ctx: &Ctx) -> Result<PathBuf> {
        self.parts.suite(ctx)
    }

    /// The source the user has, in place of a download.
    pub fn source(&self) -> Option<&Path> {
        self.parts.from.as_deref()
    }

    /// How many CPUs the user wants.
    pub fn cpus(&self) -> Option<usize> {
        self.smp.map(usize::from)
    }

    /// Whether the guest waits for a debugger.
    pub fn has_debugger(&self) -> bool {
        self.gdb
    }

    /// As [`Parts::prepare`], with the accelerator decided on; also returns what the user should know about it.
    pub fn prepare(
        &self,
        ctx: &Ctx,
        flavour: Flavour,
        root: &Initramfs,
        cases: &[CaseInfo],
    ) -> Result<(Prepared, String)> {
        let mut root = root.clone();
        // Debian's tree becomes the root later, and the guest copies what is below this folder into it.
        let disk = flavour == Flavour::Clients;
        let top = if disk { loopfs_protocol::ADDED } else { "" };
        for added in &self.add {
            // The libraries on the disk belong together.
            programs::add_path(&mut root, &added.from, &format!("{top}{}", added.to), !disk, ctx.verbose)?;
        }
        let mut prepared = self.parts.prepare(ctx, flavour, &root, cases)?;
        let machine = &mut prepared.machine;
        machine.memory_mib = self.memory.unwrap_or(machine.memory_mib);
        machine.append.clone_from(&self.append);
        let device = Path::new(probe::KVM);
        let Decision { accel, reason } =
            probe::decide(self.accel, device, &prepared.qemu, machine, ctx.cache(), ctx.verbose)?;
        machine.accel = accel;
        let told = format!("guest: {}, accelerator {} ({reason})", machine.kernel.display(), accel.name());
        if self.gdb {
            let socket = prepared.logs.join("gdb.sock");
            progress::say(&format!(
                "debugger: gdb {} -ex 'target remote {}'",
                machine.kernel.display(),
                socket.display()
            ));
            machine.gdb = Some(socket);
        }
        Ok((prepared, told))
    }
}

fn existing(path: &Path, what: &str) -> Result<PathBuf> {
    let found = path.canonicalize();
    let found = found.with_context(|| format!("{what} cannot be read at {}", path.display()));
    let found = found.context(Failure::Environment)?;
    ensure!(found.is_file(), "{} is not a regular file", path.display());
    Ok(found)
}

/// Makes a folder for this run's recordings and removes those of old runs, and now and then what else is too much.
fn new_log_folder(ctx: &Ctx) -> Result<PathBuf> {
    clean::trim_now_and_then(ctx)?;
    let parent = ctx.cache().join("runs");
    fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let folder = parent.join(format!("{}-{}", now.as_secs(), std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;

    let entries = fs::read_dir(&parent).with_context(|| format!("cannot read {}", parent.display()))?;
    let mut runs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    // The names start with the time, in as many digits for all of them.
    runs.sort();
    for old in &runs[..runs.len().saturating_sub(KEPT)] {
        // Another run may remove it at the same time.
        let _ = fs::remove_dir_all(old);
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_goes_to_roots_home_or_where_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tool"), "").unwrap();
        let from = dir.path().canonicalize().unwrap().join("tool");
        let added = |text: String| text.parse::<Added>();
        let path = from.display();
        assert_eq!(added(format!("{path}")).unwrap(), Added { from: from.clone(), to: format!("{GUEST_HOME}/tool") });
        assert_eq!(added(format!("{path}:/usr/bin/t")).unwrap(), Added { from: from.clone(), to: "/usr/bin/t".into() });
        assert!(added(format!("{path}:usr")).unwrap_err().contains("start with /"));
        assert!(added("/no such file".to_owned()).unwrap_err().contains("No such file"));
    }
}
