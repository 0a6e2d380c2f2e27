//! Which accelerator a guest gets: whether KVM can be had.
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

use crate::{
    cache::{Key, write_whole},
    guest::{
        accel::Accel,
        machine::Machine,
        qemu::Qemu,
        running::{Guest, Input},
    },
};

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
