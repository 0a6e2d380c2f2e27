//! `patches/base.toml`: what the series applies to, and where that may come from.

use std::{fmt, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{error::Failure, reason::Reason};

/// The content of `patches/base.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The kernel's version: `7.3.4`.
    pub version: String,
    /// Where it may come from, the first choice first.
    #[serde(rename = "candidate")]
    pub candidates: Vec<Candidate>,
    /// Other kernels to try it on.
    #[serde(rename = "other", default)]
    pub others: Vec<Other>,
}

/// A kernel that the series is not made for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Other {
    /// What it is called on the command line: `7.2`.
    pub name: String,
    /// Its version: `7.2.12`.
    pub version: String,
    /// Where it may come from, the first choice first.
    #[serde(rename = "candidate")]
    pub candidates: Vec<Candidate>,
    /// Patches that conflict with it, as is known.
    #[serde(rename = "conflict", default)]
    pub conflicts: Vec<Conflict>,
}

/// A patch that conflicts with a kernel it is not made for, and why that cannot be otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conflict {
    /// The patch's name without number and ending.
    pub patch: String,
    /// What the kernel has, or lacks.
    pub reason: Reason,
}

/// One place the base may come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Candidate {
    /// A source package of Debian.
    Debian(Package),
    /// The tarball that kernel.org publishes.
    #[serde(rename = "kernel.org")]
    KernelOrg {
        /// The tarball's SHA-256, besides the one in the published list.
        sha256: Option<String>,
    },
}

/// A Debian package with a tarball in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Package {
    /// The suite it is in: `trixie-backports`.
    pub suite: String,
    /// Its name: `linux-source-7.3`.
    pub package: String,
    /// Its version: `7.3.4-1~bpo13+1`.
    pub package_version: String,
    /// The tarball's path in the package, without a leading slash.
    pub member: String,
    /// The tarball's SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl Spec {
    /// Reads the file `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be read or does not say what it must.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))
            .context(Failure::Series)?;
        Self::parse(&text).with_context(|| path.display().to_string()).context(Failure::Series)
    }

    fn parse(text: &str) -> Result<Self> {
        let spec: Self = toml::from_str(text)?;
        ensure!(!spec.candidates.is_empty(), "it names no [[candidate]]");
        for other in &spec.others {
            ensure!(!other.candidates.is_empty(), "it names no [[other.candidate]] for {}", other.name);
        }
        for candidate in spec.candidates.iter().chain(spec.others.iter().flat_map(|other| &other.candidates)) {
            if let Some(sha256) = candidate.sha256() {
                let digits = sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                ensure!(digits, "{candidate}: {sha256:?} is no SHA-256 of 64 lower-case hexadecimal digits");
            }
        }
        Ok(spec)
    }
}

impl Candidate {
    /// The SHA-256 its tarball must have, if that is pinned here.
    pub fn sha256(&self) -> Option<&str> {
        match self {
            Self::Debian(package) => Some(&package.sha256),
            Self::KernelOrg { sha256 } => sha256.as_deref(),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(package) => write!(f, "Debian's {} {}", package.package, package.package_version),
            Self::KernelOrg { .. } => f.write_str("kernel.org"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repositorys_own_file_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../patches/base.toml");
        let spec = Spec::read(&path).unwrap();
        assert!(matches!(spec.candidates[0], Candidate::Debian(_)));
    }

    #[test]
    fn a_wrong_hash_or_an_unknown_key_is_told() {
        for (text, expected) in [
            ("version = \"1\"\ncandidate = []", "it names no [[candidate]]"),
            ("version = \"1\"\n[[candidate]]\nfrom = \"kernel.org\"\nsha256 = \"12\"", "is no SHA-256"),
            (
                "version = \"1\"\n[[candidate]]\nfrom = \"kernel.org\"\n[[other]]\nname = \"2\"\nversion = \"2\"\ncandidate = []",
                "it names no [[other.candidate]] for 2",
            ),
            (
                "version = \"1\"\n[[candidate]]\nfrom = \"kernel.org\"\n[[other]]\nname = \"2\"\nversion = \"2\"\n\
                 candidate = [{ from = \"kernel.org\" }]\nconflict = [{ patch = \"a\", reason = \" \" }]",
                "this has no reason",
            ),
            ("version = \"1\"\n[[candidate]]\nfrom = \"ftp\"", "unknown variant `ftp`"),
            ("version = \"1\"\nbase = 2\ncandidate = []", "unknown field `base`"),
        ] {
            let error = format!("{:#}", Spec::parse(text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
