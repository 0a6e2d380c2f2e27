//! Giving up privilege, for good, in a child of the case.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Keeps `kept` of the capabilities this process has, and no other.
///
/// # Errors
///
/// When the kernel refuses.
pub fn keep_only(kept: &[Capability]) -> Result<()> {
    let kept: HashSet<Capability> = kept.iter().copied().collect();
    caps::clear(None, CapSet::Inheritable).context("cannot clear the inheritable capabilities")?;
    caps::set(None, CapSet::Effective, &kept).context("cannot reduce the effective capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).context("cannot reduce the permitted capabilities")?;
    Ok(())
}

/// Gives `capability` up and keeps the others.
///
/// # Errors
///
/// When the kernel refuses.
pub fn give_up(capability: Capability) -> Result<()> {
    let mut kept = caps::read(None, CapSet::Permitted).context("cannot read the capabilities")?;
    kept.remove(&capability);
    keep_only(&kept.into_iter().collect::<Vec<_>>())
}

/// Becomes user and group `id` of the current user namespace, without capabilities.
///
/// # Errors
///
/// When the kernel refuses.
pub fn become_user(id: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[]).context("cannot drop the groups")?;
    setresgid(gid, gid, gid).with_context(|| format!("cannot become group {id}"))?;
    setresuid(uid, uid, uid).with_context(|| format!("cannot become user {id}"))
}
