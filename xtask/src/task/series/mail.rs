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
        gate::Gate,
        people::{People, Person},
    },
    progress, source,
    task::{Task, series::list_gates},
};

/// Writes the series as mails for the kernel's lists, if it passes the gates; never sends anything
///
/// Author and sign-off are those of the person git knows as the user here. The mails get their To and Cc from the
/// kernel's get_maintainer.pl and are threaded under the cover letter.
///
/// Example: cargo xtask series mail -v 2 --to-dir outgoing/
#[derive(Args, Debug)]
pub(super) struct Mail {
    /// Which version of the series this is.
    #[arg(short = 'v', long = "series-version", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    series_version: u32,
    /// The folder that gets a folder vN with the mails.
    #[arg(long, value_name = "DIR", default_value = "outgoing")]
    to_dir: PathBuf,
    /// Ask for comments only: [PATCH RFC].
    #[arg(long)]
    rfc: bool,
    /// Add your Signed-off-by, which says that you may submit this (Developer's Certificate of Origin).
    #[arg(long)]
    sign_off: bool,
    /// Send all of it to this address as well, for what get_maintainer.pl does not know.
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<Person>,
    /// Send copies of all of it to this address as well.
    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<Person>,
    /// Leave out this gate of --list-gates; may be given several times.
    #[arg(long, value_name = "GATE", value_enum, hide_possible_values = true)]
    skip: Vec<Gate>,
    /// List the gates and what each wants, and write nothing.
    #[arg(long)]
    list_gates: bool,
    /// Replace mails of this version that were written before.
    #[arg(long)]
    force: bool,
    /// Take the kernel source from this git tree, tarball or folder instead of downloading it.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

impl Task for Mail {
    fn run(self, ctx: &Ctx) -> Result<()> {
        if self.list_gates {
            list_gates::<Gate>();
            return Ok(());
        }
        let submitter = Person::submitter(ctx)?;
        let base = source::base(ctx, self.from.as_deref())?;
        let sign_off = self.sign_off || asked(&submitter)?;
        let order = Order {
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

/// Asks whoever sits at the terminal for their sign-off; without one, nobody has given it.
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
