//! The one place commands are run from: the exact line goes into the log and into the error.

use std::{ffi::OsStr, process::Command};

use anyhow::{Context as _, Result, bail};

/// The command as a person would type it.
pub fn line(command: &Command) -> String {
    let quote = |word: &OsStr| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%^".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect::<Vec<_>>().join(" ")
}

/// Runs `command` to its end and returns what it printed.
///
/// # Errors
///
/// When it cannot be started or exits with anything but 0; the error holds the line that was run
/// and the end of what it printed on standard error.
pub fn read(command: &mut Command, verbose: bool) -> Result<String> {
    let line = line(command);
    if verbose {
        eprintln!("$ {line}");
    }
    let output = command.output().with_context(|| format!("cannot run `{line}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = stderr.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("`{line}` failed ({}):\n{}", output.status, tail.join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
