//! The guest's console: cut into lines, recorded on disk, bounded whatever the guest prints.

use std::{
    collections::VecDeque,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A line longer than this is cut into several.
const LONGEST_LINE: usize = 4096;

/// No more than this many bytes go to the file.
const LARGEST_FILE: u64 = 32 << 20;

/// The text of a kernel message without the prefixes the console puts before it: `[    1.234567]` for
/// the time and, with `CONFIG_PRINTK_CALLER`, `[    T1]` or `[    C0]` for the task or CPU.
pub fn message(line: &str) -> &str {
    let stamp = |text: &str| {
        let inner = text.trim_start();
        let (seconds, fraction) = inner.split_once('.')?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        (digits(seconds) && digits(fraction)).then_some(())
    };
    let caller = |text: &str| {
        let number = text.trim_start().strip_prefix(['T', 'C'])?;
        (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(())
    };
    let bracketed = |text: &str| -> Option<usize> {
        let close = text.strip_prefix('[')?.find(']')?;
        Some(close + 1)
    };
    let Some(close) = bracketed(line).filter(|close| stamp(&line[1..*close]).is_some()) else { return line };
    let mut rest = &line[close + 1..];
    if let Some(close) = bracketed(rest).filter(|close| caller(&rest[1..*close]).is_some()) {
        rest = &rest[close + 1..];
    }
    rest.strip_prefix(' ').unwrap_or(rest)
}

/// The line with the names of Rust functions as people write them: a stack trace has them as the linker does.
pub fn demangled(line: String) -> String {
    let is_symbol = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let Some(start) = line.find("_R") else { return line };
    let (before, rest) = line.split_at(start);
    let (symbol, after) = rest.split_at(rest.find(|c| !is_symbol(c)).unwrap_or(rest.len()));
    let preceded = before.ends_with(is_symbol);
    match rustc_demangle::try_demangle(symbol) {
        Ok(name) if !preceded => format!("{before}{name:#}{after}"),
        _ => line,
    }
}

/// Records what a guest prints.
#[derive(Debug)]
pub struct Console {
    partial: Vec<u8>,
    file: File,
    path: PathBuf,
    written: u64,
}

impl Console {
    /// A console whose output goes to a new file at `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be created.
    pub fn record_to(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { partial: Vec::new(), file, path: path.to_owned(), written: 0 })
    }

    /// Where the output is recorded.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what the guest printed next and returns the lines that it ends.
    ///
    /// # Errors
    ///
    /// When the file cannot be written, for one because the disk is full.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>> {
        self.record(bytes).with_context(|| format!("cannot write {}", self.path.display()))?;
        let mut lines = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => lines.push(self.take_line()),
                b'\r' | 0 => {}
                byte => self.partial.push(*byte),
            }
            if self.partial.len() >= LONGEST_LINE {
                lines.push(self.take_line());
            }
        }
        Ok(lines)
    }

    /// The line that the guest began and did not end, if there is one.
    pub fn rest(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take_line())
    }

    fn take_line(&mut self) -> String {
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        line
    }

    fn record(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let room = LARGEST_FILE.saturating_sub(self.written);
        if room == 0 {
            return Ok(());
        }
        let kept = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        self.file.write_all(kept)?;
        self.written += kept.len() as u64;
        if self.written == LARGEST_FILE {
            writeln!(self.file, "\n[the guest prints without end: nothing more is recorded]")?;
        }
        Ok(())
    }
}

/// The start and the end of a log.
#[derive(Clone, Debug, Default)]
pub struct Excerpt {
    head: Vec<String>,
    tail: VecDeque<String>,
    dropped: usize,
}

/// How many lines of a log's start and of its end are kept, each.
const KEPT: usize = 200;

impl Excerpt {
    /// Adds a line.
    pub fn push(&mut self, line: String) {
        if self.head.len() < KEPT {
            self.head.push(line);
            return;
        }
        self.tail.push_back(line);
        if self.tail.len() > KEPT {
            self.tail.pop_front();
            self.dropped += 1;
        }
    }

    /// The lines, with one that tells how many are left out, if any.
    pub fn lines(&self) -> Vec<String> {
        let gap = (self.dropped > 0).then(|| format!("[{} lines are left out here]", self.dropped));
        self.head.iter().cloned().chain(gap).chain(self.tail.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> (tempfile::TempDir, Console) {
        let dir = tempfile::tempdir().unwrap();
        let console = Console::record_to(&dir.path().join("console.log")).unwrap();
        (dir, console)
    }

    #[test]
    fn time_stamps_and_callers_are_taken_off() {
        for (line, text) in [
            ("[    1.234567] loop: module loaded", "loop: module loaded"),
            ("[    1.234567][    T1] loop: module loaded", "loop: module loaded"),
            ("[12345.234567][   C0]     ok 1 nested", "    ok 1 nested"),
            ("[    1.234567] [not a caller] text", "[not a caller] text"),
            ("[a.b] text", "[a.b] text"),
            ("no stamp", "no stamp"),
            ("[    1.2", "[    1.2"),
            ("", ""),
        ] {
            assert_eq!(message(line), text, "{line}");
        }
    }

    #[test]
    fn rust_functions_in_a_stack_trace_can_be_read() {
        let line = " _RNvXNtCse3dewdsgdDq_6loopfs11file_systemNtB2_6LoopfsNtNtNtCsl7L7n58I0Vr_6kernel2fs11file_system\
                    10FileSystem7kill_sb+0xac/0xcf";
        let readable = " <loopfs::file_system::Loopfs as kernel::fs::file_system::FileSystem>::kill_sb+0xac/0xcf";
        assert_eq!(demangled(line.to_owned()), readable);
        for line in ["x86_RAX_R12: 0", "RIP: 0010:kernfs_find_and_get_ns+0x1d/0x80", "_R"] {
            assert_eq!(demangled(line.to_owned()), line);
        }
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let (_dir, mut console) = console();
        assert_eq!(console.push(b"one\r\ntw").unwrap(), ["one"]);
        assert_eq!(console.push(b"o\n\nthree").unwrap(), ["two", ""]);
        assert_eq!(console.rest().as_deref(), Some("three"));
        assert_eq!(console.rest(), None);
        assert_eq!(std::fs::read_to_string(console.path()).unwrap(), "one\r\ntwo\n\nthree");
    }

    #[test]
    fn a_flood_without_a_line_feed_eats_neither_memory_nor_disk() {
        let (_dir, mut console) = console();
        let chunk = vec![b'x'; 1 << 20];
        let mut lines = 0;
        for _ in 0..100 {
            lines += console.push(&chunk).unwrap().len();
        }
        assert_eq!(lines, (100 << 20) / LONGEST_LINE);
        assert!(console.partial.len() < LONGEST_LINE);
        let size = std::fs::metadata(console.path()).unwrap().len();
        assert!(size < LARGEST_FILE + 100, "{size}");
    }

    #[test]
    fn an_excerpt_keeps_both_ends() {
        let mut excerpt = Excerpt::default();
        (0..1000).for_each(|n| excerpt.push(n.to_string()));
        let lines = excerpt.lines();
        assert_eq!(lines.len(), 2 * KEPT + 1);
        assert_eq!((lines[0].as_str(), lines[2 * KEPT].as_str()), ("0", "999"));
        assert_eq!(lines[KEPT], "[600 lines are left out here]");
    }
}
