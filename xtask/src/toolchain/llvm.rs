//! clang, lld, the llvm tools and libclang, all of one version.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::toolchain::{machine::Machine, version::Version};

/// The tools beside clang that a kernel build calls when it is told `LLVM=`.
const COMPANIONS: &[&str] =
    &["ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-objdump", "llvm-readelf", "llvm-strip"];

/// The newest LLVM that a packager may have given a suffix of its own.
const NEWEST: u32 = 40;

/// One LLVM, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Llvm {
    /// The compiler.
    pub clang: PathBuf,
    /// Its version.
    pub version: Version,
    /// What follows the names of all its programs: `-22`, or nothing.
    pub suffix: String,
    /// The folder of its libclang, which bindgen loads.
    pub libclang: PathBuf,
}

/// Finds the newest complete LLVM that is at least `minimum`.
///
/// # Errors
///
/// What the best one that was found lacks, or that there is none.
pub fn find(machine: &Machine, minimum: Version) -> Result<Llvm> {
    let suffixes = (minimum.0[0]..=NEWEST).rev().map(|major| format!("-{major}")).chain([String::new()]);
    let mut complaint = None;
    for suffix in suffixes {
        let Some(clang) = machine.program(&format!("clang{suffix}")) else { continue };
        match complete(machine, clang, suffix, minimum) {
            Ok(llvm) => return Ok(llvm),
            Err(error) => complaint = complaint.or(Some(error)),
        }
    }
    match complaint {
        Some(error) => Err(error),
        None => bail!("there is no clang; {minimum} or newer is needed"),
    }
}

fn complete(machine: &Machine, clang: PathBuf, suffix: String, minimum: Version) -> Result<Llvm> {
    let Some(version) = machine.version(&clang) else { bail!("{} does not run", clang.display()) };
    if version < minimum {
        bail!("{} is {version}, but {minimum} or newer is needed", clang.display());
    }
    for companion in COMPANIONS {
        let name = format!("{companion}{suffix}");
        if machine.program(&name).is_none() {
            bail!("{} is there, but {name} is not", clang.display());
        }
    }
    let resources = machine.ask(&clang, &["-print-resource-dir"]).unwrap_or_default();
    let Some(libclang) = libclang(machine, Path::new(resources.trim()), version) else {
        bail!("{} is there, but no libclang of its version", clang.display());
    };
    Ok(Llvm { clang, version, suffix, libclang })
}

/// The folder with the libclang that belongs to the clang whose headers are at `resources`
/// (`/usr/lib/llvm-22/lib/clang/22`): beside them, or where the linker looks.
fn libclang(machine: &Machine, resources: &Path, version: Version) -> Option<PathBuf> {
    let own = resources.ancestors().nth(2)?.to_owned();
    let shared = machine.at("/usr/lib/x86_64-linux-gnu");
    let versioned = format!("libclang-{}.so", version.0[0]);
    let is_in = |folder: &Path, names: &[&str]| {
        let Ok(mut entries) = std::fs::read_dir(folder) else { return false };
        entries.any(|entry| {
            entry.is_ok_and(|entry| names.iter().any(|name| entry.file_name().to_string_lossy().starts_with(name)))
        })
    };
    if is_in(&own, &["libclang.so", &versioned]) { Some(own) } else { is_in(&shared, &[&versioned]).then_some(shared) }
}
