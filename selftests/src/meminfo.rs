//! `/proc/meminfo`: what the memory of the machine is used for.

use std::fs;

use anyhow::{Context as _, Result};

/// What it says of `key`, in bytes.
///
/// # Errors
///
/// When it does not know the key.
pub fn get(key: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    find(&text, key).with_context(|| format!("/proc/meminfo has no {key}"))
}

fn find(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kilobytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_key_is_found_by_its_whole_name() {
        let text = "SwapCached:  3 kB\nCached:   7 kB\n";
        assert_eq!(find(text, "Cached"), Some(7168));
        assert_eq!(find(text, "Cache"), None);
    }
}
