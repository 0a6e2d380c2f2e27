//! SPEC S5, "memory failure": each allocation of each call fails once. The call then fails with
//! ENOMEM or does without, and leaves nothing behind (HISTORY 1.6 b, e, l).

use std::{
    cell::RefCell,
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{errno::Errno, sys::stat::fstat, unistd::unlink};

use crate::{
    backing::Backing,
    block, case,
    case::{Case, Context, Need, Who},
    fault::FailNth,
    fs_context::FsContext,
    instance::Instance,
    uapi::{LoopConfig, LoopInfo64},
    wait,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    [
        case!(["S5"], mount_without_memory_leaves_nothing),
        case!(["S5", "L3", "C1"], add_without_memory_leaves_nothing),
        case!(["S5", "N5"], binding_without_memory_leaves_the_device_as_it_was),
        case!(["S5", "C1"], removal_without_memory_is_whole_or_refused),
        case!(["S5", "U1"], unlink_without_memory_is_whole_or_refused),
        case!(["S5", "U2"], rename_without_memory_keeps_the_device),
        case!(["S5", "S1"], umount_without_memory_is_whole_or_refused),
    ]
    .into_iter()
    .map(|case| case.only(&[Who::Root]).needing(&[Need::Loopfs, Need::FaultInjection]).patient(6))
    .collect()
}

/// More allocations than any of the calls makes; so many must end in one without a failure.
const MOST: u32 = 3000;

/// Does `act` again and again, with another allocation failing each time, until it comes through
/// without any failing. `check` gets each outcome.
fn with_each_failure<T>(
    mut act: impl FnMut() -> nix::Result<T>,
    mut check: impl FnMut(nix::Result<T>) -> Result<()>,
) -> Result<()> {
    let faults = FailNth::new()?;
    for nth in 1..MOST {
        let (outcome, failed) = faults.run(nth, &mut act)?;
        let outcome = match outcome {
            Err(Errno::ENOMEM) if !failed => bail!("ENOMEM although no allocation failed"),
            outcome => outcome,
        };
        let succeeded = outcome.is_ok();
        check(outcome).with_context(|| format!("after allocation {nth} failed"))?;
        if !failed {
            ensure!(succeeded, "the call fails although no allocation does");
            ensure!(nth > 1, "the call allocates nothing, or nothing was made to fail");
            println!("{} allocations", nth - 1);
            return Ok(());
        }
    }
    bail!("there is no end to the allocations")
}

/// Takes ENOMEM for an answer, and no other error.
fn or_enomem<T>(outcome: nix::Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOMEM) => Ok(None),
        Err(error) => Err(error).context("neither success nor ENOMEM"),
    }
}

/// As [`or_enomem`], for ADD: add_disk() makes EINVAL of it where there is no memory for the name of the device, as it
/// does not look at what dev_set_name() returns.
fn added_or_enomem(outcome: nix::Result<u32>) -> Result<Option<u32>> {
    if outcome == Err(Errno::EINVAL) { Ok(None) } else { or_enomem(outcome) }
}

fn mount_without_memory_leaves_nothing(_: &Context) -> Result<()> {
    let before = block::loop_devices()?;
    let mount = || -> nix::Result<OwnedFd> {
        let context = FsContext::open(c"loop")?;
        context.set("max", "3")?;
        context.create()?;
        context.mount()
    };
    // A superblock holds a device number, and a new one gets the lowest that nothing holds.
    let number = || -> nix::Result<u64> { Ok(fstat(mount()?)?.st_dev) };
    let first = number()?;
    with_each_failure(mount, |outcome| {
        drop(or_enomem(outcome)?);
        ensure!(block::loop_devices()? == before);
        Ok(())
    })?;
    wait::until("the end of what the failed mounts left", || Ok(number()? == first))
}

fn add_without_memory_leaves_nothing(ctx: &Context) -> Result<()> {
    let instance = Instance::new_with(ctx, "loopfs", "max=1")?;
    let control = instance.control()?;
    let number = block::unused_number(0)?;
    with_each_failure(
        || control.add_number(number),
        |outcome| {
            // With max=1 and always the same number, whatever a failed ADD left would stop the next.
            match added_or_enomem(outcome)? {
                Some(made) => {
                    instance.open(made)?;
                    Ok(control.remove(made)?)
                }
                None => {
                    ensure!(!block::exists(number), "a failed ADD leaves a disk");
                    instance.expect_devices(&[])
                }
            }
        },
    )
}

fn binding_without_memory_leaves_the_device_as_it_was(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let number = instance.add()?;
    let config = LoopConfig { block_size: 4096, ..LoopConfig::new(backing.file().as_raw_fd(), LoopInfo64::ZERO) };
    with_each_failure(
        || {
            let device = instance.open(number)?;
            device.configure(&config)?;
            Ok(device)
        },
        |outcome| match or_enomem(outcome)? {
            Some(device) => Ok(device.clear()?),
            None => {
                let status = instance.open(number)?.status();
                ensure!(status.err() == Some(Errno::ENXIO), "a failed binding leaves the device bound");
                Ok(())
            }
        },
    )
}

fn removal_without_memory_is_whole_or_refused(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let number = block::unused_number(0)?;
    control.add_number(number)?;
    with_each_failure(
        || control.remove(number),
        |outcome| {
            if or_enomem(outcome)?.is_some() {
                ensure!(!block::exists(number));
                control.add_number(number).context("the number is not free")?;
            } else {
                instance.expect_devices(&[number])?;
                instance.open(number)?;
            }
            Ok(())
        },
    )
}

fn unlink_without_memory_is_whole_or_refused(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let control = instance.control()?;
    let number = block::unused_number(0)?;
    control.add_number(number)?;
    let node = instance.node(number);
    with_each_failure(
        || unlink(&node),
        |outcome| {
            if or_enomem(outcome)?.is_some() {
                ensure!(!block::exists(number));
                control.add_number(number).context("the number is not free")?;
            }
            instance.open(number)?;
            Ok(())
        },
    )
}

fn rename_without_memory_keeps_the_device(ctx: &Context) -> Result<()> {
    let instance = Instance::new(ctx, "loopfs")?;
    let number = instance.add()?;
    let (own, other) = (instance.node(number), instance.path("renamed"));
    let rename =
        |from, to| fs::rename(from, to).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()));
    with_each_failure(
        || rename(&own, &other),
        |outcome| {
            if or_enomem(outcome)?.is_some() {
                rename(&other, &own)?;
            }
            instance.expect_devices(&[number])
        },
    )
}

fn umount_without_memory_is_whole_or_refused(ctx: &Context) -> Result<()> {
    let dir = ctx.dir.join("loopfs");
    fs::create_dir(&dir)?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let before = block::loop_devices()?;
    let mounted = || -> nix::Result<Instance> {
        let instance = Instance::mount(&dir)?;
        instance.add_bound(&backing)?;
        instance.add()?;
        Ok(instance)
    };
    let instance = RefCell::new(mounted()?);
    with_each_failure(
        || instance.borrow().umount(),
        |outcome| {
            if or_enomem(outcome)?.is_some() {
                ensure!(block::loop_devices()? == before, "a shutdown without memory leaves devices");
                instance.replace(mounted()?);
            }
            ensure!(block::loop_devices()?.len() == before.len() + 2, "a refused umount takes devices away");
            Ok(())
        },
    )
}
