//! Those modules of the driver that need no kernel type, compiled here a second time so that
//! `cargo test` exercises them in milliseconds. Nothing of this crate goes into the kernel.
