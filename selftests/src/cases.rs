//! Every case of the suite, a file for each subject of SPEC.md.
//!
//! A case names the lines of SPEC.md it covers, and the hazards (`H1`...) of the design that it
//! would catch; its doc comment quotes the line. The control group has the subject `host`.

mod backing_files;
mod capability;
mod clients;
mod control;
mod detached;
mod faults;
mod host;
mod limits;
mod lock_order;
mod mounting;
mod neighbours;
mod option_off;
mod orphans;
mod partitions;
mod rename;
mod shutdown;
mod storms;
mod tenant;
mod unlink;
mod visibility;

use crate::case::Case;

/// All cases, in the order they are listed and run.
pub fn all() -> Vec<Case> {
    [
        mounting::cases(),
        control::cases(),
        limits::cases(),
        unlink::cases(),
        rename::cases(),
        shutdown::cases(),
        orphans::cases(),
        detached::cases(),
        capability::cases(),
        visibility::cases(),
        backing_files::cases(),
        neighbours::cases(),
        partitions::cases(),
        tenant::cases(),
        storms::cases(),
        faults::cases(),
        lock_order::cases(),
        option_off::cases(),
        host::cases(),
        clients::cases(),
    ]
    .concat()
}
