//! How the series meets kernels other than the one it is made for.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::{
    cache::{self, Key},
    ctx::Ctx,
    error::Failure,
    interrupt,
    series::{
        folder::{Folder, PATCHES, slug},
        status::{self, Row, Status},
    },
    source::{Base, spec::Conflict},
};

/// A kernel to try the series on.
#[derive(Debug)]
pub struct Candidate {
    /// The kernel, as the command line calls it.
    pub name: String,
    /// What came of getting it.
    pub base: Result<Base>,
    /// Which patches are known to conflict with it.
    pub known: Vec<Conflict>,
}

/// How the series meets one kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Meeting {
    /// The kernel, as the command line calls it.
    pub name: String,
    /// How it went; nothing if the kernel cannot be had.
    pub status: Option<Status>,
    /// Why it cannot be had.
    pub missing: Option<String>,
    /// The patches that conflict although nothing says why, and known conflicts that are none.
    pub faults: Vec<String>,
    /// The patches that conflict, and why.
    pub known: Vec<(String, String)>,
}

/// Tries the series on each of `candidates`. `origin` is the base the series is made for.
///
/// # Errors
///
/// On Ctrl-C, or when patches or kernels cannot be read. A kernel that cannot be had is no error here.
pub fn meet(ctx: &Ctx, origin: &Base, candidates: impl IntoIterator<Item = Candidate>) -> Result<Vec<Meeting>> {
    let mut meetings = Vec::new();
    for Candidate { name, base, known } in candidates {
        interrupt::check()?;
        meetings.push(match base {
            Ok(base) => judge(name, status(ctx, origin, &base)?, &known),
            Err(error) => Meeting {
                name,
                status: None,
                missing: Some(format!("{error:#}")),
                faults: Vec::new(),
                known: Vec::new(),
            },
        });
    }
    Ok(meetings)
}

fn status(ctx: &Ctx, origin: &Base, base: &Base) -> Result<Status> {
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    let key = folder.entries.iter().fold(Key::default().with("meeting 1"), |key, entry| key.with(&entry.text));
    cache::finding(ctx.cache(), "meeting", key.with(&origin.commit).with(&base.commit), || {
        // Where plain `git am` does, the files that the patches were made from are of no use.
        let plain = status::status(ctx, base, None)?;
        let status = if plain.is_clean() { plain } else { status::status(ctx, base, Some(origin))? };
        Ok(status)
    })
}

fn judge(name: String, status: Status, known: &[Conflict]) -> Meeting {
    let is_of = |row: &Row, conflict: &Conflict| slug(row.name.trim_end_matches(".patch")) == conflict.patch;
    let bad: Vec<&Row> = status.patches.iter().filter(|row| !goes_on(row)).collect();
    let (mut faults, mut excused) = (status.problems.clone(), Vec::new());
    for row in &bad {
        match known.iter().find(|conflict| is_of(row, conflict)) {
            Some(conflict) => excused.push((row.name.clone(), conflict.reason.to_string())),
            None => faults.push(format!("{} {}, and patches/base.toml does not say why", row.name, row.class)),
        }
    }
    for conflict in known.iter().filter(|conflict| !bad.iter().any(|row| is_of(row, conflict))) {
        faults.push(format!("patches/base.toml: {} goes onto {name} now: take its conflict out", conflict.patch));
    }
    Meeting { name, status: Some(status), missing: None, faults, known: excused }
}

fn goes_on(row: &Row) -> bool {
    matches!(row.class.as_str(), "applies" | "three-way")
}

/// What decides the exit code, if anything is wrong.
pub fn failure(meetings: &[Meeting]) -> Option<Failure> {
    if meetings.iter().any(|meeting| meeting.missing.is_some()) {
        return Some(Failure::Environment);
    }
    meetings.iter().any(|meeting| !meeting.faults.is_empty()).then_some(Failure::Series)
}

impl fmt::Display for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = &self.status else {
            let why = self.missing.as_deref().unwrap_or_default();
            return write!(f, "{}: cannot be had here\n  {}", self.name, why.replace('\n', "\n  "));
        };
        let count = |class: &str| status.patches.iter().filter(|row| row.class == class).count();
        let (applies, three_way) = (count("applies"), count("three-way"));
        let (name, version, rest) = (&self.name, &status.version, status.patches.len() - applies - three_way);
        write!(
            f,
            "{name} (Linux {version}): {applies} patches apply, {three_way} by a three-way merge, {rest} do not"
        )?;
        for row in status.patches.iter().filter(|row| row.class != "applies") {
            write!(f, "\n  {:<10} {}", row.class, row.name)?;
            let reason = self.known.iter().find(|(name, _)| *name == row.name).map(|(_, reason)| reason);
            if let Some(text) = reason.or(row.detail.as_ref()) {
                write!(f, "\n    {}", text.replace('\n', "\n    "))?;
            }
        }
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}
