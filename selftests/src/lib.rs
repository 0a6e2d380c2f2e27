//! The loopfs test suite.

pub mod case;
pub mod cases;
