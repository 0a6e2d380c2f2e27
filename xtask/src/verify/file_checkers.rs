//! Checkers that read files: each is told what a patch touches, and what it said of the files before does not count.

use std::{fs, path::Path, process::Output};

use anyhow::{Context as _, Result, bail};
use xshell::{Shell, cmd};

use crate::{
    cache::{Key, finding},
    gate::Verdict,
    process,
    verify::{
        Site,
        gate::Subject,
        warnings::{Collector, Warnings},
    },
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
    let key = |path: &str| Key::default().with("rustfmt 2").with(site.toolchain.key()).with(path);
    on_each(site, subject, &files, "rustfmt", key, |path| unformatted(rustfmt, path, site.ctx.verbose))
}

/// What `rustfmt` would change in the file `path`.
fn unformatted(rustfmt: &Path, path: &Path, verbose: bool) -> Result<Vec<String>> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let sh = process::shell_in(path.parent().unwrap_or(path))?;
    // From standard input, it leaves the module's children alone: they are files of their own. It succeeds then even if
    // there is something to change, and prints that.
    let command = cmd!(sh, "{rustfmt} --check --color never --edition 2021");
    let output = process::attempt_fed(&command.into(), &text, verbose)?;
    let is_good = output.status.success() && output.stdout.is_empty();
    Ok(if is_good { Vec::new() } else { vec![said(&output)] })
}

/// kernel-doc on the C files of the patch; what it said of them before the patch does not count.
///
/// # Errors
///
/// When the files cannot be read.
pub fn kernel_doc(site: &Site<'_>, subject: &Subject<'_>) -> Result<Verdict> {
    let files = [subject.files(".c"), subject.files(".h")].concat();
    let key = |path: &str| Key::default().with("kernel-doc 2").with(&site.base.commit).with(path);
    let script = site.tree.join("scripts/kernel-doc");
    on_each(site, subject, &files, "kernel-doc", key, |path| {
        let sh = process::shell_in(&site.tree)?;
        let output = process::attempt(&cmd!(sh, "{script} -none -Wall {path}").into(), site.ctx.verbose)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_warning = |line: &&str| line.to_lowercase().contains("warning:") || line.contains("error:");
        or_failure(text.lines().filter(is_warning).map(str::to_owned).collect(), &output)
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
    let sh = Shell::new()?;
    let probe = process::attempt(&cmd!(sh, "docutils --version").into(), site.ctx.verbose);
    if !probe.is_ok_and(|output| output.status.success()) {
        return Ok(missing(&files, "docutils is not installed (python3-docutils)"));
    }
    let key = |path: &str| Key::default().with("rst 2").with(path);
    on_each(site, subject, &files, "rst", key, |path| {
        let command = cmd!(sh, "docutils --report=2 --halt=5 --writer=null {path}");
        let output = process::attempt(&command.into(), site.ctx.verbose)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // What only Sphinx knows is no fault, and what follows from it is not either.
        let sphinx = ["Unknown directive type", "Unknown interpreted text role", "No role entry", "No directive entry"];
        let is_report =
            |line: &&str| line.contains("(WARNING/2)") || line.contains("(ERROR/3)") || line.contains("(SEVERE/4)");
        let own = |line: &&str| !sphinx.iter().any(|known| line.contains(known));
        or_failure(text.lines().filter(is_report).filter(own).map(str::to_owned).collect(), &output)
    })
}

/// Not concerned without files, else unchecked.
pub fn missing(files: &[&str], why: &str) -> Verdict {
    if files.is_empty() { Verdict::NotConcerned } else { Verdict::Unchecked(why.to_owned()) }
}

/// What a checker has found; that it failed, if it did so without a word about the file.
fn or_failure(found: Vec<String>, output: &Output) -> Result<Vec<String>> {
    if found.is_empty() && !output.status.success() {
        bail!("the checker does not work ({}): {}", output.status, said(output));
    }
    Ok(found)
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
        let found: Vec<String> = finding(site.ctx.cache(), kind, key, || {
            let mut known = Warnings::default();
            if let Some(before) = &before {
                known = collect(site, path, before, &check)?;
            }
            Ok(collect(site, path, &after, &check)?.not_in(&known))
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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn rustfmt_tells_what_it_would_change_and_what_it_cannot_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.rs");
        let said = |text: &str| {
            fs::write(&path, text).unwrap();
            unformatted(Path::new("rustfmt"), &path, false).unwrap().join("")
        };
        assert_eq!(said("mod not_here;\n\nfn f() {}\n"), "");
        assert!(said("fn  f() {}\n").contains("fn f() {}"), "{}", said("fn  f() {}\n"));
        assert!(said("fn f( {}\n").contains("error"));
    }

    #[test]
    fn a_checker_that_fails_without_a_word_has_not_found_the_file_good() {
        let output = |code: i32| Output {
            status: std::process::ExitStatus::from_raw(code << 8),
            stdout: Vec::new(),
            stderr: b"no module named docutils".to_vec(),
        };
        assert_eq!(or_failure(Vec::new(), &output(0)).unwrap(), Vec::<String>::new());
        assert_eq!(or_failure(vec!["a.rst:1: (ERROR/3)".to_owned()], &output(1)).unwrap().len(), 1);
        let error = or_failure(Vec::new(), &output(1)).unwrap_err().to_string();
        assert!(error.contains("no module named docutils"), "{error}");
    }
}
