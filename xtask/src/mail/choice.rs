//! Which patches are mailed.

use std::{convert::Infallible, fmt, str::FromStr};

use anyhow::{Result, anyhow, bail};

use crate::{
    error::Failure,
    series::{
        folder::{Folder, FolderProblem, PATCHES},
        groups::{GROUPS, Group},
    },
};

/// Patches that are mailed as a series of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The group of this name.
    Name(String),
    /// The patches from the first number to the last.
    Range(usize, usize),
}

impl FromStr for Choice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let numbers = text.split_once('-').map(|(first, last)| (first.parse(), last.parse()));
        Ok(match numbers {
            Some((Ok(first), Ok(last))) => Self::Range(first, last),
            _ => Self::Name(text.to_owned()),
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl Choice {
    /// The group of `folder` that is meant.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] when there is no such group, with the names of those that there are; [`Failure::Series`] when
    /// the list of groups cannot be read.
    pub fn group<'a>(&self, folder: &'a Folder) -> Result<&'a Group> {
        if let Some(problem) = folder.problems.iter().find(|problem| matches!(problem, FolderProblem::Groups(_))) {
            bail!(anyhow!("{problem}").context(Failure::Series));
        }
        let meant = |group: &&Group| match self {
            Self::Name(name) => group.name == *name,
            Self::Range(first, last) => *first == 1 && folder.length(group) == Some(*last),
        };
        folder.groups.iter().find(meant).ok_or_else(|| {
            let why = match self {
                Self::Name(_) => "no group has this name",
                Self::Range(1, _) => "no group ends there, and a series needs a cover letter of its own",
                Self::Range(..) => "a range starts at 1, because the patches have to apply to the base",
            };
            anyhow!("--patches {self}: {why}; {PATCHES}/{GROUPS} has {}", names(folder)).context(Failure::Usage)
        })
    }
}

/// The names of the groups, with their numbers.
fn names(folder: &Folder) -> String {
    let name = |group: &Group| {
        let range = folder.length(group).map(|last| format!(" (1-{last})"));
        format!("{}{}", group.name, range.unwrap_or_default())
    };
    let names: Vec<String> = folder.groups.iter().map(name).collect();
    if names.is_empty() { "no groups".to_owned() } else { names.join(", ") }
}
