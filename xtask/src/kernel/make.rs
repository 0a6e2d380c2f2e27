//! The kernel's make, with everything that decides its output given and nothing inherited.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread::available_parallelism,
};

use anyhow::Result;
use xshell::cmd;

use crate::{process, toolchain::Toolchain};

/// make for one tree and one build folder.
#[derive(Debug)]
pub(super) struct Make<'a> {
    toolchain: &'a Toolchain,
    tree: &'a Path,
    folder: &'a Path,
    /// Set behind all others, so that they have the last word.
    variables: &'a [String],
    verbose: bool,
}

impl<'a> Make<'a> {
    pub(super) fn new(toolchain: &'a Toolchain, tree: &'a Path, folder: &'a Path, verbose: bool) -> Self {
        Self { toolchain, tree, folder, variables: &[], verbose }
    }

    /// The same with `variables` such as `CC=gcc`.
    pub(super) fn with(self, variables: &'a [String]) -> Self {
        Self { variables, ..self }
    }

    /// Makes `.config` from the file `answer`; what it does not name is off.
    pub(super) fn configure(&self, answer: &Path, on_line: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let mut command = self.command()?;
        command.env("KCONFIG_ALLCONFIG", answer).arg("allnoconfig");
        process::stream(&command, self.verbose, on_line)
    }

    /// Compiles and links `vmlinux`.
    pub(super) fn vmlinux(&self, on_line: impl FnMut(&str) -> Result<()>) -> Result<()> {
        self.run(&["vmlinux"], on_line)
    }

    /// Makes `targets`, among which variables may be set.
    pub(super) fn run(&self, targets: &[&str], on_line: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let mut command = self.command()?;
        let jobs = available_parallelism().map_or(1, usize::from);
        // What a target prints stays together, or two errors at once would be told line by line in turn.
        command.arg(format!("-j{jobs}")).arg("--output-sync=target").args(targets);
        process::stream(&command, self.verbose, on_line)
    }

    /// Fails with the kernel's own words if the toolchain cannot build its Rust.
    pub(super) fn rust_available(&self) -> Result<()> {
        process::read(self.command()?.arg("rustavailable"), self.verbose).map(drop)
    }

    fn command(&self) -> Result<Command> {
        let Toolchain { llvm, rust, bindgen, ccache, .. } = self.toolchain;
        let clang = format!("clang{}", llvm.suffix);
        let compiler = match ccache {
            Some(ccache) => format!("{} {clang}", ccache.display()),
            None => clang,
        };
        let suffix = if llvm.suffix.is_empty() { "1" } else { &llvm.suffix };
        let (tree, folder) = (self.tree, self.folder);
        let sh = process::shell_in(tree)?;
        let mut command = Command::from(cmd!(sh, "make -C {tree} O={folder} ARCH=x86_64 LLVM={suffix} CC={compiler}"));
        // The variables of a person's own kernel work (ARCH, LLVM, KCFLAGS, ...), of cargo and of
        // rustup would all be taken up.
        let foreign = std::env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy();
            let kept = ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"];
            !kept.contains(&&*name) && !name.starts_with("CCACHE_")
        });
        for name in foreign {
            command.env_remove(name);
        }
        // What is in PATH once can be joined again.
        let path = std::env::join_paths(&self.toolchain.path).unwrap_or_default();
        command.env("PATH", path).env("LC_ALL", "C").env("LIBCLANG_PATH", &llvm.libclang);

        let set = |name: &str, value: &Path| format!("{name}={}", value.display());
        command.args([set("RUSTC", &rust.rustc), set("RUST_LIB_SRC", &rust.library), set("BINDGEN", bindgen)]);
        let optional: [(&str, &Option<PathBuf>); 3] =
            [("RUSTDOC", &rust.rustdoc), ("RUSTFMT", &rust.rustfmt), ("CLIPPY_DRIVER", &rust.clippy)];
        command.args(optional.into_iter().filter_map(|(name, path)| Some(set(name, path.as_deref()?))));
        // Equal sources make equal kernels, on any day and any machine.
        command.args(["KBUILD_BUILD_TIMESTAMP=@0", "KBUILD_BUILD_USER=loopfs", "KBUILD_BUILD_HOST=loopfs"]);
        command.args(["KBUILD_BUILD_VERSION=1", "LOCALVERSION="]).args(self.variables);
        Ok(command)
    }
}
