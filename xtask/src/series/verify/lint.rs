//! The checkers of the kernel, each told what a patch touches.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context as _, Result};

use super::{
    Site, Switch, build,
    gate::{Subject, Verdict},
    record::{Keep, cached},
    warnings::{Collector, Warnings},
};
use crate::{
    cache::Key,
    error::Failure,
    interrupt,
    kernel::{Request, lint::lint},
    process,
    series::{git::Git, option::OptionState},
};

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
    let mut probe = Command::new("python3");
    let here = process::attempt(probe.args(["-c", "import docutils"]), site.ctx.verbose);
    if !here.is_ok_and(|output| output.status.success()) {
        return Ok(missing(&files, "docutils is not installed (python3-docutils)"));
    }
    let key = |path: &str| Key::default().with("rst 1").with(path);
    on_each(site, subject, &files, "rst", key, |path| {
        let mut command = Command::new("python3");
        command.args(["-m", "docutils", "--report=2", "--halt=5", "--writer=null"]).arg(path);
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

/// `make W=1 C=2` of the touched objects.
///
/// # Errors
///
/// On Ctrl-C, or when tools are missing.
pub fn sparse(site: &Site<'_>, subjects: &[Subject<'_>]) -> Result<Vec<(usize, Verdict)>> {
    if process::attempt(Command::new("sparse").arg("--version"), site.ctx.verbose).is_err() {
        return Ok(subjects.iter().map(|s| (s.number, missing(&s.files(".c"), "sparse is not installed"))).collect());
    }
    let objects = |files: &[&str]| files.iter().map(|path| format!("{}.o", path.trim_end_matches(".c"))).collect();
    let all: BTreeSet<&str> = subjects.iter().flat_map(|subject| subject.files(".c")).collect();
    let in_base: Vec<&str> = all.into_iter().filter(|path| exists(site, 0, path)).collect();
    walk(site, subjects, "sparse", &["W=1", "C=2"], objects(&in_base), |subject| objects(&subject.files(".c")))
}

/// `make CLIPPY=1` of the `kernel` crate and the driver.
///
/// # Errors
///
/// On Ctrl-C, or when tools are missing.
pub fn clippy(site: &Site<'_>, subjects: &[Subject<'_>]) -> Result<Vec<(usize, Verdict)>> {
    if site.toolchain.rust.clippy.is_none() {
        let why = "clippy is not installed for the kernel's rustc";
        return Ok(subjects.iter().map(|s| (s.number, missing(&s.files(".rs"), why))).collect());
    }
    walk(site, subjects, "clippy", &["CLIPPY=1"], vec!["prepare".to_owned()], |subject| {
        let mut targets = Vec::new();
        if !subject.files(".rs").is_empty() {
            targets.push("prepare".to_owned());
        }
        if subject.files(".rs").iter().any(|path| path.starts_with("drivers/block/loopfs/")) {
            targets.push("drivers/block/loopfs/".to_owned());
        }
        targets
    })
}

/// `make rustdoc`.
///
/// # Errors
///
/// On Ctrl-C, or when tools are missing.
pub fn rustdoc(site: &Site<'_>, subjects: &[Subject<'_>]) -> Result<Vec<(usize, Verdict)>> {
    if site.toolchain.rust.rustdoc.is_none() {
        let why = "rustdoc is not installed for the kernel's rustc";
        return Ok(subjects.iter().map(|s| (s.number, missing(&s.files(".rs"), why))).collect());
    }
    walk(site, subjects, "rustdoc", &[], vec!["rustdoc".to_owned()], |subject| {
        let documented = subject.files(".rs").iter().any(|path| path.starts_with("rust/"));
        if documented { vec!["rustdoc".to_owned()] } else { Vec::new() }
    })
}

/// Not concerned without files, else unchecked.
fn missing(files: &[&str], why: &str) -> Verdict {
    if files.is_empty() { Verdict::NotConcerned } else { Verdict::Unchecked(why.to_owned()) }
}

fn said(output: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}

/// Whether the prefix of `number` patches has the file `path`.
fn exists(site: &Site<'_>, number: usize, path: &str) -> bool {
    content(site, number, path).is_ok_and(|content| content.is_some())
}

fn content(site: &Site<'_>, number: usize, path: &str) -> Result<Option<Vec<u8>>> {
    let git = Git::new(&site.tree, site.ctx.verbose);
    let output = git.attempt(["cat-file", "blob", &format!("{}:{path}", site.prefixes[number].commit)])?;
    Ok(output.status.success().then_some(output.stdout))
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
        let after = content(site, subject.number, path)?.unwrap_or_default();
        let before = content(site, subject.number - 1, path)?;
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

/// Has make build the targets of each patch in its prefix, with the option on where there is one. Warnings that the base
/// or a patch before has do not count.
fn walk(
    site: &Site<'_>,
    subjects: &[Subject<'_>],
    kind: &str,
    variables: &[&str],
    in_base: Vec<String>,
    targets: impl Fn(&Subject<'_>) -> Vec<String>,
) -> Result<Vec<(usize, Verdict)>> {
    let concerned = subjects.iter().any(|subject| !targets(subject).is_empty());
    if !concerned {
        return Ok(subjects.iter().map(|subject| (subject.number, Verdict::NotConcerned)).collect());
    }
    let mut known = Warnings::default();
    if !in_base.is_empty() {
        match run(site, 0, kind, variables, &in_base)? {
            Ok(warnings) => known.extend(&warnings),
            Err(why) => {
                let verdict = Verdict::Unchecked(format!("the base cannot be checked: {why}"));
                return Ok(subjects.iter().map(|subject| (subject.number, verdict.clone())).collect());
            }
        }
    }
    let mut verdicts = Vec::new();
    for subject in subjects {
        let targets = targets(subject);
        if targets.is_empty() {
            verdicts.push((subject.number, Verdict::NotConcerned));
            continue;
        }
        let verdict = match run(site, subject.number, kind, variables, &targets)? {
            Ok(warnings) => {
                let new = warnings.not_in(&known);
                known.extend(&warnings);
                Verdict::of(new)
            }
            Err(why) => Verdict::Failed(vec![why]),
        };
        verdicts.push((subject.number, verdict));
    }
    Ok(verdicts)
}

/// The warnings of one make, or why it failed.
fn run(
    site: &Site<'_>,
    number: usize,
    kind: &str,
    variables: &[&str],
    targets: &[String],
) -> Result<Result<Warnings, String>> {
    let switch = match site.prefixes[number].option {
        OptionState::Absent => Switch::Off,
        OptionState::Hidden => Switch::Forced,
        OptionState::Offered => Switch::On,
    };
    let wanted = build::wanted(site, switch)?;
    let tree_key = build::tree_key(&site.prefixes[number].tree, switch);
    let key = targets.iter().fold(Key::default().with("lint 1").with(&tree_key), Key::with);
    let key = key.with(wanted.text()).with(site.toolchain.key());
    let found = cached(site.ctx, kind, key, || {
        let tree = site.prepare(number, switch)?;
        let request = Request { flavour: site.order.flavour, tree: &site.tree, tree_key: &tree_key, wanted: &wanted };
        let mut warnings = Collector::new(&tree.path);
        let words: Vec<&str> = variables.iter().copied().chain(targets.iter().map(String::as_str)).collect();
        lint(site.ctx, site.toolchain, &request, kind, &words, &mut |line| warnings.take(line))?;
        Ok((warnings.finish(), Keep::Yes))
    });
    match found {
        Ok(warnings) => Ok(Ok(warnings)),
        Err(error) if interrupt::requested() || Failure::of(&error) != Failure::KernelBuild => Err(error),
        Err(error) => Ok(Err(format!("{error:#}"))),
    }
}
