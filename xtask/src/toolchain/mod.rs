//! The programs and libraries a kernel build and a guest need: found, checked, installed.

pub mod sources;
