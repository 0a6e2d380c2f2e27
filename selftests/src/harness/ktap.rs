//! Writes KTAP 1 (`Documentation/dev-tools/ktap.rst`).

use std::io::{self, Write};

use loopfs_protocol::Event;

use super::channel::Verdict;

/// A stream of results.
#[derive(Debug)]
pub(super) struct Ktap<W> {
    to: W,
    number: usize,
}

impl<W: Write> Ktap<W> {
    /// A stream that writes to `to`.
    pub(super) fn new(to: W) -> Self {
        Self { to, number: 0 }
    }

    /// Starts a stream of `count` results.
    ///
    /// # Errors
    ///
    /// When the reader is gone.
    pub(super) fn plan(&mut self, count: usize) -> io::Result<()> {
        self.number = 0;
        self.emit(&format!("KTAP version 1\n1..{count}\n"))
    }

    /// Writes each line of `text` as a diagnostic of the next result.
    ///
    /// # Errors
    ///
    /// When the reader is gone.
    pub(super) fn diagnostic(&mut self, text: &str) -> io::Result<()> {
        let lines: String = text.lines().map(|line| format!("# {line}\n")).collect();
        self.emit(&lines)
    }

    /// Writes the next result.
    ///
    /// # Errors
    ///
    /// When the reader is gone.
    pub(super) fn result(&mut self, name: &str, verdict: &Verdict) -> io::Result<()> {
        self.number += 1;
        let number = self.number;
        match verdict {
            Verdict::Pass => self.emit(&format!("ok {number} {name}\n")),
            Verdict::Skip(reason) => {
                let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
                self.emit(&format!("ok {number} {name} # SKIP {reason}\n"))
            }
            Verdict::Fail(message) => {
                self.emit(&Event::Failed { message: message.clone() }.to_line())?;
                self.emit(&format!("not ok {number} {name}\n"))
            }
        }
    }

    /// Writes a line that is KTAP already.
    ///
    /// # Errors
    ///
    /// When the reader is gone.
    pub(super) fn emit(&mut self, text: &str) -> io::Result<()> {
        // One write: the host must not see half a line if this process dies in between.
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_results_is_ktap() {
        let mut bytes = Vec::new();
        let mut ktap = Ktap::new(&mut bytes);
        ktap.plan(3).unwrap();
        ktap.result("a/root", &Verdict::Pass).unwrap();
        ktap.diagnostic("printed\nok 7 forged").unwrap();
        ktap.result("b/root", &Verdict::Fail("got 1\nexpected 2".into())).unwrap();
        ktap.result("c/userns", &Verdict::Skip("no\nFUSE".into())).unwrap();
        let expected = "KTAP version 1\n1..3\nok 1 a/root\n# printed\n# ok 7 forged\n\
                        # loopfs: {\"failed\":{\"message\":\"got 1\\nexpected 2\"}}\nnot ok 2 b/root\nok 3 c/userns # SKIP no FUSE\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
