//! What the suite tells about its cases before any of them runs.

use serde::{Deserialize, Serialize};

/// One case, as `loopfs-selftests list --json` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseInfo {
    /// Its name, a sentence about behaviour.
    pub name: String,
    /// The lines of SPEC.md it covers.
    pub spec: Vec<String>,
    /// As whom it runs: `root`, `userns`. Each is one trial.
    pub who: Vec<String>,
    /// What it needs, by name.
    pub needs: Vec<String>,
    /// The kernel symbols those needs turn on in every configuration, without `CONFIG_`.
    pub kconfig: Vec<String>,
    /// The kernel symbols only the debug configuration turns on for it.
    pub kconfig_debug: Vec<String>,
    /// How many times the usual deadline it may take.
    pub patience: u32,
}

impl CaseInfo {
    /// Whether the case runs programs of the Debian tree, which only that guest has.
    pub fn wants_clients(&self) -> bool {
        self.needs.iter().any(|need| need == "clients")
    }

    /// Whether the case asks for more than one CPU.
    pub fn wants_smp(&self) -> bool {
        self.needs.iter().any(|need| need == "smp")
    }
}

/// The name of one trial: a case run as somebody.
pub fn trial_id(name: &str, who: &str) -> String {
    format!("{name}/{who}")
}
