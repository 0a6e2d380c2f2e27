//! A running guest: QEMU as a child, and the channels to it.
//!
//! Channels are socket pairs that QEMU inherits, so a guest leaves no socket file behind and any
//! number of them run side by side.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::{
    guest::{
        machine::{Descriptors, Machine},
        qemu::Qemu,
        qmp::Qmp,
    },
    interrupt::{self, Group},
    process,
};

/// How often a wait looks whether the person pressed Ctrl-C.
const SLICE: Duration = Duration::from_millis(50);

/// How long QEMU may take to end after all its channels have closed.
const ENDING: Duration = Duration::from_secs(2);

/// What a guest says next.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes on the serial console.
    Console(Vec<u8>),
    /// A line on the control port, without its line feed.
    Control(String),
    /// Bytes on the standard output of the program that runs.
    Stdout(Vec<u8>),
    /// Bytes on its standard error.
    Stderr(Vec<u8>),
    /// QEMU has ended, and nothing is left to read.
    Ended(Ending),
}

/// How QEMU ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its exit status; it says nothing about the guest.
    pub status: ExitStatus,
    /// What it printed itself.
    pub said: String,
}

/// A guest that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Guest {
    group: Option<Group>,
    child: duct::Handle,
    line: String,
    console: Channel,
    control: Channel,
    streams: Option<Streams>,
    qmp: Qmp,
    stderr: Option<io::PipeReader>,
    said: Vec<u8>,
    partial: Vec<u8>,
    ready: VecDeque<Input>,
    started: Instant,
}

#[derive(Debug)]
struct Streams {
    stdin: Channel,
    stdout: Channel,
    stderr: Channel,
}

#[derive(Debug)]
struct Channel {
    socket: UnixStream,
    open: bool,
}

/// QEMU's ends of the channels, until it has inherited them.
#[derive(Default)]
struct Theirs(Vec<UnixStream>);

impl Theirs {
    /// A new channel: our end, and the number of QEMU's.
    fn pair(&mut self) -> io::Result<(Channel, RawFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let fd = theirs.as_raw_fd();
        self.0.push(theirs);
        Ok((Channel { socket: ours, open: true }, fd))
    }
}

impl Guest {
    /// Starts `machine`; from the state that `incoming` yields, if there is one.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started. What it refuses itself shows as an early [`Input::Ended`].
    pub fn start(qemu: &Qemu, machine: &Machine, incoming: Option<&UnixStream>, verbose: bool) -> Result<Self> {
        let mut theirs = Theirs::default();
        let (console, console_fd) = theirs.pair()?;
        let (control, control_fd) = theirs.pair()?;
        let (qmp, qmp_fd) = theirs.pair()?;
        let mut stream_fds = None;
        let mut streams = None;
        if machine.with_streams {
            let ((stdin, in_fd), (stdout, out_fd), (stderr, err_fd)) = (theirs.pair()?, theirs.pair()?, theirs.pair()?);
            stream_fds = Some([in_fd, out_fd, err_fd]);
            streams = Some(Streams { stdin, stdout, stderr });
        }
        let fds = Descriptors {
            console: console_fd,
            control: control_fd,
            qmp: qmp_fd,
            streams: stream_fds,
            incoming: incoming.map(AsRawFd::as_raw_fd),
        };

        let (stderr, said) = io::pipe().context("cannot make a pipe")?;
        fcntl(&stderr, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut command = Command::new(qemu.program());
        command.args(machine.arguments(&fds));
        let inherited: Vec<RawFd> = theirs.0.iter().map(AsRawFd::as_raw_fd).chain(fds.incoming).collect();
        let expression = process::expression(&command).before_spawn(move |command| {
            inherit(command, inherited.clone());
            process::tie(command);
            Ok(())
        });
        let line = process::line(&command);
        if verbose {
            crate::progress::say(&format!("$ {line}"));
        }
        let started = Instant::now();
        let expression = expression.stdin_null().stdout_null().stderr_file(said);
        let child = expression.start().with_context(|| format!("cannot run `{line}`"))?;
        let group = Some(Group::of_all(&child.pids()));
        Ok(Self {
            group,
            child,
            line,
            console,
            control,
            streams,
            qmp: Qmp::new(qmp.socket),
            stderr: Some(stderr),
            said: Vec::new(),
            partial: Vec::new(),
            ready: VecDeque::new(),
            started,
        })
    }

    /// The command line QEMU was started with.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// QEMU's own control channel.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Sends a command over the control port.
    ///
    /// # Errors
    ///
    /// When QEMU is gone. The next input tells.
    pub fn send(&mut self, line: &str) -> io::Result<()> {
        write_all(&mut self.control.socket, line.as_bytes())
    }

    /// Types a key of the kernel's emergency menu (`Documentation/admin-guide/sysrq.rst`) on the console.
    ///
    /// # Errors
    ///
    /// When QEMU does not answer.
    pub fn sysrq(&mut self, key: char) -> Result<()> {
        self.qmp.execute("chardev-send-break", serde_json::json!({ "id": "console" }))?;
        write_all(&mut self.console.socket, key.to_string().as_bytes()).context("cannot type on the console")
    }

    /// Passes bytes on to the program's standard input; returns how many it took.
    ///
    /// # Errors
    ///
    /// When QEMU is gone.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(streams) = &mut self.streams else { return Ok(bytes.len()) };
        match streams.stdin.socket.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Ends the program's standard input.
    pub fn end_feed(&mut self) {
        if let Some(streams) = &mut self.streams {
            // If QEMU is gone the input has ended already.
            let _ = streams.stdin.socket.shutdown(std::net::Shutdown::Write);
        }
    }

    /// Waits for what the guest says next, until `until` at most; also returns, with nothing, when `also` can be read.
    ///
    /// # Errors
    ///
    /// [`crate::error::Failure::Interrupted`] on Ctrl-C.
    pub fn next(&mut self, until: Instant, also: Option<BorrowedFd<'_>>) -> Result<Option<Input>> {
        loop {
            if let Some(input) = self.ready.pop_front() {
                return Ok(Some(input));
            }
            interrupt::check()?;
            if !self.any_open() {
                return self.ended().map(Some);
            }
            let now = Instant::now();
            if now >= until {
                return Ok(None);
            }
            if self.wait(SLICE.min(until - now), also)? {
                return Ok(None);
            }
            self.read_all()?;
        }
    }

    /// The next line on the control port among what has been read already.
    pub fn pending_control(&mut self) -> Option<String> {
        let at = self.ready.iter().position(|input| matches!(input, Input::Control(_)))?;
        match self.ready.remove(at) {
            Some(Input::Control(line)) => Some(line),
            _ => None,
        }
    }

    /// Kills QEMU, and waits until it is gone.
    pub fn kill(mut self) {
        self.group = None;
        // It was killed one line above; there is nothing to learn from how it ended.
        let _ = self.child.wait();
    }

    fn any_open(&self) -> bool {
        self.console.open || self.control.open
    }

    /// Waits for anything to read; true if that is `also`.
    fn wait(&self, timeout: Duration, also: Option<BorrowedFd<'_>>) -> Result<bool> {
        let channels = [&self.console, &self.control].into_iter();
        let streams = self.streams.iter().flat_map(|streams| [&streams.stdout, &streams.stderr]);
        let open = channels.chain(streams).filter(|channel| channel.open);
        let own = open.map(|channel| channel.socket.as_fd()).chain(self.stderr.as_ref().map(AsFd::as_fd));
        let mut fds: Vec<PollFd<'_>> =
            also.into_iter().chain(own).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(timeout.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) => Ok(also.is_some() && fds[0].revents().is_some_and(|events| !events.is_empty())),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error).context("cannot wait for the guest"),
        }
    }

    fn read_all(&mut self) -> Result<()> {
        if let Some(bytes) = read_some(&mut self.console)? {
            self.ready.push_back(Input::Console(bytes));
        }
        if let Some(streams) = &mut self.streams {
            if let Some(bytes) = read_some(&mut streams.stdout)? {
                self.ready.push_back(Input::Stdout(bytes));
            }
            if let Some(bytes) = read_some(&mut streams.stderr)? {
                self.ready.push_back(Input::Stderr(bytes));
            }
        }
        if let Some(bytes) = read_some(&mut self.control)? {
            self.partial.extend_from_slice(&bytes);
            while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                self.ready.push_back(Input::Control(line));
            }
        }
        self.read_stderr();
        Ok(())
    }

    fn read_stderr(&mut self) {
        let mut buffer = [0; 4096];
        let Some(stderr) = &mut self.stderr else { return };
        match stderr.read(&mut buffer) {
            Ok(0) => self.stderr = None,
            Ok(length) if self.said.len() < 64 * 1024 => self.said.extend_from_slice(&buffer[..length]),
            // Not now, or more than anyone reads.
            _ => {}
        }
    }

    fn ended(&mut self) -> Result<Input> {
        let until = Instant::now() + ENDING;
        let status = loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for QEMU")? {
                break status.status;
            }
            if Instant::now() > until {
                // It closed every channel and stays: not a QEMU that anything can be expected of.
                self.group = None;
                break self.child.wait().context("cannot wait for QEMU")?.status;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if let Some(group) = self.group.take() {
            group.ended();
        }
        while self.stderr.is_some() {
            let before = self.said.len();
            self.read_stderr();
            if self.said.len() == before {
                break;
            }
        }
        Ok(Input::Ended(Ending { status, said: String::from_utf8_lossy(&self.said).trim_end().to_owned() }))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            drop(group);
            // It was killed one line above; there is nothing to learn from how it ended.
            let _ = self.child.wait();
        }
    }
}

/// Lets the child of `command` keep these descriptors over its exec.
fn inherit(command: &mut Command, fds: Vec<RawFd>) {
    // SAFETY: The closure runs between fork and exec, where only async-signal-safe calls are
    // allowed; it makes one system call a descriptor and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            for fd in &fds {
                fcntl(BorrowedFd::borrow_raw(*fd), FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
}

/// What can be read now; marks the channel at its end.
fn read_some(channel: &mut Channel) -> Result<Option<Vec<u8>>> {
    if !channel.open {
        return Ok(None);
    }
    let mut buffer = vec![0; 64 * 1024];
    match channel.socket.read(&mut buffer) {
        Ok(0) => {
            channel.open = false;
            Ok(None)
        }
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            channel.open = false;
            Ok(None)
        }
        Err(error) => Err(error).context("cannot read from the guest"),
    }
}

/// Writes a short text to a socket that is not blocking.
fn write_all(socket: &mut UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(5);
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
