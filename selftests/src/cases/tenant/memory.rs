//! SPEC T2 and L5: what a tenant's devices cost is the tenant's.

use std::{
    fs,
    os::fd::AsRawFd as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    mount::{MsFlags, mount},
    unistd::sync,
};

use super::super::host::Host;
use crate::{
    aligned::Aligned,
    backing::Backing,
    case,
    case::{Case, Context, Need, Who, skip},
    cgroup::Cgroup,
    expect, limit,
    loop_device::LoopDevice,
    meminfo, privilege, process,
    tenant::{ORDINARY_USER, Tenant},
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(["T2", "L5"], memory_max_holds_for_what_is_written_through_a_device)
            .needing(&[Need::Loopfs, Need::Memcg]),
        case!(["T2", "L5"], memory_max_holds_with_the_io_controller).needing(&[
            Need::Loopfs,
            Need::Memcg,
            Need::IoController,
        ]),
        case!(["T2", "L5"], bound_devices_are_charged_to_the_tenant).needing(&[Need::Loopfs, Need::Memcg]),
        case!(["T2", "L5"], bound_devices_are_charged_with_the_io_controller).needing(&[
            Need::Loopfs,
            Need::Memcg,
            Need::IoController,
        ]),
        case!(["T2", "T6"], tenant_gets_no_trace_and_no_memory_for_one).needing(&[Need::Loopfs, Need::BlkTrace]),
        Case::new("host_device_is_traced_with_cap_sys_admin_only", &["host", "T2"], host_trace)
            .needing(&[Need::Loop, Need::BlkTrace]),
    ];
    cases.into_iter().map(|case| case.only(&[Who::Root]).patient(4)).collect()
}

const MIB: u64 = 1 << 20;

fn memory_max_holds_for_what_is_written_through_a_device(ctx: &Context) -> Result<()> {
    memory_max_holds(ctx, &["memory"])
}

fn memory_max_holds_with_the_io_controller(ctx: &Context) -> Result<()> {
    memory_max_holds(ctx, &["memory", "io"])
}

/// L5: what a device's I/O allocates "is charged to the memory cgroup of whoever ... bound it (page cache and I/O structures),
/// whichever other controllers are enabled for that cgroup". The file is on a tmpfs of the tenant's own.
fn memory_max_holds(ctx: &Context, controllers: &[&str]) -> Result<()> {
    const MAX: u64 = 24 * MIB;
    const WISH: u64 = 80 * MIB;
    // What the kernel counts late, and what others have meanwhile.
    const SLACK: u64 = 12 * MIB;
    let cgroup = Cgroup::new("loopfs-max", controllers)?;
    cgroup.set("memory.max", &MAX.to_string())?;
    // Where there is swap, a tenant's pages may go there.
    let _ = cgroup.set("memory.swap.max", "0");
    let tenant = Tenant::ordinary_in(ctx, "tenant", Some(&cgroup))?;
    let instance = tenant.mount()?;
    let before = meminfo::get("Shmem")?;
    let writer = tenant.start(|| {
        let dir = tenant.dir().join("tmpfs");
        fs::create_dir(&dir)?;
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), Some("size=96M"))?;
        let number = instance.add_bound(&Backing::with_size(&dir.join("file"), WISH)?)?;
        let device = LoopDevice::open_with(&instance.node(number), OFlag::O_RDWR | OFlag::O_DIRECT)?;
        let data = Aligned::new(usize::try_from(MIB)?);
        for at in 0..WISH / MIB {
            device.write_at(data.bytes(), at * MIB)?;
        }
        Ok(())
    })?;
    let until = Instant::now() + Duration::from_secs(20);
    let mut most = 0;
    while !writer.ends_within(Duration::from_millis(20))? && Instant::now() < until {
        most = meminfo::get("Shmem")?.saturating_sub(before).max(most);
    }
    most = meminfo::get("Shmem")?.saturating_sub(before).max(most);
    let charged = cgroup.value("memory.events", "max")?;
    // It may have failed, have been killed, or still wait for memory.
    let _ = writer.dies_within(Duration::from_secs(10))?;
    let _ = tenant.kill();
    ensure!(most >= MAX / 2, "the tenant has written {most} bytes: it did not come near its limit");
    ensure!(most <= MAX + SLACK, "a tenant with memory.max={MAX} has {most} bytes of a tmpfs");
    ensure!(charged > 0, "the tenant never came to its limit");
    Ok(())
}

fn bound_devices_are_charged_to_the_tenant(ctx: &Context) -> Result<()> {
    bound_devices_are_charged(ctx, &["memory"])
}

fn bound_devices_are_charged_with_the_io_controller(ctx: &Context) -> Result<()> {
    bound_devices_are_charged(ctx, &["memory", "io"])
}

/// What the machine has in use and cannot reclaim, in bytes.
fn unreclaimable() -> Result<u64> {
    sync();
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    fs::write("/proc/sys/vm/stat_refresh", "1").or_else(|_| fs::read("/proc/sys/vm/stat_refresh").map(drop))?;
    let reclaimable = meminfo::get("Buffers")? + meminfo::get("Cached")? + meminfo::get("SReclaimable")?;
    Ok(meminfo::get("MemTotal")? + meminfo::get("Shmem")? - meminfo::get("MemFree")? - reclaimable)
}

/// What `cgroup` is charged with and cannot reclaim, in bytes.
fn charged(cgroup: &Cgroup) -> Result<u64> {
    let stat = |key| cgroup.value("memory.stat", key);
    Ok(stat("anon")? + stat("shmem")? + stat("kernel")? - stat("slab_reclaimable")?)
}

/// L5: "of the unreclaimable memory that 255 bound devices and their I/O add to the machine, at least 95 % shows in the tenant's
/// cgroup."
fn bound_devices_are_charged(ctx: &Context, controllers: &[&str]) -> Result<()> {
    const SHARE: u64 = 95;
    if Path::new("/sys/kernel/debug/kmemleak").exists() {
        return skip("the checks of this kernel need memory of their own for each object");
    }
    let cgroup = Cgroup::new("loopfs-charged", controllers)?;
    let tenant = Tenant::ordinary_in(ctx, "tenant", Some(&cgroup))?;
    let instance = tenant.mount()?;
    let path = tenant.dir().join("file");
    tenant.run(|| Backing::new(&path).map(drop))?;
    let devices = limit::get()?;
    let make = |count: u32| {
        tenant.hold(|| {
            let file = fs::File::options().read(true).write(true).open(&path)?;
            let control = instance.control()?;
            for _ in 0..count {
                let device = instance.open(control.add_any()?)?;
                device.set_fd(&file)?;
                device.write_at(&[1; 4096], 0)?;
                device.sync()?;
            }
            Ok(())
        })
    };
    // What the first devices allocate once and for all is not theirs.
    let warm_up = make(devices / 8)?;
    tenant.run(|| {
        let control = instance.control()?;
        for number in crate::block::loop_devices()?.into_iter().filter(|&number| instance.node(number).exists()) {
            instance.open(number)?.clear()?;
            control.remove(number)?;
        }
        Ok(())
    })?;
    warm_up.release()?;
    thread::sleep(Duration::from_millis(500));

    let before = (unreclaimable()?, charged(&cgroup)?);
    let held = make(devices)?;
    thread::sleep(Duration::from_secs(3));
    let after = (unreclaimable()?, charged(&cgroup)?);
    held.release()?;
    tenant.kill()?;
    let (added, paid) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    println!("{devices} devices add {added} bytes to the machine, {paid} of them to the tenant's cgroup");
    ensure!(added >= u64::from(devices) * 8192, "{devices} devices add only {added} bytes");
    ensure!(paid * 100 >= added * SHARE, "{devices} devices add {added} bytes, the tenant is charged with {paid}");
    Ok(())
}

/// `struct blk_user_trace_setup`.
#[repr(C)]
struct TraceSetup {
    name: [u8; 32],
    act_mask: u16,
    buf_size: u32,
    buf_nr: u32,
    start_lba: u64,
    end_lba: u64,
    pid: u32,
}

mod ioctl {
    use super::TraceSetup;

    nix::ioctl_readwrite!(trace_setup, 0x12, 115, TraceSetup);
    nix::ioctl_none!(trace_teardown, 0x12, 118);
}

/// Asks for 32 buffers of 1 MiB for each CPU.
fn trace(device: &LoopDevice) -> nix::Result<()> {
    let mut setup = TraceSetup {
        name: [0; 32],
        act_mask: u16::MAX,
        buf_size: 1 << 20,
        buf_nr: 32,
        start_lba: 0,
        end_lba: 0,
        pid: 0,
    };
    // SAFETY: The argument is a valid structure for the kernel to read and fill in.
    unsafe { ioctl::trace_setup(device.file().as_raw_fd(), &raw mut setup) }.map(drop)
}

fn stop_tracing(device: &LoopDevice) {
    // SAFETY: The descriptor is open and the ioctl takes no argument.
    let _ = unsafe { ioctl::trace_teardown(device.file().as_raw_fd()) };
}

/// Requires BLKTRACESETUP on `device`, by `who`, to be refused and to take no memory.
fn expect_no_trace(device: &LoopDevice, who: impl FnOnce() -> Result<nix::Result<()>>) -> Result<()> {
    let before = meminfo::get("MemFree")?;
    let traced = who()?;
    let taken = before.saturating_sub(meminfo::get("MemFree")?);
    stop_tracing(device);
    expect::one_of(
        traced,
        &[Errno::EPERM, Errno::EACCES],
        "BLKTRACESETUP without CAP_SYS_ADMIN in the initial namespace",
    )?;
    ensure!(taken < 16 * MIB, "a refused trace takes {taken} bytes");
    Ok(())
}

/// T2: "Nothing that a tenant can do with a node allocates memory that is neither bounded by a constant for each device nor
/// charged." Buffers of blktrace are as large as is asked for.
fn tenant_gets_no_trace_and_no_memory_for_one(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    let number = tenant.run(|| Ok(instance.add()?))?;
    let node = instance.node(number);
    let device = LoopDevice::from(tenant.descriptor(|| Ok(LoopDevice::open_read_only(&node)?.into()))?);
    expect_no_trace(&device, || tenant.run(|| Ok(trace(&device).map_err(|errno| errno as i32).err())).map(as_result))
}

/// The fault of the block layer behind it: whoever has a node may trace.
fn host_trace(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (_, node) = host.fresh()?;
    let device = LoopDevice::open_read_only(&node)?;
    expect_no_trace(&device, || {
        let answer = process::run(|| {
            privilege::become_user(ORDINARY_USER)?;
            Ok(trace(&device).map_err(|errno| errno as i32).err())
        });
        answer.map(as_result)
    })?;
    trace(&device).context("BLKTRACESETUP by root of the host")?;
    stop_tracing(&device);
    Ok(())
}

fn as_result(errno: Option<i32>) -> nix::Result<()> {
    errno.map_or(Ok(()), |errno| Err(Errno::from_raw(errno)))
}
