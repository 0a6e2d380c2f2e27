//! The programs and libraries a kernel build and a guest need: found, checked, installed.

pub mod bindgen;
pub mod install;
pub mod llvm;
pub mod machine;
pub mod needs;
pub mod packages;
pub mod rust;
pub mod sources;
pub mod version;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{cache::Key, ctx::Ctx, error::Failure};
use llvm::Llvm;
use machine::Machine;
use needs::{Need, Purpose};
use rust::Rust;
use version::Minimum;

/// What a kernel is built with, found and new enough.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// clang, lld and their companions.
    pub llvm: Llvm,
    /// rustc and its library's source.
    pub rust: Rust,
    /// bindgen.
    pub bindgen: PathBuf,
    /// ccache, where there is one.
    pub ccache: Option<PathBuf>,
    /// The folders of `PATH`, where the rest is.
    pub path: Vec<PathBuf>,
    /// What each of them says about itself; it decides what the compiler's output is.
    versions: String,
}

impl Toolchain {
    /// Finds the tools, and installs what is missing where that is allowed and possible.
    ///
    /// # Errors
    ///
    /// [`Failure::Environment`]: what is missing or too old, and the command that installs it.
    pub fn ensure(ctx: &Ctx, minimum: Minimum) -> Result<Self> {
        let machine = Machine::this(ctx.verbose);
        install::ensure_on(ctx, &machine, &[Purpose::Source, Purpose::Build], minimum)?;
        Self::find(&machine, ctx.cache(), minimum)
    }

    /// Finds the tools on `machine`, and what we have built ourselves in `cache`.
    ///
    /// # Errors
    ///
    /// [`Failure::Environment`]: what is missing or too old.
    pub fn find(machine: &Machine, cache: &Path, minimum: Minimum) -> Result<Self> {
        let llvm = llvm::find(machine, minimum.llvm).context(Failure::Environment)?;
        let rust = rust::find(machine, minimum.rustc).context(Failure::Environment)?;
        let bindgen = bindgen::find(machine, cache, minimum.bindgen).context(Failure::Environment)?;
        let ask = |program: &PathBuf, args: &[&str]| machine.ask(program, args).unwrap_or_default();
        let versions =
            [ask(&llvm.clang, &["--version"]), ask(&rust.rustc, &["-vV"]), ask(&bindgen, &["--version"])].join("\n");
        Ok(Self { llvm, rust, bindgen, ccache: machine.program("ccache"), path: machine.path.clone(), versions })
    }

    /// The program `name` in [`Toolchain::path`], if there is one.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        machine::programs(&self.path, name).next()
    }

    /// A key that differs when another toolchain may build another kernel from the same source.
    pub fn key(&self) -> String {
        Key::default()
            .with("toolchain 1")
            .with(&self.versions)
            .with(self.llvm.clang.to_string_lossy().as_bytes())
            .with(self.rust.rustc.to_string_lossy().as_bytes())
            .name()
    }
}

/// What is found of each need, for a user to read.
pub fn survey(ctx: &Ctx, machine: &Machine, purposes: &[Purpose], minimum: Minimum) -> Vec<(Need, needs::Finding)> {
    let needs = needs::all(minimum).into_iter().filter(|need| purposes.contains(&need.purpose)).collect();
    needs::look_for_all(needs, machine, ctx.cache())
}
