//! Those modules of the driver that need no kernel type, compiled here a second time so that
//! `cargo test` exercises them in milliseconds. Nothing of this crate goes into the kernel.

// The driver calls what the tests do not.
#![allow(dead_code)]
// The kernel's own switch for the tests in these modules.
#![allow(unexpected_cfgs)]

#[path = "../../loopfs/limit.rs"]
pub(crate) mod limit;
#[path = "../../loopfs/name.rs"]
pub(crate) mod name;

#[cfg(test)]
mod properties;
