//! A file goes in, a block device comes out, and at its last close everything is gone: loopfs without a mount point.
//!
//! The instance is mounted nowhere, so no path leads to the device and nobody can get in between. What keeps
//! device and instance alive is the descriptor that comes out, in whichever process it is.

use std::os::fd::AsFd;

use nix::Result;

use crate::{fs_context::FsContext, instance::Instance, loop_device::LoopDevice, proc_fd};

/// What has just been done on the way from the file to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `fsopen("loop")`.
    ContextOpened,
    /// `fsconfig(FSCONFIG_CMD_CREATE)`: the instance exists.
    InstanceCreated,
    /// `fsmount`: there is a mount, attached nowhere.
    Mounted,
    /// The instance's control node is open.
    ControlOpened,
    /// `LOOP_CTL_GET_FREE`: there is a device.
    DeviceMade,
    /// The device is open.
    DeviceOpened,
    /// The file is bound to it.
    Bound,
    /// Nothing is open any more but the device.
    MountClosed,
}

impl Step {
    /// All of them in order.
    pub const ALL: [Self; 8] = [
        Self::ContextOpened,
        Self::InstanceCreated,
        Self::Mounted,
        Self::ControlOpened,
        Self::DeviceMade,
        Self::DeviceOpened,
        Self::Bound,
        Self::MountClosed,
    ];
}

/// Makes a block device of the file `image`; tells `reached` of each step.
///
/// # Errors
///
/// What the calls give. Nothing is left behind then.
pub fn device_of(image: impl AsFd, mut reached: impl FnMut(Step)) -> Result<LoopDevice> {
    let context = FsContext::open(c"loop")?;
    reached(Step::ContextOpened);
    context.create()?;
    reached(Step::InstanceCreated);
    let mount = context.mount()?;
    reached(Step::Mounted);

    let instance = Instance::at(&proc_fd::path(&mount));
    let control = instance.control()?;
    reached(Step::ControlOpened);
    let number = control.get_free()?;
    reached(Step::DeviceMade);
    let device = instance.open(number)?;
    reached(Step::DeviceOpened);
    device.set_fd(image)?;
    reached(Step::Bound);

    drop((control, mount, context));
    reached(Step::MountClosed);
    Ok(device)
}
