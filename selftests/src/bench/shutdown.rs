//! SPEC S4: "umount of 255 bound devices costs a small multiple of one, not 255 times one (they are removed
//! together)."

use std::fs;

use anyhow::{Result, ensure};
use loopfs_protocol::Act;

use super::{tell, time};
use crate::{backing::Backing, block, case::Context, instance::Instance, loop_control::LoopControl};

/// How many devices go at once.
const COUNTS: [u32; 4] = [1, 16, 64, 255];

/// How often each is done.
const ROUNDS: usize = 5;

/// Measures the umount of instances, and the removal of as many devices by the host, which is spared the
/// clearing: its devices are not bound.
pub(super) fn measure(ctx: &Context) -> Result<()> {
    let dir = ctx.dir.join("loopfs");
    fs::create_dir(&dir)?;
    let backing = Backing::new(&ctx.dir.join("file"))?;
    let host = LoopControl::host()?;
    let before = block::loop_devices()?;
    for count in COUNTS {
        let umount = || {
            let instance = Instance::mount(&dir)?;
            for _ in 0..count {
                instance.add_bound(&backing)?;
            }
            let took = time(|| instance.umount())?;
            ensure!(block::loop_devices()? == before, "umount has left devices");
            Ok(took)
        };
        tell(Act::Umount, count, (0..ROUNDS).map(|_| umount()).collect::<Result<_>>()?);

        let remove = || {
            let made = (0..count).map(|_| host.add_any()).collect::<nix::Result<Vec<u32>>>()?;
            time(|| made.iter().try_for_each(|&number| host.remove(number)))
        };
        tell(Act::HostRemove, count, (0..ROUNDS).map(|_| remove()).collect::<Result<_>>()?);
    }
    Ok(())
}
