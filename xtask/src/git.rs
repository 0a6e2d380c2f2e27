//! git, shielded from the settings of whoever runs it.
//!
//! A person's `diff.noprefix`, `commit.gpgSign`, `format.pretty` or `core.autocrlf` must change neither what is
//! exported nor what is applied, so neither configuration files nor `GIT_*` variables are inherited.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::Result;

use crate::process;

/// Who the commits of the series and the `From:` lines of `patches/` name. It stands for nobody: `series mail` puts
/// the person who submits in its place, together with their sign-off.
pub const AUTHOR_NAME: &str = "loopfs developers";
/// The address that goes with [`AUTHOR_NAME`]; it cannot receive mail.
pub const AUTHOR_EMAIL: &str = "loopfs@localhost";

/// Settings that a repository's own configuration could carry and that would change our results.
const PINNED: &[&str] = &[
    "advice.mergeConflict=false",
    "am.keepcr=false",
    "am.messageId=false",
    "am.threeWay=false",
    "apply.ignoreWhitespace=no",
    "apply.whitespace=nowarn",
    "commit.gpgSign=false",
    "commit.cleanup=default",
    "core.attributesFile=/dev/null",
    "core.autocrlf=false",
    "core.commentChar=#",
    "core.eol=lf",
    "core.excludesFile=/dev/null",
    "core.fileMode=true",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.safecrlf=false",
    "core.whitespace=",
    "diff.context=3",
    "diff.ignoreSubmodules=none",
    "diff.indentHeuristic=true",
    "diff.interHunkContext=0",
    "diff.mnemonicPrefix=false",
    "diff.noprefix=false",
    "diff.suppressBlankEmpty=false",
    "format.attach=",
    "format.noprefix=false",
    "gc.auto=0",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
    "init.defaultBranch=loopfs",
    "init.templateDir=",
    "maintenance.auto=false",
    "notes.rewriteRef=refs/notes/commits",
    "rebase.abbreviateCommands=false",
    "rebase.autoSquash=false",
    "rebase.autoStash=false",
    "rebase.instructionFormat=%s",
    "rebase.missingCommitsCheck=ignore",
    "rebase.updateRefs=false",
    "rerere.enabled=false",
    "safe.directory=*",
];

/// A repository, and the way git is run in it.
#[derive(Clone, Debug)]
pub struct Git {
    dir: PathBuf,
    index: Option<PathBuf>,
    verbose: bool,
}

impl Git {
    /// git in the folder `dir`; with `verbose`, every command line is shown.
    pub fn new(dir: impl Into<PathBuf>, verbose: bool) -> Self {
        Self { dir: dir.into(), index: None, verbose }
    }

    /// The same repository with another index file, which need not exist yet.
    pub fn with_index(&self, index: PathBuf) -> Self {
        Self { index: Some(index), ..self.clone() }
    }

    /// The folder git runs in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A git command that takes nothing from the person's environment or configuration.
    pub fn command(&self) -> Command {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
            command.env_remove(name);
        }
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_EDITOR", ":")
            .env("GIT_COMMITTER_NAME", AUTHOR_NAME)
            .env("GIT_COMMITTER_EMAIL", AUTHOR_EMAIL)
            .env("GIT_AUTHOR_NAME", AUTHOR_NAME)
            .env("GIT_AUTHOR_EMAIL", AUTHOR_EMAIL)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir(&self.dir);
        if let Some(index) = &self.index {
            command.env("GIT_INDEX_FILE", index);
        }
        // The settings go through the environment: as `-c` they would bury the line that is shown and logged.
        command.env("GIT_CONFIG_COUNT", PINNED.len().to_string());
        for (index, setting) in PINNED.iter().enumerate() {
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            command.env(format!("GIT_CONFIG_KEY_{index}"), key).env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command
    }

    /// Runs git with `args` and returns what it printed.
    ///
    /// # Errors
    ///
    /// When git cannot be started or does not exit with 0.
    pub fn read<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        process::read(self.command().args(args), self.verbose)
    }

    /// Runs git with `args` and returns what it printed as one line, without the line end.
    ///
    /// # Errors
    ///
    /// As [`Git::read`].
    pub fn line<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        Ok(self.read(args)?.trim_end().to_owned())
    }

    /// Runs git with `args`, `input` on its standard input, and returns its output bytes.
    ///
    /// # Errors
    ///
    /// As [`Git::read`].
    pub fn feed<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Result<Vec<u8>> {
        process::feed(self.command().args(args), input, self.verbose)
    }

    /// The commit `rev` names, if there is one.
    ///
    /// # Errors
    ///
    /// When git cannot be started.
    pub fn commit(&self, rev: &str) -> Result<Option<String>> {
        self.object(&format!("{rev}^{{commit}}"))
    }

    /// The object `rev` names, if there is one.
    ///
    /// # Errors
    ///
    /// When git cannot be started.
    pub fn object(&self, rev: &str) -> Result<Option<String>> {
        let output = self.attempt(["rev-parse", "--verify", "--quiet", rev])?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned()))
    }

    /// Runs git with `args` whatever its exit code: the caller judges.
    ///
    /// # Errors
    ///
    /// When git cannot be started.
    pub fn attempt<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        process::attempt(self.command().args(args), self.verbose)
    }
}
