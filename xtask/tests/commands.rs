//! Every `cargo xtask ...` that a message, a comment or a document names is one that can be typed, and `--help` keeps
//! to its form.

use std::{ffi::OsStr, fs, path::Path, process::Command};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use xtask::cli::Cli;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The files that name commands, with their texts.
fn texts() -> Vec<(String, String)> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "git cannot list the files of the repository");
    let names = String::from_utf8(listed.stdout).unwrap();
    let wanted = |name: &&str| {
        let ending = Path::new(name).extension().and_then(OsStr::to_str).unwrap_or_default();
        ["rs", "md", "toml", "txt", "patch"].contains(&ending) || *name == ".ci/run"
    };
    let read = |name: &str| Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?));
    names.split('\0').filter(wanted).filter_map(read).collect()
}

/// The commands in one text: those in backticks, and those that a line starts with.
fn commands(text: &str) -> Vec<String> {
    const START: &str = "cargo xtask";
    let mut found = Vec::new();
    for (at, _) in text.match_indices(START) {
        let (before, rest) = (&text[..at], &text[at..]);
        // A string that goes on in the next line, or a comment that does.
        let whole = |command: &str| {
            let lines =
                command.lines().map(|line| line.trim_start_matches(['/', '!', ' ']).trim_end_matches(['\\', ' ']));
            lines.collect::<Vec<_>>().join(" ")
        };
        if before.ends_with('`') {
            found.extend(rest.split('`').next().map(whole));
            continue;
        }
        let start = before.rsplit('\n').next().unwrap_or_default().trim_start_matches(['/', '!', ' ', '"']);
        if ["", "Example: ", "$ ", "run "].contains(&start) {
            let line = rest.lines().next().unwrap_or_default();
            let end = ["  ", " #", " ──", "\""].iter().filter_map(|end| line.find(end)).min();
            found.push(line[..end.unwrap_or(line.len())].to_owned());
        }
    }
    found
}

#[test]
fn every_command_that_is_named_can_be_typed() {
    let (mut count, mut wrong) = (0, String::new());
    for (file, text) in texts() {
        for command in commands(&text) {
            let words = shlex::split(&command).unwrap_or_else(|| panic!("{file}: {command:?} is quoted wrongly"));
            let arguments = words.into_iter().skip(1);
            // `cargo xtask` alone stands for the program, and with three dots for any task.
            if arguments.clone().count() == 1 || command.ends_with("...") {
                continue;
            }
            count += 1;
            if let Err(error) = Cli::try_parse_from(arguments) {
                let fine = [ErrorKind::DisplayHelp, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
                if !fine.contains(&error.kind()) {
                    wrong.push_str(&format!("{file} names `{command}`: {error}\n"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count > 50, "only {count} commands were found");
}

#[test]
fn commands_are_found_in_messages_comments_and_documents() {
    let text = "let a = \"use `CARGO a \\\n    --b`\";\n/// Example: cargo xtask c\n    cargo xtask d  # why\nno cargo xtask e\n"
        .replace("CARGO", "cargo xtask");
    assert_eq!(commands(&text), ["cargo xtask a --b", "cargo xtask c", "cargo xtask d"]);
}

/// Every command below `command`, with its path.
fn all(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
    let path = if path.is_empty() { "cargo xtask".to_owned() } else { format!("{path} {}", command.get_name()) };
    let below = command.get_subcommands().filter(|sub| sub.get_name() != "help").flat_map(|sub| all(sub, &path));
    std::iter::once((path.clone(), command.clone())).chain(below).collect()
}

fn built() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    command
}

#[test]
fn no_option_is_defined_twice() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example_in_its_help() {
    for (path, command) in all(&built(), "").into_iter().skip(1) {
        let help = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example: ") || help.contains(&path), "`{path} --help` has no example:\n{help}");
    }
}

#[test]
fn what_describes_the_guest_stands_under_guest_and_nothing_else_does() {
    const GUEST: [&str; 12] =
        ["kernel", "from", "suite", "qemu", "accel", "smp", "append", "gdb", "memory", "add", "share", "disk"];
    for (path, command) in all(&built(), "") {
        for option in command.get_arguments().filter(|arg| arg.get_help_heading() == Some("Guest")) {
            assert!(GUEST.contains(&option.get_id().as_str()), "`{path}` shows --{} under \"Guest\"", option.get_id());
        }
    }
}

#[test]
fn help_fits_on_two_screens() {
    for (path, mut command) in all(&built(), "") {
        let lines = command.render_long_help().to_string().lines().count();
        assert!(lines <= 130, "`{path} --help` has {lines} lines");
    }
}
