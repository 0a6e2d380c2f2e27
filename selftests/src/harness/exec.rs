//! Runs one program that the user chose; its standard streams are ports to the host.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use loopfs_protocol::{Event, Window, port::*};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{OpenptyResult, Winsize, openpty},
    unistd::setsid,
};

use super::port;

/// How long, in milliseconds, what a program's children still print after its own end is waited for.
const LAST_WORDS: u8 = 100;

/// What runs.
#[derive(Debug)]
pub(super) struct Program {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// `NAME=VALUE` settings on top of our own environment.
    pub env: Vec<String>,
    /// The size of the terminal it gets; pipes if none.
    pub terminal: Option<Window>,
}

mod ioctl {
    nix::ioctl_write_ptr_bad!(set_window, libc::TIOCSWINSZ, nix::pty::Winsize);
    nix::ioctl_write_int_bad!(set_controlling_terminal, libc::TIOCSCTTY);
}

/// A program under way.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    terminal: Option<OwnedFd>,
    input: JoinHandle<()>,
    outputs: Vec<JoinHandle<io::Result<u64>>>,
    ended: Arc<AtomicBool>,
}

impl Program {
    /// Starts the program.
    ///
    /// # Errors
    ///
    /// When it cannot be started. The inner error is the one of `execve`.
    pub(super) fn start(&self) -> Result<io::Result<Running>> {
        let (program, arguments) = self.argv.split_first().context("there is no program to run")?;
        let mut command = Command::new(program);
        command.args(arguments);
        command.envs(self.env.iter().filter_map(|setting| setting.split_once('=')));
        match self.terminal {
            Some(window) => self.on_terminal(command, window),
            None => self.on_pipes(command),
        }
    }

    fn on_pipes(&self, mut command: Command) -> Result<io::Result<Running>> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Err(error)),
        };
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let ended = Arc::new(AtomicBool::new(false));
        let input = feed(port::open(STDIN)?, OwnedFd::from(stdin).into(), &ended);
        let outputs = vec![
            relay(OwnedFd::from(stdout).into(), port::open(STDOUT)?, &ended),
            relay(OwnedFd::from(stderr).into(), port::open(STDERR)?, &ended),
        ];
        Ok(Ok(Running { child, terminal: None, input, outputs, ended }))
    }

    fn on_terminal(&self, mut command: Command, window: Window) -> Result<io::Result<Running>> {
        let OpenptyResult { master, slave } =
            openpty(Some(&winsize(window)), None).context("cannot make a terminal")?;
        let stdio = || -> io::Result<Stdio> { Ok(slave.try_clone()?.into()) };
        command.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?);
        // SAFETY: The closure runs between fork and exec, where only async-signal-safe calls are
        // allowed; it makes two system calls on descriptor 0 and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                ioctl::set_controlling_terminal(0, 0)?;
                Ok(())
            });
        }
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Err(error)),
        };
        let copy = || master.try_clone().map(File::from);
        let ended = Arc::new(AtomicBool::new(false));
        let input = feed(port::open(STDIN)?, copy()?, &ended);
        let outputs = vec![relay(copy()?, port::open(STDOUT)?, &ended)];
        Ok(Ok(Running { child, terminal: Some(master), input, outputs, ended }))
    }
}

impl Running {
    /// Tells the program's terminal its new size.
    pub(super) fn resize(&self, window: Window) {
        if let Some(terminal) = &self.terminal {
            // SAFETY: The descriptor is open and the pointer is to a live `Winsize`.
            let _ = unsafe { ioctl::set_window(terminal.as_raw_fd(), &winsize(window)) };
        }
    }

    /// Whether the program has ended.
    ///
    /// # Errors
    ///
    /// When the kernel does not know the process.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Passes on the rest of the output of the program that ended with `status`, and tells all about it.
    ///
    /// # Errors
    ///
    /// When the host does not take the output.
    pub(super) fn finish(self, status: ExitStatus) -> Result<Event> {
        self.ended.store(true, Ordering::SeqCst);
        drop(self.terminal);
        let mut counts = [0, 0];
        for (count, output) in counts.iter_mut().zip(self.outputs) {
            *count = output.join().ok().context("an output relay panicked")?.context("cannot pass the output on")?;
        }
        self.input.join().ok().context("the input relay panicked")?;
        let signalled = status.signal().map_or(0, |signal| 128 + signal);
        let code = status.code().unwrap_or(signalled) as u8;
        Ok(Event::Exited { code, stdout: counts[0], stderr: counts[1] })
    }
}

/// Passes what the host sends on to the program, until either goes away.
fn feed(mut from: File, mut to: File, ended: &Arc<AtomicBool>) -> JoinHandle<()> {
    let ended = Arc::clone(ended);
    // A program that does not read its input to the end is none of our business.
    thread::spawn(move || drop(copy(&mut from, &mut to, &ended)))
}

/// Passes what the program prints on to the host and counts it.
fn relay(mut from: File, mut to: File, ended: &Arc<AtomicBool>) -> JoinHandle<io::Result<u64>> {
    let ended = Arc::clone(ended);
    thread::spawn(move || copy(&mut from, &mut to, &ended))
}

/// Copies until the end of `from`, or until `ended` is set and nothing more comes.
fn copy(from: &mut File, to: &mut File, ended: &AtomicBool) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut copied = 0;
    loop {
        if !readable(from)? {
            if ended.load(Ordering::SeqCst) {
                return Ok(copied);
            }
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                copied += length as u64;
            }
            // The last process closed its terminal.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(copied),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn readable(fd: &impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(LAST_WORDS)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn winsize(window: Window) -> Winsize {
    Winsize { ws_row: window.rows, ws_col: window.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn pipe() -> (File, File) {
        let (reader, writer) = io::pipe().unwrap();
        (OwnedFd::from(reader).into(), OwnedFd::from(writer).into())
    }

    #[test]
    fn output_is_passed_on_and_counted_to_its_end() {
        let (mut from, mut source) = pipe();
        let (mut sink, mut to) = pipe();
        source.write_all(b"hello\n").unwrap();
        drop(source);
        assert_eq!(copy(&mut from, &mut to, &AtomicBool::new(false)).unwrap(), 6);
        drop(to);
        let mut text = String::new();
        sink.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello\n");
    }

    #[test]
    fn a_background_process_that_keeps_the_output_open_does_not_hold_up_the_end() {
        let (mut from, source) = pipe();
        let (_sink, mut to) = pipe();
        let start = Instant::now();
        assert_eq!(copy(&mut from, &mut to, &AtomicBool::new(true)).unwrap(), 0);
        assert!(start.elapsed() < Duration::from_secs(5));
        drop(source);
    }
}
