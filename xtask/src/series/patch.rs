//! One `NNNN-subject.patch` file: its header, message, note and hunks, and what can be wrong with it.

use std::fmt;

use crate::git::{AUTHOR_EMAIL, AUTHOR_NAME};

/// What makes a patch unfit for the series, whatever tree it meets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no mail header with a subject, or no diff.
    #[error("not a patch: {0}")]
    NotAPatch(&'static str),
    /// Lines end in CR LF.
    #[error("line {line} ends in CR LF: a mailer or an editor has changed the line ends")]
    Crlf {
        /// The first such line, from 1.
        line: usize,
    },
    /// The diff does not hold together: lines were wrapped, lost or added on the way.
    #[error("mangled at line {line}: {what}")]
    Mangled {
        /// The line of the patch file, from 1.
        line: usize,
        /// What does not fit.
        what: String,
    },
    /// A hunk of bytes, not of text.
    #[error("{file} is changed by a binary hunk: a series for review is text")]
    Binary {
        /// The file of the tree.
        file: String,
    },
    /// A rename or a copy.
    #[error("{file} is a rename or copy: write it as a removal and an addition (`--no-renames`)")]
    Rename {
        /// The new name.
        file: String,
    },
    /// A mode other than that of a plain file, or a change of mode.
    #[error("{file} has mode {mode}: the series makes and keeps plain files (100644)")]
    Mode {
        /// The file of the tree.
        file: String,
        /// The mode the patch gives it.
        mode: String,
    },
}

/// What a patch does to one file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// The file's path in the tree.
    pub path: String,
    /// Whether it exists only afterwards, only before, or at both times.
    pub kind: ChangeKind,
    /// The changed places, in the order of the patch.
    pub hunks: Vec<Hunk>,
}

impl FileChange {
    /// Added and removed lines.
    pub fn churn(&self) -> (usize, usize) {
        let count = |sign| self.hunks.iter().map(|hunk| hunk.signed(sign).count()).sum();
        (count('+'), count('-'))
    }
}

/// How the existence of a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The patch makes the file.
    Added,
    /// The patch removes the file.
    Deleted,
    /// The file is there before and after.
    Modified,
}

/// One `@@` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// The `@@` line.
    pub header: String,
    /// The lines of the old file it stands for.
    pub old: Range,
    /// The lines of the new file it stands for.
    pub new: Range,
    /// The lines below the header, each with its sign.
    pub lines: Vec<String>,
}

/// A run of lines. An empty one stands after the line `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first line, from 1.
    pub start: usize,
    /// How many.
    pub count: usize,
}

impl Range {
    /// How many lines come before it.
    pub fn before(self) -> usize {
        if self.count == 0 { self.start } else { self.start - 1 }
    }

    fn parse(text: &str) -> Option<Self> {
        let (start, count) = text.split_once(',').unwrap_or((text, "1"));
        let range = Self { start: start.parse().ok()?, count: count.parse().ok()? };
        (range.count == 0 || range.start > 0).then_some(range)
    }
}

impl Hunk {
    /// The lines that start with `sign`, without it.
    pub fn signed(&self, sign: char) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(move |line| line.strip_prefix(sign))
    }
}

/// Names and raw values of a mail header, folds kept.
type Header = Vec<(String, String)>;

/// A patch file taken apart. Its parts put together again are the file, apart from a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The subject without `[PATCH]`, on one line.
    pub subject: String,
    /// The `From:` header's value.
    pub author: String,
    /// The `Date:` header's value.
    pub date: String,
    /// The commit message below the subject.
    pub body: String,
    /// The text under `---` that is no diffstat, which `git am` drops.
    pub note: Option<String>,
    /// What it changes, in the order of the patch.
    pub files: Vec<FileChange>,
    header: Header,
    stat_and_diff: String,
}

impl Patch {
    /// Takes the text of a patch file apart.
    ///
    /// # Errors
    ///
    /// The first [`Problem`] found; later ones may follow from it.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(line) = text.split('\n').position(|line| line.ends_with('\r')) {
            return Err(Problem::Crlf { line: line + 1 });
        }
        let (header, rest) = split_header(text)?;
        let field =
            |name: &str| header.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| unfold(value));
        let subject = field("Subject").ok_or(Problem::NotAPatch("it has no Subject: line"))?;
        let author = field("From").ok_or(Problem::NotAPatch("it has no From: line"))?;
        let date = field("Date").ok_or(Problem::NotAPatch("it has no Date: line"))?;
        let (body, tail) =
            split_at_line(rest, |line| line == "---").ok_or(Problem::NotAPatch("no `---` line ends its message"))?;
        let diff_at = diff_offset(tail).ok_or(Problem::NotAPatch("it has no `diff --git` line"))?;
        let (cut, diff) = tail.split_at(diff_at);
        let stat_at = stat_offset(cut);
        let note = cut[..stat_at].trim_end().strip_suffix("\n---").unwrap_or(cut[..stat_at].trim_end());
        let note = note.trim_matches('\n');
        let note = (!note.is_empty() && note != "---").then(|| format!("{note}\n"));
        let stat_and_diff = format!("{}{diff}", &cut[stat_at..]);
        let before_diff = text.len() - diff.len();
        let files = Diff::new(diff, text[..before_diff].matches('\n').count()).files()?;
        Ok(Self {
            subject: strip_prefix(&subject).to_owned(),
            author,
            date,
            body: body.trim_start_matches('\n').to_owned(),
            note,
            files,
            header,
            stat_and_diff,
        })
    }

    /// The file as the repository keeps it: the neutral author, no note and no sign-off.
    pub fn canonical(&self) -> String {
        let mut text = format!("From {:040} Mon Sep 17 00:00:00 2001\n", 0);
        for (key, value) in &self.header {
            let value = if key == "From" { format!("{AUTHOR_NAME} <{AUTHOR_EMAIL}>") } else { value.clone() };
            text.push_str(&format!("{key}: {value}\n"));
        }
        text.push('\n');
        let body = without_sign_off(&self.body);
        if !body.trim().is_empty() {
            text.push_str(body.trim_end());
            text.push('\n');
        }
        text.push_str("---\n");
        text.push_str(&self.stat_and_diff);
        text
    }

    /// The sign-offs in the message, which belong to whoever submits and not into `patches/`.
    pub fn sign_offs(&self) -> impl Iterator<Item = &str> {
        self.body.lines().filter(|line| is_sign_off(line))
    }

    /// The diff alone, from the first `diff --git` on.
    pub fn diff(&self) -> &str {
        diff_offset(&self.stat_and_diff).map_or("", |at| &self.stat_and_diff[at..])
    }

    /// Diffstat and diff: all that follows the note.
    pub fn stat_and_diff(&self) -> &str {
        &self.stat_and_diff
    }

    /// Added and removed lines over all files.
    pub fn churn(&self) -> (usize, usize) {
        self.files.iter().map(FileChange::churn).fold((0, 0), |sum, file| (sum.0 + file.0, sum.1 + file.1))
    }
}

/// Whether a line of a message is a `Signed-off-by:` trailer.
fn is_sign_off(line: &str) -> bool {
    line.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("Signed-off-by:"))
}

fn without_sign_off(body: &str) -> String {
    body.split_inclusive('\n').filter(|line| !is_sign_off(line)).collect()
}

/// The mail header as (name, raw value with its folds) pairs, and what follows the blank line.
fn split_header(text: &str) -> Result<(Header, &str), Problem> {
    let mut fields = Header::new();
    let mut rest = text;
    if let Some((first, after)) = rest.split_once('\n')
        && first.starts_with("From ")
    {
        rest = after;
    }
    loop {
        let (line, after) = rest.split_once('\n').ok_or(Problem::NotAPatch("it ends within its mail header"))?;
        rest = after;
        if line.is_empty() {
            return Ok((fields, rest));
        }
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut().ok_or(Problem::NotAPatch("it does not start with a mail header"))?;
            value.push('\n');
            value.push_str(line);
            continue;
        }
        let (key, value) = line.split_once(':').ok_or(Problem::NotAPatch("it does not start with a mail header"))?;
        if key.is_empty() || key.contains(' ') {
            return Err(Problem::NotAPatch("it does not start with a mail header"));
        }
        fields.push((key.to_owned(), value.trim_start().to_owned()));
    }
}

fn unfold(value: &str) -> String {
    value.replace("\n\t", " ").replace("\n ", " ")
}

/// The subject without `[PATCH …]`.
fn strip_prefix(subject: &str) -> &str {
    subject
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .filter(|(tag, _)| tag.contains("PATCH"))
        .map_or(subject, |(_, rest)| rest.trim_start())
}

/// `text` before the first line for which `found` holds, and after that line.
fn split_at_line(text: &str, found: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if found(line.trim_end_matches('\n').trim_end()) {
            return Some((&text[..offset], &text[offset + line.len()..]));
        }
        offset += line.len();
    }
    None
}

/// Where the first `diff --git` line starts.
fn diff_offset(text: &str) -> Option<usize> {
    if text.starts_with("diff --git ") { Some(0) } else { text.find("\ndiff --git ").map(|at| at + 1) }
}

/// Where the diffstat starts in the text between `---` and the diff; its end if there is none.
fn stat_offset(cut: &str) -> usize {
    let mut lines = Vec::new();
    let mut offset = 0;
    for line in cut.split_inclusive('\n') {
        lines.push((offset, line.trim_end()));
        offset += line.len();
    }
    let is_stat = |line: &str| {
        let summary = line.contains("changed,") || line.ends_with("changed");
        let mode = [" create mode ", " delete mode ", " mode change ", " rename ", " copy "];
        line.starts_with(' ')
            && (line.contains(" | ")
                || (summary && line.trim_start().starts_with(|c: char| c.is_ascii_digit()))
                || mode.iter().any(|start| line.starts_with(start)))
    };
    let mut start = cut.len();
    for (at, line) in lines.into_iter().rev() {
        if is_stat(line) {
            start = at;
        } else if !line.is_empty() || start < cut.len() {
            break;
        }
    }
    start
}

/// Reads the unified diff line by line.
struct Diff<'a> {
    lines: std::iter::Peekable<std::iter::Enumerate<std::str::Lines<'a>>>,
    first_line: usize,
}

impl<'a> Diff<'a> {
    fn new(text: &'a str, lines_before: usize) -> Self {
        Self { lines: text.lines().enumerate().peekable(), first_line: lines_before + 1 }
    }

    fn mangled<T>(&self, index: usize, what: impl fmt::Display) -> Result<T, Problem> {
        Err(Problem::Mangled { line: self.first_line + index, what: what.to_string() })
    }

    fn files(mut self) -> Result<Vec<FileChange>, Problem> {
        let mut files: Vec<FileChange> = Vec::new();
        while let Some((index, line)) = self.lines.next() {
            if let Some(names) = line.strip_prefix("diff --git ") {
                let Some(path) = path_of(names) else {
                    return self.mangled(index, format_args!("`{line}` does not name one file as a/… b/…"));
                };
                files.push(FileChange { path, kind: ChangeKind::Modified, hunks: Vec::new() });
                continue;
            }
            let Some(file) = files.last_mut() else { return self.mangled(index, "text before the first file") };
            let here = || file.path.clone();
            if let Some(mode) = line.strip_prefix("new file mode ") {
                file.kind = ChangeKind::Added;
                plain(mode, here)?;
            } else if line.starts_with("deleted file mode ") {
                file.kind = ChangeKind::Deleted;
            } else if let Some(mode) = line.strip_prefix("new mode ") {
                return Err(Problem::Mode { file: here(), mode: mode.to_owned() });
            } else if ["rename ", "copy ", "similarity index "].iter().any(|start| line.starts_with(start)) {
                return Err(Problem::Rename { file: here() });
            } else if line.starts_with("GIT binary patch") || line.starts_with("Binary files ") {
                return Err(Problem::Binary { file: here() });
            } else if line.starts_with("@@ ") {
                let hunk = self.hunk(index, line)?;
                if let Some(file) = files.last_mut() {
                    file.hunks.push(hunk);
                }
            } else if !["index ", "--- ", "+++ ", "old mode ", "dissimilarity index "]
                .iter()
                .any(|s| line.starts_with(s))
                && !line.is_empty()
                && line != "-- "
            {
                return self.mangled(index, format_args!("`{line}` belongs to no hunk"));
            } else if line == "-- " {
                break;
            }
        }
        Ok(files)
    }

    fn hunk(&mut self, index: usize, header: &str) -> Result<Hunk, Problem> {
        let Some((old_range, new_range)) = ranges(header) else {
            return self.mangled(index, format_args!("`{header}` is no hunk header"));
        };
        let (mut old, mut new) = (old_range.count, new_range.count);
        let mut lines = Vec::new();
        while old > 0 || new > 0 || matches!(self.lines.peek(), Some((_, line)) if line.starts_with('\\')) {
            let Some((at, line)) = self.lines.next() else {
                return self.mangled(index, format_args!("`{header}` ends before its lines are complete"));
            };
            let fits = match line.chars().next() {
                Some(' ') | None => old > 0 && new > 0,
                Some('-') => old > 0,
                Some('+') => new > 0,
                Some('\\') => true,
                Some(_) => false,
            };
            if !fits {
                return self.mangled(at, format_args!("`{line}` does not fit the counts of `{header}`"));
            }
            old -= usize::from(matches!(line.chars().next(), Some(' ' | '-') | None));
            new -= usize::from(matches!(line.chars().next(), Some(' ' | '+') | None));
            lines.push(line.to_owned());
        }
        Ok(Hunk { header: header.to_owned(), old: old_range, new: new_range, lines })
    }
}

fn plain(mode: &str, file: impl Fn() -> String) -> Result<(), Problem> {
    if mode == "100644" { Ok(()) } else { Err(Problem::Mode { file: file(), mode: mode.to_owned() }) }
}

/// The path in `a/PATH b/PATH`, which is the same twice unless it is a rename.
fn path_of(names: &str) -> Option<String> {
    let names = names.trim_end();
    let half = names.strip_prefix("a/")?;
    let length = half.len().checked_sub(3)? / 2;
    let (old, rest) = (half.get(..length)?, half.get(length..)?);
    match rest.strip_prefix(" b/") {
        Some(new) if new == old => Some(new.to_owned()),
        _ => half.split_once(" b/").map(|(_, new)| new.to_owned()),
    }
}

/// The two ranges of `@@ -A,B +C,D @@`.
fn ranges(header: &str) -> Option<(Range, Range)> {
    let (old, new) = header.strip_prefix("@@ -")?.split_once(" @@")?.0.split_once(" +")?;
    Some((Range::parse(old)?, Range::parse(new)?))
}

/// Takes a unified diff without a mail around it apart.
///
/// # Errors
///
/// As [`Patch::parse`].
pub fn parse_diff(text: &str) -> Result<Vec<FileChange>, Problem> {
    Diff::new(text, 0).files()
}
