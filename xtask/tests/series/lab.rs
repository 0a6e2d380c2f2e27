//! A tiny kernel, a developer's repository with a series on it, and a clone of this project to receive it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use tempfile::TempDir;
use xtask::{
    ctx::Ctx,
    git::Git,
    series::{
        check::{self, Report},
        import,
        refresh::{self, Options},
    },
    source::Base,
};

pub(crate) const LOOP_C: &str = "drivers/block/loop.c";
pub(crate) const LIB_RS: &str = "rust/kernel/lib.rs";
pub(crate) const DRIVER: &str = "drivers/block/loopfs/loopfs.rs";
pub(crate) const OUR_DRIVER: &str = "rust/loopfs/loopfs.rs";

const DATE: &str = "2026-01-01T00:00:00+0000";

/// Ten numbered lines that a hunk can tell apart.
pub(crate) fn numbered(what: &str) -> String {
    (1..=10).map(|line| format!("// {what} {line}\n")).collect()
}

/// Names a maintainer for Rust, another one for the rest, and a list for both.
const GET_MAINTAINER: &str = r#"
my ($mail) = grep { !/^--/ } @ARGV;
open(my $in, '<', $mail) or die;
my $rust = grep { /^\+\+\+ .*\.rs$/ } <$in>;
my $lists = grep { $_ eq '--nom' } @ARGV;
print $lists ? "linux-block\@vger.kernel.org\n" : $rust ? "\"Björn, R.\" <rust\@kernel.org>\n" : "Jens <block\@kernel.org>\n";
"#;

/// Complains of one word, and of a missing sign-off.
const CHECKPATCH: &str = r#"
my ($mail) = grep { !/^--/ } @ARGV;
open(my $in, '<', $mail) or die;
my @lines = <$in>;
my $bad = 0;
for (@lines) { if (/^\+.*limit/) { print "$mail:1: CHECK:LIMIT: Avoid limit\n"; $bad = 1; } }
unless ((grep { $_ eq '--no-signoff' } @ARGV) || (grep { /^Signed-off-by: / } @lines)) {
    print "$mail:1: ERROR:MISSING_SIGN_OFF: Missing Signed-off-by\n"; $bad = 1;
}
exit $bad;
"#;

/// From the old text of a file to the new one.
type Edit = fn(String) -> String;

/// Files by their path.
type Files = Vec<(PathBuf, Vec<u8>)>;

pub(crate) struct Lab {
    dir: TempDir,
    pub(crate) ctx: Ctx,
    pub(crate) base: Base,
    pub(crate) dev: Git,
}

impl Lab {
    /// A kernel without a series.
    pub(crate) fn bare() -> Self {
        static FILES: LazyLock<Files> = LazyLock::new(|| files(Lab::make_bare().dir.path()));
        Self::of(&FILES)
    }

    /// A kernel with a series of four patches, imported and committed in the clone.
    pub(crate) fn new() -> Self {
        static FILES: LazyLock<Files> = LazyLock::new(|| files(Lab::make().dir.path()));
        Self::of(&FILES)
    }

    /// Made of files kept in memory: making one anew takes dozens of git commands.
    fn of(files: &Files) -> Self {
        let mut lab = Self::at(tempfile::tempdir().unwrap());
        for (path, content) in files {
            let path = lab.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::create_dir_all(lab.ctx.root()).unwrap();
        // git knows files by times and inodes that these do not have.
        lab.dev.attempt(["update-index", "-q", "--refresh"]).unwrap();
        lab.base.commit = lab.dev.line(["rev-parse", "base"]).unwrap();
        lab
    }

    fn at(dir: TempDir) -> Self {
        let at = |name: &str| dir.path().join(name);
        let (ctx, dev) = (Ctx::at(at("a clone"), at("the cache")), Git::new(at("dev repo"), false));
        let base = Base { repo: dev.dir().to_owned(), commit: String::new(), version: "7.3.4".to_owned() };
        Self { dir, ctx, base, dev }
    }

    fn make_bare() -> Self {
        let lab = Self::at(tempfile::tempdir().unwrap());
        let dev = &lab.dev;
        fs::create_dir_all(lab.ctx.root()).unwrap();
        fs::create_dir_all(dev.dir()).unwrap();
        dev.read(["init", "-q", "--initial-branch=loopfs"]).unwrap();
        write(dev.dir(), "Makefile", "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n");
        write(dev.dir(), LOOP_C, &format!("// SPDX-License-Identifier: GPL-2.0\n{}", numbered("loop")));
        write(dev.dir(), LIB_RS, &format!("// SPDX-License-Identifier: GPL-2.0\n{}", numbered("lib")));
        // As in Debian's source: everything new is ignored.
        write(dev.dir(), ".gitignore", "*.o\n/*\n!/debian/\n");
        write(dev.dir(), "scripts/get_maintainer.pl", GET_MAINTAINER);
        write(dev.dir(), "scripts/checkpatch.pl", CHECKPATCH);
        write(dev.dir(), "init/untouched.c", "// SPDX-License-Identifier: GPL-2.0\n");
        dev.read(["add", "-A", "-f"]).unwrap();
        let mut commit = dev.command();
        commit.env("GIT_COMMITTER_DATE", DATE).args(["commit", "-q", "-m", "base", "--date", DATE]);
        assert!(commit.status().unwrap().success());
        dev.read(["branch", "base"]).unwrap();
        lab
    }

    fn make() -> Self {
        let lab = Self::bare();
        lab.commit("loop: count the opens", &[(LOOP_C, |text| text.replace("loop 2\n", "loop 2 counted\n"))]);
        lab.commit(
            "rust: fs: add inodes",
            &[
                (LIB_RS, |text| text.replace("lib 5\n", "lib 5\npub mod inode;\n")),
                ("rust/kernel/inode.rs", |_| format!("// SPDX-License-Identifier: GPL-2.0\n{}", numbered("inode"))),
            ],
        );
        lab.commit(
            "loopfs: add the driver",
            &[
                (DRIVER, |_| format!("// SPDX-License-Identifier: GPL-2.0\n{}", numbered("driver"))),
                ("drivers/block/loopfs/Makefile", |_| "# SPDX-License-Identifier: GPL-2.0\nobj-y += x.o\n".to_owned()),
            ],
        );
        lab.commit("loopfs: limit the devices", &[(DRIVER, |text| text.replace("driver 8\n", "driver 8\n// limit\n"))]);
        lab.import();
        lab.save();
        lab
    }

    /// Commits edits of files, each a function from the old text, on the developer's branch.
    pub(crate) fn commit(&self, subject: &str, edits: &[(&str, Edit)]) {
        for (path, edit) in edits {
            let old = fs::read_to_string(self.dev.dir().join(path)).unwrap_or_default();
            write(self.dev.dir(), path, &edit(old));
        }
        self.dev.read(["add", "-A", "-f"]).unwrap();
        let message = format!("{subject}\n\nBecause it is needed.\n");
        self.dev.feed(["commit", "-q", "-F", "-", "--date=2026-02-03T04:05:06+0000"], message.as_bytes()).unwrap();
    }

    /// Exports the developer's branch to the clone.
    pub(crate) fn import(&self) {
        import::from_branch(&self.ctx, self.dev.dir(), "base", "loopfs").unwrap();
    }

    /// Commits what the clone holds.
    pub(crate) fn save(&self) {
        let clone = self.clone_git();
        clone.read(["init", "-q"]).unwrap();
        clone.read(["add", "-A"]).unwrap();
        clone.read(["commit", "-q", "--allow-empty", "-m", "state"]).unwrap();
    }

    /// git in the clone of this project.
    pub(crate) fn clone_git(&self) -> Git {
        Git::new(self.ctx.root(), false)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.ctx.root().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        write(self.ctx.root(), path, text);
    }

    pub(crate) fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from:?}");
        self.write(path, &text.replace(from, to));
    }

    /// The names in `patches/`, sorted.
    pub(crate) fn patches(&self) -> Vec<String> {
        let Ok(list) = fs::read_dir(self.path("patches")) else { return Vec::new() };
        let mut names: Vec<String> = list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The only patch whose name contains `part`.
    pub(crate) fn patch(&self, part: &str) -> String {
        let found: Vec<String> =
            self.patches().into_iter().filter(|name| name.contains(part) && name.ends_with(".patch")).collect();
        assert_eq!(found.len(), 1, "{part} in {:?}", self.patches());
        format!("patches/{}", found[0])
    }

    pub(crate) fn check(&self) -> Report {
        check::check(&self.ctx, &self.base).unwrap()
    }

    pub(crate) fn assert_clean(&self) {
        let findings: Vec<String> = self.check().findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    /// The one thing a check finds.
    pub(crate) fn finding(&self) -> String {
        let findings: Vec<String> = self.check().findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings.len(), 1, "{}", findings.join("\n"));
        findings[0].clone()
    }

    pub(crate) fn refresh(&self) -> anyhow::Result<()> {
        refresh::refresh(&self.ctx, &self.base, None, Options::default()).map(drop)
    }

    /// Names of the files that differ from what was last saved in the clone.
    pub(crate) fn changed(&self) -> Vec<String> {
        let status = self.clone_git().read(["status", "--porcelain", "--untracked-files=all"]).unwrap();
        status.lines().map(|line| line[3..].to_owned()).collect()
    }
}

pub(crate) fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The files below `root`, without what is cached.
fn files(root: &Path) -> Files {
    let mut found = Files::new();
    let mut waiting = vec![root.join("dev repo"), root.join("a clone")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push((path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found
}
