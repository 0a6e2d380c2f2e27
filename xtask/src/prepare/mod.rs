//! From the repository to what a guest boots: the kernel with the series, its self-test, and a guest's parts.

pub mod guest;
pub mod patched_kernel;
pub mod selftest;
