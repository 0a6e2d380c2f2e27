//! Edits become fixups of the patches that introduced the lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    error::Failure,
    git::Git,
    series::{
        patch::{self, Hunk},
        scratch::Scratch,
    },
};

/// New contents by path in the tree; `None` deletes the file.
pub type Contents = BTreeMap<String, Option<Vec<u8>>>;

/// Where an edit goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The file, and the line where there is one.
    pub place: String,
    /// The subject of the patch it becomes part of.
    pub subject: String,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.place, self.subject)
    }
}

/// One edit and the commit it belongs to.
#[derive(Debug)]
struct Edit<'a> {
    path: &'a str,
    /// The replaced lines; without it the whole file comes or goes.
    hunk: Option<Hunk>,
    /// Index into the series.
    target: usize,
}

/// Commits `contents` on top of the checked out commit as one fixup for each patch concerned.
///
/// A changed line goes to the patch that introduced it, a line between two others to the later of theirs, a new file to
/// the patch that declares its module, else to the last one that touches its folding. With `into`, the index of a patch
/// in `series`, everything goes there. `series` holds the commits from the base on, oldest first.
///
/// # Errors
///
/// [`Failure::Series`] when there is no patch an edit could belong to.
pub fn fixups(scratch: &Scratch, series: &[String], contents: &Contents, into: Option<usize>) -> Result<Vec<Placed>> {
    let git = scratch.git();
    let folding = Folding { git, series, tip: git.line(["rev-parse", "HEAD"])?, into };
    let mut edits = Vec::new();
    for (path, content) in contents {
        edits.extend(folding.edits_of(path, content.as_deref())?);
    }
    folding.place_new_files(&mut edits)?;
    let subject = |edit: &Edit<'_>| folding.git.line(["log", "-1", "--format=%s", &series[edit.target]]);
    let placed = edits
        .iter()
        .map(|edit| {
            let place = match &edit.hunk {
                Some(hunk) => format!("{}:{}", edit.path, hunk.new.before() + 1),
                None => edit.path.to_owned(),
            };
            Ok(Placed { place, subject: subject(edit)? })
        })
        .collect::<Result<Vec<_>>>()?;
    let targets: BTreeSet<usize> = edits.iter().map(|edit| edit.target).collect();
    for target in targets {
        for path in edits.iter().filter(|edit| edit.target == target).map(|edit| edit.path).collect::<BTreeSet<_>>() {
            let so_far: Vec<&Edit<'_>> = edits.iter().filter(|e| e.path == path && e.target <= target).collect();
            folding.stage(path, &so_far, contents[path].as_deref())?;
        }
        folding.git.read(["commit", "--quiet", "-m", &format!("fixup! {}", series[target])])?;
    }
    Ok(placed)
}

#[derive(Debug)]
struct Folding<'a> {
    git: &'a Git,
    series: &'a [String],
    tip: String,
    into: Option<usize>,
}

/// The target of an edit that is not known yet.
const LATER: usize = usize::MAX;

impl Folding<'_> {
    fn blob(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let output = self.git.attempt(["cat-file", "blob", &format!("{}:{path}", self.tip)])?;
        Ok(output.status.success().then_some(output.stdout))
    }

    fn edits_of<'p>(&self, path: &'p str, new: Option<&[u8]>) -> Result<Vec<Edit<'p>>> {
        let whole = |target| vec![Edit { path, hunk: None, target }];
        match (self.blob(path)?, new) {
            (None, None) => Ok(Vec::new()),
            (None, Some(_)) => Ok(whole(LATER)),
            (Some(_), None) => Ok(whole(self.touching(path, &["--diff-filter=A"])?)),
            (Some(old), Some(new)) if old == new => Ok(Vec::new()),
            (Some(_), Some(new)) => {
                let blob = self.git.feed(["hash-object", "-w", "--stdin", "--no-filters"], new)?;
                let old = format!("{}:{path}", self.tip);
                let new = String::from_utf8_lossy(&blob).trim_end().to_owned();
                let diff = self.git.read([
                    "diff",
                    "--unified=0",
                    "--diff-algorithm=histogram",
                    "--no-color",
                    "--no-ext-diff",
                    "--text",
                    &old,
                    &new,
                ])?;
                let files = patch::parse_diff(&diff).with_context(|| format!("cannot compare {path}"))?;
                let authors = self.blame(path)?;
                let mut edits = Vec::new();
                for hunk in files.into_iter().flat_map(|file| file.hunks) {
                    let target = match self.into.or_else(|| author(&authors, &hunk)) {
                        Some(target) => target,
                        None => self.touching(path, &[])?,
                    };
                    edits.push(Edit { path, hunk: Some(hunk), target });
                }
                Ok(edits)
            }
        }
    }

    /// For each line of `path`, which patch introduced it, or `None` for the base.
    fn blame(&self, path: &str) -> Result<Vec<Option<usize>>> {
        let first = self.series.first().context("the series has no patches")?;
        let range = format!("{first}~..{}", self.tip);
        let text = self.git.read(["blame", "--porcelain", &range, "--", path])?;
        let mut authors = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('\t')) {
            let mut words = line.split(' ');
            let (Some(commit), Some(_), Some(at)) = (words.next(), words.next(), words.next()) else { continue };
            let (true, Ok(at)) =
                (commit.len() >= 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), at.parse::<usize>())
            else {
                continue;
            };
            if authors.len() < at {
                authors.resize(at, None);
            }
            authors[at - 1] = self.series.iter().position(|known| known == commit);
        }
        Ok(authors)
    }

    /// The last patch that touches `path`, a file or a folding.
    fn touching(&self, path: &str, options: &[&str]) -> Result<usize> {
        if let Some(into) = self.into {
            return Ok(into);
        }
        let first = self.series.first().context("the series has no patches")?;
        let range = format!("{first}~..{}", self.series.last().unwrap_or(first));
        let args = ["log", "-1", "--format=%H"].iter().chain(options).copied();
        let commit = self.git.line(args.chain([range.as_str(), "--", path]))?;
        self.series.iter().position(|known| *known == commit).ok_or_else(|| {
            anyhow!(
                "no patch touches {path}, so the edit belongs to none: name one with `--into NUMBER`, \
                 or commit it as a patch of its own in the work tree (`cargo xtask tree`)"
            )
            .context(Failure::Series)
        })
    }

    /// Gives files that no patch has a target, once the edits beside them have theirs.
    fn place_new_files(&self, edits: &mut [Edit<'_>]) -> Result<()> {
        let declares: Vec<(String, usize)> = edits
            .iter()
            .filter(|edit| edit.target != LATER)
            .flat_map(|edit| {
                let lines = edit.hunk.iter().flat_map(|hunk| hunk.signed('+'));
                lines.filter_map(|line| Some((module(line)?, edit.target))).collect::<Vec<_>>()
            })
            .collect();
        for edit in edits.iter_mut().filter(|edit| edit.target == LATER) {
            let path = Path::new(edit.path);
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let declared = declares.iter().find(|(name, _)| *name == stem).map(|(_, target)| *target);
            edit.target = match self.into.or(declared) {
                Some(target) => target,
                None => self.touching(&path.parent().unwrap_or(path).to_string_lossy(), &[])?,
            };
        }
        Ok(())
    }

    /// Puts `path` into the index with `edits` made, and none of the others.
    fn stage(&self, path: &str, edits: &[&Edit<'_>], new: Option<&[u8]>) -> Result<()> {
        let file = self.git.dir().join(path);
        let whole = edits.iter().any(|edit| edit.hunk.is_none());
        let content = if whole {
            new.map(<[u8]>::to_vec)
        } else {
            let old = self.blob(path)?.unwrap_or_default();
            let hunks: Vec<&Hunk> = edits.iter().filter_map(|edit| edit.hunk.as_ref()).collect();
            Some(splice(&old, new.unwrap_or_default(), &hunks))
        };
        match content {
            Some(bytes) => {
                if let Some(parent) = file.parent() {
                    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
                }
                fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
                self.git.read(["add", "--sparse", "--force", "--", path])?;
            }
            None => drop(self.git.read(["rm", "--sparse", "--quiet", "--force", "--", path])?),
        }
        Ok(())
    }
}

/// The patch that an edit belongs to by the lines it replaces, or by those it stands between.
fn author(authors: &[Option<usize>], hunk: &Hunk) -> Option<usize> {
    let at = hunk.old.before();
    let lines = if hunk.old.count > 0 { at..at + hunk.old.count } else { at.saturating_sub(1)..at + 1 };
    authors.get(lines.start..lines.end.min(authors.len()))?.iter().flatten().copied().max()
}

/// `mod NAME;` with any visibility.
fn module(line: &str) -> Option<String> {
    let (before, name) = line.trim().strip_suffix(';')?.split_once("mod ")?;
    (before.is_empty() || before.starts_with("pub")).then(|| name.trim().to_owned())
}

/// `old` with the lines of `hunks` replaced by those they have in `new`.
fn splice(old: &[u8], new: &[u8], hunks: &[&Hunk]) -> Vec<u8> {
    let old: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let new: Vec<&[u8]> = new.split_inclusive(|byte| *byte == b'\n').collect();
    let mut hunks = hunks.to_vec();
    hunks.sort_by_key(|hunk| hunk.old.before());
    let mut result: Vec<&[u8]> = Vec::new();
    let mut at = 0;
    for hunk in hunks {
        result.extend(&old[at..hunk.old.before()]);
        result.extend(&new[hunk.new.before()..hunk.new.before() + hunk.new.count]);
        at = hunk.old.before() + hunk.old.count;
    }
    result.extend(&old[at..]);
    result.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hunk(old: (usize, usize), new: (usize, usize)) -> Hunk {
        let range = |(start, count)| patch::Range { start, count };
        Hunk { header: String::new(), old: range(old), new: range(new), lines: Vec::new() }
    }

    #[test]
    fn some_of_the_hunks_can_be_made_without_the_others() {
        let (old, new) = (b"1\n2\n3\n4\n", b"0\n1\nB\n3\n4");
        let hunks = [hunk((0, 0), (1, 1)), hunk((2, 1), (3, 1)), hunk((4, 1), (5, 1))];
        assert_eq!(splice(old, new, &[&hunks[2], &hunks[0]]), b"0\n1\n2\n3\n4");
        assert_eq!(splice(old, new, &hunks.iter().collect::<Vec<_>>()), new);
        assert_eq!(splice(old, new, &[]), old);
    }

    #[test]
    fn a_changed_line_goes_to_its_patch_and_a_new_one_to_the_later_neighbour() {
        let authors = [None, Some(2), Some(5), None];
        assert_eq!(author(&authors, &hunk((2, 1), (2, 1))), Some(2));
        assert_eq!(author(&authors, &hunk((2, 2), (2, 1))), Some(5));
        assert_eq!(author(&authors, &hunk((2, 0), (3, 1))), Some(5));
        assert_eq!(author(&authors, &hunk((4, 0), (5, 1))), None);
        assert_eq!(author(&authors, &hunk((0, 0), (1, 1))), None);
    }

    #[test]
    fn module_declarations_are_recognised() {
        assert_eq!(module("pub(crate) mod inode;").as_deref(), Some("inode"));
        assert_eq!(module("mod control;").as_deref(), Some("control"));
        assert_eq!(module("mod tests {"), None);
        assert_eq!(module("let mod_x = 1;"), None);
    }
}
