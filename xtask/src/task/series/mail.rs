//! `cargo xtask series mail`.

use std::{
    collections::BTreeSet,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    ctx::Ctx,
    mail::{
        self, Order,
        choice::Choice,
        gate::Gate,
        people::{People, Person},
    },
    progress, source,
    task::{Task, series::list_gates, source_args::SourceArgs},
};

/// Writes the series as mails for the kernel's lists, if it passes the gates; sends nothing
///
/// Author and sign-off are your git identity. The mails get their To and Cc from the
/// kernel's get_maintainer.pl and are threaded under the cover letter.
///
/// With --patches, only a group of patches/groups.toml is mailed: the first patches, with a cover letter of their own.
/// The mails go to DIR/NAME/vN.
///
/// Example: cargo xtask series mail -v 2 --to-dir outgoing/
///
/// Example: cargo xtask series mail --patches fixes
#[derive(Args, Debug)]
pub(super) struct Mail {
    /// Mail only the patches of this group. It can be given as the range of its numbers, which starts at 1.
    #[arg(long, value_name = "NAME|1-N")]
    patches: Option<Choice>,
    /// Which version of the series this is.
    #[arg(short = 'v', long = "series-version", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    series_version: u32,
    /// Write the mails to DIR/vN.
    #[arg(long, value_name = "DIR", default_value = "outgoing")]
    to_dir: PathBuf,
    /// Mark the mails as [PATCH RFC].
    #[arg(long)]
    rfc: bool,
    /// Add your Signed-off-by, which says that you may submit this (Developer's Certificate of Origin).
    #[arg(long)]
    sign_off: bool,
    /// Add this address to the To of every mail.
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<Person>,
    /// Add this address to the Cc of every mail.
    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<Person>,
    /// Leave out this gate of --list-gates; may be given several times.
    #[arg(long, value_name = "GATE", value_enum, hide_possible_values = true)]
    skip: Vec<Gate>,
    /// List the gates and what each wants, and write nothing.
    #[arg(long)]
    list_gates: bool,
    /// Overwrite the mails of this version.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    source: SourceArgs,
}

impl Task for Mail {
    fn run(self, ctx: &Ctx) -> Result<()> {
        if self.list_gates {
            list_gates::<Gate>();
            return Ok(());
        }
        let submitter = Person::submitter(ctx)?;
        let base = source::base(ctx, self.source.path())?;
        let sign_off = self.sign_off || asked(&submitter)?;
        let order = Order {
            patches: self.patches,
            version: self.series_version,
            rfc: self.rfc,
            sign_off,
            submitter,
            also: People { to: self.to, cc: self.cc },
            folder: self.to_dir,
            skip: self.skip.into_iter().collect::<BTreeSet<_>>(),
            force: self.force,
        };
        let written = mail::write(ctx, &base, &order)?;
        progress::say(&written.gates.to_string());
        let folder = written.folder.display();
        println!("{folder}");
        progress::say(&format!(
            "Nothing was sent. Read the mails, then send them yourself:\n  \
             git send-email --no-thread --suppress-cc=all --confirm=always {folder}/*.patch\n\
             What a maintainer will do with them can be tried before:\n  \
             b4 am -m {} -o - {}",
            written.mailbox.display(),
            written.id
        ));
        Ok(())
    }
}

/// Asks at the terminal for the sign-off; without a terminal there is none.
fn asked(submitter: &Person) -> Result<bool> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(false);
    }
    eprint!("Sign off as {submitter} (Developer's Certificate of Origin 1.1, developercertificate.org)? [y/N] ");
    io::stderr().flush().context("cannot ask")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
