//! rustc together with the source of the library it was built with: the kernel compiles `core` itself.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::toolchain::{machine::Machine, version::Version};

/// A compiler and the source that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rust {
    /// The compiler.
    pub rustc: PathBuf,
    /// Its version.
    pub version: Version,
    /// The source of its library: the folder that holds `core`.
    pub library: PathBuf,
    /// Its documentation compiler, which builds the doctests.
    pub rustdoc: Option<PathBuf>,
    /// Its formatter, which makes bindgen's output readable.
    pub rustfmt: Option<PathBuf>,
    /// Its linter.
    pub clippy: Option<PathBuf>,
}

/// Finds the newest rustc with source that is at least `minimum`.
///
/// # Errors
///
/// What the best one that was found lacks, or that there is none.
pub fn find(machine: &Machine, minimum: Version) -> Result<Rust> {
    let mut usable: Option<Rust> = None;
    let mut complaints = Vec::new();
    let mut seen = Vec::new();
    for proxy in machine.programs("rustc") {
        let Some(printed) = machine.ask(&proxy, &["--version"]) else { continue };
        let Some(version) = Version::in_text(&printed) else { continue };
        let Some(sysroot) = machine.ask(&proxy, &["--print", "sysroot"]).map(|path| PathBuf::from(path.trim())) else {
            continue;
        };
        // What is in PATH may be rustup's proxy, which picks a compiler by the folder it runs in.
        let rustc = sysroot.join("bin/rustc");
        let rustc = if rustc.is_file() { rustc } else { proxy };
        if seen.contains(&rustc) {
            continue;
        }
        seen.push(rustc.clone());
        if version < minimum {
            complaints.push(format!("{} is {version}, but {minimum} or newer is needed", rustc.display()));
            continue;
        }
        let libraries =
            [sysroot.join("lib/rustlib/src/rust/library"), machine.at(format!("/usr/src/rustc-{version}/library"))];
        let Some(library) = libraries.into_iter().find(|path| path.join("core/src/lib.rs").is_file()) else {
            complaints.push(format!("{} ({version}) comes without its library's source", rustc.display()));
            continue;
        };
        if usable.as_ref().is_some_and(|best| best.version >= version) {
            continue;
        }
        let beside = |name: &str| rustc.parent().map(|folder| folder.join(name)).filter(|path| path.is_file());
        usable = Some(Rust {
            version,
            library,
            rustdoc: beside("rustdoc"),
            rustfmt: beside("rustfmt"),
            clippy: beside("clippy-driver"),
            rustc,
        });
    }
    match usable {
        Some(rust) => Ok(rust),
        None if complaints.is_empty() => {
            bail!("there is no rustc; {minimum} or newer is needed, with its library's source")
        }
        None => bail!("{}", complaints.join("; ")),
    }
}
