//! SPEC T5: whatever a tenant does with its devices, SIGKILL ends it.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{errno::Errno, fcntl::OFlag};

use super::super::host::Host;
use crate::{
    aligned::Aligned,
    backing::{self, Backing},
    block, case,
    case::{Case, Context, Need, Who},
    loop_device::LoopDevice,
    mapping::{self, Mapping},
    process::{self, Started},
    wait,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["T5", "S5"], block_size_is_changed_beside_zeroing_without_a_deadlock)
            .needing(&[Need::Loopfs, Need::Smp])
            .only(&[Who::Root])
            .patient(4),
        Case::new("host_block_size_is_changed_beside_zeroing_without_a_deadlock", &["host", "S5"], host_deadlock)
            .needing(&[Need::Loop, Need::Smp])
            .only(&[Who::Root])
            .patient(4),
        case!(["T5"], device_that_is_written_from_its_own_mapping_dies_with_its_tenant)
            .needing(&[Need::Loopfs, Need::Smp])
            .only(&[Who::Root])
            .patient(6),
    ]
}

/// How long what was killed may take to go, on a slow machine.
const DEATH: Duration = Duration::from_secs(10);

/// T5, and S5: "No order of ... deadlocks". Zeroing that the file cannot do makes the driver change the limits of the queue while
/// a request is worked on; a change of the block size holds their lock while it waits for the requests.
fn block_size_is_changed_beside_zeroing_without_a_deadlock(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    let number = tenant.run(|| Ok(instance.add_bound(&Backing::with_size(&path, 16 * backing::SIZE)?)?))?;
    let node = instance.node(number);
    expect_no_deadlock(tenant.start(move || zero_and_change(&node))?)?;
    tenant.kill()?;
    block::wait_until_gone(number)
}

/// The same on a device of the host.
fn host_deadlock(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (_, node) = host.fresh()?;
    let backing = Backing::with_size(&ctx.dir.join("file"), 16 * backing::SIZE)?;
    LoopDevice::open(&node)?.set_fd(&backing)?;
    let device = node.clone();
    expect_no_deadlock(process::start(move || zero_and_change(&device))?)?;
    LoopDevice::open(&node)?.clear()?;
    Ok(())
}

/// How often the block size changes: without the fault it takes a few seconds, with it the first ones are enough.
const CHANGES: u32 = 60;

fn expect_no_deadlock(work: Started<(u32, u32)>) -> Result<()> {
    if !work.ends_within(Duration::from_secs(20))? {
        let died = work.dies_within(DEATH)?;
        anyhow::bail!("no end of {CHANGES} changes of the block size; SIGKILL ends them: {died}");
    }
    let (changes, zeroings) = work.join()?;
    ensure!(changes >= CHANGES && zeroings > 0, "{changes} changes beside {zeroings} zeroings: nothing has met");
    Ok(())
}

/// Changes the block size, beside threads that zero and write; tells how often each was done.
fn zero_and_change(node: &Path) -> Result<(u32, u32)> {
    let (stop, zeroings) = (AtomicBool::new(false), AtomicU32::new(0));
    let device = LoopDevice::open(node)?;
    thread::scope(|scope| {
        for at in 0..2 {
            let (stop, zeroings) = (&stop, &zeroings);
            let zeroing = LoopDevice::open(node)?;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // It may be told to come again while the size changes.
                    if zeroing.zero_out(at << 20, 1 << 20).is_ok() {
                        zeroings.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            // What keeps the worker busy, so that zeroing waits in its queue.
            let direct = LoopDevice::open_with(node, OFlag::O_RDWR | OFlag::O_DIRECT)?;
            scope.spawn(move || {
                let page = Aligned::new(256 * 1024);
                while !stop.load(Ordering::Relaxed) {
                    let _ = direct.write_at(page.bytes(), (8 + at) << 20);
                }
            });
        }
        let mut changes = 0;
        let until = Instant::now() + Duration::from_secs(18);
        while (changes < CHANGES || zeroings.load(Ordering::Relaxed) == 0) && Instant::now() < until {
            match device.set_block_size(if changes % 2 == 0 { 4096 } else { 512 }) {
                Ok(()) => changes += 1,
                Err(Errno::EBUSY) => thread::yield_now(),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error).context("LOOP_SET_BLOCK_SIZE");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        Ok((changes, zeroings.load(Ordering::Relaxed)))
    })
}

/// Threads enough to use all tags of a device.
const WRITERS: usize = 200;

/// How many requests are in flight, at least, where all tags of a device are in use.
const TAGS: u64 = 32;

/// T5: "No sequence of calls on a tenant's own devices". A write to the backing file holds its lock while it faults in a page that
/// only the device can give, which waits for that lock with all its requests.
fn device_that_is_written_from_its_own_mapping_dies_with_its_tenant(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    let number = tenant.run(|| Ok(instance.add_bound(&Backing::with_size(&path, 64 * backing::SIZE)?)?))?;
    // A request that waits behind a stuck one for longer than this fails.
    let timeout = block::set_io_timeout(number, 3000);
    let node = instance.node(number);
    let knot = tenant.start(move || tie(&node, &path))?;

    let mut seen = (0, Instant::now());
    // Two hundred threads have to meet, on a machine that may be busy.
    let tied = wait::until_within(Duration::from_secs(25), "the device to wait for itself", || {
        let completed = block::completed(number)?;
        if completed != seen.0 || block::in_flight(number)? < TAGS {
            seen = (completed, Instant::now());
        }
        Ok(seen.1.elapsed() > Duration::from_millis(800))
    });
    let died = knot.dies_within(DEATH)?;
    ensure!(died, "the tenant's process is not ended by SIGKILL; {tied:?}");
    tenant.kill()?;
    let until = Instant::now() + DEATH;
    while block::exists(number) {
        ensure!(Instant::now() < until, "the device is there {DEATH:?} after the death of its tenant");
        thread::sleep(Duration::from_millis(20));
    }
    timeout?;
    tied
}

/// Ties the knot again and again until this process is killed.
fn tie(node: &Path, path: &Path) -> Result<()> {
    let file = std::fs::File::options().read(true).write(true).open(path)?;
    thread::scope(|scope| {
        for at in 0..WRITERS {
            let direct = LoopDevice::open_with(node, OFlag::O_RDWR | OFlag::O_DIRECT)?;
            let writer = thread::Builder::new().stack_size(64 * 1024);
            writer.spawn_scoped(scope, move || {
                let page = Aligned::new(4096);
                loop {
                    let _ = direct.write_at(page.bytes(), at as u64 * 4096);
                }
            })?;
        }
        // The lock is held while this much is copied, and the writers queue up.
        let much = Mapping::anonymous(8 << 20)?;
        much.fill(1);
        let device = LoopDevice::open(node)?;
        for megabyte in (16..64).cycle() {
            let page = Mapping::shared(&device, 4096, megabyte << 20)?;
            // Where the device fails the request, so does the write.
            let _ = mapping::write_to(&[&much, &page], &file, 2 << 20);
            let _ = device.flush_buffers();
        }
        Ok(())
    })
}
