//! SPEC M7, S1, C5: the instance that is mounted nowhere, as a program uses it to make a block device of a file.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, raise};

use crate::{
    backing::Backing,
    block, case,
    case::{Case, Context},
    detached::{Step, device_of},
    process, wait,
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["M7", "S1"], detached_device_is_gone_at_its_last_close),
        case!(["S1", "L3"], detached_device_is_gone_wherever_its_maker_is_killed),
        case!(["S1"], detached_device_lives_as_long_as_a_copy_of_its_descriptor),
    ]
}

/// M7: "Works the same through ... `fsopen`/`fsconfig`/`fsmount`, also when the mount is never attached."
fn detached_device_is_gone_at_its_last_close(ctx: &Context) -> Result<()> {
    let before = block::loop_devices()?;
    let backing = Backing::new(&ctx.dir.join("image"))?;
    let device = device_of(backing.file(), |_| ())?;
    let number = device.number()?;
    device.write_at(b"through a device without a name", 0)?;
    device.sync()?;
    ensure!(backing.read_at(31, 0)? == b"through a device without a name");
    drop(device);
    ensure!(!block::exists(number), "loop{number} outlives its last close");
    ensure!(block::loop_devices()? == before);
    Ok(())
}

/// S1: "When the last user of the superblock goes (... close of a detached mount's descriptor), every device ... is
/// gone from `/sys/block`".
fn detached_device_is_gone_wherever_its_maker_is_killed(ctx: &Context) -> Result<()> {
    let before = block::loop_devices()?;
    let backing = Backing::new(&ctx.dir.join("image"))?;
    for step in Step::ALL {
        let maker = process::start(|| {
            device_of(backing.file(), |reached| {
                if reached == step {
                    // Nothing comes after it.
                    let _ = raise(Signal::SIGKILL);
                }
            })?;
            Ok(())
        })?;
        maker.killed_itself().with_context(|| format!("the maker was not killed at {step:?}"))?;
        let left = || -> Result<BTreeSet<u32>> { Ok(block::loop_devices()?.difference(&before).copied().collect()) };
        wait::until(&format!("the end of what a maker killed at {step:?} left"), || Ok(left()?.is_empty()))?;
    }
    Ok(())
}

/// The descriptor is all there is: who has a copy of it has the device.
fn detached_device_lives_as_long_as_a_copy_of_its_descriptor(ctx: &Context) -> Result<()> {
    let backing = Backing::new(&ctx.dir.join("image"))?;
    let device = device_of(backing.file(), |_| ())?;
    let number = device.number()?;
    // A child inherits it.
    let holder = process::hold(|| Ok(()))?;
    drop(device);
    ensure!(block::exists(number), "loop{number} is gone although somebody has it");
    holder.kill()?;
    wait::until("the end of the device with its last holder", || Ok(!block::exists(number)))
}
