//! SPEC T: hostile tenants, and the lines of other groups that hold only where nobody is trusted.
//!
//! Each case plays the tenant as an ordinary user of the machine, and measures what it can reach or what others
//! see beside it. The faults that the stock driver has without loopfs are told of a device of the host as well.

mod clearing;
mod cycles;
mod descriptors;
mod ioctls;
mod log;
mod memory;
mod numbers;
mod stalls;
mod sysfs;
mod threads;
mod unkillable;

use anyhow::Result;

use crate::{
    case::{Case, Context},
    instance::Instance,
    tenant::Tenant,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    [
        descriptors::cases(),
        numbers::cases(),
        cycles::cases(),
        clearing::cases(),
        sysfs::cases(),
        ioctls::cases(),
        memory::cases(),
        log::cases(),
        threads::cases(),
        stalls::cases(),
        unkillable::cases(),
    ]
    .concat()
}

/// An ordinary user's tenant, and its instance.
fn tenant(ctx: &Context, name: &str) -> Result<(Tenant, Instance)> {
    let tenant = Tenant::ordinary(ctx, name)?;
    let instance = tenant.mount()?;
    Ok((tenant, instance))
}
