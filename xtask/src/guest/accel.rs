//! How a guest's instructions are run.

use std::time::{Duration, Instant};

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
