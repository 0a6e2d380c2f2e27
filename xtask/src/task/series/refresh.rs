//! `cargo xtask series refresh`.

use std::{path::PathBuf, str::FromStr};

use anyhow::Result;
use clap::Args;

use crate::{
    ctx::Ctx,
    progress,
    series::{
        import,
        refresh::{self, Options, Prefer},
    },
    source,
    task::Task,
};

const EXAMPLES: &str = "\
Examples:
  cargo xtask series refresh
  cargo xtask series refresh --from-branch ~/linux:loopfs --base v7.3.4";

/// Folds edits of rust/ and of the work tree into patches/, so that all three agree
///
/// An edited line goes into the patch that introduced it; commits made in the work tree (`cargo xtask tree`) become
/// patches, or fixups of patches if their subject starts with `fixup! `. Patches that are not concerned keep every byte.
///
/// Example: cargo xtask series refresh --into 12
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Refresh {
    /// Go on after a conflict has been resolved.
    #[arg(long = "continue", conflicts_with_all = ["abort", "into", "prefer", "three_way", "from_branch"])]
    resume: bool,
    /// Forget a refresh that has stopped at a conflict.
    #[arg(long, conflicts_with_all = ["into", "prefer", "three_way", "from_branch"])]
    abort: bool,
    /// Fold every edit into the patch of this number.
    #[arg(long, value_name = "NUMBER")]
    into: Option<usize>,
    /// Which side to believe where both rust/ and patches/ were changed.
    #[arg(long, value_enum)]
    prefer: Option<Prefer>,
    /// Carry patches that no longer apply over by a three-way merge.
    #[arg(long)]
    three_way: bool,
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Replace the series by this branch of a git repository, one commit a patch.
    #[arg(long, value_name = "REPO:BRANCH", conflicts_with_all = ["into", "prefer", "three_way", "from"])]
    from_branch: Option<RepoBranch>,
    /// The commit of that repository the series starts from.
    #[arg(long, value_name = "REV", requires = "from_branch", default_value = "base")]
    base: String,
}

/// A branch of a repository, as `REPO:BRANCH`.
#[derive(Clone, Debug)]
struct RepoBranch {
    repo: PathBuf,
    branch: String,
}

impl FromStr for RepoBranch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((repo, branch)) if !repo.is_empty() && !branch.is_empty() => {
                Ok(Self { repo: repo.into(), branch: branch.to_owned() })
            }
            _ => Err("write it as REPO:BRANCH, such as ~/linux:loopfs".to_owned()),
        }
    }
}

impl Task for Refresh {
    fn run(self, ctx: &Ctx) -> Result<()> {
        if self.abort {
            refresh::abort(ctx)?;
            progress::say("the stopped refresh is forgotten; patches/ and rust/ are as they were before it");
            return Ok(());
        }
        let outcome = match &self.from_branch {
            Some(from) => import::from_branch(ctx, &from.repo, &self.base, &from.branch)?,
            None => {
                let base = source::base(ctx, self.from.as_deref())?;
                if self.resume {
                    refresh::resume(ctx, &base)?
                } else {
                    let options = Options { into: self.into, prefer: self.prefer, three_way: self.three_way };
                    let origin =
                        (self.three_way && self.from.is_some()).then(|| source::base(ctx, None)).transpose()?;
                    refresh::refresh(ctx, &base, origin.as_ref(), options)?
                }
            }
        };
        print!("{outcome}");
        Ok(())
    }
}
