//! The options of this run that a command needs to meet the same failure again.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, parser::ValueSource};

/// The options in `arguments` of the task `name`, whose type is `T`, as words; without those named in `not_repeated`.
///
/// They are taken from what was typed and from the environment, so that an option that is added later is not forgotten.
pub(super) fn options<T: Args>(
    name: &str,
    not_repeated: &[&str],
    arguments: impl Iterator<Item = OsString>,
) -> Vec<String> {
    let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    let command = T::augment_args(Command::new("task")).args([flag("verbose"), flag("no-install")]);
    let typed: Vec<OsString> = arguments.skip_while(|word| word != name).collect();
    let Ok(matches) = command.clone().try_get_matches_from(typed) else { return Vec::new() };
    let repeated = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        ![not_repeated, &["verbose", "no-install"]].concat().contains(&id) && is_given(&matches, id)
    };
    command.get_arguments().filter(repeated).flat_map(|arg| words(arg, &matches)).collect()
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches!(matches.value_source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

fn words(arg: &Arg, matches: &ArgMatches) -> Vec<String> {
    let name = format!("--{}", arg.get_long().unwrap_or_default());
    if !arg.get_action().takes_values() {
        return vec![name];
    }
    let values = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
    let words = values.flat_map(|value| match value.to_string_lossy() {
        // It would be taken for an option.
        value if value.starts_with('-') => vec![format!("{name}={value}")],
        value => vec![name.clone(), value.into_owned()],
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Args)]
    struct Options {
        filter: Vec<String>,
        #[arg(long)]
        append: Option<String>,
        #[arg(long)]
        skip_unmet: bool,
        #[arg(long, default_value_t = 1)]
        scale: u8,
    }

    fn of(line: &str) -> Vec<String> {
        options::<Options>("test", &["filter"], shlex::split(line).unwrap().into_iter().map(OsString::from))
    }

    #[test]
    fn what_was_given_is_repeated_and_nothing_else() {
        assert_eq!(of("xtask --verbose test a b"), [""; 0]);
        assert_eq!(of("xtask test --no-install a --append='x y' --skip-unmet"), ["--append", "x y", "--skip-unmet"]);
        assert_eq!(of("xtask test --append=-x"), ["--append=-x"]);
        assert_eq!(of("xtask test --scale 3 a"), ["--scale", "3"]);
    }

    #[test]
    fn another_task_gives_none() {
        assert_eq!(of("xtask series verify --scale 3"), [""; 0]);
    }
}
