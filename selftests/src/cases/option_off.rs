//! SPEC X: a kernel built without the option.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use nix::errno::Errno;

use crate::{
    case,
    case::{Case, Context, Need, Who, skip},
    expect,
    fs_context::FsContext,
    instance::Instance,
    kernel_config, limit,
};

/// The cases.
pub(super) fn cases() -> Vec<Case> {
    vec![
        case!(["X1"], kernel_without_the_option_knows_nothing_of_it).needing(&[Need::Loop, Need::Ikconfig]),
        case!(["X1"], kernel_without_the_option_has_no_symbol_of_it)
            .only(&[Who::Root])
            .needing(&[Need::Loop, Need::Ikconfig]),
    ]
}

fn skip_with_the_option() -> Result<()> {
    // Not whether it has the file system: what would be wrong with a kernel that should have it is not told here.
    let built_in = kernel_config::is_built_in("BLK_DEV_LOOPFS")?;
    if built_in { skip("this kernel is built with CONFIG_BLK_DEV_LOOPFS") } else { Ok(()) }
}

/// X1: "With n nothing of loopfs is compiled". No file system type, no limit.
fn kernel_without_the_option_knows_nothing_of_it(ctx: &Context) -> Result<()> {
    skip_with_the_option()?;
    expect::errno(Instance::mount(&ctx.dir), Errno::ENODEV, "mount -t loop")?;
    expect::errno(FsContext::open(c"loop"), Errno::ENODEV, "fsopen of loop")?;
    ensure!(!Path::new(limit::PATH).exists(), "{} exists", limit::PATH);
    Ok(())
}

/// X1: "no symbol". What differs is compared in full, against the base, by `series verify`.
fn kernel_without_the_option_has_no_symbol_of_it(_: &Context) -> Result<()> {
    skip_with_the_option()?;
    let Ok(symbols) = fs::read_to_string("/proc/kallsyms") else {
        return skip("this kernel has no /proc/kallsyms");
    };
    let ours: Vec<_> =
        symbols.lines().filter(|line| line.contains("loopfs") || line.contains("loop_private")).collect();
    ensure!(ours.is_empty(), "the kernel has {ours:?}");
    Ok(())
}
