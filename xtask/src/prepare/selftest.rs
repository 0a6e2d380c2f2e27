//! The self-test of loopfs that is in the kernel's tree, as a program that needs nothing else.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use xshell::cmd;

use crate::{
    ctx::Ctx,
    error::Failure,
    kernel::{
        Request,
        targets::{Goal, make_targets},
    },
    prepare::patched_kernel::{self, Order},
    process,
    toolchain::{Toolchain, version::Minimum},
};

/// Its folder in the tree.
const FOLDER: &str = "tools/testing/selftests/filesystems/loopfs";
/// Its program.
const PROGRAM: &str = "loopfs_test";

/// Gets the source, applies the series and builds the program; each step only as far as the cache does not have it.
///
/// # Errors
///
/// As [`patched_kernel::patched_tree`], [`Toolchain::ensure`] and [`build`].
pub fn build_patched(ctx: &Ctx, order: &Order<'_>) -> Result<PathBuf> {
    let wanted = patched_kernel::wanted(ctx, order)?;
    let tree = patched_kernel::patched_tree(ctx, order.from)?;
    let toolchain = Toolchain::ensure(ctx, Minimum::of_tree(&tree.path, ctx.verbose)?)?;
    let request = Request { flavour: order.flavour, tree: &tree.path, tree_key: &tree.content_key, wanted: &wanted };
    build(ctx, &toolchain, &request)
}

/// Builds the program with the headers of the kernel that `request` describes, by the Makefiles of the tree, and returns
/// where it is.
///
/// # Errors
///
/// [`Failure::KernelBuild`] with what the compiler says; [`Failure::Series`] when the tree has no such self-test.
pub fn build(ctx: &Ctx, toolchain: &Toolchain, request: &Request<'_>) -> Result<PathBuf> {
    let folder = request.tree.join(FOLDER);
    ensure!(
        folder.join("Makefile").exists(),
        anyhow::anyhow!("{} has no {FOLDER}: no patch of this tree brings it", request.tree.display())
            .context(Failure::Series)
    );
    let name = request.flavour.to_string();
    let targets = ["headers".to_owned()];
    let goal = Goal { folder: &name, targets: &targets, ..Goal::default() };
    let built = make_targets(ctx, toolchain, request, &goal, &mut |_| ())?;
    let output = built.join("kselftest");
    std::fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
    let headers = built.join("usr/include");
    let sh = process::shell_in(&folder)?;
    let mut command = Command::from(cmd!(sh, "make -C {folder} OUTPUT={output}"));
    command.arg(format!("KHDR_INCLUDES=-isystem {}", headers.display()));
    // Nothing of our environment takes part.
    for (name, _) in std::env::vars_os() {
        command.env_remove(name);
    }
    let path = std::env::join_paths(&toolchain.path).unwrap_or_default();
    command.env("PATH", path).env("LC_ALL", "C").env("LDFLAGS", "-static");
    process::read(&command, ctx.verbose).context(Failure::KernelBuild)?;
    Ok(output.join(PROGRAM))
}
