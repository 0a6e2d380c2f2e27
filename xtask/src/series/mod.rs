//! The patch series: `patches/` and `rust/` as files, as commits on a base, and as mail.
//!
//! `patches/` is what ships, `rust/` a second view of the Rust files it adds ([`mapping`]), kept equal to it byte for
//! byte. Commits made from the patches are reproducible: the same files give the same commit ids on every machine.

pub mod apply;
pub mod bases;
pub mod changes;
pub mod check;
pub mod checkpatch;
pub mod cover_lines;
pub mod edits;
pub mod evidence;
pub mod export;
pub mod fold;
pub mod folder;
pub mod git;
pub mod import;
pub mod mail;
pub mod mapping;
pub mod option;
pub mod patch;
pub mod refresh;
pub mod scratch;
pub mod status;
pub mod tree;
pub mod verify;
