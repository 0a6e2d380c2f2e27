//! The work tree: a full checkout of the base with the series on branch `loopfs`, which is what gets built.
//!
//! It is an ordinary git repository in the cache, made for this clone and base, and it borrows its objects from the
//! base. Moving it to another state of the series writes only files whose content differs, so that a build stays
//! incremental. Edits in `rust/` that are not in `patches/` yet are in the files and in the index, on top of the
//! last commit; whatever else differs is a user's work, and is never overwritten.
//!
//! | ref | what it is |
//! |---|---|
//! | `refs/heads/base` | the base |
//! | `refs/heads/loopfs` | the series, checked out |
//! | `refs/loopfs/applied` | the last commit we put the tree at |
//! | `refs/loopfs/shown` | that commit's tree with the edits of `rust/` |
//! | `refs/loopfs/moving` | present while files are being moved to that tree: what is found then is ours |
//! | `refs/loopfs/series/KEY` | the series as applied earlier, by its content |

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    cache::{Key, Lock},
    ctx::Ctx,
    error::Failure,
    git::Git,
    interrupt,
    kernel::option::{self, OptionState},
    progress::{self, Progress},
    series::{
        apply,
        edits::Edits,
        export,
        folder::{self, Folder, PATCHES, inputs, state_dir},
        scratch::{self, Scratch},
    },
    source::Base,
};

const APPLIED: &str = "refs/loopfs/applied";
const SHOWN: &str = "refs/loopfs/shown";
const MOVING: &str = "refs/loopfs/moving";

/// The folder of the work tree that users work in.
const MAIN: &str = "linux";
/// The folder of the work tree that is moved along the series.
const PREFIX: &str = "prefix";
/// The folder of the work tree that is broken on purpose.
const MUTANTS: &str = "mutants";
/// The file of the tree that has the option for loopfs.
const KCONFIG: &str = "drivers/block/Kconfig";

/// The work tree, ready to be built. While this lives, no other run moves it.
#[derive(Debug)]
pub struct Tree {
    /// The folder with the kernel's sources.
    pub path: PathBuf,
    /// The commit on branch `loopfs` that is checked out.
    pub commit: String,
    /// The git tree of what the files hold, edits included: equal keys are equal sources.
    pub content_key: String,
    /// The files of the tree that hold more than the commit: edits in `rust/`, and work done in the tree itself.
    pub edited: Vec<String>,
    _lock: TreeLock,
}

/// The locks of a work tree: one of who may look at its state and change it, one of who uses its files.
///
/// A build and a reader share the second, so that a reader waits for nobody who only builds. It is only taken alone to
/// move the tree, by a run that has the first.
#[derive(Debug)]
pub(super) struct TreeLock {
    state: Option<Lock>,
    files: Option<Lock>,
    path: PathBuf,
}

impl TreeLock {
    /// Waits for the right to look at the tree `name` in `home`, and to change it.
    fn acquire(home: &Path, name: &str) -> Result<Self> {
        let state = Lock::acquire(&home.join(format!("{name}.lock")), "the work tree")?;
        Ok(Self { state: Some(state), files: None, path: home.join(format!("{name}.files.lock")) })
    }

    /// Waits until no other run uses the files.
    fn alone(&mut self) -> Result<()> {
        if self.files.is_none() {
            self.files = Some(Lock::acquire(&self.path, "the files of the work tree")?);
        }
        Ok(())
    }

    /// Keeps the files as they are, and lets others use them too.
    fn share(mut self) -> Result<Self> {
        self.files = Some(match self.files {
            Some(alone) => alone.downgrade()?,
            None => Lock::share(&self.path, "the files of the work tree")?,
        });
        self.state = None;
        Ok(self)
    }
}

/// Puts the work tree at the whole series with the edits of `rust/` and returns it.
///
/// # Errors
///
/// [`Failure::Series`] when the series does not apply, or when the tree holds a user's work that moving it would
/// overwrite.
pub fn prepare_tree(ctx: &Ctx, base: &Base) -> Result<Tree> {
    let (work, lock) = WorkTree::open(ctx, base, MAIN)?;
    let _series = folder::lock(ctx)?;
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    let commits = work.commits_of(ctx, base, &folder)?;
    let commit = commits.last().unwrap_or(&base.commit);
    let edits = Edits::find(ctx, &export::mirrored_files(&work.git, &base.commit, commit)?)?;
    tell(&edits);
    work.settle(commit, &edits, lock)
}

/// The series, opened once by a command: its files, and its commits on a base.
#[derive(Debug)]
pub struct Series {
    /// What is in `patches/`.
    pub folder: Folder,
    /// Its commits, oldest first.
    pub commits: Vec<String>,
    /// A repository that has them.
    pub git: Git,
}

impl Series {
    /// Opens the series on `base`; it is applied now unless it was before.
    ///
    /// # Errors
    ///
    /// [`Failure::Series`] when the series does not apply.
    pub fn open(ctx: &Ctx, base: &Base) -> Result<Self> {
        let (work, _lock) = WorkTree::open(ctx, base, MAIN)?;
        let _series = folder::lock(ctx)?;
        let folder = Folder::read(&ctx.root().join(PATCHES))?;
        let commits = work.commits_of(ctx, base, &folder)?;
        Ok(Self { folder, commits, git: work.git })
    }

    /// Its last commit, or that of the base.
    pub fn tip<'a>(&'a self, base: &'a Base) -> &'a str {
        self.commits.last().unwrap_or(&base.commit)
    }
}

/// Puts a second work tree, which only `series verify` uses, at the first `count` patches; 0 is the bare base.
///
/// # Errors
///
/// [`Failure::Series`] when the series does not apply or has fewer patches.
pub fn prepare_prefix(ctx: &Ctx, base: &Base, count: usize) -> Result<Tree> {
    prepare_trial(ctx, base, count, false)
}

/// As [`prepare_prefix`]; with `prompt`, the option for loopfs gets a prompt if it has none yet, so that what it
/// builds can be tried before the patch that offers it.
pub fn prepare_trial(ctx: &Ctx, base: &Base, count: usize, prompt: bool) -> Result<Tree> {
    let (work, mut lock) = WorkTree::open(ctx, base, PREFIX)?;
    let _series = folder::lock(ctx)?;
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    let commits = work.commits_of(ctx, base, &folder)?;
    let commit = match count {
        0 => &base.commit,
        _ => commits
            .get(count - 1)
            .with_context(|| format!("patch {count} does not exist; the series has {}", commits.len()))?,
    };
    let mut contents = BTreeMap::new();
    if prompt {
        let kconfig = work.git.read(["cat-file", "blob", &format!("{commit}:{KCONFIG}")])?;
        contents.insert(KCONFIG.to_owned(), Some(option::with_prompt(&kconfig).into_bytes()));
    }
    let shown = work.with_contents(commit, &contents)?;
    if !work.is_at(commit, &shown)? || work.theirs()?.is_some() {
        lock.alone()?;
        // Nobody works in this tree: whatever is there is a trial's.
        work.move_to(commit, &shown)?;
    }
    work.tree(commit, shown, contents.into_keys().collect(), lock)
}

/// Puts a third work tree, which only `mutants` uses, at the whole series with the patch `diff` on top, or returns why the
/// patch does not apply.
///
/// # Errors
///
/// [`Failure::Series`] when the series does not apply.
pub fn prepare_mutant(ctx: &Ctx, base: &Base, diff: &str) -> Result<Result<Tree, String>> {
    let (work, mut lock) = WorkTree::open(ctx, base, MUTANTS)?;
    let _series = folder::lock(ctx)?;
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    let commits = work.commits_of(ctx, base, &folder)?;
    let commit = commits.last().unwrap_or(&base.commit);
    let shown = match with_patch(&work.git, commit, diff)? {
        Ok(shown) => shown,
        Err(why) => return Ok(Err(why)),
    };
    if !work.is_at(commit, &shown)? || work.theirs()?.is_some() {
        lock.alone()?;
        work.move_to(commit, &shown)?;
    }
    work.tree(commit, shown, Vec::new(), lock).map(Ok)
}

/// The git tree of `commit` with the patch `diff` on top, or why the patch does not apply.
///
/// # Errors
///
/// On Ctrl-C, or when git fails otherwise. A patch that does not apply is no error.
pub fn with_patch(git: &Git, commit: &str, diff: &str) -> Result<Result<String, String>> {
    let index = tempfile::tempdir_in(git.dir().join(".git")).context("cannot make a temporary folder")?;
    let git = git.with_index(index.path().join("index"));
    git.read(["read-tree", commit])?;
    if let Err(error) = git.feed(["apply", "--cached", "--recount", "-C1", "-"], diff.as_bytes()) {
        interrupt::check()?;
        return Ok(Err(format!("{error:#}").lines().skip(1).collect::<Vec<_>>().join("; ")));
    }
    git.line(["write-tree"]).map(Ok)
}

/// One prefix of the series, without its tree being moved there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub commit: String,
    /// Its git tree: equal ones are equal sources.
    pub tree: String,
    /// Whether it has the option for loopfs.
    pub option: OptionState,
}

/// The bare base and every prefix of the series, the shortest first.
///
/// # Errors
///
/// [`Failure::Series`] when the series does not apply.
pub fn prefixes(ctx: &Ctx, base: &Base) -> Result<Vec<Prefix>> {
    let (work, _lock) = WorkTree::open(ctx, base, PREFIX)?;
    let _series = folder::lock(ctx)?;
    let folder = Folder::read(&ctx.root().join(PATCHES))?;
    let commits = work.commits_of(ctx, base, &folder)?;
    let mut prefixes = Vec::new();
    for commit in std::iter::once(&base.commit).chain(&commits) {
        let tree = apply::tree_of(&work.git, commit)?;
        let kconfig = work.git.attempt(["cat-file", "blob", &format!("{commit}:{KCONFIG}")])?;
        let option = option::state(&String::from_utf8_lossy(&kconfig.stdout));
        prefixes.push(Prefix { commit: commit.clone(), tree, option });
    }
    Ok(prefixes)
}

/// The folder of the tree that [`prepare_prefix`] moves, at whatever prefix it is.
pub fn any_prefix(ctx: &Ctx, base: &Base) -> Result<PathBuf> {
    let path = home(ctx, base).join(PREFIX);
    if path.join("Makefile").exists() { Ok(path) } else { Ok(prepare_prefix(ctx, base, 0)?.path) }
}

/// Puts what a user did in the work tree aside, where `git log` finds it, so that the tree can be moved again.
///
/// Returns the name of the ref that keeps it, or nothing if there was no such work.
pub fn discard(ctx: &Ctx, base: &Base) -> Result<Option<String>> {
    let (work, mut lock) = WorkTree::open(ctx, base, MAIN)?;
    let Some(theirs) = work.theirs()? else { return Ok(None) };
    lock.alone()?;
    let git = &work.git;
    let tree = work.content()?;
    let message = "Work put aside by `cargo xtask tree --discard`";
    let kept = git.line(["commit-tree", &tree, "-p", &theirs.head, "-m", message])?;
    let name = format!("refs/loopfs/discarded/{}", &kept[..12]);
    git.read(["update-ref", &name, &kept])?;
    let applied = git.commit(APPLIED)?.context("the work tree was never prepared")?;
    let clean = apply::tree_of(git, &applied)?;
    for path in work.untracked()? {
        let file = git.dir().join(path);
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    work.move_to(&applied, &clean)?;
    Ok(Some(name))
}

fn tell(edits: &Edits) {
    let list = |paths: Vec<&String>| paths.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    if !edits.edited.is_empty() {
        progress::say(&format!(
            "edited in rust/ and not in patches/ yet: {} (`cargo xtask series refresh` folds it in)",
            list(edits.edited.keys().collect())
        ));
    }
    let other: Vec<&String> = edits.behind.iter().chain(&edits.torn).collect();
    if !other.is_empty() {
        progress::say(&format!(
            "patches/ has newer content than rust/ for: {}; the former is used (`cargo xtask series refresh`)",
            list(other)
        ));
    }
}

/// What a user did in the work tree.
#[derive(Debug)]
pub(super) struct Theirs {
    /// The commit that is checked out.
    pub(super) head: String,
    /// The commit we had put the tree at.
    pub(super) applied: String,
    commits: usize,
    files: Vec<String>,
}

/// The repository of the work tree.
#[derive(Debug)]
pub(super) struct WorkTree {
    pub(super) git: Git,
}

impl WorkTree {
    /// Opens the work tree that users work in, if it was ever prepared, for this run alone.
    pub(super) fn existing(ctx: &Ctx, base: &Base) -> Result<Option<(Self, TreeLock)>> {
        let path = home(ctx, base).join(MAIN);
        let made = git_dir_is_complete(&path) && Git::new(&path, ctx.verbose).object(SHOWN)?.is_some();
        let Some((work, mut lock)) = made.then(|| Self::open(ctx, base, MAIN)).transpose()? else { return Ok(None) };
        lock.alone()?;
        Ok(Some((work, lock)))
    }

    /// Opens the work tree `name` of this clone and base, making its repository if need be, and locks it.
    fn open(ctx: &Ctx, base: &Base, name: &str) -> Result<(Self, TreeLock)> {
        let home = home(ctx, base);
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let lock = TreeLock::acquire(&home, name)?;
        let path = home.join(name);
        let git = Git::new(&path, ctx.verbose);
        if git_dir_is_complete(&path) {
            let work = Self { git };
            work.clear_own_lock()?;
            return Ok((work, lock));
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        scratch::init(&git, &[&base.repo])?;
        git.read(["config", "notes.rewriteRef", "refs/notes/commits"])?;
        git.read(["update-ref", "refs/heads/base", &base.commit])?;
        fs::write(path.join(".git").join(COMPLETE), "").context("cannot mark the work tree as made")?;
        Ok((Self { git }, lock))
    }

    /// Removes git's lock of the index where it is what a killed move of ours has left.
    fn clear_own_lock(&self) -> Result<()> {
        let lock = self.git.dir().join(".git/index.lock");
        if lock.exists() && self.git.object(MOVING)?.is_some() {
            fs::remove_file(&lock).with_context(|| format!("cannot remove {}", lock.display()))?;
        }
        Ok(())
    }

    /// The commits of the series on the base, oldest first; applied now unless they were before.
    fn commits_of(&self, ctx: &Ctx, base: &Base, folder: &Folder) -> Result<Vec<String>> {
        if let Some(problem) = folder.problems.first() {
            return Err(anyhow::Error::new(problem.clone()).context(Failure::Series));
        }
        let key = folder.entries.iter().fold(Key::default().with(&base.commit), |key, entry| {
            key.with(&entry.text).with(entry.note.as_deref().unwrap_or_default())
        });
        let name = format!("refs/loopfs/series/{}", key.name());
        if let Some(tip) = self.git.commit(&name)? {
            let list = self.git.read(["rev-list", "--reverse", &format!("{}..{tip}", base.commit)])?;
            return Ok(list.lines().map(str::to_owned).collect());
        }
        let scratch = Scratch::new(ctx, &[&base.repo])?;
        let commits = apply::am(&scratch, &base.commit, &inputs(folder))?;
        let tip = commits.last().unwrap_or(&base.commit);
        self.git.read([
            "fetch".as_ref(),
            "--quiet".as_ref(),
            "--no-tags".as_ref(),
            "--no-write-fetch-head".as_ref(),
            scratch.path().as_os_str(),
            "refs/heads/loopfs".as_ref(),
        ])?;
        for (commit, entry) in commits.iter().zip(&folder.entries) {
            match &entry.note {
                Some(note) => drop(self.git.feed(["notes", "add", "--force", "-F", "-", commit], note.as_bytes())?),
                None => drop(self.git.read(["notes", "remove", "--ignore-missing", commit])?),
            }
        }
        self.git.read(["update-ref", &name, tip])?;
        Ok(commits)
    }

    /// Puts files and branch at `commit` with `edits`, unless a user's work is in the way.
    fn settle(self, commit: &str, edits: &Edits, mut lock: TreeLock) -> Result<Tree> {
        let shown = self.with_contents(commit, &edits.in_tree().collect())?;
        let theirs = if self.git.object(MOVING)?.is_some() { None } else { self.theirs()? };
        let mut edited: BTreeSet<String> = edits.in_tree().map(|(path, _)| path).collect();
        let content_key = match theirs {
            None => {
                if !self.is_at(commit, &shown)? {
                    lock.alone()?;
                    self.move_to(commit, &shown)?;
                }
                shown
            }
            Some(theirs) => {
                let content = self.content()?;
                if content == shown {
                    // The user's work has become the series; only the branch has to follow.
                    lock.alone()?;
                    self.learn()?;
                    self.move_to(commit, &shown)?;
                    shown
                } else if self.git.commit(APPLIED)?.as_deref() == Some(commit)
                    && self.git.object(SHOWN)?.as_ref() == Some(&shown)
                {
                    progress::say(&format!(
                        "the work tree is used as it is: {} (`cargo xtask series refresh` folds it into patches/)",
                        theirs.describe()
                    ));
                    edited.extend(theirs.files);
                    content
                } else {
                    return Err(self.in_the_way(&theirs));
                }
            }
        };
        let commit = self.git.line(["rev-parse", "HEAD"])?;
        self.tree(&commit, content_key, edited.into_iter().collect(), lock)
    }

    fn tree(self, commit: &str, content_key: String, edited: Vec<String>, lock: TreeLock) -> Result<Tree> {
        let lock = lock.share()?;
        Ok(Tree { path: self.git.dir().to_owned(), commit: commit.to_owned(), content_key, edited, _lock: lock })
    }

    fn in_the_way(&self, theirs: &Theirs) -> anyhow::Error {
        let path = self.git.dir().display();
        anyhow!(
            "{path} holds work that is not in patches/ ({}), and patches/ or rust/ have changed since; \
             the tree is left alone. Either fold it in with `cargo xtask series refresh`, \
             put it on a branch of its own and `git reset --hard {APPLIED}` there, \
             or put it aside with `cargo xtask tree --discard`",
            theirs.describe()
        )
        .context(Failure::Series)
    }

    /// The git tree of `commit` with these contents of files.
    fn with_contents(&self, commit: &str, contents: &BTreeMap<String, Option<Vec<u8>>>) -> Result<String> {
        if contents.is_empty() {
            return apply::tree_of(&self.git, commit);
        }
        let index = tempfile::Builder::new()
            .prefix("edits-")
            .tempdir_in(self.git.dir().join(".git"))
            .context("cannot make a temporary folder in the work tree's repository")?;
        let git = self.git.with_index(index.path().join("index"));
        git.read(["read-tree", commit])?;
        for (path, content) in contents {
            match content {
                Some(bytes) => {
                    let blob = git.feed(["hash-object", "-w", "--stdin", "--no-filters"], bytes)?;
                    let entry = format!("100644,{},{path}", String::from_utf8_lossy(&blob).trim_end());
                    git.read(["update-index", "--add", "--cacheinfo", &entry])?;
                }
                None => drop(git.read(["update-index", "--force-remove", "--", path])?),
            }
        }
        git.line(["write-tree"])
    }

    /// What differs from the state we left.
    pub(super) fn theirs(&self) -> Result<Option<Theirs>> {
        let (Some(applied), Some(shown)) = (self.git.commit(APPLIED)?, self.git.object(SHOWN)?) else {
            return Ok(None);
        };
        let head = self.git.line(["rev-parse", "HEAD"])?;
        self.git.attempt(["update-index", "-q", "--refresh"])?;
        let mut files = names(&self.git.read(["diff-files", "--name-only", "-z"])?);
        files.extend(names(&self.git.read(["diff-index", "--cached", "--name-only", "-z", &shown])?));
        files.extend(self.untracked()?);
        let commits = if head == applied {
            0
        } else {
            self.git.line(["rev-list", "--count", &format!("{applied}..{head}")])?.parse().unwrap_or(1).max(1)
        };
        let work = commits > 0 || !files.is_empty();
        Ok(work.then(|| Theirs { head, applied, commits, files: files.into_iter().collect() }))
    }

    /// Files a user made in the tree and did not tell git of, apart from what the kernel's ignore rules name.
    ///
    /// Debian's source ends these rules with one that ignores everything, so git is not left to read them itself.
    fn untracked(&self) -> Result<BTreeSet<String>> {
        let rules = fs::read_to_string(self.git.dir().join(".gitignore")).unwrap_or_default();
        let rules: String = rules.split_inclusive('\n').filter(|rule| rule.trim_end() != "/*").collect();
        let file =
            tempfile::NamedTempFile::new_in(self.git.dir().join(".git")).context("cannot make a temporary file")?;
        fs::write(file.path(), rules).context("cannot write a temporary file")?;
        let exclude = format!("--exclude-from={}", file.path().display());
        Ok(names(&self.git.read(["ls-files", "--others", "-z", &exclude])?))
    }

    /// The git tree of what the files hold now, new ones included.
    pub(super) fn content(&self) -> Result<String> {
        let git_dir = self.git.dir().join(".git");
        let copy = tempfile::Builder::new()
            .prefix("content-")
            .tempdir_in(&git_dir)
            .context("cannot make a temporary folder in the work tree's repository")?;
        let index = copy.path().join("index");
        fs::copy(git_dir.join("index"), &index).context("cannot copy the work tree's index")?;
        let git = self.git.with_index(index);
        git.read(["add", "--update"])?;
        for path in self.untracked()? {
            git.read(["add", "--force", "--", &path])?;
        }
        git.line(["write-tree"])
    }

    /// The git tree we left in the files.
    pub(super) fn shown(&self) -> Result<String> {
        self.git.object(SHOWN)?.context("the work tree was never prepared")
    }

    /// Moves the tree to the whole series although it holds a user's work, because the series has it now.
    pub(super) fn follow(&self, ctx: &Ctx, base: &Base) -> Result<()> {
        let folder = Folder::read(&ctx.root().join(PATCHES))?;
        let commits = self.commits_of(ctx, base, &folder)?;
        let commit = commits.last().unwrap_or(&base.commit);
        let shown = apply::tree_of(&self.git, commit)?;
        if self.is_at(commit, &shown)? {
            return Ok(());
        }
        self.learn()?;
        self.move_to(commit, &shown)
    }

    /// Has the index learn what the files hold, so that a move finds those in place that need no writing.
    fn learn(&self) -> Result<()> {
        self.git.read(["add", "--update"]).map(drop)
    }

    fn is_at(&self, commit: &str, shown: &str) -> Result<bool> {
        Ok(self.git.object(MOVING)?.is_none()
            && self.git.commit(APPLIED)?.as_deref() == Some(commit)
            && self.git.object(SHOWN)?.as_deref() == Some(shown)
            && self.git.commit("HEAD")?.as_deref() == Some(commit))
    }

    /// Makes the files those of the tree `shown` and the branch `commit`, writing only what differs.
    pub(super) fn move_to(&self, commit: &str, shown: &str) -> Result<()> {
        self.spare_untracked(shown)?;
        let first = !self.git.dir().join(".git/index").exists();
        let progress = first.then(|| Progress::spinner("check out the kernel"));
        self.git.read(["update-ref", MOVING, shown])?;
        self.git.read(["read-tree", "--reset", "-u", shown])?;
        self.git.read(["symbolic-ref", "HEAD", "refs/heads/loopfs"])?;
        let reason = "loopfs: moved to patches/ and rust/";
        self.git.read(["update-ref", "--create-reflog", "-m", reason, "refs/heads/loopfs", commit])?;
        self.git.read(["update-ref", APPLIED, commit])?;
        self.git.read(["update-ref", SHOWN, shown])?;
        self.git.read(["update-ref", "-d", MOVING])?;
        if let Some(progress) = progress {
            progress.done("ready");
        }
        Ok(())
    }

    /// Fails if files that git does not know would be overwritten by other content.
    fn spare_untracked(&self, shown: &str) -> Result<()> {
        if !self.git.dir().join(".git/index").exists() {
            return Ok(());
        }
        let new = self.git.read(["diff-index", "--cached", "-R", "--diff-filter=A", "--name-only", "-z", shown])?;
        for path in names(&new) {
            let file = self.git.dir().join(&path);
            if !file.exists() {
                continue;
            }
            let wanted = self.git.feed(["cat-file", "blob", &format!("{shown}:{path}")], b"")?;
            if fs::read(&file).with_context(|| format!("cannot read {}", file.display()))? != wanted {
                bail!(
                    anyhow!("{} would be overwritten by the series: move it away, or add it with git", file.display())
                        .context(Failure::Series)
                );
            }
        }
        Ok(())
    }
}

impl Theirs {
    pub(super) fn describe(&self) -> String {
        let commits = match self.commits {
            0 => None,
            1 => Some("1 commit".to_owned()),
            n => Some(format!("{n} commits")),
        };
        let files = (!self.files.is_empty()).then(|| format!("changes in {}", self.files.join(", ")));
        commits.into_iter().chain(files).collect::<Vec<_>>().join(" and ")
    }
}

fn home(ctx: &Ctx, base: &Base) -> PathBuf {
    state_dir(ctx).join(base.commit.get(..12).unwrap_or(&base.commit))
}

/// Present in `.git` once the repository is made.
const COMPLETE: &str = "loopfs-made";

fn git_dir_is_complete(path: &Path) -> bool {
    path.join(".git").join(COMPLETE).exists()
}

fn names(list: &str) -> BTreeSet<String> {
    list.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
