//! Runs a command with a block device made of a file, as its descriptor 3. The device is gone when the command is.
//!
//! For example, as root of a user namespace, without a single node in `/dev`:
//!
//!     truncate -s 64M disk.img
//!     unshare --user --map-root-user --mount detached disk.img mkfs.ext4 /dev/fd/3

use std::{
    env,
    fs::File,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    process::Command,
};

use anyhow::{Context as _, Result};
use loopfs_selftests::detached;

fn main() -> Result<()> {
    let mut words = env::args_os().skip(1);
    let path = words.next().context("usage: detached FILE COMMAND [ARGUMENT...]")?;
    let program = words.next().context("usage: detached FILE COMMAND [ARGUMENT...]")?;

    let image = File::options().read(true).write(true).open(&path).with_context(|| format!("cannot open {path:?}"))?;
    let device = detached::device_of(&image, |_| ()).with_context(|| format!("no device can be made of {path:?}"))?;
    drop(image);

    // A duplicate does not close on exec. From here on it is the command's, and the command's alone.
    // SAFETY: Descriptor 3 belongs to nothing in this program that is used after this.
    if unsafe { libc::dup2(device.file().as_raw_fd(), 3) } < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot make the device descriptor 3");
    }
    Err(Command::new(&program).args(words).exec()).with_context(|| format!("cannot run {program:?}"))
}
