//! The library behind `cargo xtask`: gets a kernel, applies the series, builds, boots and tests it.

pub mod bench;
pub mod cache;
pub mod cli;
pub mod ctx;
pub mod error;
pub mod interrupt;
pub mod kconfig;
pub mod kernel;
pub mod ktap;
pub mod process;
pub mod progress;
pub mod series;
pub mod source;
pub mod splat;
pub mod suite;
pub mod task;
pub mod terminal;
pub mod toolchain;
pub mod vm;
