//! SPEC N6: "no walk over all devices is done on a tenant's behalf", and none of the host's passes those of a
//! tenant.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use loopfs_protocol::{Act, Others, Party};

use super::{tell, time};
use crate::{
    backing::Backing, block, case::Context, instance::Instance, loop_control::LoopControl, loop_device::LoopDevice,
};

/// How often GET_FREE is done.
const GET_FREE_ROUNDS: usize = 101;

/// How often ADD is done.
const ADD_ROUNDS: usize = 31;

/// A control device, and the unbound device it finds.
struct Asked {
    party: Party,
    control: LoopControl,
    unbound: u32,
}

/// Measures GET_FREE and ADD of an instance and of the host, first without others and then beside
/// `count` of them, all bound: an unbound one of the host's own is what the host looks for.
pub(super) fn measure(ctx: &Context, beside: Others, count: u32) -> Result<()> {
    let backing = Backing::new(&ctx.dir.join("file"))?;

    // The host's unbound device comes behind its bound ones and behind all low numbers the others get, so that
    // a search that looks at them has to look at each.
    let mut first = 0;
    for number in block::loop_devices()? {
        LoopDevice::open(&host_node(number))?.set_fd(&backing)?;
        first = number + 1;
    }
    let host = LoopControl::host()?;
    let host = Asked { party: Party::Host, unbound: host.add_number(first + count)?, control: host };
    let control = Instance::new(ctx, "own")?.control()?;
    let own = Asked { party: Party::Instance, unbound: control.add_any()?, control };

    for asked in [&own, &host] {
        asked.measure(beside, 0)?;
    }
    let other = Instance::new(ctx, "other")?;
    let other_control = other.control()?;
    for number in first..first + count {
        let node = match beside {
            Others::Private => other.node(other_control.add_any()?),
            Others::LowPrivate => other.node(other_control.add_number(number)?),
            Others::Host => host_node(host.control.add_number(number)?),
        };
        LoopDevice::open(&node)?.set_fd(&backing)?;
    }
    for asked in [&own, &host] {
        asked.measure(beside, count)?;
    }
    Ok(())
}

/// The node devtmpfs makes for device `number` of the host.
fn host_node(number: u32) -> PathBuf {
    Path::new("/dev").join(format!("loop{number}"))
}

impl Asked {
    fn measure(&self, beside: Others, others: u32) -> Result<()> {
        let get_free = || {
            let mut found = None;
            let took = time(|| self.control.get_free().map(|number| found = Some(number)))?;
            ensure!(found == Some(self.unbound), "GET_FREE finds {found:?}, not {}", self.unbound);
            Ok(took)
        };
        let took = (0..GET_FREE_ROUNDS).map(|_| get_free()).collect::<Result<_>>()?;
        tell(Act::GetFree { of: self.party, beside }, others, took);

        let add = || {
            let mut made = 0;
            let took = time(|| self.control.add_any().map(|number| made = number))?;
            self.control.remove(made)?;
            Ok(took)
        };
        let took = (0..ADD_ROUNDS).map(|_| add()).collect::<Result<_>>()?;
        tell(Act::Add { of: self.party, beside }, others, took);
        Ok(())
    }
}
