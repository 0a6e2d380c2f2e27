//! The library behind `cargo xtask`: gets a kernel, applies the series, builds, boots and tests it.
//!
//! The modules stand on floors, the lowest last; a module uses only what is below it, which `tests/layering.rs` holds.
//! `ARCHITECTURE.md` describes them.

pub mod cli;

pub mod task;

pub mod bench;
pub mod mail;
pub mod verify;

pub mod prepare;

pub mod series;
pub mod suite;

pub mod guest;
pub mod kernel;
pub mod source;

pub mod toolchain;

pub mod cache;
pub mod git;

pub mod process;

pub mod interrupt;
pub mod progress;

pub mod ctx;
pub mod error;
pub mod gate;
pub mod reason;
