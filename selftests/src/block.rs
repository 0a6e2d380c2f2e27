//! What the host sees of block devices: `/sys/block`, `/sys/dev/block`, `/proc/partitions`.

use std::{collections::BTreeSet, fs, io, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::wait;

/// The numbers of all loop devices in `/sys/block`, private ones included.
///
/// # Errors
///
/// When `/sys/block` cannot be read.
pub fn loop_devices() -> Result<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir("/sys/block").context("cannot read /sys/block")? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_prefix("loop")?.parse::<u32>().ok()));
    }
    Ok(numbers)
}

/// The first number that any instance may have: those below it are for the host and its instances.
pub const FIRST_PRIVATE: u32 = 256;

/// A number above those of all loop devices there are, that anybody may ask for, with room for `distance` more below it.
///
/// # Errors
///
/// When `/sys/block` cannot be read.
pub fn unused_number(distance: u32) -> Result<u32> {
    Ok(loop_devices()?.last().map_or(0, |last| last + 1).max(FIRST_PRIVATE) + distance)
}

/// The folder of device `number` in sysfs.
pub fn sysfs(number: u32) -> PathBuf {
    format!("/sys/block/loop{number}").into()
}

/// Whether device `number` is in `/sys/block`.
pub fn exists(number: u32) -> bool {
    sysfs(number).exists()
}

/// Waits for device `number` to leave `/sys/block`.
///
/// # Errors
///
/// When it is still there at the deadline.
pub fn wait_until_gone(number: u32) -> Result<()> {
    wait::until(&format!("loop{number} to leave /sys/block"), || Ok(!exists(number)))
}

/// How many requests device `number` has in flight, reads and writes.
///
/// # Errors
///
/// When sysfs does not say.
pub fn in_flight(number: u32) -> Result<u64> {
    let text = fs::read_to_string(sysfs(number).join("inflight")).context("cannot read inflight")?;
    text.split_whitespace().map(|count| count.parse::<u64>().context("inflight holds no numbers")).sum()
}

/// How many requests device `number` has completed, reads and writes.
///
/// # Errors
///
/// When sysfs does not say.
pub fn completed(number: u32) -> Result<u64> {
    let text = fs::read_to_string(sysfs(number).join("stat")).context("cannot read stat")?;
    let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    Ok(fields.first().context("stat is empty")? + fields.get(4).context("stat has no writes")?)
}

/// Sets how long a request of device `number` may take (`queue/io_timeout`).
///
/// # Errors
///
/// When the kernel does not take it.
pub fn set_io_timeout(number: u32, milliseconds: u32) -> Result<()> {
    fs::write(sysfs(number).join("queue/io_timeout"), milliseconds.to_string()).context("cannot set io_timeout")
}

/// What `loop/backing_file` of device `number` says.
///
/// # Errors
///
/// What reading it gives; `NotFound` where the device is not bound.
pub fn backing_file(number: u32) -> io::Result<String> {
    Ok(fs::read_to_string(sysfs(number).join("loop/backing_file"))?.trim_end().to_owned())
}

/// The name of the block device with device number `major:minor`.
///
/// # Errors
///
/// When `/sys/dev/block` has no such device.
pub fn name_of(major: u64, minor: u64) -> Result<String> {
    let link = format!("/sys/dev/block/{major}:{minor}");
    let target = fs::read_link(&link).with_context(|| format!("cannot read {link}"))?;
    let name = target.file_name().with_context(|| format!("{link} has no target name"))?;
    Ok(name.to_string_lossy().into_owned())
}

/// Whether `/proc/partitions` lists device `number`.
///
/// # Errors
///
/// When it cannot be read.
pub fn in_proc_partitions(number: u32) -> Result<bool> {
    lists("/proc/partitions", &format!("loop{number}"), |line| line.split_whitespace().last())
}

/// Whether `/proc/diskstats` lists device `number`.
///
/// # Errors
///
/// When it cannot be read.
pub fn in_proc_diskstats(number: u32) -> Result<bool> {
    lists("/proc/diskstats", &format!("loop{number}"), |line| line.split_whitespace().nth(2))
}

fn lists(path: &str, name: &str, word: impl Fn(&str) -> Option<&str>) -> Result<bool> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.lines().any(|line| word(line) == Some(name)))
}
