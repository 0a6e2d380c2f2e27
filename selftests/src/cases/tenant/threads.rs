//! SPEC T9: how many threads of the kernel a tenant can occupy.

use std::{
    io::{Read as _, Write as _, pipe},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::OFlag;

use crate::{
    aligned::Aligned,
    backing::{self, Backing},
    block, case,
    case::{Case, Context, Need, Who},
    cgroup::Cgroup,
    kernel_threads,
    loop_device::LoopDevice,
    stalled::{Cause, Load, Stalled},
    wait,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(["T9"], cgroups_with_io_on_a_stalled_device_occupy_few_threads).needing(&[
            Need::Loopfs,
            Need::Fuse,
            Need::Memcg,
            Need::IoController,
        ]),
        case!(["T9"], bound_devices_keep_few_threads),
    ];
    cases.into_iter().map(|case| case.only(&[Who::Root]).patient(3)).collect()
}

/// Cgroups of one tenant, each with a request of its own.
const GROUPS: u64 = 32;

/// How many threads may come to work for one device, and for what else the guest does meanwhile.
const FOR_A_DEVICE: usize = 12;

/// T9: "Kernel threads, workqueues ... are bounded by a small constant for each device". A thread for each cgroup is none, as a tenant
/// to which cgroups are delegated makes as many as it likes.
fn cgroups_with_io_on_a_stalled_device_occupy_few_threads(ctx: &Context) -> Result<()> {
    let groups = (0..GROUPS)
        .map(|number| Cgroup::new(&format!("loopfs-group{number}"), &["memory", "io"]))
        .collect::<Result<Vec<_>>>()?;
    let stalled = Stalled::of_tenant(ctx, Cause::FusePage, Load::Direct)?;
    let before = kernel_threads::names()?;
    let (mut go, mut signal) = pipe()?;
    let mut writers = Vec::new();
    for (number, group) in (0..).zip(&groups) {
        let writer = stalled.start(|| {
            go.read_exact(&mut [0])?;
            let device = LoopDevice::open_with(stalled.node(), OFlag::O_RDWR | OFlag::O_DIRECT)?;
            Ok(device.write_at(Aligned::new(4096).bytes(), (64 + number) * 8192)?)
        })?;
        group.set("cgroup.procs", &writer.pid().to_string())?;
        writers.push(writer);
    }
    signal.write_all(&vec![0; usize::try_from(GROUPS)?])?;
    let in_flight =
        wait::until("each cgroup to have a request in flight", || Ok(block::in_flight(stalled.number())? > GROUPS));
    std::thread::sleep(Duration::from_millis(500));
    let after = kernel_threads::names()?;
    let in_place = stalled.expect_in_place();
    let released = stalled.release(Duration::from_secs(15));
    for writer in writers {
        ensure!(writer.ends_within(Duration::from_secs(10))?, "a write does not end when it can");
        drop(writer);
    }
    in_flight?;
    in_place?;
    released?;
    let more = after.len().saturating_sub(before.len());
    ensure!(more <= FOR_A_DEVICE, "{GROUPS} cgroups with I/O on one device occupy {more} more threads: {after:?}");
    Ok(())
}

/// T9: "for each device or instance", also where nothing is stalled: what a device keeps, a tenant has 255 times.
fn bound_devices_keep_few_threads(ctx: &Context) -> Result<()> {
    const DEVICES: usize = 64;
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    let before = kernel_threads::names()?.len();
    let held = tenant.hold(|| {
        let backing = Backing::new(&path)?;
        (0..DEVICES)
            .map(|at| {
                let device = instance.open(instance.add_bound(&backing)?)?;
                device.write_at(&[1; 4096], at as u64 * 4096 % backing::SIZE)?;
                device.sync()?;
                Ok(device)
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let after = kernel_threads::names()?.len();
    held.release().context("the devices do not go")?;
    let more = after.saturating_sub(before);
    ensure!(more <= DEVICES / 2, "{DEVICES} bound devices keep {more} threads");
    Ok(())
}
