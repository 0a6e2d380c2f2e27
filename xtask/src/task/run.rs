//! `cargo xtask run`: the kernel in a guest, to look at.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
};

use anyhow::{Result, anyhow};
use loopfs_protocol::Command;

use crate::{
    ctx::Ctx,
    error::Failure,
    guest::{
        initramfs::{INIT, Initramfs},
        programs,
        running::Guest,
    },
    kernel::config::Flavour,
    prepare::guest::GuestOptions,
    progress,
    suite::{
        binary,
        deadline::Deadlines,
        outcome::TestResult,
        session::{Session, Stillborn, log_path},
        splat::Detector,
        terminal::Terminal,
    },
    task::Task,
};

/// Boots the patched kernel: a tour of loopfs and then a shell, or one command
///
/// Example: cargo xtask run -- losetup --list
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The kernel configuration.
    #[arg(long, value_enum, default_value_t = Flavour::Default)]
    config: Flavour,
    /// In a guest with Debian's own programs and container managers; short for --config clients.
    #[arg(long, conflicts_with = "config")]
    clients: bool,
    /// Run this in the guest; its input, output, errors and exit code are passed on.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
    // Last: what follows would stand under its heading.
    #[command(flatten)]
    guest: GuestOptions,
}

impl Task for Run {
    fn run(self, ctx: &Ctx) -> Result<()> {
        let suite = self.guest.suite(ctx)?;
        let flavour = if self.clients { Flavour::Clients } else { self.config };
        let cases = binary::cases(&suite, flavour, ctx.verbose)?;
        let mut root = Initramfs::new(&suite);
        // Debian has its own.
        if flavour != Flavour::Clients {
            root.link("usr/bin/loopfs-selftests", Path::new(INIT));
            programs::add(&mut root, ctx.verbose)?;
        }
        let (mut prepared, told) = self.guest.prepare(ctx, flavour, &root, &cases)?;
        // Nothing of ours gets between what a command prints.
        if self.command.is_empty() || ctx.verbose {
            progress::say(&told);
        }
        prepared.machine.with_streams = true;
        prepared.machine.cpus = self.guest.cpus().unwrap_or(1);

        let detector = Detector::from_file(&ctx.root().join("ci/splats.toml"))?;
        let deadlines =
            Deadlines::new(if prepared.machine.gdb.is_some() { 1e6 } else { 1.0 }, flavour == Flavour::Debug);
        let guest = Guest::start(&prepared.qemu, &prepared.machine, None, ctx.verbose)?;
        let mut session = Session::new(guest, &log_path(&prepared.logs, 1)?, &detector, &deadlines)?;
        let up = match session.boot()? {
            Ok(()) => session.greet_for_programs()?,
            stillborn => stillborn,
        };
        if let Err(Stillborn { result }) = up {
            return Err(dead(&result, &session));
        }
        let used = self.use_guest(&mut session);
        for splat in session.take_stretch().splats() {
            progress::say(&format!("the kernel said: {}\nits console: {}", splat.line, session.log().display()));
        }
        used
    }
}

impl Run {
    fn use_guest(&self, session: &mut Session<'_>) -> Result<()> {
        let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        if !self.command.is_empty() {
            return exec(session, &self.command, interactive);
        }
        exec(session, &[INIT.to_owned(), "tour".to_owned()], false)?;
        if interactive {
            progress::say("\na shell in the guest; `exit` or Ctrl-] ends it");
            let shell =
                programs::SHELLS.iter().map(|shell| format!("command -v {shell}")).collect::<Vec<_>>().join(" || ");
            let start = format!("exec $({shell}) -i");
            // What the shell's last command returned is of no interest here.
            match exec(session, &["sh".to_owned(), "-c".to_owned(), start], true) {
                Err(error) if !matches!(Failure::of(&error), Failure::GuestCommand(_)) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Runs one program with our own streams.
fn exec(session: &mut Session<'_>, argv: &[String], interactive: bool) -> Result<()> {
    let mut terminal = Terminal::open(interactive)?;
    let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    let command = Command::Exec {
        argv: argv.to_vec(),
        env: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            "HOME=/root".to_owned(),
            r"PS1=guest:\w# ".to_owned(),
            format!("TERM={term}"),
        ],
        terminal: terminal.size(),
    };
    let ended = session.exec(&command, &mut terminal)?;
    drop(terminal);
    match ended {
        Ok(0) => Ok(()),
        Ok(code) => Err(anyhow!("`{}` in the guest", argv.join(" ")).context(Failure::GuestCommand(code))),
        Err(result) => Err(dead(&result, session)),
    }
}

/// The error for a guest that came to no good end, with the last of its console.
fn dead(result: &TestResult, session: &Session<'_>) -> anyhow::Error {
    let mut stderr = std::io::stderr();
    for line in &result.kernel_log[result.kernel_log.len().saturating_sub(60)..] {
        // If it cannot be shown, the error below still names the file.
        let _ = writeln!(stderr, "  {line}");
    }
    let why = result.message.clone().unwrap_or_default();
    anyhow!("{why}\nits console: {}", session.log().display()).context(Failure::Guest)
}
