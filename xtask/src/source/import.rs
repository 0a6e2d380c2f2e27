//! Turns the files of a kernel tree into one reproducible git commit.
//!
//! The files go to `git fast-import` as they are read: nothing is unpacked, and the commit depends
//! on nothing but the files and the version.

use std::{
    io::{self, BufWriter, Read, Write},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use crate::{git::Git, interrupt, process};

/// The branch the import is on.
pub const BRANCH: &str = "base";

/// A file of the tree, as git knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain file.
    File,
    /// A file that may be executed.
    Executable,
    /// A symbolic link, whose content is its target.
    Symlink,
}

impl Kind {
    fn mode(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
        }
    }
}

/// Takes the files of the tree, one after the other.
pub struct Files<'a> {
    out: &'a mut dyn Write,
    count: usize,
}

/// What went wrong while files were handed over, told apart because only one side knows the cause.
#[derive(Debug, thiserror::Error)]
#[error("cannot hand the files over to git")]
pub struct GitGone(#[source] io::Error);

impl Files<'_> {
    /// Adds the file `path`, relative to the top of the tree, with the `length` bytes that `content` yields.
    ///
    /// # Errors
    ///
    /// When `content` cannot be read or ends early ([`GitGone`] is not among the causes), or git
    /// does not take it ([`GitGone`] is).
    pub fn add(&mut self, path: &Path, kind: Kind, length: u64, content: &mut dyn Read) -> Result<()> {
        interrupt::check()?;
        self.write(format!("M {} inline ", kind.mode()).as_bytes())?;
        self.write(&quoted(path.as_os_str().as_bytes()))?;
        self.write(format!("\ndata {length}\n").as_bytes())?;
        let mut buffer = [0; 1 << 16];
        let mut left = length;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match content.read(&mut buffer[..wanted]) {
                Ok(0) => bail!("{} ends {left} bytes early", path.display()),
                Ok(got) => {
                    self.write(&buffer[..got])?;
                    left -= got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            }
        }
        self.count += 1;
        self.write(b"\n")
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.out.write_all(bytes).map_err(GitGone)?)
    }
}

/// A path as fast-import reads it: with the quotes of C where it has bytes that would end it early.
fn quoted(path: &[u8]) -> Vec<u8> {
    if !path.starts_with(b"\"") && !path.contains(&b'\n') {
        return path.to_vec();
    }
    let mut quoted = vec![b'"'];
    for &byte in path {
        match byte {
            b'\n' => quoted.extend(b"\\n"),
            b'"' | b'\\' => quoted.extend([b'\\', byte]),
            _ => quoted.push(byte),
        }
    }
    quoted.push(b'"');
    quoted
}

/// Makes the bare repository `repo` with one commit, [`BRANCH`], of the files that `feed` adds.
///
/// `title` is the commit's message. Author, committer and date are fixed, so equal files make an
/// equal commit on every machine. Returns the number of files.
///
/// # Errors
///
/// What `feed` fails with, what git fails with, or that there was no file at all.
pub fn import(
    repo: &Path,
    title: &str,
    verbose: bool,
    feed: impl FnOnce(&mut Files<'_>) -> Result<()>,
) -> Result<usize> {
    std::fs::create_dir_all(repo).with_context(|| format!("cannot create {}", repo.display()))?;
    let git = Git::new(repo, verbose);
    git.read(["init", "--quiet", "--bare", "--initial-branch", BRANCH, "."])?;
    // No deltas: they cost a second for every one they save when a tree is checked out. No fsync:
    // the cache does that once, for the finished entry.
    let mut command = git.command();
    command.args(["-c", "core.fsync=none", "-c", "core.compression=1", "-c", "pack.compression=1"]).args([
        "fast-import",
        "--quiet",
        "--depth=0",
    ]);
    let (running, input) = process::start_writer(&command, verbose)?;
    let fed = write_commit(input, title, feed);
    match fed {
        Ok(count) => running.finish().map(|()| count),
        // git went away first, so it knows why.
        Err(error) if error.downcast_ref::<GitGone>().is_some() => running.finish().and(Err(error)),
        Err(error) => Err(error),
    }
}

fn write_commit(input: impl Write, title: &str, feed: impl FnOnce(&mut Files<'_>) -> Result<()>) -> Result<usize> {
    let mut out = BufWriter::with_capacity(1 << 18, input);
    let who = "Linux <linux@localhost> 0 +0000";
    write!(
        out,
        "feature done\ncommit refs/heads/{BRANCH}\nauthor {who}\ncommitter {who}\ndata {}\n{title}\n",
        title.len() + 1
    )
    .map_err(GitGone)?;
    let mut files = Files { out: &mut out, count: 0 };
    feed(&mut files)?;
    let count = files.count;
    if count == 0 {
        bail!("there is no file in it");
    }
    // Without `done`, fast-import refuses what it got: an early end is never taken for a tree.
    out.write_all(b"\ndone\n").and_then(|()| out.flush()).map_err(GitGone)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(repo: &Path, path: &str) -> Result<usize> {
        import(repo, "Linux 1.2.3", false, |files| {
            files.add(Path::new("Makefile"), Kind::File, 4, &mut &b"all:"[..])?;
            files.add(Path::new(path), Kind::Executable, 2, &mut &b"#!"[..])?;
            files.add(Path::new("link"), Kind::Symlink, 8, &mut &b"Makefile"[..])
        })
    }

    #[test]
    fn equal_files_make_an_equal_commit() {
        let dir = tempfile::tempdir().unwrap();
        let commit = |name: &str| {
            let repo = dir.path().join(name);
            tree(&repo, "scripts/run").unwrap();
            Git::new(repo, false).line(["rev-parse", BRANCH]).unwrap()
        };
        assert_eq!(commit("a"), commit("b"));
        assert_eq!(commit("c"), "b3488de0e02bab3f45ecd1091ed0b97bbb5fd4ed");
    }

    #[test]
    fn modes_links_and_odd_names_survive() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a file with spaces", "\"quoted\"", "back\\slash", "two\nlines"] {
            let repo = dir.path().join("repo");
            tree(&repo, name).unwrap();
            let git = Git::new(&repo, false);
            let listed = git.read(["ls-tree", "-r", "-z", BRANCH]).unwrap();
            let mode_and_name = |line: &str| Some(format!("{} {}", line.split_once(' ')?.0, line.split_once('\t')?.1));
            let mut listed: Vec<String> = listed.split_terminator('\0').filter_map(mode_and_name).collect();
            listed.sort_unstable();
            let mut expected = ["100644 Makefile".to_owned(), format!("100755 {name}"), "120000 link".to_owned()];
            expected.sort_unstable();
            assert_eq!(listed, expected);
            std::fs::remove_dir_all(&repo).unwrap();
        }
    }

    #[test]
    fn a_file_that_ends_early_fails_the_import() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            import(dir.path(), "t", false, |files| files.add(Path::new("a"), Kind::File, 9, &mut &b"short"[..]));
        assert_eq!(error.unwrap_err().to_string(), "a ends 4 bytes early");
    }

    #[test]
    fn an_empty_tree_is_no_base() {
        let dir = tempfile::tempdir().unwrap();
        let error = import(dir.path(), "t", false, |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "there is no file in it");
    }
}
