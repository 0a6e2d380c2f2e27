//! Runs every external command: the exact line goes into the log and into the error.
//!
//! Commands are written with xshell's `cmd!` and run with duct. What neither has is here: a child leads a process group
//! of its own, ends when we end and on Ctrl-C ([`crate::interrupt`]), and its error holds the last lines it printed.

use std::{
    borrow::Cow,
    collections::VecDeque,
    ffi::OsStr,
    io::{BufRead, BufReader, PipeReader, PipeWriter},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitStatus, Output},
};

use anyhow::{Context as _, Result};
use duct::Expression;
use nix::sys::signal::Signal;
use xshell::Shell;

use crate::{
    error::Failure,
    interrupt::{self, Group},
    progress,
};

/// A shell in the folder `dir`, to write commands for with `cmd!`.
pub fn shell_in(dir: impl AsRef<Path>) -> Result<Shell> {
    let shell = Shell::new().context("cannot find the folder this runs in")?;
    shell.change_dir(dir);
    Ok(shell)
}

/// How many lines of a failed command's output its error shows.
const TAIL: usize = 20;

/// The command as it would be typed into a shell.
pub fn line(command: &Command) -> String {
    quoted(std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_string_lossy))
}

/// These words, quoted for a shell.
pub fn quoted(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    // Only a NUL byte cannot be quoted, and no command line holds one.
    let quote = |word: &str| shlex::try_quote(word).map_or_else(|_| word.to_owned(), Cow::into_owned);
    words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// `command` for duct, without an opinion on its exit code.
///
/// It shows every setting of a command but whether the environment was cleared: remove variables by name.
pub fn expression(command: &Command) -> Expression {
    let mut expression = duct::cmd(command.get_program(), command.get_args()).unchecked();
    for (name, value) in command.get_envs() {
        expression = match value {
            Some(value) => expression.env(name, value),
            None => expression.env_remove(name),
        };
    }
    command.get_current_dir().map(|dir| expression.dir(dir)).unwrap_or(expression)
}

/// Makes the child of `command` lead its own process group and end when the thread that starts it
/// ends, so that not even our own violent death leaves it behind.
pub fn tie(command: &mut Command) {
    command.process_group(0);
    // SAFETY: The closure runs between fork and exec, where only async-signal-safe calls are
    // allowed; it makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?));
    }
}

fn tied(expression: &Expression) -> Expression {
    expression.before_spawn(|command| {
        tie(command);
        Ok(())
    })
}

/// Runs `command` to its end and returns what it printed.
///
/// # Errors
///
/// When it cannot be started or exits with anything but 0; the error holds the line that was run
/// and the end of what it printed on standard error. [`Failure::Interrupted`] on Ctrl-C.
pub fn read(command: &Command, verbose: bool) -> Result<String> {
    let output = attempt(command, verbose)?;
    judge(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// As [`read`], with `input` on its standard input; returns the bytes it printed.
pub fn feed(command: &Command, input: &[u8], verbose: bool) -> Result<Vec<u8>> {
    let output = attempt_fed(command, input, verbose)?;
    judge(command, &output)?;
    Ok(output.stdout)
}

/// As [`read`], with the content of the file `input` on its standard input.
pub fn read_from(command: &Command, input: &Path, verbose: bool) -> Result<String> {
    let output = finish(command, |expression| expression.stdin_path(input), verbose)?;
    judge(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command` to its end and returns what it printed, whatever its exit code: the caller judges.
///
/// # Errors
///
/// When it cannot be started; [`Failure::Interrupted`] on Ctrl-C.
pub fn attempt(command: &Command, verbose: bool) -> Result<Output> {
    finish(command, Expression::stdin_null, verbose)
}

/// As [`attempt`], with `input` on its standard input. A command that stops reading early is judged by its exit code.
pub fn attempt_fed(command: &Command, input: &[u8], verbose: bool) -> Result<Output> {
    finish(command, |expression| expression.stdin_bytes(input), verbose)
}

fn finish(command: &Command, input: impl FnOnce(&Expression) -> Expression, verbose: bool) -> Result<Output> {
    let line = announce(command, verbose);
    let expression = input(&expression(command)).stdout_capture().stderr_capture();
    let handle = tied(&expression).start().with_context(|| format!("cannot run `{line}`"))?;
    let group = Group::of_all(&handle.pids());
    let output = handle.into_output().with_context(|| format!("cannot wait for `{line}`"))?;
    group.ended();
    if interrupt::requested() && !output.status.success() {
        return Err(failed(&line, output.status, ""));
    }
    Ok(output)
}

fn judge(command: &Command, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    Err(failed(&line(command), output.status, &last_lines(&String::from_utf8_lossy(&output.stderr))))
}

/// Runs `command` to its end and hands every line it prints, on either stream, to `on_line` as it comes.
///
/// A carriage return ends a line as well, so that progress printed for a terminal arrives in pieces.
///
/// # Errors
///
/// When it cannot be started, exits with anything but 0 (the error holds the line that was run and
/// the end of its output), or `on_line` fails, which ends the child. [`Failure::Interrupted`] on Ctrl-C.
pub fn stream(command: &Command, verbose: bool, on_line: impl FnMut(&str) -> Result<()>) -> Result<()> {
    stream_as(command, &tied(&expression(command)), verbose, Group::of_all, on_line)
}

/// As [`stream`], but Ctrl-C and our own death leave the child running to its end: for what must not be cut off half-way.
pub fn stream_unbroken(command: &Command, verbose: bool, on_line: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let apart = expression(command).before_spawn(|command| {
        command.process_group(0);
        Ok(())
    });
    stream_as(command, &apart, verbose, |_| Group::none(), on_line)
}

fn stream_as(
    command: &Command,
    expression: &Expression,
    verbose: bool,
    watch: impl FnOnce(&[u32]) -> Group,
    mut on_line: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let line = announce(command, verbose);
    let output = expression.stdin_null().stderr_to_stdout().reader().with_context(|| format!("cannot run `{line}`"))?;
    let group = watch(&output.pids());

    let mut tail = Tail::default();
    let mut reader = BufReader::new(&output);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let at_end = read_piece(&mut reader, &mut buffer).with_context(|| format!("cannot read from `{line}`"))?;
        if let Some(text) = tail.push(&buffer) {
            if verbose {
                progress::say(text);
            }
            if let Err(error) = on_line(text) {
                drop(group);
                // It was killed one line above; the error that ended it is the one to return.
                let _ = output.kill();
                return Err(error);
            }
        }
        if at_end {
            break;
        }
    }
    // At the end of its output, duct has waited for the child.
    let ended = output.try_wait().with_context(|| format!("cannot wait for `{line}`"))?;
    let status = ended.with_context(|| format!("`{line}` closed its output and runs on"))?.status;
    group.ended();
    if status.success() { Ok(()) } else { Err(failed(&line, status, &tail.text())) }
}

/// A child that runs beside us, with one end of a pipe to it in our hands.
///
/// Dropped without [`Running::finish`], it is killed.
#[derive(Debug)]
pub struct Running {
    line: String,
    handle: duct::Handle,
    group: Group,
}

/// Starts `command` with its standard output in a pipe that we read.
pub fn start_reader(command: &Command, verbose: bool) -> Result<(Running, PipeReader)> {
    let (ours, theirs) = std::io::pipe().context("cannot make a pipe")?;
    Ok((start(command, &expression(command).stdin_null().stdout_file(theirs), verbose)?, ours))
}

/// Starts `command` with its standard input in a pipe that we write.
pub fn start_writer(command: &Command, verbose: bool) -> Result<(Running, PipeWriter)> {
    let (theirs, ours) = std::io::pipe().context("cannot make a pipe")?;
    Ok((start(command, &expression(command).stdin_file(theirs).stdout_null(), verbose)?, ours))
}

fn start(command: &Command, expression: &Expression, verbose: bool) -> Result<Running> {
    let line = announce(command, verbose);
    let handle = tied(&expression.stderr_capture()).start().with_context(|| format!("cannot run `{line}`"))?;
    let group = Group::of_all(&handle.pids());
    Ok(Running { line, handle, group })
}

impl Running {
    /// Waits for the end of the child. Our end of its pipe must have been dropped, or it may wait for us.
    ///
    /// # Errors
    ///
    /// When it exits with anything but 0, as [`read`].
    pub fn finish(self) -> Result<()> {
        let output = self.handle.wait().with_context(|| format!("cannot wait for `{}`", self.line))?;
        self.group.ended();
        if output.status.success() {
            return Ok(());
        }
        Err(failed(&self.line, output.status, &last_lines(&String::from_utf8_lossy(&output.stderr))))
    }
}

/// The last lines of a command's output.
#[derive(Debug, Default)]
struct Tail(VecDeque<String>);

impl Tail {
    /// Adds one line as it was read; returns it as text, or nothing if it is empty.
    fn push(&mut self, bytes: &[u8]) -> Option<&str> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return None;
        }
        if self.0.len() == TAIL {
            self.0.pop_front();
        }
        self.0.push_back(text.to_owned());
        self.0.back().map(String::as_str)
    }

    fn text(mut self) -> String {
        self.0.make_contiguous().join("\n")
    }
}

/// Reads up to and including the next line feed or carriage return; `true` at the end of the input.
fn read_piece(reader: &mut impl BufRead, into: &mut Vec<u8>) -> std::io::Result<bool> {
    loop {
        let available = match reader.fill_buf() {
            Ok([]) => return Ok(true),
            Ok(available) => available,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = available.iter().position(|b| matches!(b, b'\n' | b'\r'));
        let taken = end.map_or(available.len(), |at| at + 1);
        into.extend_from_slice(&available[..taken]);
        reader.consume(taken);
        if end.is_some() {
            return Ok(false);
        }
    }
}

fn announce(command: &Command, verbose: bool) -> String {
    let line = line(command);
    if verbose {
        progress::say(&format!("$ {line}"));
    }
    line
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

fn failed(line: &str, status: ExitStatus, output: &str) -> anyhow::Error {
    if interrupt::requested() {
        return anyhow::Error::new(Failure::Interrupted).context(format!("while running `{line}`"));
    }
    anyhow::anyhow!("`{line}` failed ({status}):\n{output}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let mut command = Command::new("printf");
        command.args(["%s", "it's", "two words", ""]);
        assert_eq!(line(&command), r#"printf '%s' "it's" 'two words' ''"#);
    }

    #[test]
    fn read_returns_standard_output_only() {
        assert_eq!(read(&shell("echo out; echo err >&2"), false).unwrap(), "out\n");
    }

    #[test]
    fn feed_hands_over_the_input_and_survives_a_command_that_ignores_it() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(feed(&shell("wc -c"), &input, false).unwrap(), b"1048576\n");
        assert_eq!(feed(&shell("echo done"), &input, false).unwrap(), b"done\n");
    }

    #[test]
    fn attempt_leaves_the_verdict_to_the_caller() {
        let output = attempt(&shell("echo out; exit 7"), false).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(7), b"out\n".as_slice()));
    }

    #[test]
    fn an_error_holds_the_line_and_the_end_of_the_output() {
        let error = read(&shell("seq 100 >&2; exit 3"), false).unwrap_err().to_string();
        assert!(error.starts_with("`sh -c 'seq 100 >&2; exit 3'` failed (exit status: 3):\n81\n"), "{error}");
        assert!(error.ends_with("\n100"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = read(&Command::new("no-such-program-here"), false).unwrap_err().to_string();
        assert_eq!(error, "cannot run `no-such-program-here`");
    }

    #[test]
    fn stream_hands_over_both_streams_line_by_line() {
        let mut lines = Vec::new();
        stream(&shell(r"printf 'a\n50%%\r100%%\n'; echo c >&2; printf end"), false, |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(lines, ["a", "50%", "100%", "c", "end"]);
    }

    #[test]
    fn stream_ends_a_child_whose_output_is_refused() {
        let start = std::time::Instant::now();
        let error = stream(&shell("echo bad; sleep 600"), false, |line| anyhow::bail!("refused {line}")).unwrap_err();
        assert_eq!(error.to_string(), "refused bad");
        assert!(start.elapsed().as_secs() < 60, "the child was waited for, not ended");
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_a_stream() {
        let mut lines = Vec::new();
        stream(&shell(r"printf '\377\nok\n'"), false, |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(lines, ["\u{fffd}", "ok"]);
    }
}
