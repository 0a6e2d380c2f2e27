//! A run as JSON.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::suite::{comparison::Row, outcome::TestResult, report::Summary};

/// All there is to know about a run.
#[derive(Debug, Serialize)]
pub struct Report<'run> {
    /// The kernel that was booted.
    pub kernel: &'run Path,
    /// `default` or `debug`.
    pub config: &'run str,
    /// `kvm` or `tcg`.
    pub accelerator: &'run str,
    /// QEMU's version line.
    pub qemu: &'run str,
    /// The seed of the order, if it was shuffled.
    pub seed: Option<u64>,
    /// How long each guest took from the start of QEMU to PID 1, in milliseconds.
    pub boots_ms: &'run [u64],
    /// The counts.
    pub summary: Summary,
    /// loopfs compared with the stock loop driver, where clients ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Vec<Row>>,
    /// Every result.
    pub results: &'run [TestResult],
}

impl Report<'_> {
    /// Writes the report to `file`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let what = || format!("cannot write {}", file.display());
        std::fs::write(file, serde_json::to_vec_pretty(self).with_context(what)?).with_context(what)
    }
}
