//! The one place commands are run from: the exact line goes into the log and into the error.
//!
//! Every child leads a process group of its own, ends when we end, and is ended on Ctrl-C
//! ([`crate::interrupt`]).

use std::{
    borrow::Cow,
    collections::VecDeque,
    ffi::OsStr,
    io::{BufRead, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    thread::JoinHandle,
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::{
    error::Failure,
    interrupt::{self, Group},
    progress,
};

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

/// Runs `command` to its end and returns what it printed.
///
/// # Errors
///
/// When it cannot be started or exits with anything but 0; the error holds the line that was run
/// and the end of what it printed on standard error. [`Failure::Interrupted`] on Ctrl-C.
pub fn read(command: &mut Command, verbose: bool) -> Result<String> {
    let output = attempt(command, verbose)?;
    judge(command, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command` to its end with `input` on its standard input, and returns the bytes it printed.
///
/// # Errors
///
/// As [`read`].
pub fn feed(command: &mut Command, input: &[u8], verbose: bool) -> Result<Vec<u8>> {
    let output = finish(command, Some(input), verbose)?;
    judge(command, &output)?;
    Ok(output.stdout)
}

/// Runs `command` to its end and returns what it printed, whatever its exit code: the caller judges.
///
/// # Errors
///
/// When it cannot be started; [`Failure::Interrupted`] on Ctrl-C.
pub fn attempt(command: &mut Command, verbose: bool) -> Result<Output> {
    finish(command, None, verbose)
}

/// As [`attempt`], with `input` on its standard input.
///
/// # Errors
///
/// As [`attempt`].
pub fn attempt_fed(command: &mut Command, input: &[u8], verbose: bool) -> Result<Output> {
    finish(command, Some(input), verbose)
}

fn finish(command: &mut Command, input: Option<&[u8]>, verbose: bool) -> Result<Output> {
    let line = announce(command, verbose);
    tie(command);
    let mut child = command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{line}`"))?;
    let group = Group::of(child.id());
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A command that stops reading early is judged by its exit code, not by the broken pipe.
            scope.spawn(move || drop(stdin.write_all(input)));
        }
        child.wait_with_output()
    })
    .with_context(|| format!("cannot wait for `{line}`"))?;
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
pub fn stream(command: &mut Command, verbose: bool, on_line: impl FnMut(&str) -> Result<()>) -> Result<()> {
    tie(command);
    stream_as(command, verbose, Group::of, on_line)
}

/// As [`stream`], but Ctrl-C and our own death leave the child running to its end: for what must not be cut off half-way.
///
/// # Errors
///
/// As [`stream`], without the interruption.
pub fn stream_unbroken(command: &mut Command, verbose: bool, on_line: impl FnMut(&str) -> Result<()>) -> Result<()> {
    command.process_group(0);
    stream_as(command, verbose, |_| Group::none(), on_line)
}

fn stream_as(
    command: &mut Command,
    verbose: bool,
    watch: impl FnOnce(u32) -> Group,
    mut on_line: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let line = announce(command, verbose);
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().context("cannot copy a pipe")?).stderr(writer);
    let child = command.spawn();
    // The parent's copies of the pipe's writing end go, or the end of the output would never show.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.with_context(|| format!("cannot run `{line}`"))?;
    let group = watch(child.id());

    let mut tail = Tail::default();
    let mut reader = BufReader::new(reader);
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
                child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
                return Err(error);
            }
        }
        if at_end {
            break;
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    group.ended();
    if status.success() { Ok(()) } else { Err(failed(&line, status, &tail.text())) }
}

/// A child that runs beside us, with one end of a pipe to it in our hands.
///
/// Dropped without [`Running::finish`], it is killed.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    group: Group,
    complaints: JoinHandle<String>,
}

/// Starts `command` with its standard output in a pipe that we read.
///
/// # Errors
///
/// When it cannot be started.
pub fn start_reader(command: &mut Command, verbose: bool) -> Result<(Running, ChildStdout)> {
    let mut running = start(command.stdin(Stdio::null()).stdout(Stdio::piped()), verbose)?;
    let output = running.child.stdout.take().context("a child without its standard output")?;
    Ok((running, output))
}

/// Starts `command` with its standard input in a pipe that we write.
///
/// # Errors
///
/// When it cannot be started.
pub fn start_writer(command: &mut Command, verbose: bool) -> Result<(Running, ChildStdin)> {
    let mut running = start(command.stdin(Stdio::piped()).stdout(Stdio::null()), verbose)?;
    let input = running.child.stdin.take().context("a child without its standard input")?;
    Ok((running, input))
}

fn start(command: &mut Command, verbose: bool) -> Result<Running> {
    let line = announce(command, verbose);
    tie(command);
    let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("cannot run `{line}`"))?;
    let group = Group::of(child.id());
    let stderr = child.stderr.take().context("a child without its standard error")?;
    // Read as it comes: a child that complains a lot must not wait for us.
    let complaints = std::thread::spawn(move || {
        let mut tail = Tail::default();
        let mut reader = BufReader::new(stderr);
        let mut buffer = Vec::new();
        // What cannot be read any more is not part of the error; the exit status still is.
        while let Ok(false) = read_piece(&mut reader, &mut buffer) {
            tail.push(&buffer);
            buffer.clear();
        }
        tail.push(&buffer);
        tail.text()
    });
    Ok(Running { line, child, group, complaints })
}

impl Running {
    /// Waits for the end of the child. Our end of its pipe must have been dropped, or it may wait for us.
    ///
    /// # Errors
    ///
    /// When it exits with anything but 0, as [`read`].
    pub fn finish(mut self) -> Result<()> {
        let status = self.child.wait().with_context(|| format!("cannot wait for `{}`", self.line))?;
        self.group.ended();
        let complaints = self.complaints.join().unwrap_or_default();
        if status.success() { Ok(()) } else { Err(failed(&self.line, status, &complaints)) }
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

fn failed(line: &str, status: std::process::ExitStatus, output: &str) -> anyhow::Error {
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
        assert_eq!(read(&mut shell("echo out; echo err >&2"), false).unwrap(), "out\n");
    }

    #[test]
    fn feed_hands_over_the_input_and_survives_a_command_that_ignores_it() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(feed(&mut shell("wc -c"), &input, false).unwrap(), b"1048576\n");
        assert_eq!(feed(&mut shell("echo done"), &input, false).unwrap(), b"done\n");
    }

    #[test]
    fn attempt_leaves_the_verdict_to_the_caller() {
        let output = attempt(&mut shell("echo out; exit 7"), false).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(7), b"out\n".as_slice()));
    }

    #[test]
    fn an_error_holds_the_line_and_the_end_of_the_output() {
        let error = read(&mut shell("seq 100 >&2; exit 3"), false).unwrap_err().to_string();
        assert!(error.starts_with("`sh -c 'seq 100 >&2; exit 3'` failed (exit status: 3):\n81\n"), "{error}");
        assert!(error.ends_with("\n100"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = read(&mut Command::new("no-such-program-here"), false).unwrap_err().to_string();
        assert_eq!(error, "cannot run `no-such-program-here`");
    }

    #[test]
    fn stream_hands_over_both_streams_line_by_line() {
        let mut lines = Vec::new();
        stream(&mut shell(r"printf 'a\n50%%\r100%%\n'; echo c >&2; printf end"), false, |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(lines, ["a", "50%", "100%", "c", "end"]);
    }

    #[test]
    fn stream_ends_a_child_whose_output_is_refused() {
        let start = std::time::Instant::now();
        let error =
            stream(&mut shell("echo bad; sleep 600"), false, |line| anyhow::bail!("refused {line}")).unwrap_err();
        assert_eq!(error.to_string(), "refused bad");
        assert!(start.elapsed().as_secs() < 60, "the child was waited for, not ended");
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_a_stream() {
        let mut lines = Vec::new();
        stream(&mut shell(r"printf '\377\nok\n'"), false, |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(lines, ["\u{fffd}", "ok"]);
    }
}
