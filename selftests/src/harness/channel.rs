//! What a case's processes and the runner that started them say to each other.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
};
use serde::{Deserialize, Serialize};

/// One message; each travels as one packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Case to runner: it is in a user namespace without id maps.
    Unshared,
    /// Runner to case: the id maps are written.
    Mapped,
    /// Case to runner: the body has ended.
    Verdict(Verdict),
}

/// How a case's body ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It returned.
    Pass,
    /// It returned an error or panicked.
    Fail(String),
    /// It cannot run here, for this reason.
    Skip(String),
}

/// A message longer than this is cut: a failure's text must not be refused for its length.
const LONGEST: usize = 32 * 1024;

/// One end of the conversation. The other end sees it closed when the last process that holds it is gone.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends, closed on exec.
    ///
    /// # Errors
    ///
    /// When the process has no descriptor left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(a), Self(b)))
    }

    /// The end that was inherited as `fd`.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// When the other end is closed.
    pub fn send(&self, message: &Message) -> io::Result<()> {
        let text = serde_json::to_string(&shortened(message)).map_err(io::Error::other)?;
        send(self.0.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Waits for a message; none once the other end is closed.
    ///
    /// # Errors
    ///
    /// When what arrives is no message.
    pub fn receive(&self) -> io::Result<Option<Message>> {
        // JSON may need six bytes for one of the text's.
        let mut buffer = vec![0; 6 * LONGEST + 64];
        let length = loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        if length == 0 { Ok(None) } else { Ok(Some(serde_json::from_slice(&buffer[..length])?)) }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn shortened(message: &Message) -> Message {
    let cut = |text: &str| {
        let mut end = LONGEST.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    };
    match message {
        Message::Verdict(Verdict::Fail(text)) => Message::Verdict(Verdict::Fail(cut(text))),
        Message::Verdict(Verdict::Skip(text)) => Message::Verdict(Verdict::Skip(cut(text))),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_order_and_then_the_end() {
        let (case, runner) = Channel::pair().unwrap();
        let verdict = Message::Verdict(Verdict::Fail("two\nlines".into()));
        case.send(&Message::Unshared).unwrap();
        case.send(&verdict).unwrap();
        drop(case);
        assert_eq!(runner.receive().unwrap(), Some(Message::Unshared));
        assert_eq!(runner.receive().unwrap(), Some(verdict));
        assert_eq!(runner.receive().unwrap(), None);
    }

    #[test]
    fn an_endless_failure_text_is_cut_and_arrives() {
        let (case, runner) = Channel::pair().unwrap();
        case.send(&Message::Verdict(Verdict::Fail("\u{1}ä".repeat(LONGEST)))).unwrap();
        let Some(Message::Verdict(Verdict::Fail(text))) = runner.receive().unwrap() else { panic!("no failure") };
        assert!(text.len() <= LONGEST && text.len() > LONGEST - 4, "{}", text.len());
    }
}
