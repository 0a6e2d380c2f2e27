//! Waiting for what the kernel does on its own time, without fixed sleeps.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long a condition may take: less than a case may, so that the case tells what it waited for.
const DEADLINE: Duration = Duration::from_secs(8);

/// Asks `condition` again and again until it holds.
///
/// # Errors
///
/// When `condition` fails, or when it still does not hold at the deadline; the error names `what`.
pub fn until(what: &str, condition: impl FnMut() -> Result<bool>) -> Result<()> {
    until_within(DEADLINE, what, condition)
}

/// Asks `condition` again and again until it holds, for at most `deadline`.
///
/// # Errors
///
/// When `condition` fails, or when it still does not hold at the deadline; the error names `what`.
pub fn until_within(deadline: Duration, what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !condition()? {
        if start.elapsed() > deadline {
            bail!("waited {} s in vain for {what}", deadline.as_secs());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    Ok(())
}
