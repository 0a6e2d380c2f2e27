//! How long things may take, from how long the guest took to boot on this machine.

use std::time::Duration;

/// The least a case gets.
const LEAST: Duration = Duration::from_secs(10);

/// The most a case of patience 1 gets: a boot with many self-tests says little about a case.
const MOST: Duration = Duration::from_secs(60);

/// A case may take this many boots.
const BOOTS: u32 = 8;

/// A run may take an hour, however many cases it has, unless it is told to repeat them.
const RUN: Duration = Duration::from_secs(3600);

/// The deadlines of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deadlines {
    scale: f64,
    boot: Duration,
}

impl Deadlines {
    /// Deadlines multiplied by `scale`; `debug` kernels check themselves while they boot.
    pub fn new(scale: f64, debug: bool) -> Self {
        let boot = Duration::from_secs(if debug { 240 } else { 60 });
        Self { scale, boot: boot.mul_f64(scale) }
    }

    /// From the start of QEMU to PID 1.
    pub fn boot(&self) -> Duration {
        self.boot
    }

    /// A case in a guest that took `booted` to boot.
    pub fn case(&self, booted: Duration, patience: u32) -> Duration {
        (booted * BOOTS).clamp(LEAST, MOST).mul_f64(self.scale) * patience.max(1)
    }

    /// From a guest's deadline for a case to the moment the host gives the guest up, if it does not
    /// even say that the deadline passed.
    pub fn silence(&self) -> Duration {
        Duration::from_secs(2).mul_f64(self.scale)
    }

    /// How far the console may lag behind the control port.
    pub fn lag(&self) -> Duration {
        Duration::from_secs(5).mul_f64(self.scale)
    }

    /// What a guest may take to clean up after a case: to kill it, and to wait for what it held.
    pub fn cleanup(&self) -> Duration {
        Duration::from_secs(20).mul_f64(self.scale)
    }

    /// What a guest may take for the checks at the end.
    pub fn finish(&self) -> Duration {
        self.boot
    }

    /// The whole run of `rounds` rounds, if their number is known.
    pub fn run(&self, rounds: Option<u32>) -> Option<Duration> {
        rounds.map(|rounds| RUN.mul_f64(self.scale) * rounds.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_gets_more_time_within_bounds() {
        let deadlines = Deadlines::new(1.0, false);
        let case = |boot| deadlines.case(Duration::from_millis(boot), 1);
        assert_eq!(case(900), LEAST);
        assert_eq!(case(4_000), Duration::from_secs(32));
        assert_eq!(case(100_000), MOST);
    }

    #[test]
    fn patience_and_scale_multiply() {
        let deadlines = Deadlines::new(2.0, false);
        assert_eq!(deadlines.case(Duration::from_secs(1), 3), Duration::from_secs(60));
        assert_eq!(deadlines.boot(), Duration::from_secs(120));
    }
}
