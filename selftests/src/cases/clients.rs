//! R: real programs, unmodified, against the machine's loop devices and against an instance.
//!
//! A case is what a person types. It runs four times: on the host and in a container, with the stock loop driver and with
//! loopfs. Where they differ, `ci/clients/differences.toml` says why. A case whose name begins with that of a
//! project and a number is the command line of somebody for whom it failed.

mod images;
mod losetup;
mod recipes;
mod reports;
mod udev;

use anyhow::Result;

use crate::{
    case::{Case, Context, Need, Who},
    shell::Shell,
};

/// On the host and in a container, with either driver.
const EVERYWHERE: &[Who] = &[Who::Stock, Who::Root, Who::UsernsStock, Who::UsernsRoot];

pub(super) fn cases() -> Vec<Case> {
    [losetup::cases(), images::cases(), reports::cases(), recipes::cases(), udev::cases()].concat()
}

/// The case, run by Debian's programs and everywhere.
const fn client(case: Case) -> Case {
    case.only(EVERYWHERE).needing(&[Need::Clients, Need::Loopfs])
}

/// A shell, and the device that losetup, with `options` such as `-r`, binds a file of `size` to: `disk.img`.
fn bound<'case>(ctx: &'case Context, size: &str, options: &str) -> Result<(Shell<'case>, String)> {
    let shell = Shell::new(ctx)?;
    shell.run(&format!("truncate -s {size} disk.img"))?;
    let device = shell.run(&format!("losetup {options} -f --show disk.img"))?;
    Ok((shell, device))
}

/// Unbinds `device`.
fn detach(shell: &Shell<'_>, device: &str) -> Result<()> {
    shell.run(&format!("losetup -d {device}")).map(drop)
}
