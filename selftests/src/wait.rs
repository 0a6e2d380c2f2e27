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
/// When `condition` fails, or when it still does not hold at the deadline; `what` is told.
pub fn until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !condition()? {
        if start.elapsed() > DEADLINE {
            bail!("waited {} s in vain for {what}", DEADLINE.as_secs());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    Ok(())
}
