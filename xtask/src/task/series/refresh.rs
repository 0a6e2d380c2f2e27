//! `cargo xtask series refresh`.

use std::{path::PathBuf, str::FromStr};

use anyhow::{Result, bail};
use clap::Args;

use crate::{ctx::Ctx, series::import, task::Task};

/// Makes patches/, rust/ and the work tree agree again
#[derive(Args, Debug)]
#[command(after_help = "Example: cargo xtask series refresh --from-branch ~/linux:loopfs --base v7.3.4")]
pub(super) struct Refresh {
    /// Take the series from this branch of a git repository, one commit a patch
    #[arg(long, value_name = "REPO:BRANCH")]
    from_branch: Option<RepoBranch>,
    /// The commit of that repository the series starts from
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
        let Some(from) = self.from_branch else { bail!("name the branch to take the series from: --from-branch") };
        let outcome = import::from_branch(ctx, &from.repo, &self.base, &from.branch)?;
        print!("{outcome}");
        Ok(())
    }
}
