//! A Debian for the guest of the real clients: a read-only disk with the programs of `ci/clients/packages.list`.
//!
//! It is a disk, because hundreds of megabytes would take an initramfs longer to unpack at each boot than a case
//! may take; squashfs, because that can be made from a tarball without root and without mounting anything; and
//! compressed with LZ4, because without KVM it is the guest's emulated CPU that decompresses.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use xshell::{Shell, cmd};

use crate::{
    cache::{self, Key},
    ctx::Ctx,
    process,
    progress::Progress,
    toolchain::{packages, sources},
};

/// Which programs the guest has.
const LIST: &str = "ci/clients/packages.list";

/// Gives the tree, which is `$1`, what an installation has: a person, and ids that root and the person may give to
/// containers.
const FINISH: [&str; 2] = [
    r#"chroot "$1" useradd --create-home --shell /bin/bash --uid 1000 user"#,
    r#"printf '%s\n' root:100000:65536 user:200000:65536 | tee "$1/etc/subuid" > "$1/etc/subgid""#,
];

/// What a program never reads.
const LEFT_OUT: [&str; 4] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];

/// The disk of this machine's own release of Debian, made if the cache does not have it.
///
/// # Errors
///
/// [`crate::error::Failure::Environment`] when this machine is no Debian or its mirror does not answer; and when the
/// tools fail, with what they say.
pub fn disk(ctx: &Ctx) -> Result<PathBuf> {
    let etc = Path::new("/etc");
    let suite = sources::codename(etc)?;
    let mirror = sources::mirror(etc)?.line(&suite);
    let lines = packages::read_list(&ctx.root().join(LIST))?;
    let packages: Vec<&str> = lines.iter().flat_map(|line| &line.choices[0]).map(String::as_str).collect();
    let key = Key::default().with("debian 1").with(&mirror).with(FINISH.concat()).with(packages.join(","));
    let entry = cache::entry(&ctx.cache().join("debian"), &key.name(), "the guest's Debian", |folder| {
        let tarball = folder.join("tree.tar");
        bootstrap(&suite, &mirror, &packages, &tarball, ctx.verbose)
            .with_context(|| format!("cannot make a Debian {suite} with the packages of {LIST}"))?;
        pack(&tarball, &folder.join(DISK), ctx.verbose)?;
        fs::remove_file(&tarball).with_context(|| format!("cannot remove {}", tarball.display()))
    })?;
    Ok(entry.join(DISK))
}

const DISK: &str = "debian.squashfs";

fn bootstrap(suite: &str, mirror: &str, packages: &[&str], tarball: &Path, verbose: bool) -> Result<()> {
    let progress = Progress::spinner(format!("make the guest's Debian {suite}"));
    let (sh, packages_list, mirror) = (Shell::new()?, packages.join(","), mirror.trim_end());
    let left_out = LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}"));
    let finish = FINISH.map(|line| format!("--customize-hook={line}"));
    let mut command = cmd!(
        sh,
        "mmdebstrap --variant=essential '--aptopt=APT::Install-Recommends \"false\"' --include={packages_list}
         {left_out...} {finish...} {suite} {tarball} {mirror}"
    );
    if nix::unistd::geteuid().is_root() {
        // What a killed run leaves behind goes with the half-made entry. Without root it must be where the ids of
        // mmdebstrap's user namespace may go, and it clears that away itself.
        command = command.env("TMPDIR", tarball.parent().unwrap_or(Path::new("/tmp")));
    }
    process::stream(&command.into(), verbose, |line| {
        progress.detail(line);
        Ok(())
    })?;
    progress.done(&format!("{} packages and what they depend on", packages.len()));
    Ok(())
}

fn pack(tarball: &Path, disk: &Path, verbose: bool) -> Result<()> {
    let progress = Progress::spinner("pack it");
    let sh = Shell::new()?;
    // No program of the list has capabilities of its own, and the access list of the journal's folder, which squashfs
    // cannot keep, is for a journal that is not there.
    let command = cmd!(sh, "tar2sqfs --quiet --compressor lz4 --no-skip --no-xattr {disk}");
    process::read_from(&command.into(), tarball, verbose)?;
    let size = fs::metadata(disk).with_context(|| format!("cannot read {}", disk.display()))?.len();
    progress.done(&format!("{} MB", size / 1_000_000));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_of_the_list_says_what_it_is_for_and_is_without_a_choice() {
        let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(LIST);
        let lines = packages::read_list(&list).unwrap();
        assert!(lines.len() > 10);
        for line in lines {
            assert!(line.choices.len() == 1 && !line.purpose.is_empty(), "{line:?}");
        }
    }
}
