//! The series tools on tiny kernels: every repository, clone and cache here has a space in its path.

mod apply;
mod bad_patches;
mod check;
mod export;
mod lab;
mod mail;
mod mutants;
mod odd_git;
mod refresh;
mod round_trip;
#[path = "../acquire/scene.rs"]
#[expect(dead_code, reason = "half of it is for tests of the toolchain")]
mod scene;
mod tree;
mod verify;
