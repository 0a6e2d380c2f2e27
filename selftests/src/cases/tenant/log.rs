//! SPEC T7: what a tenant makes the kernel print.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::OFlag;

use super::super::host::Host;
use crate::{
    aligned::Aligned,
    backing::{self, Backing},
    case,
    case::{Case, Context, Need, Who},
    kernel_log::{KernelLog, Printed},
    loop_device::LoopDevice,
    tenant::Tenant,
    uapi::{LoopConfig, LoopInfo64},
};
use std::os::fd::AsRawFd as _;

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(["T7"], refused_configuration_fills_no_log),
        case!(["T7"], refused_status_fills_no_log),
        case!(["T7"], refused_block_size_fills_no_log),
        case!(["T7"], failing_io_fills_no_log),
        case!(["T7"], writing_to_a_device_set_read_only_fills_no_log),
        case!(["T7"], shrinking_a_device_with_dirty_pages_fills_no_log),
        case!(["T7"], message_about_a_device_of_the_host_is_not_lost_beside_failing_io_of_a_tenant)
            .needing(&[Need::Loopfs, Need::Loop]),
        Case::new("host_refused_configuration_fills_no_log", &["host", "T7"], host_refused).needing(&[Need::Loop]),
    ];
    cases.into_iter().map(|case| case.only(&[Who::Root]).patient(2)).collect()
}

/// How long a tenant does its worst.
const SPELL: Duration = Duration::from_secs(2);

/// How many messages a second it may get printed.
const RATE: u64 = 100;

/// What a `LO_CRYPT_XOR` and a `LO_CRYPT_CRYPTOAPI` of old were.
const CIPHERS: [u32; 2] = [1, 18];

/// How often it does that at least, however slow the machine is.
const TIMES: u64 = 20;

/// Does `act` over and over for a [`SPELL`] and for [`TIMES`] times, and returns how often it was done.
fn again_and_again(mut act: impl FnMut(u64) -> Result<()>) -> Result<u64> {
    let until = Instant::now() + SPELL;
    let mut times = 0;
    while Instant::now() < until || times < TIMES {
        act(times)?;
        times += 1;
    }
    Ok(times)
}

fn expect_few(printed: &Printed, times: u64) -> Result<()> {
    ensure!(times >= TIMES, "the tenant did its worst only {times} times");
    let most = RATE * SPELL.as_secs();
    let first = printed.messages.first();
    ensure!(printed.count <= most, "{} messages in {SPELL:?}, such as {first:?}", printed.count);
    Ok(())
}

/// Runs `worst` in `tenant` and requires the kernel to print little.
fn expect_quiet(tenant: &Tenant, worst: impl FnOnce() -> Result<u64>) -> Result<()> {
    let mut log = KernelLog::new()?;
    let times = tenant.run(worst)?;
    expect_few(&log.take()?, times)
}

fn refused(device: &LoopDevice, backing: &Backing) -> Result<u64> {
    again_and_again(|time| {
        for lo_encrypt_type in CIPHERS {
            let info = LoopInfo64 { lo_encrypt_type, ..LoopInfo64::ZERO };
            let configured = device.configure(&LoopConfig::new(backing.file().as_raw_fd(), info));
            ensure!(configured.is_err(), "a device was encrypted at time {time}");
        }
        Ok(())
    })
}

/// T7: "at most 100 lines a second whatever it does". Ciphers that the driver had once.
fn refused_configuration_fills_no_log(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    expect_quiet(&tenant, || refused(&instance.open(instance.add()?)?, &Backing::new(&path)?))
}

/// The fault of the stock driver behind it.
fn host_refused(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (_, node) = host.fresh()?;
    let mut log = KernelLog::new()?;
    let times = refused(&LoopDevice::open(&node)?, &host.backing("file")?)?;
    expect_few(&log.take()?, times)
}

/// T7, by block sizes that no device can have.
fn refused_block_size_fills_no_log(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    expect_quiet(&tenant, || {
        let device = instance.open(instance.add_bound(&Backing::new(&path)?)?)?;
        again_and_again(|time| {
            for bytes in [513, 256, 1 << 20] {
                ensure!(device.set_block_size(bytes).is_err(), "a device has blocks of {bytes} bytes at time {time}");
            }
            Ok(())
        })
    })
}

/// T7, by LOOP_SET_STATUS64 on a device that is bound.
fn refused_status_fills_no_log(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    expect_quiet(&tenant, || {
        let device = instance.open(instance.add_bound(&Backing::new(&path)?)?)?;
        again_and_again(|_| {
            for lo_encrypt_type in CIPHERS {
                let _ = device.set_status(&LoopInfo64 { lo_encrypt_type, ..LoopInfo64::ZERO });
            }
            Ok(())
        })
    })
}

/// A device whose file has shrunk to nothing: all reads fail.
fn broken(device: &LoopDevice, backing: &Backing) -> Result<()> {
    device.set_fd(backing)?;
    Ok(backing.file().set_len(0)?)
}

fn read_direct(node: &std::path::Path) -> Result<impl FnMut() -> bool + use<>> {
    let direct = std::fs::File::from(std::os::fd::OwnedFd::from(LoopDevice::open_with(
        node,
        OFlag::O_RDONLY | OFlag::O_DIRECT,
    )?));
    let mut page = Aligned::new(4096);
    Ok(move || {
        use std::os::unix::fs::FileExt as _;
        direct.read_exact_at(page.bytes_mut(), 0).is_ok()
    })
}

/// T7: I/O errors, of reads, of writes, of pages.
fn failing_io_fills_no_log(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    expect_quiet(&tenant, || {
        let backing = Backing::new(&path)?;
        let number = instance.add()?;
        let device = instance.open(number)?;
        broken(&device, &backing)?;
        let mut read = read_direct(&instance.node(number))?;
        again_and_again(|_| {
            ensure!(!read(), "a read beyond the end of the file works");
            ensure!(device.read_at(4096, 65536).is_err(), "a page beyond the end of the file can be had");
            Ok(())
        })
    })
}

/// T7: a page that was dirty before the device was set read-only. On a fresh device each time, as the kernel warns once for each.
fn writing_to_a_device_set_read_only_fills_no_log(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    expect_quiet(&tenant, || {
        let backing = Backing::new(&path)?;
        let control = instance.control()?;
        again_and_again(|_| {
            let number = control.add_any()?;
            let device = instance.open(number)?;
            device.set_fd(&backing)?;
            device.write_at(&[1; 4096], 0)?;
            device.set_read_only(true).context("BLKROSET by the owner")?;
            // Both tell of what could not be written.
            let _ = (device.sync(), device.clear());
            drop(device);
            Ok(control.remove(number)?)
        })
    })
}

/// T7: pages beyond an end that has moved.
fn shrinking_a_device_with_dirty_pages_fills_no_log(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let path = tenant.dir().join("file");
    expect_quiet(&tenant, || {
        let device = instance.open(instance.add_bound(&Backing::new(&path)?)?)?;
        again_and_again(|_| {
            for at in 0..16 {
                device.write_at(&[1; 4096], backing::SIZE - (at + 1) * 4096)?;
            }
            device.set_status(&LoopInfo64 { lo_sizelimit: 65536, ..LoopInfo64::ZERO })?;
            let _ = device.sync();
            let _ = device.read_at(4096, backing::SIZE - 4096);
            Ok(device.set_status(&LoopInfo64::ZERO)?)
        })
    })
}

/// T7: "and others' messages are not lost." The kernel's limit for messages about I/O errors is one for all devices.
fn message_about_a_device_of_the_host_is_not_lost_beside_failing_io_of_a_tenant(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let host = Host::new(ctx)?;
    let (ours, node) = host.fresh()?;
    let backing = host.backing("file")?;
    broken(&LoopDevice::open(&node)?, &backing)?;
    let path = tenant.dir().join("file");
    let number = tenant.run(|| {
        let number = instance.add()?;
        broken(&instance.open(number)?, &Backing::new(&path)?)?;
        Ok(number)
    })?;
    let theirs = instance.node(number);

    let mut log = KernelLog::new()?;
    let flood = tenant.start(move || {
        let mut read = read_direct(&theirs)?;
        again_and_again(|_| {
            read();
            Ok(())
        })
    })?;
    std::thread::sleep(SPELL / 2);
    ensure!(!read_direct(&node)?(), "a read of the broken device works");
    let times = flood.join()?;
    ensure!(times >= 20, "the tenant did its worst only {times} times");
    let messages = log.take()?.messages;
    let about = |text: &&String| text.contains("I/O error") && text.contains(&format!("dev loop{ours},"));
    ensure!(messages.iter().any(|text| about(&text)), "nothing is said of loop{ours} of the host: {messages:?}");
    Ok(())
}
