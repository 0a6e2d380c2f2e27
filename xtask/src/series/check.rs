//! `series check`: `patches/` is a fit series, and `rust/` holds the same Rust files.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    ctx::Ctx,
    git::{AUTHOR_EMAIL, AUTHOR_NAME, Git},
    series::{
        apply, cover_lines,
        edits::mirrored_files,
        export::{self, Exported},
        folder::{self, COVER, Entry, Folder, PATCHES, has_subject_and_text, inputs},
        groups::{GROUPS, Group},
        mirror,
        patch::{ChangeKind, FileChange, Patch},
        scratch::Scratch,
    },
    source::Base,
};

/// The longest subject that `git log --oneline` shows whole on 80 columns (submitting-patches.rst).
const SUBJECT_LIMIT: usize = 75;

/// The group of fixes for the kernel as it is: each of its patches names the commit that it fixes.
const FIXES: &str = "fixes";

/// One thing that is wrong, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file it is about, relative to the repository's top.
    pub file: String,
    /// What is wrong, and what to do; a diff may follow.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong; empty if the series is fit.
    pub findings: Vec<Finding>,
    /// How many patches there are.
    pub patches: usize,
    /// How many files of `rust/` were compared.
    pub mirrored: usize,
    /// Lines of C added to the kernel outside of the driver's folder.
    pub c_lines: usize,
}

/// Checks `patches/` and `rust/` against `base`.
pub fn check(ctx: &Ctx, base: &Base) -> Result<Report> {
    let _series = folder::lock(ctx)?;
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    let mut report = Report { patches: folder.entries.len(), ..Report::default() };
    let patch_file = |name: &str| format!("{PATCHES}/{name}");
    for problem in &folder.problems {
        report.add(PATCHES, problem);
    }
    for entry in &folder.entries {
        match &entry.patch {
            Ok(patch) => {
                for what in form(entry, patch) {
                    report.add(patch_file(&entry.name), what);
                }
                let foreign = patch.files.iter().filter(|file| is_foreign_c(&file.path));
                report.c_lines += foreign.map(|file| file.churn().0).sum::<usize>();
            }
            Err(problem) => report.add(patch_file(&entry.name), problem),
        }
    }
    for group in &folder.groups {
        report.findings.extend(of_group(&folder, group));
    }
    if folder.entries.iter().any(|entry| entry.patch.is_err()) {
        return Ok(report);
    }
    if let Some(cover) = &folder.cover {
        let patches = folder.entries.iter().filter_map(|entry| entry.patch.as_ref().ok());
        let wanted = cover_lines::update(cover, patches);
        if wanted != *cover {
            let file = patch_file(COVER);
            let diff = diff(ctx, &ctx.root().join(&file), wanted.as_bytes(), &file)?;
            report.add(
                file,
                format!("its table of lines is not that of the patches (`series refresh` mends it):\n{diff}"),
            );
        }
    }
    let scratch = Scratch::new(ctx, &[&base.repo])?;
    let commits = match apply::am(&scratch, &base.commit, &inputs(&folder)) {
        Ok(commits) => commits,
        Err(error) => match error.downcast_ref::<apply::Rejected>() {
            Some(rejected) => {
                let what = format!(
                    "{rejected}\n  on Linux {}; `cargo xtask series status` tells how the others fare, and \
                     `cargo xtask series refresh --three-way` tries to carry the series over",
                    base.version
                );
                report.add(patch_file(&rejected.patch), what);
                return Ok(report);
            }
            None => return Err(error),
        },
    };
    let tip = commits.last().unwrap_or(&base.commit);
    let exported = export::commits(scratch.git(), &base.commit, tip)?;
    for (entry, exported) in folder.entries.iter().zip(&exported) {
        report.findings.extend(round_trip(ctx, entry, exported)?);
    }
    let series = export::mirrored_files(scratch.git(), &base.commit, tip)?;
    report.mirrored = series.len();
    report.findings.extend(mirror(ctx, &series)?);
    for example in folder::examples(&ctx.root().join(PATCHES))? {
        let file = patch_file(&example.name);
        if let Err(error) = apply::am(&scratch, tip, &[example]) {
            match error.downcast_ref::<apply::Rejected>() {
                Some(rejected) => report.add(file, format!("{rejected}\n  on top of the series")),
                None => return Err(error),
            }
        }
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, file: impl Into<String>, what: impl fmt::Display) {
        self.findings.push(Finding { file: file.into(), what: what.to_string() });
    }
}

/// What can be said against a patch that is one, without a tree.
fn form(entry: &Entry, patch: &Patch) -> Vec<String> {
    let mut found = Vec::new();
    let subject = &patch.subject;
    if subject.chars().count() > SUBJECT_LIMIT {
        found.push(format!("its subject has {} characters; {SUBJECT_LIMIT} are shown", subject.chars().count()));
    }
    if !subject.split_once(": ").is_some_and(|(subsystem, what)| !subsystem.is_empty() && !what.is_empty()) {
        found.push(format!("its subject `{subject}` is not of the form `subsystem: what it does`"));
    }
    if subject.ends_with('.') {
        found.push("its subject ends with a full stop".to_owned());
    }
    if patch.body.trim().is_empty() {
        found.push("it has no message: say what was wrong, how it is solved, and what was tried".to_owned());
    }
    if patch.author != format!("{AUTHOR_NAME} <{AUTHOR_EMAIL}>") {
        found.push(format!(
            "it is by `{}`: patches/ names nobody, `series mail` puts in who submits (`series refresh` mends it)",
            patch.author
        ));
    }
    for line in patch.sign_offs() {
        found.push(format!("it has `{line}`: the submitter adds the sign-off (`series refresh` removes it)"));
    }
    if patch.note.is_some() {
        found.push(format!(
            "there is text under its `---`, which git am drops: move it to {}.notes (`series refresh` does)",
            entry.stem()
        ));
    }
    if let Some(note) = &entry.note
        && let Some(line) = note.lines().find(|line| line.starts_with("diff --git ") || *line == "-- ")
    {
        found.push(format!("its note has the line `{line}`, which ends a mail's note"));
    }
    for file in patch.files.iter().filter(|file| file.kind == ChangeKind::Added) {
        if !has_license(file) {
            found.push(format!("{} does not start with an SPDX-License-Identifier", file.path));
        }
        if file.path.ends_with(".rs") && mirror::our_path(&file.path).is_none() {
            found.push(format!("{} is a Rust file that no folder of rust/ mirrors", file.path));
        }
    }
    found
}

/// What can be said against `group`.
fn of_group(folder: &Folder, group: &Group) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut find = |file: &str, what: String| found.push(Finding { file: format!("{PATCHES}/{file}"), what });
    if !has_subject_and_text(&group.text) {
        find(
            &group.cover,
            format!("the cover letter of the group {} needs a subject, a blank line and a text", group.name),
        );
    }
    let Some(length) = folder.length(group) else {
        find(GROUPS, folder::no_last(group));
        return found;
    };
    let fixes = |entry: &&Entry| {
        entry.patch.as_ref().is_ok_and(|patch| patch.body.lines().any(|line| line.starts_with("Fixes: ")))
    };
    for entry in folder.entries.iter().take(length).filter(|entry| group.name == FIXES && !fixes(entry)) {
        find(&entry.name, format!("it has no `Fixes:` line, and belongs to the group {FIXES}"));
    }
    found
}

/// Whether the first lines of an added file have a license tag; the first may be a `#!` line.
fn has_license(file: &FileChange) -> bool {
    let lines = file.hunks.iter().flat_map(|hunk| hunk.signed('+'));
    lines.take(2).any(|line| line.contains("SPDX-License-Identifier:"))
}

/// Whether `path` is C that goes into the kernel, outside of the driver's own folder.
fn is_foreign_c(path: &str) -> bool {
    let elsewhere = ["drivers/block/loopfs/", "tools/", "samples/"];
    (path.ends_with(".c") || path.ends_with(".h")) && !elsewhere.iter().any(|folder| path.starts_with(folder))
}

/// Compares a patch file with what comes back when it is applied and exported again.
fn round_trip(ctx: &Ctx, entry: &Entry, exported: &Exported) -> Result<Option<Finding>> {
    let file = format!("{PATCHES}/{}", entry.name);
    let name = format!("{}.patch", exported.stem);
    let finding = |what: String| Ok(Some(Finding { file: file.clone(), what }));
    if name != entry.name {
        return finding(format!(
            "it should be named {name} after its subject (`cargo xtask series refresh` renames it)"
        ));
    }
    if exported.text == entry.text {
        return Ok(None);
    }
    let diff = diff(ctx, &entry.path, exported.text.as_bytes(), &file)?;
    finding(format!("applying and exporting it gives another file; this mends it (`series refresh` does):\n{diff}"))
}

/// Compares `rust/` with the Rust files the series adds, in both directions.
fn mirror(ctx: &Ctx, series: &BTreeMap<String, Vec<u8>>) -> Result<Vec<Finding>> {
    let present = mirrored_files(ctx.root())?;
    let mut findings = Vec::new();
    let mut find = |file: &str, what: String| findings.push(Finding { file: file.to_owned(), what });
    for (path, wanted) in series {
        match present.get(path) {
            None => find(path, "missing: a patch adds it (`cargo xtask series refresh` writes it)".to_owned()),
            Some(bytes) if bytes == wanted => {}
            Some(_) => {
                let diff = diff(ctx, &ctx.root().join(path), wanted, path)?;
                find(
                    path,
                    format!("not what the patches add (`cargo xtask series refresh`); from rust/ to patches/:\n{diff}"),
                );
            }
        }
    }
    for path in present.keys().filter(|path| !series.contains_key(*path)) {
        find(path, "extra: no patch adds it (`cargo xtask series refresh` folds it in)".to_owned());
    }
    for path in crate::series::commit_files::files_under(ctx.root(), mirror::mirrored())? {
        if mirror::tree_path(&path).is_none() {
            find(&path, "not a Rust file: rust/kernel and rust/loopfs mirror nothing else".to_owned());
        }
    }
    Ok(findings)
}

/// The unified diff from the file `path` to `wanted`, with `name` on both sides.
fn diff(ctx: &Ctx, path: &Path, wanted: &[u8], name: &str) -> Result<String> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (old, new): (PathBuf, PathBuf) = (dir.path().join("old"), dir.path().join("new"));
    std::fs::copy(path, &old).with_context(|| format!("cannot read {}", path.display()))?;
    std::fs::write(&new, wanted).context("cannot write a temporary file")?;
    let git = Git::new(dir.path(), ctx.verbose);
    let output = git.attempt(["diff", "--no-index", "--no-color", "--no-ext-diff", "--", "old", "new"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let hunks = text.split_once("\n@@").map_or("", |(_, hunks)| hunks);
    Ok(format!("--- a/{name}\n+++ b/{name}\n@@{hunks}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_c_of_the_kernel_itself_counts_as_added_to_it() {
        assert!(is_foreign_c("drivers/block/loop.c") && is_foreign_c("include/linux/ucount.h"));
        for path in ["drivers/block/loopfs/private.c", "tools/testing/selftests/a.c", "rust/kernel/fs.rs"] {
            assert!(!is_foreign_c(path), "{path}");
        }
    }
}
