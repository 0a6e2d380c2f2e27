//! Builds for what compilers and checkers say, and for single objects.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    cache,
    ctx::Ctx,
    error::Failure,
    interrupt,
    kernel::{Folder, Request, make::Make, output::Output},
    progress::Progress,
    toolchain::Toolchain,
};

/// What make is to make, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goal<'a> {
    /// The build folder's name. Where flags differ, it has to differ, or builds undo each other's work.
    pub folder: &'a str,
    /// Variables, such as `W=1`.
    pub variables: &'a [String],
    /// Targets, such as `drivers/block/loop.o`.
    pub targets: &'a [String],
    /// Files below the build folder that are made again even if they are up to date.
    pub anew: &'a [String],
}

impl Goal<'_> {
    /// What make is called with, as far as it fits on a line.
    fn title(&self) -> String {
        let words: Vec<&str> = self.variables.iter().chain(self.targets).map(String::as_str).collect();
        let rest = if words.len() > SHOWN { " ..." } else { "" };
        format!("make {}{rest}", words[..words.len().min(SHOWN)].join(" "))
    }
}

/// How many words of a goal are shown.
const SHOWN: usize = 5;

/// Has make reach `goal` for the kernel that `request` describes, shows `watch` every line that is printed, and returns
/// the build folder.
///
/// # Errors
///
/// [`Failure::KernelBuild`] when a target cannot be made; what checkers say alone is no error.
pub fn make_targets(
    ctx: &Ctx,
    toolchain: &Toolchain,
    request: &Request<'_>,
    goal: &Goal<'_>,
    watch: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    cache::check_path(ctx.cache())?;
    cache::check_path(request.tree)?;
    let folder = Folder::open(ctx, toolchain, request, goal.folder)?;
    let make = Make::new(toolchain, request.tree, &folder.path, ctx.verbose).with(goal.variables);
    folder.configure(&make, request, &mut |_| ()).context(Failure::KernelBuild)?;
    for name in goal.anew {
        remove(&folder.path.join(name))?;
    }
    let targets: Vec<&str> = goal.targets.iter().map(String::as_str).collect();
    let progress = Progress::spinner(goal.title());
    let mut output = Output::append(&folder.log)?;
    make.run(&targets, |line| {
        if let Some(file) = crate::kernel::output::step(line) {
            progress.detail(file);
        }
        watch(line);
        output.take(line)
    })
    .map_err(|error| if interrupt::requested() { error } else { folder.explain(error, &output) })
    .context(Failure::KernelBuild)?;
    Ok(folder.path.clone())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
