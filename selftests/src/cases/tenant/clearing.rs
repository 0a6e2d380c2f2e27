//! SPEC S3: what is written before a device is cleared is in the file afterwards.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use nix::{
    fcntl::OFlag,
    mount::{MsFlags, mount, umount},
};

use super::super::host::Host;
use crate::{
    aligned::Aligned,
    backing::{self, Backing},
    case,
    case::{Case, Context, Need, Who},
    loop_device::LoopDevice,
    uapi::LO_FLAGS_AUTOCLEAR,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["S3"], data_written_by_the_only_opener_survives_clr_fd).only(&[Who::Root]),
        case!(["S3"], data_written_through_a_mapping_survives_clr_fd).only(&[Who::Root]),
        case!(["S3"], data_written_survives_autoclear).only(&[Who::Root]),
        case!(["S3"], write_that_does_not_fit_is_an_error).only(&[Who::Root]),
        Case::new("host_write_that_does_not_fit_is_an_error", &["host", "S3"], host_full)
            .only(&[Who::Root])
            .needing(&[Need::Loop]),
        Case::new("host_data_written_by_the_only_opener_survives_clr_fd", &["host", "S3"], host_clear)
            .only(&[Who::Root])
            .needing(&[Need::Loop]),
    ]
}

/// Writes all over a device bound to `backing`, which `clear` then clears, and requires the data to be in the file.
fn expect_survival(node: &Path, backing: &Backing, clear: fn(&LoopDevice) -> Result<()>) -> Result<()> {
    let data: Vec<u8> = (0..backing::SIZE).map(|byte| (byte / 512 % 251) as u8 + 1).collect();
    let device = LoopDevice::open(node)?;
    device.write_at(&data, 0)?;
    clear(&device)?;
    drop(device);
    let found = backing.read_at(data.len(), 0)?;
    let lost = found.iter().zip(&data).filter(|(found, written)| found != written).count();
    ensure!(lost == 0, "{lost} of {} bytes are lost", data.len());
    Ok(())
}

/// Has a device write a request of which only a part fits on the file system, and requires an error.
fn expect_error_when_full(node: &Path, dir: &Path) -> Result<()> {
    fs::create_dir(dir)?;
    mount(Some("full"), dir, Some("tmpfs"), MsFlags::empty(), Some("size=256k")).context("cannot mount a tmpfs")?;
    let backing = Backing::with_size(&dir.join("file"), 1 << 20)?;
    let device = LoopDevice::open_with(node, OFlag::O_RDWR | OFlag::O_DIRECT)?;
    device.set_fd(&backing)?;
    let page = Aligned::new(512 * 1024);
    let written = device.write_at(page.bytes(), 0);
    device.clear()?;
    drop((device, backing));
    umount(dir)?;
    ensure!(written.is_err(), "512 KiB fit into 256 KiB");
    Ok(())
}

/// S3: "an error on the way is returned".
fn write_that_does_not_fit_is_an_error(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    tenant.run(|| expect_error_when_full(&instance.node(instance.add()?), &tenant.dir().join("full")))
}

/// The fault of the stock driver behind it.
fn host_full(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (_, node) = host.fresh()?;
    expect_error_when_full(&node, &ctx.dir.join("full"))
}

/// S3: "Data written before a device is cleared, by LOOP_CLR_FD ..., is in the backing file afterwards, synced or not".
fn data_written_by_the_only_opener_survives_clr_fd(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    tenant.run(|| {
        let backing = Backing::new(&tenant.dir().join("file"))?;
        let number = instance.add_bound(&backing)?;
        expect_survival(&instance.node(number), &backing, |device| Ok(device.clear()?))?;
        instance.control()?.remove(number).context("the device is not cleared by its last close")
    })
}

/// S3: a page that is dirty by a mapping is as good.
fn data_written_through_a_mapping_survives_clr_fd(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    tenant.run(|| {
        let backing = Backing::new(&tenant.dir().join("file"))?;
        let number = instance.add_bound(&backing)?;
        let device = instance.open(number)?;
        let mapping = crate::mapping::Mapping::shared(&device, 4096, 0)?;
        mapping.fill(7);
        device.clear()?;
        drop((mapping, device));
        ensure!(backing.read_at(4096, 0)? == [7; 4096], "what was written through a mapping is lost");
        Ok(())
    })
}

/// S3: "autoclear".
fn data_written_survives_autoclear(ctx: &Context) -> Result<()> {
    let (tenant, instance) = super::tenant(ctx, "tenant")?;
    tenant.run(|| {
        let backing = Backing::new(&tenant.dir().join("file"))?;
        let number = instance.add()?;
        let binder = instance.open(number)?;
        binder.configure_with_flags(&backing, LO_FLAGS_AUTOCLEAR)?;
        let writer = instance.open(number)?;
        drop(binder);
        writer.write_at(&[9; 65536], 0)?;
        drop(writer);
        ensure!(backing.read_at(65536, 0)? == [9; 65536], "what was written before the last close is lost");
        Ok(instance.control()?.remove(number)?)
    })
}

/// S3: "(Mainline loses what is dirty when the only opener calls LOOP_CLR_FD: a stand-alone fix.)"
fn host_clear(ctx: &Context) -> Result<()> {
    let host = Host::new(ctx)?;
    let (number, node) = host.fresh()?;
    let backing = host.backing("file")?;
    LoopDevice::open(&node)?.set_fd(&backing)?;
    expect_survival(&node, &backing, |device| Ok(device.clear()?))?;
    Ok(host.control().remove(number)?)
}
