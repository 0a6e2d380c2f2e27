//! The library behind `cargo xtask`: gets a kernel, applies the series, builds, boots and tests it.

pub mod ctx;
pub mod error;
pub mod interrupt;
pub mod process;
pub mod progress;
pub mod series;
pub mod task;
