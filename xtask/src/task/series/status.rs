//! `cargo xtask series status`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use crate::{
    ctx::Ctx,
    error::Failure,
    series::{
        other_bases::{self, Candidate},
        status,
    },
    source::{self, spec::Other},
    task::Task,
    toolchain::{install, needs::Purpose, version::Minimum},
};

/// Tells for each patch how it meets a base: applies, three-way, conflicts, or why it is no patch
///
/// Example: cargo xtask series status --base all
#[derive(Args, Debug)]
pub(super) struct Status {
    /// Try the series on this git tree, tarball or folder instead of the base it was made for.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Try it on this kernel of patches/base.toml, or on `all` of them, and print a summary for each.
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    base: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Task for Status {
    fn run(self, ctx: &Ctx) -> Result<()> {
        if !self.base.is_empty() {
            return self.meet_others(ctx);
        }
        let base = source::base(ctx, self.from.as_deref())?;
        let mut status = status::status(ctx, &base, None)?;
        if self.from.is_some() && status.patches.iter().any(|row| row.class == "conflicts") {
            // A three-way merge needs the files the patches were made from.
            let origin = source::base(ctx, None)?;
            status = status::status(ctx, &base, Some(&origin))?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&status)?);
        } else {
            println!("{status}");
        }
        if status.is_clean() { Ok(()) } else { Err(anyhow!("not every patch applies").context(Failure::Series)) }
    }
}

impl Status {
    /// Tries the series on other kernels.
    fn meet_others(&self, ctx: &Ctx) -> Result<()> {
        install::ensure(ctx, &[Purpose::Source], Minimum::default())?;
        let origin = source::base(ctx, None)?;
        let known = source::others(ctx)?;
        let mut wanted = Vec::new();
        for name in &self.base {
            match name.as_str() {
                "all" => wanted.extend(&known),
                _ if *name == origin.version => {}
                _ => wanted
                    .extend([known.iter().find(|other| other.name == *name).with_context(|| unknown(name, &known))?]),
            }
        }
        let itself = self.base.iter().any(|name| *name == "all" || *name == origin.version);
        let itself =
            itself.then(|| Candidate { name: origin.version.clone(), base: Ok(origin.clone()), known: Vec::new() });
        let others = wanted.into_iter().map(|other| Candidate {
            name: other.name.clone(),
            base: source::other(ctx, other),
            known: other.conflicts.clone(),
        });
        let meetings = other_bases::meet(ctx, &origin, itself.into_iter().chain(others))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&meetings)?);
        } else {
            meetings.iter().for_each(|meeting| println!("{meeting}"));
        }
        match other_bases::failure(&meetings) {
            None => Ok(()),
            Some(failure) => Err(anyhow!("the series does not go onto every base").context(failure)),
        }
    }
}

fn unknown(name: &str, known: &[Other]) -> String {
    let names: Vec<&str> = known.iter().map(|other| other.name.as_str()).collect();
    format!("patches/base.toml has no kernel {name:?}; it has {}", names.join(", "))
}
