//! A shell for command lines as users type them, on the host or in a container, with loop devices where
//! programs look for them.

use std::{
    fs::{self, File},
    io::{Seek as _, Write as _},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    fcntl::{OFlag, open},
    mount::{MsFlags, mount},
    sys::stat::Mode,
};

use crate::{case::Context, instance};

/// What the documentation says to do as root of a container, whose `/dev` is its own.
const RECIPE: &str = include_str!("../recipes/dev.sh");

/// The nodes that every container manager puts into a container's `/dev`.
const NODES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "fuse"];

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A shell in the case's own folder.
#[derive(Debug)]
pub struct Shell<'case> {
    dir: &'case Path,
}

impl<'case> Shell<'case> {
    /// A shell with the loop devices of [`Context::who`]: the machine's as they are, or those of an instance that is
    /// mounted as the documentation says.
    ///
    /// # Errors
    ///
    /// When `/dev` cannot be set up.
    pub fn new(ctx: &'case Context) -> Result<Self> {
        let shell = Self { dir: &ctx.dir };
        if ctx.who.has_instance() {
            own_dev(&ctx.dir)?;
            shell.run(RECIPE).context("the recipe for /dev does not work")?;
        }
        Ok(shell)
    }

    /// A shell with what there is.
    pub fn plain(ctx: &'case Context) -> Self {
        Self { dir: &ctx.dir }
    }

    /// Runs `script`, which must succeed; returns what it printed, without the last line feed.
    ///
    /// # Errors
    ///
    /// When it fails: with what it printed on either stream.
    pub fn run(&self, script: &str) -> Result<String> {
        self.feed(script, "")
    }

    /// As [`Shell::run`], with `input` to read for what `script` starts.
    ///
    /// # Errors
    ///
    /// As [`Shell::run`].
    pub fn feed(&self, script: &str, input: &str) -> Result<String> {
        let output = self.output(script, input)?;
        if !output.status.success() {
            bail!("`{}`: {}\n{}", script.trim(), output.status, told(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Runs `script`, which must print `expected`, but for white space at the end.
    ///
    /// # Errors
    ///
    /// As [`Shell::run`], or when it prints something else.
    pub fn prints(&self, script: &str, expected: &str) -> Result<()> {
        let printed = self.run(script)?;
        ensure!(printed == expected, "`{}` printed {printed:?}, not {expected:?}", script.trim());
        Ok(())
    }

    /// Runs `script`, which must fail and say `words`.
    ///
    /// # Errors
    ///
    /// When it succeeds, or says something else.
    pub fn fails(&self, script: &str, words: &str) -> Result<()> {
        let output = self.output(script, "")?;
        let told = told(&output);
        ensure!(!output.status.success(), "`{}` succeeded: {told}", script.trim());
        ensure!(told.contains(words), "`{}` failed otherwise than with {words:?}: {told}", script.trim());
        Ok(())
    }

    fn output(&self, script: &str, input: &str) -> Result<Output> {
        // A file, so that nobody has to write while the output is read.
        let mut stdin = tempfile(self.dir)?;
        stdin.write_all(input.as_bytes())?;
        stdin.rewind()?;
        let mut command = Command::new("/bin/sh");
        command.args(["-euc", script]).current_dir(self.dir).stdin(stdin);
        command.env_clear().envs([("PATH", PATH), ("HOME", "/root"), ("LC_ALL", "C.UTF-8"), ("TMPDIR", "/tmp")]);
        command.output().with_context(|| format!("cannot run `{script}`"))
    }
}

/// A file without a name.
fn tempfile(dir: &Path) -> Result<File> {
    let fd = open(dir, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::S_IRUSR | Mode::S_IWUSR);
    Ok(fd.with_context(|| format!("no file for input in {}", dir.display()))?.into())
}

/// What was printed on both streams.
fn told(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).trim_end().to_owned()
}

/// Gives the case a `/dev` like a container's: a tmpfs with the usual nodes of the old one.
fn own_dev(dir: &Path) -> Result<()> {
    let (dev, nothing) = (dir.join("dev"), None::<&str>);
    fs::create_dir(&dev)?;
    mount(Some("dev"), &dev, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0755")).context("no tmpfs for /dev")?;
    for node in NODES {
        File::create(dev.join(node))?;
        instance::bind(&Path::new("/dev").join(node), &dev.join(node))
            .with_context(|| format!("cannot bind {node}"))?;
    }
    fs::create_dir(dev.join("shm"))?;
    symlink("/proc/self/fd", dev.join("fd"))?;
    if Path::new("/dev/mapper/control").exists() {
        fs::create_dir(dev.join("mapper"))?;
        File::create(dev.join("mapper/control"))?;
        instance::bind(Path::new("/dev/mapper/control"), &dev.join("mapper/control"))?;
    }
    mount(Some(&dev), "/dev", nothing, MsFlags::MS_MOVE, nothing).context("cannot move /dev into place")?;
    fs::remove_dir(&dev)?;
    Ok(())
}
