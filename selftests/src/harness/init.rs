//! PID 1 of a test guest: mounts what the cases expect, then does what the host asks for.

use std::{
    env,
    fs::{self, File, Permissions},
    io::{BufRead, BufReader, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{PermissionsExt as _, symlink},
    },
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use loopfs_protocol::{AFTERWARDS, Clock, Command, Event, Marker, Missing, ROOT_VARIABLE, port::CONTROL, trial_id};
use nix::{
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        time::TimeSpec,
    },
    time::{ClockId, clock_gettime, clock_settime},
    unistd::sync,
};

use super::{channel::Verdict, exec, kmemleak, kmsg, ktap::Ktap, leaks::Footprint, network, port, probe, root, runner};
use crate::{
    case::{Case, Who},
    cases,
};

/// What is mounted before anything else: type, place, options, and whether it must work.
const MOUNTS: [(&str, &str, &str, bool); 9] = [
    ("proc", "/proc", "", true),
    ("sysfs", "/sys", "", true),
    ("devtmpfs", "/dev", "", true),
    ("devpts", "/dev/pts", "mode=0620,ptmxmode=0666", false),
    ("tmpfs", "/dev/shm", "mode=1777", false),
    ("tmpfs", "/tmp", "mode=1777", true),
    ("tmpfs", "/run", "mode=0755", true),
    ("cgroup2", "/sys/fs/cgroup", "", false),
    ("debugfs", "/sys/kernel/debug", "", false),
];

/// What udev makes besides nodes: shells and their scripts take these for granted.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Serves the host until it says [`Command::Finish`], then ends the machine.
///
/// # Errors
///
/// When this is no guest of ours. PID 1 that returns takes the kernel down with it, which the host sees.
pub fn run() -> Result<()> {
    if let Ok(device) = env::var(ROOT_VARIABLE) {
        mount(Some("devtmpfs"), "/dev", Some("devtmpfs"), MsFlags::empty(), None::<&str>)
            .context("cannot mount /dev")?;
        root::enter(&device).with_context(|| format!("cannot make {device} the root"))?;
    }
    mount_all()?;
    for (name, target) in LINKS {
        // A root of Debian's may have them already.
        let _ = symlink(target, name);
    }
    // As udev has it, which does not run: a container's root is nobody outside. Without FUSE there is no such node.
    let _ = fs::set_permissions("/dev/fuse", Permissions::from_mode(0o666));
    // From here on the console shows every message of the kernel: that is where the host looks for trouble.
    fs::write("/proc/sys/kernel/printk", "8").context("cannot set the console's log level")?;
    network::bring_loopback_up().context("cannot bring the loopback interface up")?;

    let control = port::open(CONTROL).context("cannot open the port to the host")?;
    let commands = receive(control.try_clone()?);
    let mut guest = Guest { ktap: Ktap::new(control), commands, missing: Missing::Fail, cases: cases::all() };
    guest.tell(&Event::Booted)?;
    guest.serve()
}

fn mount_all() -> Result<()> {
    for (kind, place, options, required) in MOUNTS {
        // It may be there already; if not, and it cannot be made, the mount says so.
        let _ = fs::create_dir_all(place);
        let options = Some(options).filter(|o| !o.is_empty());
        let mounted = mount(Some(kind), place, Some(kind), MsFlags::empty(), options);
        if required {
            mounted.with_context(|| format!("cannot mount {kind} at {place}"))?;
        }
    }
    Ok(())
}

/// Reads commands in a thread of their own, so that one can arrive while another is carried out.
fn receive(control: File) -> Receiver<Result<Command>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(port::Patient(control)).lines() {
            let command = line.context("cannot read from the host").and_then(|line| {
                Command::from_line(&line)
                    .with_context(|| format!("the host sent something that is not a command: {line}"))
            });
            if sender.send(command).is_err() {
                return;
            }
        }
    });
    receiver
}

struct Guest {
    ktap: Ktap<File>,
    commands: Receiver<Result<Command>>,
    missing: Missing,
    cases: Vec<Case>,
}

impl Guest {
    fn serve(&mut self) -> Result<()> {
        loop {
            match self.commands.recv().context("nobody reads commands any more")?? {
                Command::Hello { seed, clock } => {
                    reseed(seed).context("cannot reseed the random number generator")?;
                    set_clock(clock).context("cannot set the clock")?;
                    self.tell(&ready()?)?;
                }
                Command::Plan { cases, missing } => {
                    self.missing = missing;
                    self.ktap.plan(cases)?;
                }
                Command::Case { name, who, deadline_ms } => self.case(&name, &who, deadline_ms)?,
                Command::Exec { argv, env, terminal } => self.exec(&exec::Program { argv, env, terminal })?,
                Command::Resize(_) => {}
                Command::Finish { kmemleak } => return self.finish(kmemleak),
            }
        }
    }

    fn tell(&mut self, event: &Event) -> Result<()> {
        self.ktap.emit(&event.to_line()).context("cannot write to the host")
    }

    fn case(&mut self, name: &str, who: &str, deadline_ms: u64) -> Result<()> {
        let id = trial_id(name, who);
        kmsg::write(&Marker::Start(id.clone()).to_string())?;
        let verdict = match self.find(name, who) {
            Err(error) => Verdict::Fail(format!("{error:#}")),
            Ok((case, who)) => match self.unmet(&case) {
                Some(verdict) => verdict,
                None => self.trial(&case, who, deadline_ms)?,
            },
        };
        kmsg::write(&Marker::End(id.clone()).to_string())?;
        self.ktap.result(&id, &verdict).context("cannot write to the host")
    }

    fn find(&self, name: &str, who: &str) -> Result<(Case, Who)> {
        let case = self.cases.iter().find(|case| case.name == name);
        let case = *case.with_context(|| format!("there is no case {name}"))?;
        let who = case.who.iter().copied().find(|w| w.to_string() == who);
        Ok((case, who.with_context(|| format!("{name} does not run as that"))?))
    }

    /// The verdict on a case that cannot run for want of something.
    fn unmet(&self, case: &Case) -> Option<Verdict> {
        let need = probe::first_missing(case)?;
        let reason = probe::describe(need);
        Some(match self.missing {
            Missing::Skip => Verdict::Skip(reason),
            Missing::FailUnlessDebugOnly if need.debug_only() => {
                Verdict::Skip(format!("{reason}: only in the debug configuration"))
            }
            Missing::Fail | Missing::FailUnlessDebugOnly => Verdict::Fail(reason),
        })
    }

    fn trial(&mut self, case: &Case, who: Who, deadline_ms: u64) -> Result<Verdict> {
        let before = Footprint::take();
        let ktap = &mut self.ktap;
        let report = runner::run(case, who, Duration::from_millis(deadline_ms), || {
            ktap.emit(&Event::Overdue.to_line())?;
            // Into the kernel log with the state of all blocked tasks.
            Ok(fs::write("/proc/sysrq-trigger", "w")?)
        })?;
        self.ktap.diagnostic(&report.output.text())?;
        self.tell(&Event::Took { ms: report.took.as_millis() as u64 })?;
        if report.stuck {
            self.tell(&Event::Stuck)?;
            return Ok(report.verdict);
        }
        let leaks = before.settle();
        if leaks.is_empty() {
            return Ok(report.verdict);
        }
        before.restore();
        let leaks = leaks.join("; ");
        Ok(match report.verdict {
            Verdict::Fail(message) => Verdict::Fail(format!("{message}\n{AFTERWARDS}{leaks}")),
            Verdict::Pass | Verdict::Skip(_) => Verdict::Fail(leaks),
        })
    }

    fn exec(&mut self, program: &exec::Program) -> Result<()> {
        let mut running = match program.start()? {
            Ok(running) => running,
            Err(error) => {
                // As a shell does: 127 for what is not there, 126 for what cannot be executed.
                let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
                let message = format!("{}: {error}\n", program.argv[0]);
                let mut stderr = port::open(loopfs_protocol::port::STDERR)?;
                stderr.write_all(message.as_bytes())?;
                return self.tell(&Event::Exited { code, stdout: 0, stderr: message.len() as u64 });
            }
        };
        loop {
            match self.commands.recv_timeout(Duration::from_millis(10)) {
                Ok(Ok(Command::Resize(window))) => running.resize(window),
                Ok(Ok(other)) => bail!("the host asks for {other:?} while a program runs"),
                Ok(Err(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("nobody reads commands any more"),
            }
            if let Some(status) = running.try_wait()? {
                let event = running.finish(status)?;
                return self.tell(&event);
            }
        }
    }

    fn finish(&mut self, with_kmemleak: bool) -> Result<()> {
        kmsg::write(&Marker::Finishing.to_string())?;
        if with_kmemleak {
            let report = kmemleak::scan().context("kmemleak cannot scan")?;
            kmsg::write(&report)?;
        }
        sync();
        kmsg::write(&Marker::Finished.to_string())?;
        self.tell(&Event::Bye)?;
        // QEMU was told not to reboot; a power-off would need ACPI.
        match reboot(RebootMode::RB_AUTOBOOT)? {}
    }
}

fn ready() -> Result<Event> {
    let uptime = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim_end().to_owned();
    let cpus = thread::available_parallelism()?.get();
    Ok(Event::Ready { uptime_ms: uptime.as_millis() as u64, release, cpus })
}

mod ioctl {
    const RNDADDENTROPY: u8 = 0x03;
    const RNDRESEEDCRNG: u8 = 0x07;

    /// `struct rand_pool_info` with 32 bytes in it.
    #[repr(C)]
    pub(super) struct RandPoolInfo {
        pub(super) entropy_count: i32,
        pub(super) buf_size: i32,
        pub(super) buf: [u8; 32],
    }

    nix::ioctl_write_ptr_bad!(
        add_entropy,
        nix::request_code_write!(b'R', RNDADDENTROPY, 2 * size_of::<i32>()),
        RandPoolInfo
    );
    nix::ioctl_none_bad!(reseed, nix::request_code_none!(b'R', RNDRESEEDCRNG));
}

/// Mixes `seed` into the kernel's random numbers, counts it as random, and makes them start over.
fn reseed(seed: [u8; 32]) -> Result<()> {
    let urandom = File::options().write(true).open("/dev/urandom")?;
    let info = ioctl::RandPoolInfo { entropy_count: 256, buf_size: 32, buf: seed };
    // SAFETY: The descriptor is open and the pointer is to a live `rand_pool_info` of the size it says.
    unsafe { ioctl::add_entropy(urandom.as_raw_fd(), &info) }?;
    // SAFETY: RNDRESEEDCRNG takes no argument, and the descriptor is open.
    unsafe { ioctl::reseed(urandom.as_raw_fd()) }?;
    Ok(())
}

fn set_clock(clock: Clock) -> Result<()> {
    Ok(clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(clock.seconds, clock.nanoseconds.into()))?)
}
