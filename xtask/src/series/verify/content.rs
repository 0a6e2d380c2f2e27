//! Checkers that read files: each is told what a patch touches, and what it said of the files before does not count.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context as _, Result};

use super::{
    Site,
    gate::{Subject, Verdict},
    record::{Keep, cached},
    warnings::{Collector, Warnings},
};
use crate::{cache::Key, process};

/// rustfmt on the Rust files of the patch, as they are after it.
///
/// # Errors
///
/// When the files cannot be read.
pub fn rustfmt(site: &Site<'_>, subject: &Subject<'_>) -> Result<Verdict> {
    let files = subject.files(".rs");
    let Some(rustfmt) = &site.toolchain.rust.rustfmt else {
        return Ok(missing(&files, "rustfmt is not installed for the kernel's rustc"));
    };
    let key = |path: &str| Key::default().with("rustfmt 1").with(site.toolchain.key()).with(path);
    on_each(site, subject, &files, "rustfmt", key, |path| {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut command = Command::new(rustfmt);
        // From standard input, it leaves the module's children alone: they are files of their own.
        command.args(["--check", "--edition", "2021"]).current_dir(path.parent().unwrap_or(path));
        let output = process::attempt_fed(&mut command, &text, site.ctx.verbose)?;
        Ok(if output.status.success() { Vec::new() } else { vec![said(&output)] })
    })
}

/// kernel-doc on the C files of the patch; what it said of them before the patch does not count.
///
/// # Errors
///
/// When the files cannot be read.
pub fn kernel_doc(site: &Site<'_>, subject: &Subject<'_>) -> Result<Verdict> {
    let files = [subject.files(".c"), subject.files(".h")].concat();
    let key = |path: &str| Key::default().with("kernel-doc 1").with(&site.base.commit).with(path);
    let script = site.tree.join("scripts/kernel-doc");
    on_each(site, subject, &files, "kernel-doc", key, |path| {
        let mut command = Command::new(&script);
        let output = process::attempt(command.args(["-none", "-Wall"]).arg(path), site.ctx.verbose)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_warning = |line: &&str| line.to_lowercase().contains("warning:") || line.contains("error:");
        Ok(text.lines().filter(is_warning).map(str::to_owned).collect())
    })
}

/// docutils on the documentation of the patch.
///
/// # Errors
///
/// When the files cannot be read.
pub fn rst(site: &Site<'_>, subject: &Subject<'_>) -> Result<Verdict> {
    let files = subject.files(".rst");
    if files.is_empty() {
        return Ok(Verdict::NotConcerned);
    }
    if process::attempt(Command::new("docutils").arg("--version"), site.ctx.verbose).is_err() {
        return Ok(missing(&files, "docutils is not installed (python3-docutils)"));
    }
    let key = |path: &str| Key::default().with("rst 1").with(path);
    on_each(site, subject, &files, "rst", key, |path| {
        let mut command = Command::new("docutils");
        command.args(["--report=2", "--halt=5", "--writer=null"]).arg(path);
        let output = process::attempt(&mut command, site.ctx.verbose)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // What only Sphinx knows is no fault, and what follows from it is not either.
        let sphinx = ["Unknown directive type", "Unknown interpreted text role", "No role entry", "No directive entry"];
        let is_report =
            |line: &&str| line.contains("(WARNING/2)") || line.contains("(ERROR/3)") || line.contains("(SEVERE/4)");
        let own = |line: &&str| !sphinx.iter().any(|known| line.contains(known));
        Ok(text.lines().filter(is_report).filter(own).map(str::to_owned).collect())
    })
}

/// Not concerned without files, else unchecked.
pub fn missing(files: &[&str], why: &str) -> Verdict {
    if files.is_empty() { Verdict::NotConcerned } else { Verdict::Unchecked(why.to_owned()) }
}

fn said(output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}

/// Runs `check` on each of `files` after the patch and before it; what it says only after it is a fault.
fn on_each(
    site: &Site<'_>,
    subject: &Subject<'_>,
    files: &[&str],
    kind: &str,
    key: impl Fn(&str) -> Key,
    check: impl Fn(&Path) -> Result<Vec<String>>,
) -> Result<Verdict> {
    if files.is_empty() {
        return Ok(Verdict::NotConcerned);
    }
    let mut faults = Vec::new();
    for path in files {
        let after = site.content(subject.number, path)?.unwrap_or_default();
        let before = site.content(subject.number - 1, path)?;
        let key = key(path).with(&after).with(before.as_deref().unwrap_or_default());
        let found: Vec<String> = cached(site.ctx, kind, key, || {
            let mut known = Warnings::default();
            if let Some(before) = &before {
                known = collect(site, path, before, &check)?;
            }
            Ok((collect(site, path, &after, &check)?.not_in(&known), Keep::Yes))
        })?;
        faults.extend(found);
    }
    Ok(Verdict::of(faults))
}

/// What `check` says of a file with this content and name.
fn collect(
    site: &Site<'_>,
    path: &str,
    content: &[u8],
    check: &impl Fn(&Path) -> Result<Vec<String>>,
) -> Result<Warnings> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = dir.path().join(path);
    let parent = file.parent().context("a file of the tree has no folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
    let settings = site.tree.join(".rustfmt.toml");
    if settings.exists() {
        fs::copy(&settings, dir.path().join(".rustfmt.toml")).context("cannot copy rustfmt's settings")?;
    }
    let mut collector = Collector::new(dir.path());
    for line in check(&file)? {
        collector.add(&line);
    }
    Ok(collector.finish())
}
