//! What calls of the kernel cost: measured in guests that count instructions, shown as tables, and held against the
//! bounds of SPEC.md.

pub mod counted;
pub mod table;
