//! The loopfs test suite: its cases, and the guest half of the harness that runs them.

pub mod backing;
pub mod block;
pub mod case;
pub mod cases;
pub mod cgroup;
pub mod expect;
pub mod ext2;
pub mod fs_context;
pub mod fsnotify;
pub mod fuse;
pub mod harness;
pub mod instance;
pub mod limit;
pub mod loop_control;
pub mod loop_device;
pub mod mount_info;
pub mod nodes;
pub mod privilege;
pub mod process;
pub mod swap;
pub mod tenant;
pub mod tour;
pub mod uapi;
pub mod uevent;
pub mod wait;
