//! Runs one case in processes of its own and finds out how it ended, whatever it does.

use std::{
    ffi::OsString,
    io::{self, PipeReader, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, setsid},
};

use super::{
    channel::{Channel, Message, Verdict},
    isolate::write_id_maps,
    stacks,
};
use crate::case::{Case, Who};

/// How long the processes of a killed case may take to go away before they count as stuck.
const GRACE: Duration = Duration::from_secs(10);

/// How one case ended.
#[derive(Debug)]
pub struct Report {
    /// Its verdict; a case that was killed or died failed.
    pub verdict: Verdict,
    /// What it printed, and what the runner has to say about it.
    pub output: Output,
    /// How long it ran.
    pub took: Duration,
    /// Its processes do not go away although they were killed.
    pub stuck: bool,
}

/// Runs `case` as `who`, for at most `deadline`; calls `on_overdue` when that passes.
///
/// # Errors
///
/// When its processes cannot be started.
pub fn run(case: &Case, who: Who, deadline: Duration, on_overdue: impl FnOnce() -> Result<()>) -> Result<Report> {
    let (ours, theirs) = Channel::pair().context("cannot make a socket pair")?;
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;

    let inherited = theirs.as_fd().as_raw_fd();
    let mut command = Command::new("/proc/self/exe");
    command.args([OsString::from("case"), case.name.into(), who.to_string().into(), inherited.to_string().into()]);
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("cannot copy a pipe")?).stderr(writer);
    // SAFETY: The closure runs between fork and exec, where only async-signal-safe calls are
    // allowed; it makes two system calls and allocates nothing. `theirs` is open until after the spawn.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            let fd = std::os::fd::BorrowedFd::borrow_raw(inherited);
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Ok(())
        });
    }
    let start = Instant::now();
    let child = command.spawn().context("cannot start the case's process")?;
    // Our copies of the case's ends go, or their end would never show.
    drop((command, theirs));
    Running { child, channel: ours, pipe: reader, start, deadline, output: Output::default(), verdict: None }
        .finish(on_overdue)
}

/// A case under way.
struct Running {
    child: Child,
    channel: Channel,
    pipe: PipeReader,
    start: Instant,
    deadline: Duration,
    output: Output,
    verdict: Option<Verdict>,
}

impl Running {
    fn finish(mut self, on_overdue: impl FnOnce() -> Result<()>) -> Result<Report> {
        let mut overdue = false;
        let mut stuck = false;
        if !self.supervise(self.start + self.deadline)? {
            overdue = true;
            on_overdue()?;
            self.output.note(&format!("no end after {:?}; its processes:", self.deadline));
            self.output.note(&stacks::of_descendants(self.child.id()));
            self.kill();
            stuck = !self.supervise(Instant::now() + GRACE)?;
        }
        let took = self.start.elapsed();
        self.drain()?;
        let verdict = if stuck {
            Verdict::Fail(format!("no end after {:?}, and its processes cannot be killed", self.deadline))
        } else {
            let status = self.child.wait().context("cannot wait for the case's process")?;
            reap_orphans();
            match self.verdict {
                _ if overdue => Verdict::Fail(format!("no end after {:?}", self.deadline)),
                Some(verdict) => verdict,
                None => Verdict::Fail(without_verdict(status)),
            }
        };
        Ok(Report { verdict, output: self.output, took, stuck })
    }

    /// Serves the case until all its processes are gone; false if `until` passes before.
    fn supervise(&mut self, until: Instant) -> Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut fds = [
                PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN),
            ];
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready = |fd: &PollFd| fd.revents().is_some_and(|events| !events.is_empty());
            let (talks, prints) = (ready(&fds[0]), ready(&fds[1]));
            if prints {
                self.drain()?;
            }
            if talks {
                match self.channel.receive().context("the case's process talks nonsense")? {
                    None => return Ok(true),
                    Some(message) => self.answer(message)?,
                }
            } else if prints && self.pipe_is_closed() {
                // Nobody prints any more, so only the channel is worth waiting for; without this the
                // poll above would return at once for ever.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn answer(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Unshared => {
                write_id_maps(self.child.id()).context("cannot write the id maps")?;
                // If the case died meanwhile, the closed channel tells.
                let _ = self.channel.send(&Message::Mapped);
            }
            Message::Verdict(verdict) if self.verdict.is_none() => self.verdict = Some(verdict),
            Message::Verdict(verdict) => {
                self.verdict = Some(Verdict::Fail(format!("a second verdict arrived: {verdict:?}")));
            }
            Message::Mapped => self.verdict = Some(Verdict::Fail("the case sent what only the runner sends".into())),
        }
        Ok(())
    }

    /// Takes what the case has printed so far.
    fn drain(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => self.output.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read what the case prints"),
            }
        }
    }

    fn pipe_is_closed(&self) -> bool {
        let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok()
            && fds[0].revents().is_some_and(|e| e.contains(PollFlags::POLLHUP) && !e.contains(PollFlags::POLLIN))
    }

    fn kill(&self) {
        // The whole session is in this group unless it moved out; those are killed with their pid namespace.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
    }
}

/// Waits for what was left to us when the case's outer process went first.
fn reap_orphans() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive) {}
}

fn without_verdict(status: ExitStatus) -> String {
    let code = status.code().unwrap_or(0);
    let signal = status.signal().or_else(|| (code > 128).then_some(code - 128));
    match signal.map(Signal::try_from) {
        Some(Ok(signal)) => format!("the case's process was ended by {signal}"),
        _ => format!("the case's process exited with {code} and no verdict"),
    }
}

/// What a case printed; the middle of very much output is left out.
#[derive(Debug, Default)]
pub struct Output {
    head: Vec<u8>,
    tail: Vec<u8>,
    dropped: u64,
}

/// How much of an output's start and of its end is kept, each.
const KEPT: usize = 64 * 1024;

impl Output {
    fn push(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(KEPT - self.head.len()));
        self.head.extend_from_slice(first);
        self.tail.extend_from_slice(rest);
        let excess = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..excess);
        self.dropped += excess as u64;
    }

    /// Adds a line of the runner's own.
    pub fn note(&mut self, text: &str) {
        self.push(text.trim_end().as_bytes());
        self.push(b"\n");
    }

    /// The text, with a line that tells if something is left out.
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        if self.dropped > 0 {
            text.push_str(&format!("\n[{} bytes are left out here]\n", self.dropped));
        }
        text.push_str(&String::from_utf8_lossy(&self.tail));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_output_is_kept_as_it_is() {
        let mut output = Output::default();
        output.push(b"a\n");
        output.note("b");
        assert_eq!(output.text(), "a\nb\n");
    }

    #[test]
    fn endless_output_keeps_its_start_and_its_end() {
        let mut output = Output::default();
        output.push(b"start\n");
        for _ in 0..1000 {
            output.push(&[b'x'; 1000]);
        }
        output.push(b"\nend\n");
        let text = output.text();
        assert!(text.starts_with("start\n") && text.ends_with("\nend\n"), "{} bytes", text.len());
        assert!(text.len() < 2 * KEPT + 100 && text.contains("bytes are left out here"), "{} bytes", text.len());
    }

    #[test]
    fn a_process_that_dies_is_told_by_its_signal() {
        assert_eq!(without_verdict(ExitStatus::from_raw(9)), "the case's process was ended by SIGKILL");
        assert_eq!(without_verdict(ExitStatus::from_raw((128 + 11) << 8)), "the case's process was ended by SIGSEGV");
        assert_eq!(without_verdict(ExitStatus::from_raw(3 << 8)), "the case's process exited with 3 and no verdict");
    }
}
