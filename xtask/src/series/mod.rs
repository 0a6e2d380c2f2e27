//! The patch series: `patches/` and `rust/` as files, as commits on a base, and as mail.
//!
//! `patches/` is what ships, `rust/` a second view of the Rust files it adds ([`mirror`]), kept equal to it byte for
//! byte. Commits made from the patches are reproducible: the same files give the same commit ids on every machine.

pub mod apply;
pub mod check;
pub mod checkpatch;
pub mod commit_files;
pub mod cover_lines;
pub mod edits;
pub mod export;
pub mod fixups;
pub mod folder;
pub mod groups;
pub mod import;
pub mod mirror;
pub mod other_bases;
pub mod patch;
pub mod rebase;
pub mod refresh;
pub mod scratch;
pub mod status;
pub mod tree;
