//! The option that names a kernel source, which many commands have.

use std::path::{Path, PathBuf};

/// Where the kernel source comes from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SourceArgs {
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

impl SourceArgs {
    /// The source that was named.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.from.as_deref()
    }
}
