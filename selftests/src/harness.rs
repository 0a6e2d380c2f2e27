//! The guest half of the test harness: PID 1 of a guest, the runner that gives each case its own
//! processes and namespaces, and the checks for what a case leaves behind.

pub mod channel;
mod exec;
pub mod init;
pub mod isolate;
mod kmemleak;
mod kmsg;
mod ktap;
mod leaks;
pub mod listing;
mod network;
pub mod on_machine;
mod port;
mod probe;
pub(crate) mod root;
pub mod runner;
mod stacks;
