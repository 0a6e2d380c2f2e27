//! What the suite tells of the costs it has measured.

use serde::{Deserialize, Serialize};

/// The word on the kernel's command line of a guest whose clock counts instructions: its time stamp counter, in kHz, is
/// one tick a nanosecond, and so one an instruction.
pub const COUNTED_CLOCK: &str = "tsc_early_khz=1000000";

/// What was measured, and beside which devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// `umount(2)` of an instance of which every device is bound.
    Umount,
    /// `LOOP_CTL_REMOVE` of devices of the host, one after the other.
    HostRemove,
    /// `LOOP_CTL_GET_FREE` where there is an unbound device, beside others.
    GetFree {
        /// Whose control device is asked.
        of: Party,
        /// Whose the other devices are.
        beside: Others,
    },
    /// `LOOP_CTL_ADD` of any number, beside other devices.
    Add {
        /// Whose control device is asked.
        of: Party,
        /// Whose the other devices are.
        beside: Others,
    },
}

/// Who has a control device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// An instance.
    Instance,
    /// The host: the code of the stock driver.
    Host,
}

/// Whose the devices are that a call must not look at, or, in the stock driver, has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Others {
    /// Private devices of another instance, with the numbers they get by themselves.
    Private,
    /// Private devices of another instance that has asked for the lowest numbers.
    LowPrivate,
    /// Devices of the host.
    Host,
}

/// What one act costs: a line of JSON on the standard output of `loopfs-selftests bench`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The act.
    pub act: Act,
    /// How many devices are removed, or how many others there are.
    pub devices: u32,
    /// Each time it was done, in nanoseconds of the guest's clock.
    pub took_ns: Vec<u64>,
}

impl Cost {
    /// The cost as a line, with its line feed.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("a cost has only names and numbers");
        line.push('\n');
        line
    }

    /// The cost on `line`.
    ///
    /// # Errors
    ///
    /// When `line` is none: the two halves were built from different sources.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }

    /// The median, in nanoseconds of the guest's clock; 0 if the act was never done.
    pub fn median_ns(&self) -> u64 {
        let mut times = self.took_ns.clone();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_one_line_and_survives_the_port() {
        let act = Act::GetFree { of: Party::Instance, beside: Others::LowPrivate };
        let cost = Cost { act, devices: 4000, took_ns: vec![3, 1, 2] };
        let line = cost.to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(Cost::from_line(line.trim_end()).unwrap(), cost);
    }

    #[test]
    fn the_median_is_not_moved_by_one_slow_time() {
        let cost = |took_ns| Cost { act: Act::Umount, devices: 1, took_ns };
        assert_eq!(cost(vec![100, 900, 120]).median_ns(), 120);
        assert_eq!(cost(vec![]).median_ns(), 0);
    }
}
