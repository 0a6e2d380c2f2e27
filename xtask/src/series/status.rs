//! `series status`: how each patch meets a base.

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{
    ctx::Ctx,
    series::{
        apply::{self, Class},
        folder::{self, Folder, FolderProblem, PATCHES, inputs},
        patch::Problem,
        scratch::Scratch,
    },
    source::Base,
};

/// How a series meets a base.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The base's version.
    pub version: String,
    /// One row a patch.
    pub patches: Vec<Row>,
    /// What is wrong with the set of files.
    pub problems: Vec<String>,
}

/// One patch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The patch's file name.
    pub name: String,
    /// One of the words in the table of [`Status`]'s text form, such as `applies` or `three-way`.
    pub class: String,
    /// Lines added.
    pub added: usize,
    /// Lines removed.
    pub removed: usize,
    /// Where it does not fit, or why it is no patch.
    pub detail: Option<String>,
}

impl Status {
    /// Whether every patch applies as it is and the numbering has no gap.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.patches.iter().all(|row| row.class == "applies")
    }
}

/// Tries the series on `base`. The objects of `also` help the three-way merge: the base the patches were made for.
///
/// # Errors
///
/// When files or the base cannot be read.
pub fn status(ctx: &Ctx, base: &Base, also: Option<&Base>) -> Result<Status> {
    let _series = folder::lock(ctx)?;
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    let inputs = inputs(&folder);
    let lenders: Vec<_> = [Some(base), also].into_iter().flatten().map(|base| base.repo.as_path()).collect();
    let scratch = Scratch::new(ctx, &lenders)?;
    if let Some(also) = also {
        // Makes the blobs that the patches' index lines name; a three-way merge starts from them.
        apply::classify(&scratch, &also.commit, &inputs)?;
    }
    let classes = apply::classify(&scratch, &base.commit, &inputs)?;
    let gaps: Vec<&str> = folder
        .problems
        .iter()
        .filter_map(|problem| match problem {
            FolderProblem::Gap { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let rows = folder.entries.iter().zip(classes).map(|(entry, class)| {
        let (added, removed) = entry.patch.as_ref().map_or((0, 0), crate::series::patch::Patch::churn);
        let word = match &class {
            _ if gaps.contains(&entry.name.as_str()) => "gap",
            Class::Applies => "applies",
            Class::ThreeWay => "three-way",
            Class::Conflicts(_) => "conflicts",
            Class::Unfit(problem) => word(problem),
        };
        let detail = match class {
            Class::Conflicts(rejected) => Some(rejected.to_string()),
            Class::Unfit(problem) => Some(problem.to_string()),
            Class::Applies | Class::ThreeWay => None,
        };
        Row { name: entry.name.clone(), class: word.to_owned(), added, removed, detail }
    });
    Ok(Status {
        version: base.version.clone(),
        patches: rows.collect(),
        problems: folder.problems.iter().map(ToString::to_string).collect(),
    })
}

fn word(problem: &Problem) -> &'static str {
    match problem {
        Problem::NotAPatch(_) => "not-a-patch",
        Problem::Crlf { .. } => "crlf",
        Problem::Mangled { .. } => "mangled",
        Problem::Binary { .. } => "binary",
        Problem::Rename { .. } => "rename",
        Problem::Mode { .. } => "mode-change",
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.patches.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for row in &self.patches {
            writeln!(f, "{:width$}  {:<11}  +{} -{}", row.name, row.class, row.added, row.removed)?;
            if let Some(detail) = &row.detail {
                writeln!(f, "    {}", detail.replace('\n', "\n    "))?;
            }
        }
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for row in &self.patches {
            match counts.iter_mut().find(|(class, _)| *class == row.class) {
                Some((_, count)) => *count += 1,
                None => counts.push((row.class.as_str(), 1)),
            }
        }
        let counts: Vec<String> = counts.iter().map(|(class, count)| format!("{count} {class}")).collect();
        let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
        write!(f, "{} patches on Linux {}: {counts}", self.patches.len(), self.version)
    }
}
