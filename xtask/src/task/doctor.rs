//! `cargo xtask doctor`: what this machine lacks.

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use crate::{
    ctx::Ctx,
    error::Failure,
    git::Git,
    source,
    task::Task,
    toolchain::{
        self, install,
        machine::Machine,
        needs::{Finding, Need, Purpose},
        version::Minimum,
    },
};

/// Says what is missing on this machine, and the one command that installs it
///
/// Example: cargo xtask doctor --fix
#[derive(Args, Debug)]
pub struct Doctor {
    /// Install what is missing, with apt (as root or through sudo) and cargo.
    #[arg(long, conflicts_with = "no_install")]
    fix: bool,
}

impl Task for Doctor {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let machine = Machine::this(ctx.verbose);
        // The kernel is asked if it is here and git is: without, there is still something to tell.
        let base = source::cached(ctx).ok().flatten();
        let ask =
            |base: source::Base| Minimum::of_commit(&Git::new(&base.repo, ctx.verbose), &base.commit, ctx.verbose);
        let minimum = base.and_then(|base| ask(base).ok()).unwrap_or_default();
        let required = [Purpose::Source, Purpose::Build, Purpose::Guest];
        if self.fix {
            install::ensure(ctx, &required, minimum)?;
        }
        let survey = toolchain::survey(
            ctx,
            &machine,
            &[required.as_slice(), &[Purpose::Verify, Purpose::Clients, Purpose::Optional]].concat(),
            minimum,
        );
        println!("{:<20} {:<10} {:<10} where", "what", "needed", "found");
        for (need, finding) in &survey {
            println!("{}", row(need, finding));
        }
        let lacking: Vec<&Need> = survey
            .iter()
            .filter(|(need, finding)| required.contains(&need.purpose) && matches!(finding, Finding::Lacking { .. }))
            .map(|(need, _)| need)
            .collect();
        if lacking.is_empty() {
            println!("\nNothing is missing.");
            return Ok(());
        }
        let command = install::command_line(ctx, &lacking)?.context("no list in ci/packages brings what is missing")?;
        println!("\nTo install what is missing, on Debian:\n    {command}\nor let `cargo xtask doctor --fix` do it.");
        let names: Vec<&str> = lacking.iter().map(|need| need.name).collect();
        Err(anyhow!("missing: {}", names.join(", ")).context(Failure::Environment))
    }
}

fn row(need: &Need, finding: &Finding) -> String {
    let needed = match (need.purpose, need.minimum) {
        (Purpose::Optional, _) => "useful".to_owned(),
        // `series verify` installs it itself; nothing else takes it.
        (Purpose::Verify, _) => "to verify".to_owned(),
        (Purpose::Clients, _) => "--clients".to_owned(),
        (_, Some(minimum)) => format!(">= {minimum}"),
        (_, None) => "any".to_owned(),
    };
    let (found, place) = match finding {
        Finding::Found { version: Some(version), path } => (version.to_string(), path.display().to_string()),
        Finding::Found { version: None, path } => ("yes".to_owned(), path.display().to_string()),
        Finding::Lacking { why } => ("no".to_owned(), why.clone()),
    };
    format!("{:<20} {needed:<10} {found:<10} {place}", need.name)
}
