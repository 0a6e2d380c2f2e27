//! Guests: what they are made of, how they are started, watched and ended.

pub mod accel;
pub mod console;
pub mod debian;
pub mod guest;
pub mod initramfs;
pub mod machine;
pub mod programs;
pub mod qemu;
pub mod qmp;
pub mod snapshot;
