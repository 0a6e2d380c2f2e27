//! How a guest's instructions are run, and whether KVM can.
//!
//! `/dev/kvm` proves nothing: there are machines where it opens and answers and no guest ever prints a
//! line. So it is tried with a guest of ours under a short deadline, once for each start of
//! this machine and version of QEMU.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{
    guest::{Guest, Input},
    machine::Machine,
    qemu::Qemu,
};
use crate::cache::{Key, write_whole};

/// How a guest's instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the host's CPU.
    Kvm,
    /// By QEMU's translator.
    Tcg {
        /// The rate of the guest's time stamp counter, which is the host's.
        tsc_khz: Option<u64>,
    },
    /// By QEMU's translator, which counts them: the guest's clock advances by a nanosecond with each, and jumps to the
    /// next timer when there is nothing to run. For one CPU.
    Counted,
}

/// What the person asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// KVM if a guest boots with it, else TCG.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// TCG: slower, and works everywhere.
    Tcg,
}

/// How long a guest may take to PID 1 with KVM. It takes tenths of a second where KVM works.
const PROBE: Duration = Duration::from_secs(5);

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The accelerator.
    pub accel: Accel,
    /// Why it is not the other one, for the person to read.
    pub reason: String,
}

/// What is remembered of a probe.
#[derive(Debug, Serialize, Deserialize)]
struct Verdict {
    works: bool,
    why: String,
}

impl Accel {
    /// TCG on this machine.
    pub fn tcg() -> Self {
        Self::Tcg { tsc_khz: tsc_khz() }
    }

    /// QEMU's `-accel`.
    pub fn as_argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg { .. } => "tcg,thread=multi",
            Self::Counted => "tcg,thread=single",
        }
    }

    /// QEMU's `-icount`, where instructions are counted.
    pub fn icount(self) -> Option<&'static str> {
        // One nanosecond an instruction (2 to the power of 0), and no waiting for timers.
        (self == Self::Counted).then_some("shift=0,sleep=off")
    }

    /// QEMU's `-cpu`.
    pub fn cpu_model(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            // The small models have no RDRAND, and a guest without it waits for random numbers.
            Self::Tcg { .. } => "max",
            // Each round of a string instruction counts. With these two, memory is cleared by bytes, which no real CPU
            // pays for one by one.
            Self::Counted => "max,erms=off,fsrm=off",
        }
    }

    /// The rate of the guest's time stamp counter in kHz, where it is known from outside.
    pub fn tsc_khz(self) -> Option<u64> {
        match self {
            Self::Kvm => None,
            Self::Tcg { tsc_khz } => tsc_khz,
            // One tick an instruction.
            Self::Counted => Some(1_000_000),
        }
    }

    /// One word for people and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg { .. } => "tcg",
            Self::Counted => "tcg with counted instructions",
        }
    }
}

/// Where Linux offers KVM.
pub const KVM: &str = "/dev/kvm";

/// Decides on the accelerator. `device` is [`KVM`]; `machine` is what a probe boots, whatever its own accelerator.
///
/// # Errors
///
/// When KVM was asked for by name and does not work: then nothing else will do.
pub fn decide(
    choice: Choice,
    device: &Path,
    qemu: &Qemu,
    machine: &Machine,
    cache: &Path,
    verbose: bool,
) -> Result<Decision> {
    match choice {
        Choice::Tcg => Ok(Decision { accel: Accel::tcg(), reason: "asked for".to_owned() }),
        Choice::Kvm => match try_kvm(device, qemu, machine, verbose)? {
            Verdict { works: true, .. } => Ok(Decision { accel: Accel::Kvm, reason: "asked for".to_owned() }),
            Verdict { works: false, why } => {
                Err(anyhow::anyhow!("KVM does not work here ({why}); without --accel kvm the guest runs with TCG"))
            }
        },
        Choice::Auto => {
            let note = note(device, qemu, cache)?;
            let (verdict, remembered) = match recall(&note) {
                Some(verdict) => (verdict, ", as tried before"),
                None => {
                    let verdict = try_kvm(device, qemu, machine, verbose)?;
                    remember(&note, &verdict)?;
                    (verdict, "")
                }
            };
            let accel = if verdict.works { Accel::Kvm } else { Accel::tcg() };
            Ok(Decision { accel, reason: format!("{}{remembered}", verdict.why) })
        }
    }
}

fn try_kvm(device: &Path, qemu: &Qemu, machine: &Machine, verbose: bool) -> Result<Verdict> {
    let no = |why: String| Ok(Verdict { works: false, why });
    if let Err(error) = OpenOptions::new().read(true).write(true).open(device) {
        return no(format!("{} cannot be used: {error}", device.display()));
    }
    let machine = Machine { accel: Accel::Kvm, cpus: 1, gdb: None, ..machine.clone() };
    let mut guest = Guest::start(qemu, &machine, None, verbose)?;
    let start = Instant::now();
    let booted = loop {
        match guest.next(start + PROBE, None)? {
            Some(Input::Control(_)) => break true,
            Some(Input::Ended(ending)) => {
                let said = ending.said.lines().next().unwrap_or_default().to_owned();
                return no(format!(
                    "with {} QEMU ends before the guest starts: {} {said}",
                    device.display(),
                    ending.status
                ));
            }
            Some(_) => {}
            None => break false,
        }
    };
    guest.kill();
    if booted {
        Ok(Verdict { works: true, why: format!("a guest booted with it in {} ms", start.elapsed().as_millis()) })
    } else {
        no(format!("{} is there, but a guest does not start with it within {} s", device.display(), PROBE.as_secs()))
    }
}

/// Where the verdict on this device, start of the machine and QEMU is kept.
fn note(device: &Path, qemu: &Qemu, cache: &Path) -> Result<PathBuf> {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").context("cannot read this machine's boot id")?;
    let access = OpenOptions::new().read(true).write(true).open(device).is_ok();
    let key = Key::default()
        .with(boot)
        .with(qemu.version())
        .with(qemu.program().as_os_str().as_encoded_bytes())
        .with(device.as_os_str().as_encoded_bytes())
        .with([u8::from(access)]);
    Ok(cache.join("accel").join(format!("{}.json", key.name())))
}

fn recall(note: &Path) -> Option<Verdict> {
    // A note that is damaged is as good as none: the probe is made again.
    serde_json::from_slice(&fs::read(note).ok()?).ok()
}

fn remember(note: &Path, verdict: &Verdict) -> Result<()> {
    write_whole(note, &serde_json::to_vec(verdict)?)
}

/// The rate of this host's time stamp counter, measured over a moment.
#[cfg(target_arch = "x86_64")]
fn tsc_khz() -> Option<u64> {
    // SAFETY: Every x86-64 has the instruction, and it has no effect.
    let count = || unsafe { core::arch::x86_64::_rdtsc() };
    let (start, first) = (Instant::now(), count());
    std::thread::sleep(Duration::from_millis(20));
    let (last, took) = (count(), start.elapsed());
    let khz = u128::from(last.checked_sub(first)?) * 1_000_000 / took.as_nanos();
    u64::try_from(khz).ok().filter(|khz| *khz > 100_000)
}

#[cfg(not(target_arch = "x86_64"))]
fn tsc_khz() -> Option<u64> {
    None
}
