//! `series rebase`: the series on another version of Linux.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{
    cache::write_whole,
    ctx::Ctx,
    git::Git,
    series::{
        import::Outcome,
        refresh::{self, Options},
    },
    source::{self, Base},
};

/// What became of the series.
#[derive(Debug)]
pub struct Moved {
    /// What has changed in `patches/` and `rust/`.
    pub outcome: Outcome,
    /// Lines of documents that name the old version, as `FILE:LINE`.
    pub mentions: Vec<String>,
}

/// Carries the series from `old` over to `new`, and writes that into `patches/base.toml`.
pub fn rebase(ctx: &Ctx, old: &Base, new: &Base, resume: bool) -> Result<Moved> {
    let outcome = if resume {
        refresh::resume(ctx, new)?
    } else {
        refresh::refresh(ctx, new, Some(old), Options { three_way: true, ..Options::default() })?
    };
    let path = ctx.root().join(source::SPEC);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    write_whole(&path, on_version(&text, &new.version).as_bytes())?;
    Ok(Moved { outcome, mentions: mentions(ctx, &old.version)? })
}

/// The text of `patches/base.toml` for `version`: kernel.org has every one, and a package of the old one is of no use.
fn on_version(text: &str, version: &str) -> String {
    let others = text.find("[[other]]").map_or("", |at| {
        // The comment above the first one is about all of them.
        let comment = text[..at].rfind("\n# Other").map_or(at, |comment| comment + 1);
        &text[comment..]
    });
    let head = text.split("version = ").next().unwrap_or_default();
    let candidate = "[[candidate]]\nfrom = \"kernel.org\"\n";
    format!("{head}version = \"{version}\"\n\n{candidate}\n{others}").trim_end().to_owned() + "\n"
}

/// Where documents name `version`.
fn mentions(ctx: &Ctx, version: &str) -> Result<Vec<String>> {
    let found = Git::new(ctx.root(), ctx.verbose).attempt(["grep", "-nF", "-e", version, "--", "*.md", "ci", ".ci"])?;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    let place = |line: &str| line.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
    Ok(text.lines().map(place).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_that_version_of_kernel_org_and_the_other_kernels_stay() {
        let text = "# What it is for.\nversion = \"7.3.4\"\n\n# Tried in this order.\n[[candidate]]\nfrom = \"debian\"\n\
                    \n# Other kernels.\n\n[[other]]\nname = \"7.2\"\n";
        let expected = "# What it is for.\nversion = \"7.4\"\n\n[[candidate]]\nfrom = \"kernel.org\"\n\
                        \n# Other kernels.\n\n[[other]]\nname = \"7.2\"\n";
        assert_eq!(on_version(text, "7.4"), expected);
        assert!(on_version("version = \"7.3\"\n[[candidate]]\n", "7.4.1").ends_with("from = \"kernel.org\"\n"));
    }
}
