//! From a source tree and a configuration to a `vmlinux`.
//!
//! Finished kernels are kept by what decides them: source, configuration and toolchain. With none of
//! these changed, no make is started. Otherwise make runs in a folder that is kept for the tree and
//! the flavour, so that it compiles what changed and no more.

pub mod config;
mod make;
pub mod option;
mod output;
mod store;
pub mod targets;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    cache::{self, Key, Lock},
    ctx::Ctx,
    error::Failure,
    interrupt,
    progress::{Progress, say},
    toolchain::Toolchain,
};
use config::{Flavour, Wanted};
use make::Make;
use output::Output;

/// What to build.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Which flavour: it names the build folder.
    pub flavour: Flavour,
    /// The kernel's source. Nothing is written there.
    pub tree: &'a Path,
    /// What identifies the content of `tree`: equal keys are equal sources.
    pub tree_key: &'a str,
    /// The configuration.
    pub wanted: &'a Wanted,
}

/// A finished kernel, in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The kernel as ELF, which QEMU boots.
    pub vmlinux: PathBuf,
    /// The final configuration.
    pub config: PathBuf,
    /// Addresses and names.
    pub system_map: PathBuf,
    /// What decides the kernel: source, configuration and toolchain.
    pub key: String,
}

impl Built {
    fn at(entry: &Path, key: &str) -> Self {
        Self {
            vmlinux: entry.join("vmlinux"),
            config: entry.join("config"),
            system_map: entry.join("System.map"),
            key: key.to_owned(),
        }
    }
}

/// The kernel that `request` describes, if it has been built before.
pub fn find(ctx: &Ctx, toolchain: &Toolchain, request: &Request<'_>) -> Option<Built> {
    let key = key(toolchain, request);
    store::Store::of(ctx, request.flavour).find(&key).map(|entry| Built::at(&entry, &key))
}

/// Builds the kernel that `request` describes, or finds it built.
///
/// # Errors
///
/// [`Failure::KernelBuild`] with the compiler's errors and the name of the log, or with the symbols
/// that the configuration lost; [`Failure::Environment`] when the cache cannot be used.
pub fn build(ctx: &Ctx, toolchain: &Toolchain, request: &Request<'_>) -> Result<Built> {
    cache::check_path(ctx.cache())?;
    cache::check_path(request.tree)?;
    if let Some(built) = find(ctx, toolchain, request) {
        return Ok(built);
    }
    let folder = Folder::open(ctx, toolchain, request, &request.flavour.to_string())?;
    // Another run may have built it while we waited for the folder.
    if let Some(built) = find(ctx, toolchain, request) {
        return Ok(built);
    }
    folder.publish(ctx, toolchain, request, &store::Store::of(ctx, request.flavour), &mut |_| ())
}

/// Builds the kernel that `request` describes even if it is built already, and shows `watch` every line that make and
/// the compilers print: for what is not in the kernel itself, such as warnings.
///
/// Make runs in the folder `name`, so that kernels which are built in turn do not undo each other's work. With `whole`,
/// everything is compiled, and not only what changed since the last build there.
///
/// # Errors
///
/// As [`build`].
pub fn build_watched(
    ctx: &Ctx,
    toolchain: &Toolchain,
    request: &Request<'_>,
    name: &str,
    whole: bool,
    watch: &mut dyn FnMut(&str),
) -> Result<Built> {
    cache::check_path(ctx.cache())?;
    cache::check_path(request.tree)?;
    let folder = Folder::open(ctx, toolchain, request, name)?;
    if whole {
        folder.empty()?;
    }
    folder.publish(ctx, toolchain, request, &store::Store::of(ctx, request.flavour), watch)
}

/// What decides the kernel that `request` describes: equal keys are equal kernels.
pub fn key(toolchain: &Toolchain, request: &Request<'_>) -> String {
    Key::default().with("kernel 1").with(request.tree_key).with(request.wanted.text()).with(toolchain.key()).name()
}

/// The folder make builds in, ours alone while this lives.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    log: PathBuf,
    _lock: Lock,
}

impl Folder {
    /// Opens the folder `name` of the tree.
    fn open(ctx: &Ctx, toolchain: &Toolchain, request: &Request<'_>, name: &str) -> Result<Self> {
        let parent = ctx.cache().join("build");
        let tree = Key::default().with(request.tree.as_os_str().as_encoded_bytes()).name();
        let name = format!("{name}-{}", &tree[..8]);
        let path = parent.join(&name);
        fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let lock = Lock::acquire(&parent.join(format!("{name}.lock")), &format!("the {} kernel", request.flavour))?;

        // Objects of another toolchain are no start: make would notice some of it, not all.
        let stamp = parent.join(format!("{name}.toolchain"));
        let key = toolchain.key();
        if fs::read_to_string(&stamp).ok().as_ref() != Some(&key) {
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            fs::write(&stamp, key).with_context(|| format!("cannot write {}", stamp.display()))?;
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path, log: parent.join(format!("{name}.log")), _lock: lock })
    }

    /// Removes everything that was built in it.
    fn empty(&self) -> Result<()> {
        fs::remove_dir_all(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        fs::create_dir(&self.path).with_context(|| format!("cannot create {}", self.path.display()))
    }

    /// Builds the kernel and keeps it in `store`.
    fn publish(
        &self,
        ctx: &Ctx,
        toolchain: &Toolchain,
        request: &Request<'_>,
        store: &store::Store,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Built> {
        let key = key(toolchain, request);
        let built = self.build(ctx, toolchain, request, watch).and_then(|()| store.publish(&key, &self.path));
        match built {
            Ok(entry) => Ok(Built::at(&entry, &key)),
            Err(error) => Err(cache::explain_full_disk(error, ctx.cache())),
        }
    }

    fn build(
        &self,
        ctx: &Ctx,
        toolchain: &Toolchain,
        request: &Request<'_>,
        watch: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let make = Make::new(toolchain, request.tree, &self.path, ctx.verbose);
        self.configure(&make, request, watch).context(Failure::KernelBuild)?;
        self.compile(ctx, &make, request, watch)
    }

    fn configure(&self, make: &Make<'_>, request: &Request<'_>, watch: &mut dyn FnMut(&str)) -> Result<()> {
        let answer = self.path.join(".answer");
        fs::write(&answer, request.wanted.answer(request.tree)?)
            .with_context(|| format!("cannot write {}", answer.display()))?;
        let mut output = Output::create(&self.log)?;
        let take = |line: &str| {
            watch(line);
            output.take(line)
        };
        make.configure(&answer, take).map_err(|error| self.explain(error, &output))?;

        let config = self.path.join(".config");
        let config = fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
        request.wanted.verify(&config, request.tree).map_err(|error| {
            if config::values(&config).get("RUST") == Some(&"y") {
                return error;
            }
            // Kconfig says only that Rust is not available; this says why.
            match make.rust_available() {
                Ok(()) => error,
                Err(why) => error.context(format!("this toolchain cannot build the kernel's Rust: {why:#}")),
            }
        })
    }

    fn compile(&self, ctx: &Ctx, make: &Make<'_>, request: &Request<'_>, watch: &mut dyn FnMut(&str)) -> Result<()> {
        // How many steps there are depends on the compilers too, and only make knows.
        let progress = Progress::spinner(format!("build the {} kernel", request.flavour));
        let mut output = Output::append(&self.log)?;
        let mut taken = 0;
        make.vmlinux(|line| {
            if let Some(file) = output::step(line) {
                progress.detail(file);
                progress.add(1);
                taken += 1;
            }
            watch(line);
            output.take(line)
        })
        .map_err(|error| if interrupt::requested() { error } else { self.explain(error, &output) })
        .context(Failure::KernelBuild)?;
        progress.done(&format!("{taken} steps"));
        if ctx.verbose {
            say(&format!("the log of the build is {}", self.log.display()));
        }
        Ok(())
    }

    /// The errors in place of the end of the output, which is mostly make's way back up.
    fn explain(&self, error: anyhow::Error, output: &Output) -> anyhow::Error {
        match output.errors() {
            Some(errors) => anyhow!("{errors}\nThe whole log is {}", self.log.display()),
            None => error.context(format!("the whole log is {}", self.log.display())),
        }
    }
}
