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

use crate::case::{Case, Need, Who};

/// On the host and in a container, with either driver.
const EVERYWHERE: &[Who] = &[Who::Stock, Who::Root, Who::UsernsStock, Who::UsernsRoot];

pub(super) fn cases() -> Vec<Case> {
    [losetup::cases(), images::cases(), reports::cases(), recipes::cases(), udev::cases()].concat()
}

/// The case, run by Debian's programs and everywhere.
const fn client(case: Case) -> Case {
    case.only(EVERYWHERE).needing(&[Need::Clients, Need::Loopfs])
}
