//! `series mail`: the series as mails, ready for a user to send. Nothing here sends anything.

pub mod choice;
pub mod compose;
pub mod gate;
pub mod people;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    ctx::Ctx,
    error::Failure,
    gate::Verdict,
    git::Git,
    series::{
        apply, check, checkpatch,
        folder::{COVER, Folder, PATCHES, has_subject_and_text},
        patch::Patch,
        scratch::Scratch,
        tree,
    },
    source::Base,
    verify::{evidence::Evidence, table},
};
use choice::Choice;
use compose::{Cover, Mail, Series};
use gate::{Gate, Gates};
use people::{People, Person};

/// What the user wants.
#[derive(Clone, Debug)]
pub struct Order {
    /// Which patches; all of them, if it is not said.
    pub patches: Option<Choice>,
    /// Which version of the series this is, from 1.
    pub version: u32,
    /// Whether it is a request for comments only.
    pub rfc: bool,
    /// Whether the user has said that they sign off.
    pub sign_off: bool,
    /// Who submits, from git's configuration.
    pub submitter: Person,
    /// Who else gets all of it.
    pub also: People,
    /// The folder that gets a folder `vN`, for a group in a folder of its name.
    pub folder: PathBuf,
    /// Gates that need not be passed.
    pub skip: BTreeSet<Gate>,
    /// Replace the mails of this version that are there.
    pub force: bool,
}

/// Mails that were written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The folder they are in.
    pub folder: PathBuf,
    /// All of them in one file, in the order of the series.
    pub mailbox: PathBuf,
    /// The cover letter's message id, without the angle brackets.
    pub id: String,
    /// What the gates said.
    pub gates: Gates,
}

/// Writes the mails of the series on `base`, if they pass the gates.
///
/// # Errors
///
/// [`Failure::Series`] when a gate is not passed that was not switched off; all of them are told, and nothing is
/// written.
///
/// [`Failure::Usage`] when the order names patches that are no group.
pub fn write(ctx: &Ctx, base: &Base, order: &Order) -> Result<Written> {
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    if folder.entries.is_empty() {
        bail!(anyhow!("there are no patches to mail").context(Failure::Series));
    }
    let group = order.patches.as_ref().map(|choice| choice.group(&folder).cloned()).transpose()?;
    let folder = match &group {
        Some(group) => folder.only(group)?,
        None => folder,
    };
    let evidence = Evidence::read(ctx.root(), base)?;
    let mut gates = Gates::new(&order.skip);
    let versions = group.as_ref().map_or_else(|| order.folder.clone(), |group| order.folder.join(&group.name));
    let target = versions.join(format!("v{}", order.version));

    gates.judge(Gate::Series, || {
        let report = check::check(ctx, base)?;
        none(report.findings.iter().map(ToString::to_string))
    })?;
    gates.judge(Gate::Committed, || {
        let clone = Git::new(ctx.root(), ctx.verbose);
        let status = clone.attempt(["status", "--porcelain", "--", PATCHES, "rust"])?;
        none(String::from_utf8_lossy(&status.stdout).lines().map(str::to_owned))
    })?;
    gates.judge(Gate::Submitter, || none(order.submitter.fault()))?;
    gates.judge(Gate::SignOff, || {
        let missing = "nobody has signed off: give --sign-off, or say yes when asked";
        none((!order.sign_off).then(|| missing.to_owned()))
    })?;
    let cover_text = folder.cover.clone().unwrap_or_default();
    let cover_name = group.as_ref().map_or(COVER, |group| &group.cover);
    gates.judge(Gate::Cover, || none(cover_faults(cover_name, &cover_text)))?;
    gates.judge(Gate::Changelog, || {
        let heading = format!("Changes in v{}", order.version);
        let missing = order.version > 1 && !cover_text.lines().any(|line| line.starts_with(&heading));
        none(missing.then(|| format!("the cover letter has no line `{heading}`")))
    })?;
    gates.judge(Gate::Verified, || {
        let missing = || format!("the patches are {}: `cargo xtask series verify`", evidence.told());
        none(evidence.table().is_none().then(missing))
    })?;
    gates.judge(Gate::NewVersion, || {
        let there = target.exists() && !order.force;
        none(there.then(|| format!("{} is there: take the next version, or --force", target.display())))
    })?;

    // What follows needs a series that applies; a fault found so far would only come back in other words.
    gates.verdict()?;
    let mut opened = tree::Series::open(ctx, base)?;
    opened.commits.truncate(folder.entries.len());
    let work = tree::prepare_tree(ctx, base)?;
    let mut series =
        Series { version: order.version, rfc: order.rfc, submitter: order.submitter.clone(), patches: Vec::new() };
    for entry in &folder.entries {
        let patch = entry.patch.as_ref().map_err(Clone::clone).with_context(|| entry.name.clone())?;
        let body = if order.sign_off { signed(ctx, &patch.body, &order.submitter)? } else { patch.body.clone() };
        let concerned = people::maintainers(ctx, &work.path, &entry.text)?.with(&order.also);
        series.patches.push(compose::Part {
            stem: entry.stem().to_owned(),
            subject: patch.subject.clone(),
            date: patch.date.clone(),
            body,
            note: entry.note.clone(),
            diff: patch.stat_and_diff().to_owned(),
            people: concerned,
        });
    }
    gates.judge(Gate::Addressees, || {
        let lonely = series.patches.iter().filter(|part| part.people.to.is_empty() && order.also.is_empty());
        none(lonely.map(|part| format!("get_maintainer.pl names nobody for {}: add --to or --cc", part.stem)))
    })?;
    let cover = Cover {
        text: cover_text,
        evidence: evidence.table().map(|text| match &group {
            Some(_) => table::start(text, folder.entries.len()),
            None => text.to_owned(),
        }),
        range_diff: range_diff(ctx, base, &opened, &versions, order.version)?,
        summary: summary(&opened, base)?,
        base: official(base, ctx.verbose)?,
    };
    let mails = compose::mails(&series, &cover);
    gates.judge(Gate::Checkpatch, || checkpatch_faults(ctx, &work.path, &mails, &folder, order.sign_off))?;
    gates.verdict()?;

    let mailbox = target.join("series.mbox");
    put(&target, &mails)?;
    let id = mails.first().map(|mail| mail.id.clone()).unwrap_or_default();
    Ok(Written { folder: target, mailbox, id, gates })
}

fn none(faults: impl IntoIterator<Item = String>) -> Result<Verdict> {
    Ok(Verdict::of(faults))
}

fn cover_faults(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !has_subject_and_text(text) {
        faults.push(format!("{PATCHES}/{name} has no subject and text"));
    }
    for mark in ["EDITME", "TODO", "FIXME", "*** "] {
        if text.contains(mark) {
            faults.push(format!("the cover letter still has `{}` in it", mark.trim()));
        }
    }
    faults
}

/// The message `body` with the sign-off of `submitter` among its trailers.
fn signed(ctx: &Ctx, body: &str, submitter: &Person) -> Result<String> {
    let git = Git::new(ctx.root(), ctx.verbose);
    let trailer = format!("Signed-off-by: {submitter}");
    // interpret-trailers takes the first paragraph for a subject, which `body` does not have.
    let message = format!("subject\n\n{body}");
    let bytes = git.feed(["interpret-trailers", "--trailer", &trailer], message.as_bytes())?;
    let text = String::from_utf8(bytes).context("git changed the message's encoding")?;
    Ok(text.strip_prefix("subject\n\n").unwrap_or(&text).to_owned())
}

fn checkpatch_faults(ctx: &Ctx, tree: &Path, mails: &[Mail], folder: &Folder, signed_off: bool) -> Result<Verdict> {
    let exceptions = checkpatch::exceptions(ctx)?;
    let mut used = Vec::new();
    let mut faults = Vec::new();
    for (mail, entry) in mails.iter().skip(1).zip(&folder.entries) {
        let complaints = checkpatch::run(ctx, tree, &mail.render(), signed_off)?;
        for complaint in checkpatch::unjustified(entry.stem(), complaints, &exceptions, &mut used) {
            faults.push(format!("{}: {complaint}", entry.name));
        }
    }
    none(faults)
}

/// The commit for `base-commit:`: only one that an annotated version tag names, never an import of ours.
fn official(base: &Base, verbose: bool) -> Result<Option<String>> {
    let git = Git::new(&base.repo, verbose);
    let tags = git.read(["tag", "--points-at", &base.commit, "--list", "v[0-9]*"])?;
    for tag in tags.lines() {
        if git.line(["cat-file", "-t", tag])? == "tag" {
            return Ok(Some(base.commit.clone()));
        }
    }
    Ok(None)
}

/// The list of patches and the diffstat of the whole, for the cover letter.
fn summary(series: &tree::Series, base: &Base) -> Result<String> {
    let tip = series.tip(base);
    series.git.read(["diff", "--no-color", "--no-renames", "--stat=72", "--summary", &base.commit, tip])
}

/// How the series differs from the version before, if that was written to `versions`.
fn range_diff(ctx: &Ctx, base: &Base, series: &tree::Series, versions: &Path, version: u32) -> Result<Option<String>> {
    let Some(before) = version.checked_sub(1).filter(|version| *version > 0) else { return Ok(None) };
    let old = versions.join(format!("v{before}"));
    if !old.is_dir() {
        return Ok(None);
    }
    let mut names: Vec<PathBuf> = fs::read_dir(&old)
        .with_context(|| format!("cannot list {}", old.display()))?
        .flatten()
        .map(|e| e.path())
        .collect();
    names.sort();
    let mut old_inputs = Vec::new();
    for path in names.iter().filter(|path| path.extension().is_some_and(|ending| ending == "patch")) {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        // The cover letter is not a patch.
        if Patch::parse(&text).is_ok() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            old_inputs.push(apply::Input { name, text });
        }
    }
    let scratch = Scratch::new(ctx, &[&base.repo, series.git.dir()])?;
    let Ok(old) = apply::am(&scratch, &base.commit, &old_inputs) else {
        // It was made for another base.
        return Ok(None);
    };
    let range = |tip: &str| format!("{}..{tip}", base.commit);
    let (old, new) = (range(old.last().unwrap_or(&base.commit)), range(series.tip(base)));
    let text = scratch.git().read(["range-diff", "--no-color", "--creation-factor=80", &old, &new])?;
    Ok(Some(format!("Range-diff against v{before}:\n{text}")))
}

/// Puts the mails into `target` at once.
fn put(target: &Path, mails: &[Mail]) -> Result<()> {
    let parent = target.parent().context("the folder for the mails has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let half = tempfile::Builder::new()
        .prefix(".mails-")
        .tempdir_in(parent)
        .with_context(|| format!("cannot make a folder in {}", parent.display()))?;
    let mut mailbox = String::new();
    for mail in mails {
        let text = mail.render();
        let path = half.path().join(&mail.name);
        fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        mailbox.push_str(&compose::in_mailbox(&text));
    }
    fs::write(half.path().join("series.mbox"), mailbox).context("cannot write series.mbox")?;
    if target.exists() {
        fs::remove_dir_all(target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    let half = half.keep();
    let readable: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&half, readable).with_context(|| format!("cannot open up {}", half.display()))?;
    fs::rename(&half, target).with_context(|| format!("cannot rename {} to {}", half.display(), target.display()))
}
