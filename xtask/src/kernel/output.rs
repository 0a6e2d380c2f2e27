//! What a kernel build prints: kept in a log, its steps counted, its errors picked out.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};

/// How many lines of errors are told; the rest is in the log.
const LIMIT: usize = 60;

/// The log of one build, and the errors in it.
#[derive(Debug)]
pub(super) struct Output {
    log: BufWriter<File>,
    errors: Errors,
}

impl Output {
    /// Starts the log anew.
    pub(super) fn create(path: &Path) -> Result<Self> {
        Self::open(path, File::options().write(true).create(true).truncate(true))
    }

    /// Goes on with the log.
    pub(super) fn append(path: &Path) -> Result<Self> {
        Self::open(path, File::options().append(true).create(true))
    }

    fn open(path: &Path, options: &std::fs::OpenOptions) -> Result<Self> {
        let log = options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { log: BufWriter::new(log), errors: Errors::default() })
    }

    /// Takes one line of the build's output.
    pub(super) fn take(&mut self, line: &str) -> Result<()> {
        self.errors.take(line);
        writeln!(self.log, "{line}").context("cannot write the log of the build")
    }

    /// The errors so far, if there were any.
    pub(super) fn errors(&self) -> Option<String> {
        self.errors.text()
    }
}

/// The file a line of a kernel build says it is making: `  CC      fs/inode.o`.
pub(super) fn step(line: &str) -> Option<&str> {
    let line = line.strip_prefix("  ")?;
    let (kind, rest) = line.split_once(' ')?;
    let is_kind = kind.len() > 1 && kind.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    // A script that is called or a header that is checked every time is not progress.
    let makes = !matches!(kind, "CALL" | "CHK" | "DESCEND" | "SYNC" | "UPD");
    (is_kind && makes).then(|| rest.trim_start())
}

/// The lines of compilers' errors.
#[derive(Debug, Default)]
struct Errors {
    lines: Vec<String>,
    more: usize,
    inside: bool,
    /// What make says of it: enough when no compiler said anything.
    make: Vec<String>,
}

impl Errors {
    fn take(&mut self, line: &str) {
        if line.contains("*** [") || line.contains("*** No rule") || line.contains("***  ") {
            self.inside = false;
            self.make.push(line.to_owned());
        } else if is_error(line) {
            self.inside = true;
        } else if is_step(line) || is_warning(line) {
            self.inside = false;
        }
        if !self.inside {
            return;
        }
        if self.lines.len() < LIMIT {
            self.lines.push(line.to_owned());
        } else {
            self.more += 1;
        }
    }

    fn text(&self) -> Option<String> {
        if self.lines.is_empty() {
            return self.make.first().cloned();
        }
        let more = if self.more == 0 { String::new() } else { format!("\n({} more lines)", self.more) };
        Some(self.lines.join("\n") + &more)
    }
}

fn is_step(line: &str) -> bool {
    step(line).is_some() || line.starts_with("make")
}

/// clang: `f.c:1:2: error: text`; rustc: `error[E0425]: text`; lld: `ld.lld: error: text`; and a full
/// disk in whosever words.
fn is_error(line: &str) -> bool {
    line.starts_with("error: ")
        || line.starts_with("error[")
        || [": error: ", ": fatal error: ", "No space left on device"].iter().any(|mark| line.contains(mark))
}

fn is_warning(line: &str) -> bool {
    line.starts_with("warning: ") || line.contains(": warning: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(output: &str) -> Option<String> {
        let mut errors = Errors::default();
        output.lines().for_each(|line| errors.take(line));
        errors.text()
    }

    #[test]
    fn steps_are_told_from_other_output() {
        assert_eq!(step("  CC      fs/inode.o"), Some("fs/inode.o"));
        assert_eq!(step("  RUSTC L rust/kernel.o"), Some("L rust/kernel.o"));
        assert_eq!(step("  CALL    scripts/checksyscalls.sh"), None);
        assert_eq!(step("   --> rust/kernel/fs.rs:3:1"), None);
        assert_eq!(step("make[1]: Entering directory"), None);
    }

    #[test]
    fn an_error_of_rustc_is_told_whole_and_alone() {
        let output = "  CC      fs/inode.o\nfs/inode.c:3:1: warning: unused\n  RUSTC L rust/kernel.o\n\
                      error[E0425]: cannot find value `x`\n --> rust/kernel/fs.rs:3:1\n  |\n3 |  x\n  |  ^\n\
                      make[2]: *** [rust/Makefile:3: rust/kernel.o] Error 1\nmake[1]: *** [Makefile:1: prepare] Error 2";
        assert_eq!(
            errors(output).unwrap(),
            "error[E0425]: cannot find value `x`\n --> rust/kernel/fs.rs:3:1\n  |\n3 |  x\n  |  ^"
        );
    }

    #[test]
    fn an_error_of_clang_and_one_of_the_linker_are_told() {
        let output =
            "a.c:1:2: error: expected ';'\n  int a\n      ^\n  CC      b.o\nld.lld: error: undefined symbol: foo";
        assert_eq!(
            errors(output).unwrap(),
            "a.c:1:2: error: expected ';'\n  int a\n      ^\nld.lld: error: undefined symbol: foo"
        );
    }

    #[test]
    fn without_a_compilers_word_make_has_it() {
        let output = "make[2]: *** No rule to make target 'a.o'.  Stop.\nmake[1]: *** [Makefile:1: x] Error 2";
        assert_eq!(errors(output).unwrap(), "make[2]: *** No rule to make target 'a.o'.  Stop.");
        assert_eq!(errors("  CC      b.o"), None);
    }

    #[test]
    fn two_thousand_lines_of_errors_are_not_told() {
        let output: String = (0..2000).map(|n| format!("a.c:{n}:1: error: no\n")).collect();
        let told = errors(&output).unwrap();
        assert_eq!(told.lines().count(), LIMIT + 1);
        assert!(told.ends_with("(1940 more lines)"), "{told}");
    }
}
