//! `series refresh`: edits in `rust/` and work done in the work tree become part of `patches/`.
//!
//! All of it happens in a repository beside the work tree: the series is applied there, the edits are committed as
//! fixups of the patches that introduced the lines, and `git rebase --autosquash` folds them in. Only when the result
//! is complete are `patches/`, `rust/` and the work tree changed. If the rebase meets a conflict, that repository
//! stays for a person to resolve it in.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::{
    cache::{Key, Lock},
    ctx::Ctx,
    error::Failure,
    git::Git,
    progress,
    series::{
        apply::{self, Input},
        commit_files::files_under,
        edits::Edits,
        export,
        fixups::{self, Contents},
        folder::{self, Folder, PATCHES, inputs, state_dir},
        import::Outcome,
        mirror,
        patch::Patch,
        scratch::Scratch,
        tree::{self, TreeLock, WorkTree},
    },
    source::Base,
};

/// Which side to believe where `rust/` and `patches/` were changed both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Prefer {
    /// `rust/` is right: its content is folded into the patches.
    Rust,
    /// `patches/` is right: `rust/` is written anew.
    Patches,
}

/// How to refresh.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Fold every edit into the patch of this number instead of the one that introduced the lines.
    pub into: Option<usize>,
    /// Which side to believe where both were changed.
    pub prefer: Option<Prefer>,
    /// Carry patches that do not apply over by a three-way merge.
    pub three_way: bool,
}

/// What `--continue` needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct Stopped {
    step: Step,
    base: String,
    /// Hash of `patches/` and `rust/`: neither may change in between.
    inputs: String,
    /// The work tree, if there is one.
    work: Option<Work>,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    /// `git am --3way`.
    Apply,
    /// `git rebase --autosquash`.
    Fold,
}

/// The state of the work tree when its work was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Work {
    head: String,
    content: String,
}

/// Makes `patches/`, `rust/` and the work tree agree.
///
/// `origin` is the base the patches were made for, if it is another one: a three-way merge starts from it.
///
/// # Errors
///
/// [`Failure::Series`] when the series does not apply, when both sides of an edit were changed, or on a conflict, after
/// which [`resume`] or [`abort`] go on. Nothing is changed then.
pub fn refresh(ctx: &Ctx, base: &Base, origin: Option<&Base>, options: Options) -> Result<Outcome> {
    let work = WorkTree::existing(ctx, base)?;
    let run = Run::start(ctx, base, origin, work)?;
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    let series = run.apply(&folder, origin, options)?;
    run.fold(&series, options)?;
    run.finish()
}

/// Goes on after a person has resolved a conflict.
///
/// # Errors
///
/// As [`refresh`], or when no refresh has stopped, or `patches/` or `rust/` have changed since.
pub fn resume(ctx: &Ctx, base: &Base) -> Result<Outcome> {
    let work = WorkTree::existing(ctx, base)?;
    let mut run = Run::resume(ctx, base, work)?;
    let stopped = run.stopped()?.context("no refresh has stopped: there is nothing to continue")?;
    run.taken.clone_from(&stopped.work);
    if stopped.base != base.commit {
        bail!("the refresh was started on another base ({}): give the same --from", stopped.base);
    }
    if stopped.inputs != fingerprint(ctx)? {
        bail!(
            "patches/ or rust/ have changed since the refresh stopped: bring them back, \
             or start over with `cargo xtask series refresh --abort`"
        );
    }
    let git = run.scratch.git();
    let unmerged = git.read(["diff", "--name-only", "--diff-filter=U"])?;
    if !unmerged.is_empty() {
        return Err(run.stop(stopped.step)?);
    }
    let in_progress = |folder: &str| git.dir().join(".git").join(folder).exists();
    let goes_on = match stopped.step {
        Step::Apply if in_progress("rebase-apply") => git.attempt(["am", "--continue"])?.status.success(),
        Step::Fold if in_progress("rebase-merge") => git.attempt(["rebase", "--continue"])?.status.success(),
        _ => true,
    };
    if !goes_on {
        return Err(run.stop(stopped.step)?);
    }
    run.finish()
}

/// Forgets a refresh that has stopped; `patches/`, `rust/` and the work tree were not touched by it.
///
/// # Errors
///
/// When the cache cannot be written.
pub fn abort(ctx: &Ctx) -> Result<()> {
    let _series = folder::lock(ctx)?;
    let dir = state_dir(ctx).join(REFRESH);
    if !dir.join(STOPPED).exists() {
        bail!("no refresh has stopped: there is nothing to abort");
    }
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// The folder of the repository a refresh works in, below the clone's state.
const REFRESH: &str = "refresh";
/// Present in it when a person has to resolve a conflict.
const STOPPED: &str = "stopped.json";

/// A refresh under way; its repository is removed when it ends, unless it stopped for a person.
struct Run<'a> {
    ctx: &'a Ctx,
    base: &'a Base,
    dir: PathBuf,
    scratch: Scratch,
    work: Option<(WorkTree, TreeLock)>,
    /// How the work tree was when its work was taken.
    taken: Option<Work>,
    finished: bool,
    _series: Lock,
}

impl<'a> Run<'a> {
    fn start(ctx: &'a Ctx, base: &'a Base, origin: Option<&Base>, work: Option<(WorkTree, TreeLock)>) -> Result<Self> {
        let series = folder::lock(ctx)?;
        let dir = state_dir(ctx).join(REFRESH);
        if dir.join(STOPPED).exists() {
            return Err(anyhow!(
                "a refresh has stopped at a conflict in {}: resolve it there and run \
                 `cargo xtask series refresh --continue`, or forget it with `--abort`",
                dir.join(REPO).display()
            )
            .context(Failure::Series));
        }
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        let mut lenders = vec![base.repo.as_path()];
        lenders.extend(origin.map(|origin| origin.repo.as_path()));
        lenders.extend(work.iter().map(|(work, _)| work.git.dir()));
        let scratch = Scratch::lasting(ctx, &dir.join(REPO), &lenders)?;
        let taken = now(work.as_ref())?;
        Ok(Self { ctx, base, dir, scratch, work, taken, finished: false, _series: series })
    }

    fn resume(ctx: &'a Ctx, base: &'a Base, work: Option<(WorkTree, TreeLock)>) -> Result<Self> {
        let series = folder::lock(ctx)?;
        let dir = state_dir(ctx).join(REFRESH);
        let scratch = Scratch::existing(ctx, &dir.join(REPO));
        Ok(Self { ctx, base, dir, scratch, work, taken: None, finished: false, _series: series })
    }

    fn stopped(&self) -> Result<Option<Stopped>> {
        let file = self.dir.join(STOPPED);
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Some(serde_json::from_slice(&text).with_context(|| format!("cannot read {}", file.display()))?))
    }

    /// Leaves the repository to a person and says what they have to do.
    fn stop(&self, step: Step) -> Result<anyhow::Error> {
        let (base, work) = (self.base.commit.clone(), self.taken.clone());
        let stopped = Stopped { step, base, inputs: fingerprint(self.ctx)?, work };
        let file = self.dir.join(STOPPED);
        let text = serde_json::to_vec(&stopped).context("cannot describe the stopped refresh")?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let git = self.scratch.git();
        let files = git.read(["diff", "--name-only", "--diff-filter=U"])?;
        let files: Vec<&str> = files.lines().collect();
        let at = ["REBASE_HEAD", "HEAD"].into_iter().find_map(|rev| git.line(["log", "-1", "--format=%s", rev]).ok());
        let at = at.unwrap_or_default();
        Ok(anyhow!(
            "{} meets a conflict (at `{at}`) in {}.\n\
             Resolve it in {}: edit the files, `git add -f` them, then run `cargo xtask series refresh --continue`; \
             or forget this refresh with `cargo xtask series refresh --abort`. patches/ and rust/ are as they were",
            match step {
                Step::Apply => "carrying the series over",
                Step::Fold => "folding the edits in",
            },
            files.join(", "),
            git.dir().display()
        )
        .context(Failure::Series))
    }

    /// Applies the series and returns its commits; numbering gaps close, bad forms are mended by the export.
    fn apply(&self, folder: &Folder, origin: Option<&Base>, options: Options) -> Result<Vec<String>> {
        let inputs = inputs(folder);
        let git = self.scratch.git();
        let commits = match apply::am(&self.scratch, &self.base.commit, &inputs) {
            Err(error) if options.three_way && error.downcast_ref::<apply::Rejected>().is_some() => {
                self.apply_three_way(&inputs, origin)?
            }
            Err(error) if error.downcast_ref::<apply::Rejected>().is_some() => {
                return Err(error.context("nothing was refreshed; `--three-way` tries to carry the series over"));
            }
            other => other?,
        };
        for (commit, entry) in commits.iter().zip(&folder.entries) {
            let under_the_cut = entry.patch.as_ref().ok().and_then(|patch| patch.note.clone());
            if let Some(note) = entry.note.clone().or(under_the_cut) {
                git.feed(["notes", "add", "--force", "-F", "-", commit], note.as_bytes())?;
            }
        }
        Ok(commits)
    }

    fn apply_three_way(&self, inputs: &[Input], origin: Option<&Base>) -> Result<Vec<String>> {
        if let Some(origin) = origin {
            // Makes the blobs that the patches' index lines name, from which git merges.
            apply::am(&self.scratch, &origin.commit, inputs)?;
        }
        let parsed = inputs.iter().map(|input| Patch::parse(&input.text)).collect::<Result<Vec<_>, _>>()?;
        self.scratch.check_out(&self.base.commit, &apply::touched(&parsed))?;
        if apply::hand_over(&self.scratch, inputs, &["--3way"])?.is_some() {
            return Err(self.stop(Step::Apply)?);
        }
        apply::commits(self.scratch.git(), &self.base.commit)
    }

    /// Puts the work tree's commits and all edits on top of `series` and squashes them in.
    fn fold(&self, series: &[String], options: Options) -> Result<()> {
        let git = self.scratch.git();
        let applied = series.last().unwrap_or(&self.base.commit);
        let work = self.take_work(applied)?;
        let tip = git.line(["rev-parse", "HEAD"])?;
        let mut contents = self.rust_edits(applied, &tip, options)?;
        for (path, content) in self.work_edits(work.as_ref())? {
            // The edit was made on what the work tree had; on anything else it would undo what is there.
            let from = work.as_ref().map_or(tip.as_str(), |theirs| &theirs.head);
            if git.object(&format!("{from}:{path}"))? != git.object(&format!("{tip}:{path}"))? {
                return Err(torn(&[path], "patches/ and the work tree", BY_HAND));
            }
            match contents.get(&path) {
                Some(other) if *other != content => return Err(torn(&[path], "rust/ and the work tree", BY_HAND)),
                _ => drop(contents.insert(path, content)),
            }
        }
        let paths = self.paths(&tip, &contents)?;
        self.scratch.check_out(&tip, &paths)?;
        let commits = apply::commits(git, &self.base.commit)?;
        let into = match options.into {
            Some(number) if number == 0 || number > commits.len() => {
                bail!("there is no patch {number}; the series has {}", commits.len())
            }
            number => number.map(|number| number - 1),
        };
        for placed in fixups::fixups(&self.scratch, &commits, &contents, into)? {
            progress::say(&placed.to_string());
        }
        let wanted = apply::tree_of(git, "HEAD")?;
        let subjects = git.read(["log", "--format=%s", &format!("{}..HEAD", self.base.commit)])?;
        let marks = ["fixup! ", "squash! ", "amend! "];
        if subjects.lines().any(|subject| marks.iter().any(|mark| subject.starts_with(mark))) {
            let folded = git.attempt([
                "rebase",
                "--quiet",
                "--interactive",
                "--autosquash",
                "--empty=keep",
                "--committer-date-is-author-date",
                &self.base.commit,
            ])?;
            if !folded.status.success() {
                if git.dir().join(".git/rebase-merge").exists() {
                    return Err(self.stop(Step::Fold)?);
                }
                bail!("git cannot fold the edits in:\n{}", String::from_utf8_lossy(&folded.stderr).trim());
            }
            if apply::tree_of(git, "HEAD")? != wanted {
                bail!("folding the edits in changed what they amount to; nothing was written");
            }
        }
        Ok(())
    }

    /// Checks out the commits a person made in the work tree, put onto `applied` if the series has changed since.
    fn take_work(&self, applied: &str) -> Result<Option<tree::Theirs>> {
        let git = self.scratch.git();
        let Some((work, _)) = &self.work else { return Ok(None) };
        let Some(theirs) = work.theirs()? else { return Ok(None) };
        if theirs.head == theirs.applied {
            return Ok(Some(theirs));
        }
        progress::say(&format!("from the work tree: {}", theirs.describe()));
        if let Some(notes) = work.git.object("refs/notes/commits")? {
            self.adopt_notes(&work.git, &notes, &theirs.head)?;
        }
        let descends = |commit: &str, from: &str| -> Result<bool> {
            Ok(git.attempt(["merge-base", "--is-ancestor", from, commit])?.status.success())
        };
        if theirs.applied == applied {
            if !descends(&theirs.head, &self.base.commit)? {
                return Err(anyhow!("the work tree's branch no longer starts at the base; rebase it onto `base`")
                    .context(Failure::Series));
            }
            let paths = self.paths(&theirs.head, &Contents::new())?;
            self.scratch.check_out(&theirs.head, &paths)?;
        } else if descends(&theirs.head, &theirs.applied)? {
            let range = format!("{}..{}", theirs.applied, theirs.head);
            let mut paths = self.paths(applied, &Contents::new())?;
            paths.extend(self.paths(&theirs.head, &Contents::new())?);
            self.scratch.check_out(applied, &paths)?;
            if !git.attempt(["cherry-pick", &range])?.status.success() {
                return Err(anyhow!(
                    "patches/ has changed since the work tree was made, and the commits in {} do not go onto it: \
                     there, `git fetch` the new series with `cargo xtask tree --discard` and pick them again",
                    work.git.dir().display()
                )
                .context(Failure::Series));
            }
        } else {
            return Err(anyhow!(
                "both patches/ and the commits of the series in {} were rewritten; keep one: \
                 `cargo xtask tree --discard` drops the latter, `git restore patches rust` the former",
                work.git.dir().display()
            )
            .context(Failure::Series));
        }
        Ok(Some(theirs))
    }

    /// Takes over the notes of commits that are only in the work tree; of the others, `patches/` has the newer ones.
    fn adopt_notes(&self, theirs: &Git, notes: &str, head: &str) -> Result<()> {
        let git = self.scratch.git();
        let commits = git.read(["rev-list", &format!("{}..{head}", self.base.commit)])?;
        for commit in commits.lines() {
            if git.attempt(["notes", "show", commit])?.status.success() {
                continue;
            }
            let note = theirs.attempt(["notes", "--ref", notes, "show", commit])?;
            if note.status.success() {
                git.feed(["notes", "add", "--force", "-F", "-", commit], &note.stdout)?;
            }
        }
        Ok(())
    }

    /// What `rust/` holds that neither the series `applied` nor `tip`, the work tree's commits, has.
    fn rust_edits(&self, applied: &str, tip: &str, options: Options) -> Result<Contents> {
        let git = self.scratch.git();
        let series = export::mirrored_files(git, &self.base.commit, applied)?;
        let mut edits = Edits::find(self.ctx, &series)?;
        let present = crate::series::edits::mirrored_files(self.ctx.root())?;
        if present.is_empty() && !series.is_empty() {
            // Nobody deletes every file by hand and means it: rust/ is to be written anew.
            return Ok(Contents::new());
        }
        match options.prefer {
            Some(Prefer::Patches) => return Ok(Contents::new()),
            Some(Prefer::Rust) => {
                let torn = std::mem::take(&mut edits.torn).into_iter();
                let behind = std::mem::take(&mut edits.behind).into_iter();
                edits.edited.extend(torn.chain(behind).map(|path| (path.clone(), present.get(&path).cloned())));
            }
            None if !edits.torn.is_empty() => {
                let paths: Vec<String> = edits.torn.into_iter().collect();
                return Err(torn(&paths, "rust/ and patches/", PREFER));
            }
            None => {}
        }
        let now = export::mirrored_files(git, &self.base.commit, tip)?;
        let mut contents = Contents::new();
        for (path, content) in edits.edited {
            let (committed, before) = (now.get(&path), series.get(&path));
            if committed == content.as_ref() {
                continue;
            }
            if committed != before {
                return Err(torn(&[path], "rust/ and the work tree's commits", BY_HAND));
            }
            if let Some(tree_path) = mirror::tree_path(&path) {
                contents.insert(tree_path, content);
            }
        }
        Ok(contents)
    }

    /// What a person changed in files of the work tree without committing it.
    fn work_edits(&self, theirs: Option<&tree::Theirs>) -> Result<Contents> {
        let (Some((work, _)), Some(theirs)) = (&self.work, theirs) else { return Ok(Contents::new()) };
        let content = work.content()?;
        let ours = work.shown()?;
        let changed = |from: &str| -> Result<Vec<String>> {
            let names = work.git.read(["diff-tree", "-r", "-z", "--no-renames", "--name-only", from, &content])?;
            Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
        };
        let since_shown = changed(&ours)?;
        let mut contents = Contents::new();
        for path in changed(&theirs.head)?.into_iter().filter(|path| since_shown.contains(path)) {
            let blob = work.git.attempt(["cat-file", "blob", &format!("{content}:{path}")])?;
            contents.insert(path, blob.status.success().then_some(blob.stdout));
        }
        Ok(contents)
    }

    /// The files that the commits up to `tip` and `contents` touch.
    fn paths(&self, tip: &str, contents: &Contents) -> Result<std::collections::BTreeSet<String>> {
        let range = format!("{}..{tip}", self.base.commit);
        let names = self.scratch.git().read(["log", "--format=", "--name-only", "--no-renames", "-z", &range])?;
        let names = names.split(['\0', '\n']).filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(names.chain(contents.keys().cloned()).collect())
    }

    /// Writes what the repository holds now to `patches/` and `rust/`, and brings the work tree after it.
    fn finish(mut self) -> Result<Outcome> {
        let git = self.scratch.git();
        let tip = git.line(["rev-parse", "HEAD"])?;
        let series = export::commits(git, &self.base.commit, &tip)?;
        let settled = Scratch::new(self.ctx, &[&self.base.repo, self.scratch.path()])?;
        let series = export::settled(&settled, &self.base.commit, series)?;
        let rust = export::mirrored_files(git, &self.base.commit, &tip)?;
        let changes = export::changes(self.ctx, &series, rust)?.against(self.ctx.root());
        changes.commit(self.ctx.root(), &folder::journal(self.ctx))?;
        self.finished = true;
        if let Some((work, _)) = &self.work {
            if now(self.work.as_ref())? == self.taken {
                work.follow(self.ctx, self.base)?;
            } else {
                progress::say("the work tree was changed meanwhile; it is left as it is");
            }
        }
        Ok(Outcome::new(series.len(), changes))
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if self.finished || !self.dir.join(STOPPED).exists() {
            // What cannot be removed now is removed by the next refresh.
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

/// The name of the repository in the refresh's folder.
const REPO: &str = "linux";

/// How the work tree is.
fn now(work: Option<&(WorkTree, TreeLock)>) -> Result<Option<Work>> {
    let Some((work, _)) = work else { return Ok(None) };
    Ok(Some(Work { head: work.git.line(["rev-parse", "HEAD"])?, content: work.content()? }))
}

/// What to do about files that were changed twice.
const BY_HAND: &str = "make them agree by hand";
/// The same, where there is a choice.
const PREFER: &str = "make them agree by hand, or say which to believe: `--prefer rust` or `--prefer patches`";

fn torn(paths: &[String], sides: &str, advice: &str) -> anyhow::Error {
    anyhow!("{} changed in {sides}, differently; nothing was written: {advice}", paths.join(", "))
        .context(Failure::Series)
}

/// A hash of everything in `patches/` and the mirrored folders.
fn fingerprint(ctx: &Ctx) -> Result<String> {
    let folders = std::iter::once(PATCHES.to_owned()).chain(mirror::mirrored());
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for path in files_under(ctx.root(), folders)? {
        let full: &Path = &ctx.root().join(&path);
        files.insert(path, fs::read(full).with_context(|| format!("cannot read {}", full.display()))?);
    }
    Ok(files.iter().fold(Key::default(), |key, (path, bytes)| key.with(path).with(bytes)).name())
}
