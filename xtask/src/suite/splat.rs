//! Finds in a kernel log what must not be there.
//!
//! What counts is in `ci/splats.toml`: patterns that are trouble, and exceptions to them. Every entry
//! has a reason, an exception also a link.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use regex::{Regex, RegexSet};
use serde::Deserialize;

use crate::reason::Reason;

/// A line of a kernel log that must not be there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Splat {
    /// The name of the rule that found it.
    pub rule: String,
    /// The line.
    pub line: String,
    /// The kernel is not to be trusted after it: the guest has to be replaced.
    pub fatal: bool,
}

/// The rules.
#[derive(Debug)]
pub struct Detector {
    rules: Vec<Rule>,
    deny: RegexSet,
    allow: RegexSet,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    deny: Vec<Rule>,
    #[serde(default)]
    allow: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: String,
    pattern: String,
    #[expect(dead_code, reason = "read to be there")]
    reason: Reason,
    #[serde(default)]
    fatal: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    pattern: String,
    #[expect(dead_code, reason = "read to be there")]
    reason: Reason,
    link: String,
}

impl Detector {
    /// Reads the rules from `file`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not well-formed, has a rule without a reason, or none at all:
    /// a log that nobody looked through must not pass for a clean one.
    pub fn from_file(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the rules on kernel messages in {}", file.display()))?;
        Self::from_toml(&text).with_context(|| format!("the rules on kernel messages in {} are wrong", file.display()))
    }

    fn from_toml(text: &str) -> Result<Self> {
        let File { deny: rules, allow } = toml::from_str(text)?;
        ensure!(!rules.is_empty(), "there is no rule");
        for exception in &allow {
            ensure!(exception.link.starts_with("https://"), "the exception {} has no link", exception.pattern);
        }
        for pattern in rules.iter().map(|r| &r.pattern).chain(allow.iter().map(|e| &e.pattern)) {
            ensure!(!Regex::new(pattern)?.is_match(""), "`{pattern}` matches everything");
        }
        let deny = RegexSet::new(rules.iter().map(|rule| &rule.pattern))?;
        let allow = RegexSet::new(allow.iter().map(|exception| &exception.pattern))?;
        Ok(Self { rules, deny, allow })
    }

    /// Looks at one message, without the time stamp the console puts before it.
    pub fn check(&self, message: &str) -> Option<Splat> {
        let found = self.deny.matches(message).iter().next()?;
        if self.allow.is_match(message) {
            return None;
        }
        let rule = &self.rules[found];
        Some(Splat { rule: rule.name.clone(), line: message.to_owned(), fatal: rule.fatal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::console::message;

    fn detector() -> Detector {
        Detector::from_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/splats.toml")).unwrap()
    }

    /// The rules that find something in a recorded log.
    fn found(log: &str) -> Vec<String> {
        let detector = detector();
        log.lines().filter_map(|line| detector.check(message(line))).map(|splat| splat.rule).collect()
    }

    /// Logs recorded from kernels, cut to the lines around the trouble.
    const TROUBLE: [(&str, &str); 22] = [
        (
            "warning",
            "[    4.1] ------------[ cut here ]------------\n[    4.1] WARNING: CPU: 0 PID: 63 at fs/inode.c:336 drop_nlink+0x3b/0x50\n[    4.1] Modules linked in:",
        ),
        ("warning", "[    4.1][   T63] WARNING: fs/inode.c:336 at drop_nlink+0x3b/0x50, CPU#0: case/63"),
        ("warning", "[    9.9] WARNING: possible circular locking dependency detected\n[    9.9] 7.3.4 #1 Not tainted"),
        ("warning", "[    9.9] WARNING: suspicious RCU usage"),
        ("warning", "[    9.9] WARNING: possible recursive locking detected"),
        (
            "bug",
            "[   12.0] BUG: KASAN: slab-use-after-free in lo_release+0x12/0x40\n[   12.0] Read of size 8 at addr ffff888003d1c2a8 by task case/71",
        ),
        ("bug", "[    3.3] BUG: sleeping function called from invalid context at kernel/locking/mutex.c:591"),
        ("bug", "[    3.3] BUG: scheduling while atomic: case/71/0x00000002"),
        ("bug", "[    3.3] BUG: Dentry 00000000dd2e2ab5{i=2,n=loop0}  still in use (1) [unmount of loop loop]"),
        ("kernel-bug", "[    3.3] kernel BUG at fs/dcache.c:1720!"),
        (
            "oops",
            "[    3.3] BUG: kernel NULL pointer dereference, address: 0000000000000010\n[    3.3] #PF: supervisor read access in kernel mode\n[    3.3] Oops: 0000 [#1] SMP PTI",
        ),
        (
            "protection-fault",
            "[    3.3] Oops: general protection fault, probably for non-canonical address 0xdffffc0000000001: 0000 [#1] SMP KASAN PTI",
        ),
        ("hung-task", "[   60.0] INFO: task case:71 blocked for more than 30 seconds."),
        ("rcu-stall", "[   60.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"),
        ("rcu-stall", "[   60.0] rcu: INFO: rcu_preempt self-detected stall on CPU"),
        ("busy-inodes", "[    5.0] VFS: Busy inodes after unmount of loop (loop)"),
        ("refcount", "[    5.0] refcount_t: underflow; use-after-free."),
        ("ubsan", "[    5.0] UBSAN: array-index-out-of-bounds in drivers/block/loop.c:12:3"),
        (
            "debug-objects",
            "[    5.0] ODEBUG: free active (active state 0) object: 00000000f2 object type: work_struct hint: lo_work",
        ),
        ("rust-panic", "[    5.0] rust_kernel: panicked at drivers/block/loopfs/instance.rs:12:9:"),
        ("kmemleak", "[   44.0] kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"),
        ("checker-off", "[   44.0] kmemleak: Kernel memory leak detector disabled"),
    ];

    #[test]
    fn each_kind_of_trouble_is_found_by_its_rule() {
        for (rule, log) in TROUBLE {
            assert!(found(log).iter().any(|name| name == rule), "{rule} is not among {:?} for:\n{log}", found(log));
        }
    }

    #[test]
    fn panics_and_lockups_are_fatal() {
        let detector = detector();
        for line in [
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000200",
            "Oops: 0000 [#1] SMP PTI",
            "kernel BUG at fs/dcache.c:1720!",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [case:71]",
        ] {
            assert!(detector.check(line).is_some_and(|splat| splat.fatal), "{line}");
        }
        assert!(detector.check("WARNING: fs/inode.c:336 at x").is_some_and(|splat| !splat.fatal));
    }

    #[test]
    fn a_healthy_boot_is_clean() {
        let log = "\
[    0.000000] Linux version 7.3.4 (loopfs@loopfs) (Debian clang version 22.1.8, Debian LLD 22.1.8) #1 SMP PREEMPT @0
[    0.000000] DEBUG_LOCKS_WARN_ON is a macro, not a warning
[    0.021000] Spectre V2 : Vulnerable
[    0.282000] APIC timer disabled due to verification failure
[    0.300000] kmemleak: Kernel memory leak detector initialized (mem pool available: 15826)
[    0.300000] Debug warning: early ioremap leak of 0 areas detected.
[    0.438423] Could not switch to high resolution mode on CPU 0
[    0.410987] loop: module loaded
[    1.863378] loopfs-harness: start a_warning_is_no_bug/root
[    1.900000] loop0: detected capacity change from 0 to 2048
[    1.900000] FAULT_INJECTION: forcing a failure.
[    1.900000] case[61]: segfault at 0 ip 00005555 sp 00007ffc error 4
";
        assert_eq!(found(log), [""; 0]);
    }

    #[test]
    fn rules_that_cannot_be_right_are_refused() {
        let rule = "[[deny]]\nname = \"a\"\npattern = \"P\"\nreason = \"r\"\n";
        assert!(Detector::from_toml(rule).is_ok());
        for (bad, why) in [
            ("deny = []", "there is no rule"),
            (&rule.replace("\"r\"", "\" \""), "this has no reason"),
            (&rule.replace("\"P\"", "\"P*\""), "matches everything"),
            (&format!("{rule}[[allow]]\npattern = \"Q\"\nreason = \"r\"\nlink = \"\"\n"), "has no link"),
            (&rule.replace("\"P\"", "\"(\""), "regex parse error"),
            (&rule.replace("reason", "reson"), "unknown field"),
        ] {
            let error = format!("{:#}", Detector::from_toml(bad).unwrap_err());
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn rules_that_are_not_there_are_an_error_and_not_a_clean_log() {
        assert!(Detector::from_file(Path::new("/nowhere/splats.toml")).is_err());
    }

    #[test]
    fn an_exception_silences_only_what_it_names() {
        let text = "[[deny]]\nname = \"w\"\npattern = \"WARNING:\"\nreason = \"r\"\n\
                    [[allow]]\npattern = \"WARNING: known$\"\nreason = \"r\"\nlink = \"https://example.org/1\"\n";
        let detector = Detector::from_toml(text).unwrap();
        assert_eq!(detector.check("WARNING: known"), None);
        assert!(detector.check("WARNING: known and more").is_some());
    }
}
