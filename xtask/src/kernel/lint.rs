//! Builds for what compilers and checkers say, in a folder of their own: their flags give other objects.

use anyhow::{Context as _, Result};

use super::{Folder, Request, make::Make, output::Output};
use crate::{cache, ctx::Ctx, error::Failure, interrupt, progress::Progress, toolchain::Toolchain};

/// Has make build `targets` of the kernel that `request` describes in the folder `name`, and shows `watch` every line
/// that is printed. Variables such as `W=1` may stand among the targets.
///
/// # Errors
///
/// [`Failure::KernelBuild`] when a target cannot be made; what checkers say alone is no error.
pub fn lint(
    ctx: &Ctx,
    toolchain: &Toolchain,
    request: &Request<'_>,
    name: &str,
    targets: &[&str],
    watch: &mut dyn FnMut(&str),
) -> Result<()> {
    cache::check_path(ctx.cache())?;
    cache::check_path(request.tree)?;
    let folder = Folder::open(ctx, toolchain, request, name)?;
    let make = Make::new(toolchain, request.tree, &folder.path, ctx.verbose);
    folder.configure(&make, request, &mut |_| ()).context(Failure::KernelBuild)?;
    let progress = Progress::spinner(format!("make {}", targets.join(" ")));
    let mut output = Output::append(&folder.log)?;
    make.run(targets, |line| {
        if let Some(file) = super::output::step(line) {
            progress.detail(file);
        }
        watch(line);
        output.take(line)
    })
    .map_err(|error| if interrupt::requested() { error } else { folder.explain(error, &output) })
    .context(Failure::KernelBuild)
}
