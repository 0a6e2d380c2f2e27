//! SPEC S5: no deadlock, because locks are taken in one order. It is written down in
//! `drivers/block/loopfs/private.c`, and lockdep has seen each step of it.

use anyhow::{Result, ensure};
use nix::{mount::MsFlags, unistd::unlink};

use super::host::Host;
use crate::{
    backing::Backing,
    case,
    case::{Case, Context, Need, Who},
    instance::Instance,
    lock_order,
    lockdep::Dependencies,
    loop_device::LoopDevice,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["S5", "H2", "H4", "H5"], locks_are_taken_in_the_order_that_is_written_down)
            .only(&[Who::Root])
            .needing(&[Need::Loopfs, Need::Loop, Need::Lockdep]),
    ]
}

/// Each act of the comment, and then what lockdep makes of it and of all that ran before.
fn locks_are_taken_in_the_order_that_is_written_down(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    instance.remount(MsFlags::empty(), "max=5")?;
    unlink(&instance.node(instance.add()?))?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    instance.open(instance.add_bound(&backing)?)?.clear()?;
    let bound = instance.add_bound(&backing)?;

    let host = Host::new(ctx)?;
    let top = LoopDevice::open(format!("/dev/loop{}", host.control().add_any()?).as_ref())?;
    top.set_fd(&instance.open(bound)?)?;
    top.clear()?;
    drop(top);
    instance.umount()?;

    let differences = lock_order::differences(&Dependencies::read()?);
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}
