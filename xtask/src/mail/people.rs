//! Who submits, and who gets the mails.

use std::{fmt, fs, path::Path, str::FromStr};

use anyhow::{Context as _, Result, anyhow, bail};
use xshell::cmd;

use crate::{ctx::Ctx, error::Failure, process};

/// A name with an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Person {
    /// The name; empty for a list.
    pub name: String,
    /// The address.
    pub address: String,
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.write_str(&self.address) } else { write!(f, "{} <{}>", self.name, self.address) }
    }
}

impl FromStr for Person {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
            Some((name, address)) => (name.trim().trim_matches('"'), address),
            None => ("", text),
        };
        if !address.contains('@') || address.contains(char::is_whitespace) {
            bail!("`{text}` is no mail address");
        }
        Ok(Self { name: name.to_owned(), address: address.to_owned() })
    }
}

impl Person {
    /// Whoever the git configuration that holds in the repository names.
    ///
    /// # Errors
    ///
    /// [`Failure::Environment`] when it names nobody: a submitter is never made up.
    pub fn submitter(ctx: &Ctx) -> Result<Self> {
        let ask = |key: &str| -> Result<String> {
            // The one place that wants the person's own configuration.
            let sh = process::shell_in(ctx.root())?;
            let output = process::attempt(&cmd!(sh, "git config --get {key}").into(), ctx.verbose)?;
            let value = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if value.is_empty() {
                return Err(anyhow!("git does not know who you are: set it with `git config --global {key} ...`")
                    .context(Failure::Environment));
            }
            Ok(value)
        };
        Ok(Self { name: ask("user.name")?, address: ask("user.email")? })
    }

    /// Why this person cannot submit patches, if so.
    pub fn fault(&self) -> Option<String> {
        let domain = self.address.rsplit('@').next().unwrap_or_default().to_lowercase();
        let nowhere = ["localhost", "invalid", "example"];
        let ends = |end: &str| domain == end || domain.ends_with(&format!(".{end}"));
        if self.name.trim().is_empty() {
            Some(format!("<{}> has no name", self.address))
        } else if !self.address.contains('@') || nowhere.iter().any(|end| ends(end)) || !domain.contains('.') {
            Some(format!("{self} cannot receive answers: set user.name and user.email in git"))
        } else if self.address.contains("noreply") {
            Some(format!("{self} does not receive answers; set user.email in git to an address that does"))
        } else {
            None
        }
    }
}

/// Who gets one mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// Maintainers.
    pub to: Vec<Person>,
    /// Reviewers and lists.
    pub cc: Vec<Person>,
}

impl People {
    /// These people and `others`, nobody twice.
    #[must_use]
    pub fn with(mut self, others: &Self) -> Self {
        for person in &others.to {
            self.cc.retain(|known| known.address != person.address);
            add(&mut self.to, person);
        }
        for person in &others.cc {
            if !self.to.iter().any(|known| known.address == person.address) {
                add(&mut self.cc, person);
            }
        }
        self
    }

    /// Whether it is nobody.
    pub fn is_empty(&self) -> bool {
        self.to.is_empty() && self.cc.is_empty()
    }
}

fn add(list: &mut Vec<Person>, person: &Person) {
    if !list.iter().any(|known| known.address == person.address) {
        list.push(person.clone());
    }
}

/// Asks the `get_maintainer.pl` of the kernel in `tree` who is concerned with a patch, by MAINTAINERS alone.
///
/// # Errors
///
/// When the script does not run.
pub fn maintainers(ctx: &Ctx, tree: &Path, patch: &str) -> Result<People> {
    let mail = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    fs::write(mail.path(), patch).context("cannot write a temporary file")?;
    let ask = |which: &str| -> Result<Vec<Person>> {
        let (sh, script, mail) = (process::shell_in(tree)?, tree.join("scripts/get_maintainer.pl"), mail.path());
        let command =
            cmd!(sh, "perl {script} --nogit --nogit-fallback --nogit-chief-penguins --norolestats {which} {mail}");
        let text = process::read(&command.into(), ctx.verbose)?;
        text.lines().filter(|line| !line.trim().is_empty()).map(str::parse).collect()
    };
    let to = ask("--nol")?;
    let cc = ask("--nom")?.into_iter().filter(|person| !to.iter().any(|known| known.address == person.address));
    Ok(People { cc: cc.collect(), to })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(text: &str) -> Person {
        text.parse().unwrap()
    }

    #[test]
    fn names_in_quotes_and_bare_addresses_are_understood() {
        let quoted = person("\"Björn Roy Baron\" <b@example.org>");
        assert_eq!((quoted.name.as_str(), quoted.address.as_str()), ("Björn Roy Baron", "b@example.org"));
        assert_eq!(person("linux-block@vger.kernel.org").to_string(), "linux-block@vger.kernel.org");
        assert!("nobody".parse::<Person>().is_err());
        assert!("A B <a b@c>".parse::<Person>().is_err());
    }

    #[test]
    fn who_cannot_be_answered_cannot_submit() {
        assert_eq!(person("A Person <a@kernel.org>").fault(), None);
        for text in
            ["A <a@localhost>", "A <a@host>", "A <a@b.example>", "<a@kernel.org>", "A <1+a@users.noreply.x.org>"]
        {
            assert!(person(text).fault().is_some(), "{text}");
        }
    }
}
