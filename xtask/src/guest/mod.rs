//! Guests: what they are made of, how they are started, watched and ended.

pub mod accel;
pub mod console;
pub mod debian;
pub mod initramfs;
pub mod machine;
pub mod probe;
pub mod programs;
pub mod qemu;
pub mod qmp;
pub mod running;
pub mod snapshot;
