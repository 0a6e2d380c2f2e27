//! QEMU's machine protocol, as far as the harness needs it: one request, one answer.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};

/// QEMU answers from its main loop, which a guest does not hold up for long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The control channel of one QEMU.
#[derive(Debug)]
pub struct Qmp {
    socket: BufReader<UnixStream>,
    greeted: bool,
}

impl Qmp {
    /// A channel over `socket`, which QEMU serves in its control mode.
    pub fn new(socket: UnixStream) -> Self {
        Self { socket: BufReader::new(socket), greeted: false }
    }

    /// Runs one command and returns what it answers.
    ///
    /// # Errors
    ///
    /// When QEMU refuses, does not answer within seconds, or is gone.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.greet()?;
        self.request(command, arguments, None)
    }

    /// Gives QEMU a descriptor by the name `name`, for commands that take `fd:NAME`.
    ///
    /// # Errors
    ///
    /// As for [`Qmp::execute`].
    pub fn give(&mut self, name: &str, fd: &impl AsRawFd) -> Result<()> {
        self.greet()?;
        self.request("getfd", json!({ "fdname": name }), Some(fd.as_raw_fd())).map(drop)
    }

    /// Runs a command of QEMU's monitor for people and returns what it prints.
    ///
    /// # Errors
    ///
    /// As for [`Qmp::execute`].
    pub fn human(&mut self, command: &str) -> Result<String> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": command }))?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    fn greet(&mut self) -> Result<()> {
        if !self.greeted {
            let socket = self.socket.get_ref();
            socket.set_nonblocking(false).context("cannot set up the channel to QEMU")?;
            socket.set_read_timeout(Some(PATIENCE)).context("cannot set up the channel to QEMU")?;
            let greeting = self.line()?;
            if greeting.get("QMP").is_none() {
                bail!("QEMU greets with {greeting}");
            }
            self.request("qmp_capabilities", json!({}), None)?;
            self.greeted = true;
        }
        Ok(())
    }

    fn request(&mut self, command: &str, arguments: Value, fd: Option<RawFd>) -> Result<Value> {
        let what = || format!("QEMU does not take the command {command}");
        let text = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        match fd {
            None => self.socket.get_mut().write_all(text.as_bytes()).with_context(what)?,
            Some(fd) => {
                let fds = [fd];
                let message = [io::IoSlice::new(text.as_bytes())];
                let rights = [ControlMessage::ScmRights(&fds)];
                let to = self.socket.get_ref().as_raw_fd();
                sendmsg::<()>(to, &message, &rights, MsgFlags::MSG_NOSIGNAL, None).with_context(what)?;
            }
        }
        loop {
            let mut answer = self.line().with_context(what)?;
            if let Some(error) = answer.get("error") {
                return Err(anyhow!("{error}")).with_context(what);
            }
            if let Some(answer) = answer.get_mut("return") {
                return Ok(answer.take());
            }
            // Anything else is an event: news we did not ask for.
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        let length = self.socket.read_line(&mut line).context("QEMU does not answer")?;
        if length == 0 {
            bail!("QEMU has closed its control channel");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU answers {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU that says these lines whatever it is asked.
    fn qemu(lines: &str) -> (Qmp, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(lines.as_bytes()).unwrap();
        (Qmp::new(ours), theirs)
    }

    #[test]
    fn the_answer_is_found_among_events() {
        let (mut qmp, _theirs) =
            qemu("{\"QMP\": {}}\n{\"return\": {}}\n{\"event\": \"STOP\"}\n{\"return\": \"CPU#0\\r\\nRIP=1\"}\n");
        assert_eq!(qmp.human("info registers").unwrap(), "CPU#0\r\nRIP=1");
    }

    #[test]
    fn a_refusal_and_a_closed_channel_are_errors() {
        let (mut qmp, theirs) = qemu("{\"QMP\": {}}\n{\"return\": {}}\n{\"error\": {\"desc\": \"no such thing\"}}\n");
        let error = format!("{:#}", qmp.execute("fly", json!({})).unwrap_err());
        assert!(error.contains("command fly") && error.contains("no such thing"), "{error}");
        drop(theirs);
        assert!(qmp.execute("stop", json!({})).is_err());
    }
}
