//! `cargo xtask build`: the kernel alone.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use clap::Args;
use loopfs_protocol::CaseInfo;

use super::Task;
use crate::{
    ctx::Ctx,
    kconfig::Flavour,
    kernel::patched::{Order, build_patched},
    process,
};

/// Builds the kernel with the series and prints where it is
///
/// Example: cargo xtask build --config debug
#[derive(Args, Debug)]
pub struct Build {
    /// Which kernel.
    #[arg(long, value_enum, default_value_t = Flavour::Default)]
    config: Flavour,
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Leave the option for loopfs off.
    #[arg(long)]
    without_loopfs: bool,
}

impl Task for Build {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let order = Order {
            flavour: self.config,
            from: self.from.as_deref(),
            loopfs: !self.without_loopfs,
            cases: &cases(ctx)?,
        };
        let built = build_patched(ctx, &order)?;
        println!("{}", built.vmlinux.display());
        Ok(())
    }
}

/// The cases of the suite, as it lists them itself.
fn cases(ctx: &Ctx) -> Result<Vec<CaseInfo>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "loopfs-selftests", "--", "list", "--json"]).current_dir(ctx.root());
    let listed = process::read(&mut command, ctx.verbose)?;
    serde_json::from_str(&listed).context("cannot read the suite's list of cases")
}
