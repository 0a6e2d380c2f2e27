//! The test suite, seen from the host: which cases run, in which guests, and how each ended.

pub mod binary;
pub mod comparison;
pub mod deadline;
pub mod drive;
pub mod json;
pub mod junit;
pub mod kselftest;
pub mod ktap;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod schedule;
pub mod session;
pub mod splat;
pub mod terminal;
