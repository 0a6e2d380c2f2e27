//! The uevents a listener of the host gets.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
    },
};

use crate::uapi::LOOP_MAJOR;

/// The multicast group the kernel itself sends to; group 2 is udev's.
const KERNEL: u32 = 1;

/// A listener for the uevents of the current network namespace.
pub struct UeventListener {
    socket: OwnedFd,
}

impl UeventListener {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// When there is no such socket.
    pub fn new() -> Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkKObjectUEvent,
        )
        .context("no uevent socket")?;
        setsockopt(&socket, sockopt::RcvBuf, &(1 << 20))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL)).context("cannot join the uevent group")?;
        Ok(Self { socket })
    }

    /// All events so far that the kernel sent and nobody has taken, each as `ACTION@DEVPATH`.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or some were lost.
    pub fn take(&self) -> Result<Vec<String>> {
        let mut events = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    let header = buffer[..length].split(|&byte| byte == 0).next().unwrap_or_default();
                    events.push(String::from_utf8_lossy(header).into_owned());
                }
                Err(Errno::EAGAIN) => return Ok(events),
                Err(error) => return Err(error).context("cannot read uevents"),
            }
        }
    }
}

/// Those of `events` that are about loop device `number`: the disk itself, or what else is called
/// by its device number. Its `bdi` is left out: that of every mount of FUSE is announced, too, and says no more than
/// that there is a device with this number.
pub fn about(events: &[String], number: u32) -> Vec<String> {
    let names = [format!("loop{number}"), format!("{LOOP_MAJOR}:{number}")];
    let named = |event: &&String| event.split('/').any(|part| names.iter().any(|name| name == part));
    let of_bdi = |event: &&String| event.contains("/bdi/");
    events.iter().filter(|event| named(event) && !of_bdi(event)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn events_of_another_device_and_of_a_bdi_are_left_out() {
        let events = ["add@/devices/virtual/block/loop1", "change@/devices/virtual/block/loop1"].map(str::to_owned);
        let others = ["add@/devices/virtual/block/loop12", "add@/devices/virtual/bdi/7:1"].map(str::to_owned);
        assert_eq!(about(&[&events[..], &others[..]].concat(), 1), events);
    }
}
