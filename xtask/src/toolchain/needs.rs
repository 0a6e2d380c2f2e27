//! What has to be on the machine, and whether it is.

use std::{
    panic::resume_unwind,
    path::{Path, PathBuf},
};

use crate::toolchain::{
    bindgen, llvm,
    machine::Machine,
    rust,
    version::{Minimum, Version},
};

/// The oldest QEMU the guest was tried with: Debian 12's.
pub const OLDEST_QEMU: Version = Version([7, 2, 0]);

/// What something is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Getting the kernel's source.
    Source,
    /// Building the kernel.
    Build,
    /// Running a guest.
    Guest,
    /// Checking patches as `series verify` does.
    Verify,
    /// Making the guest of the real clients.
    Clients,
    /// Nothing fails without it: it saves time, or is a way out when something else cannot be had.
    Optional,
}

/// One thing that has to be there.
#[derive(Clone, Debug)]
pub struct Need {
    /// What it is called.
    pub name: &'static str,
    /// What it is needed for.
    pub purpose: Purpose,
    /// The least version that does.
    pub minimum: Option<Version>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A program, and the package that brings it.
    Program {
        package: &'static str,
    },
    /// A header of C, below `/usr/include`.
    Header {
        path: &'static str,
        package: &'static str,
    },
    Llvm,
    Rust,
    Bindgen,
}

/// How a [`Need`] is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is there and new enough.
    Found {
        /// Its version, where it has one.
        version: Option<Version>,
        /// Where it is.
        path: PathBuf,
    },
    /// It is missing, too old or incomplete.
    Lacking {
        /// What is wrong.
        why: String,
    },
}

impl Need {
    /// Looks for it on `machine`, and for what we have built ourselves in `cache`.
    fn look(&self, machine: &Machine, cache: &Path) -> Finding {
        let minimum = self.minimum.unwrap_or_default();
        let found = match self.kind {
            Kind::Program { .. } => return self.look_for_program(machine),
            Kind::Header { path, .. } => {
                let places = ["/usr/include", "/usr/include/x86_64-linux-gnu", "/usr/local/include"];
                let found = places.iter().map(|place| machine.at(place).join(path)).find(|path| path.is_file());
                found.map(|path| (None, path)).ok_or_else(|| anyhow::anyhow!("there is no {path}"))
            }
            Kind::Llvm => llvm::find(machine, minimum).map(|llvm| (Some(llvm.version), llvm.clang)),
            Kind::Rust => rust::find(machine, minimum).map(|rust| (Some(rust.version), rust.rustc)),
            Kind::Bindgen => bindgen::find(machine, cache, minimum).map(|bindgen| (machine.version(&bindgen), bindgen)),
        };
        match found {
            Ok((version, path)) => Finding::Found { version, path },
            Err(error) => Finding::Lacking { why: format!("{error:#}") },
        }
    }

    fn look_for_program(&self, machine: &Machine) -> Finding {
        let Some(path) = machine.program(self.name) else {
            return Finding::Lacking { why: format!("there is no {}", self.name) };
        };
        let version = machine.version(&path);
        match (version, self.minimum) {
            (Some(version), Some(minimum)) if version < minimum => {
                Finding::Lacking { why: format!("{} is {version}, but {minimum} or newer is needed", path.display()) }
            }
            _ => Finding::Found { version, path },
        }
    }

    /// The Debian package whose line in `ci/packages` brings it; cargo brings bindgen.
    pub fn package(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Program { package } | Kind::Header { package, .. } => Some(package),
            Kind::Llvm => Some("clang-22"),
            Kind::Rust => Some("rustc-web"),
            Kind::Bindgen => None,
        }
    }

    /// What else than the Debian package would do.
    pub fn otherwise(&self) -> String {
        let newer = self.minimum.map(|minimum| format!(" {minimum} or newer")).unwrap_or_default();
        match self.kind {
            Kind::Program { .. } => format!("any {}{newer} in PATH", self.name),
            Kind::Header { path, .. } => format!("any {path} in /usr/include or /usr/local/include"),
            Kind::Llvm => format!("any clang{newer} in PATH, with lld, the llvm tools and libclang of its version"),
            Kind::Rust => format!("any rustc{newer} in PATH that has its library's source (rust-src)"),
            Kind::Bindgen => format!("any bindgen{newer} in PATH"),
        }
    }
}

/// Looks for all of `needs` at once: most of the time goes into waiting for tools to say their version.
pub fn look_for_all(needs: Vec<Need>, machine: &Machine, cache: &Path) -> Vec<(Need, Finding)> {
    let findings: Vec<Finding> = std::thread::scope(|scope| {
        let lookers: Vec<_> = needs.iter().map(|need| scope.spawn(|| need.look(machine, cache))).collect();
        lookers.into_iter().map(|looker| looker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    needs.into_iter().zip(findings).collect()
}

/// Everything, in the order it comes into play. The versions that no tree is asked for are those of
/// the kernel's `Documentation/process/changes.rst`.
pub fn all(minimum: Minimum) -> Vec<Need> {
    let program = |name, purpose, minimum: Option<[u32; 3]>, package| Need {
        name,
        purpose,
        minimum: minimum.map(Version),
        kind: Kind::Program { package },
    };
    let compiler = |name, minimum, kind| Need { name, purpose: Purpose::Build, minimum: Some(minimum), kind };
    let header = |name, path, package| Need {
        name,
        purpose: Purpose::Build,
        minimum: None,
        kind: Kind::Header { path, package },
    };
    vec![
        // `init --initial-branch` and `GIT_CONFIG_COUNT`.
        program("git", Purpose::Source, Some([2, 31, 0]), "git"),
        program("xz", Purpose::Source, None, "xz-utils"),
        program("curl", Purpose::Optional, None, "curl"),
        program("make", Purpose::Build, Some([4, 0, 0]), "make"),
        program("flex", Purpose::Build, Some([2, 5, 35]), "flex"),
        program("bison", Purpose::Build, Some([2, 0, 0]), "bison"),
        program("bc", Purpose::Build, None, "bc"),
        program("gcc", Purpose::Build, None, "gcc"),
        header("libc", "stdio.h", "libc6-dev"),
        header("libelf", "libelf.h", "libelf-dev"),
        compiler("clang", minimum.llvm, Kind::Llvm),
        compiler("rustc", minimum.rustc, Kind::Rust),
        compiler("bindgen", minimum.bindgen, Kind::Bindgen),
        program("qemu-system-x86_64", Purpose::Guest, Some(OLDEST_QEMU.0), "qemu-system-x86"),
        program("perl", Purpose::Verify, None, "perl"),
        program("python3", Purpose::Verify, Some([3, 9, 0]), "python3"),
        program("sparse", Purpose::Verify, Some([0, 6, 4]), "sparse"),
        program("pahole", Purpose::Verify, Some([1, 22, 0]), "dwarves"),
        program("docutils", Purpose::Verify, None, "python3-docutils"),
        program("mmdebstrap", Purpose::Clients, None, "mmdebstrap"),
        program("tar2sqfs", Purpose::Clients, None, "squashfs-tools-ng"),
        program("ccache", Purpose::Optional, None, "ccache"),
    ]
}
