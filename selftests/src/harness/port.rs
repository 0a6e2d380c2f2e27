//! The virtio-serial ports that lead to the host.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::PathBuf,
    time::Duration,
};

/// Opens the port the host named `name`.
///
/// # Errors
///
/// `NotFound` when this machine has no such port, and whatever opening its device says.
pub(super) fn open(name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(device(name)?)
}

fn device(name: &str) -> io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        // A port without a name has no such file.
        let found = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if found.trim_end() == name {
            return Ok(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no virtio-serial port {name}")))
}

/// Reads from a port, past the moments in which the host is not connected.
///
/// Such a port reads as ended; it is not, while the machine runs.
#[derive(Debug)]
pub(super) struct Patient(pub File);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Ok(0) => std::thread::sleep(Duration::from_millis(5)),
                other => return other,
            }
        }
    }
}
