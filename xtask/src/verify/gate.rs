//! What each patch has to pass, gate by gate.

use std::fmt;

use serde::Serialize;

use crate::{
    gate::name,
    series::{folder::Entry, patch::Patch},
};

/// A gate, by the name with which it can be chosen or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Each prefix configures and builds with the option on and off, with no new warning.
    Build,
    /// Each built prefix boots and passes the cases that apply.
    Boot,
    /// With the option off, no prefix has a symbol of loopfs, and the whole series leaves the loop driver's object as it was
    /// but for what patches/absent.toml names.
    Absent,
    /// The whole series passes the whole suite in the default configuration.
    Suite,
    /// It passes it in the debug configuration as well, with the kernel's own tests (KUnit) and documentation examples.
    Kunit,
    /// The files that the series touches compile without a warning with options off that they could lean on, with the
    /// loop driver as a module, and with gcc.
    Neighbours,
    /// `checkpatch --strict` has no complaint that is not justified in patches/checkpatch.toml.
    Checkpatch,
    /// rustfmt would change nothing.
    Rustfmt,
    /// kernel-doc has no new warning.
    KernelDoc,
    /// Documentation is well-formed reStructuredText.
    Rst,
    /// `make W=1` and sparse have no new warning about the touched C files.
    Sparse,
    /// Clippy has no new warning.
    Clippy,
    /// `make rustdoc` has no new warning.
    Rustdoc,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(self))
    }
}

/// One patch at its gates.
#[derive(Debug)]
pub struct Subject<'a> {
    /// How many patches the prefix has that ends with it.
    pub number: usize,
    /// Its file.
    pub entry: &'a Entry,
    /// What is in the file.
    pub patch: &'a Patch,
}

impl Subject<'_> {
    /// The files with this ending that it adds or changes.
    pub fn files(&self, ending: &str) -> Vec<&str> {
        let gone = crate::series::patch::ChangeKind::Deleted;
        let kept = self.patch.files.iter().filter(|file| file.kind != gone);
        kept.map(|file| file.path.as_str()).filter(|path| path.ends_with(ending)).collect()
    }
}
