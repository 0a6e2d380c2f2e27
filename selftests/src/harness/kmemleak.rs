//! Makes kmemleak look for memory that nothing points to any more.

use std::{fs, io, thread, time::Duration};

const FILE: &str = "/sys/kernel/debug/kmemleak";

/// An object is not reported before it is this old (`MSECS_MIN_AGE` in `mm/kmemleak.c`), so the
/// second of two scans this far apart sees the youngest leak too.
const MIN_AGE: Duration = Duration::from_millis(5500);

/// Scans and returns the report: empty when nothing leaked.
///
/// # Errors
///
/// When kmemleak is not in this kernel or has switched itself off, for one after an error of its own.
pub(super) fn scan() -> io::Result<String> {
    fs::write(FILE, "scan")?;
    thread::sleep(MIN_AGE);
    fs::write(FILE, "scan")?;
    fs::read_to_string(FILE)
}
