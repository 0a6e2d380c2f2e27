//! Where the processes of a case are, for the report on one that does not end.

use std::{collections::BTreeMap, fs};

/// One paragraph for each descendant of process `ancestor`: its name, state, and, where this
/// machine lets us read it, its kernel stack.
pub(super) fn of_descendants(ancestor: u32) -> String {
    let parents = parents();
    let descends = |mut pid: u32| {
        // A process may change its parent while we look, so the walk is bounded.
        for _ in 0..parents.len() {
            match parents.get(&pid) {
                Some(parent) if *parent == ancestor => return true,
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    parents.keys().filter(|pid| **pid == ancestor || descends(**pid)).map(|pid| describe(*pid)).collect()
}

/// The parent of each process.
fn parents() -> BTreeMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| Some((pid, parent(pid)?))).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn describe(pid: u32) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let status = read("status");
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("?").trim();
    let mut text = format!("{pid} {} {}, wchan {}\n", field("Name:"), field("State:"), read("wchan"));
    for line in read("stack").lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grandchild_is_shown_and_a_stranger_is_not() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let shown = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            of_descendants(child.id()).contains(" sleep ")
        });
        let text = of_descendants(child.id());
        assert!(shown, "{text}");
        assert!(!text.starts_with(&format!("{} ", std::process::id())), "{text}");
        let sleep = text.lines().find(|l| l.contains(" sleep ")).and_then(|l| l.split(' ').next()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(sleep.parse().unwrap()), nix::sys::signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}
