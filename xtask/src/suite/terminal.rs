//! Our own standard streams, lent to a program in the guest.

use std::{
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result};
use loopfs_protocol::Window;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::Winsize,
    sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr},
};

use crate::{error::Failure, suite::session::Streams};

/// Ctrl-], which ends the guest: Ctrl-C is the guest's.
const LEAVE: u8 = 0x1d;

mod ioctl {
    nix::ioctl_read_bad!(get_window, libc::TIOCGWINSZ, nix::pty::Winsize);
}

/// Standard input, output and error. With a terminal they are raw for as long as this lives.
#[derive(Debug)]
pub struct Terminal {
    stdin: io::Stdin,
    ended: bool,
    /// The terminal's settings to go back to, where there is a terminal.
    before: Option<Termios>,
    size: Option<Window>,
}

impl Terminal {
    /// Takes over the streams; as a terminal if `interactive`.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be made raw.
    pub fn open(interactive: bool) -> Result<Self> {
        let stdin = io::stdin();
        let mut before = None;
        if interactive {
            let settings = tcgetattr(&stdin).context("cannot read the terminal's settings")?;
            let mut raw = settings.clone();
            cfmakeraw(&mut raw);
            tcsetattr(&stdin, SetArg::TCSADRAIN, &raw).context("cannot make the terminal raw")?;
            before = Some(settings);
        }
        let mut terminal = Self { stdin, ended: false, before, size: None };
        terminal.size = terminal.current_size();
        Ok(terminal)
    }

    /// The terminal's size, if it is one.
    pub fn size(&self) -> Option<Window> {
        self.size
    }

    fn current_size(&self) -> Option<Window> {
        self.before.as_ref()?;
        let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: The descriptor is open and the pointer is to a live `Winsize`.
        unsafe { ioctl::get_window(self.stdin.as_raw_fd(), &mut size) }.ok()?;
        Some(Window { rows: size.ws_row, columns: size.ws_col })
    }
}

impl Streams for Terminal {
    fn input(&self) -> Option<BorrowedFd<'_>> {
        (!self.ended).then(|| self.stdin.as_fd())
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let mut fds = [PollFd::new(self.stdin.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO).context("cannot wait for standard input")? == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; 16 * 1024];
        // One read, past the standard library's buffer: what is in there would not show in a poll.
        let length = nix::unistd::read(self.stdin.as_fd(), &mut bytes).context("cannot read standard input")?;
        bytes.truncate(length);
        self.ended = length == 0;
        if self.before.is_some() && bytes.contains(&LEAVE) {
            return Err(Failure::Interrupted.into());
        }
        Ok(Some(bytes))
    }

    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).context("cannot write standard output")
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        io::stderr().write_all(bytes).context("cannot write standard error")
    }

    fn new_size(&mut self) -> Option<Window> {
        let now = self.current_size()?;
        (self.size != Some(now)).then(|| {
            self.size = Some(now);
            now
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // If the terminal is gone there is nothing to restore.
            let _ = tcsetattr(&self.stdin, SetArg::TCSADRAIN, before);
        }
    }
}
