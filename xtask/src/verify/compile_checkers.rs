//! Checkers that compile: they go along the series as the builds do, and what was said before does not count.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::{
    cache::{Key, finding},
    error::Failure,
    gate::Verdict,
    interrupt,
    kernel::{
        config::Wanted,
        targets::{Goal, make_targets},
    },
    verify::{
        Site, Switch, build,
        build_log::Heard,
        file_checkers::missing,
        gate::{Gate, Subject},
        sparse::{self, Sparse},
        warnings::Warnings,
    },
};

/// What the compiling checkers have said so far.
#[derive(Debug, Default)]
pub struct Walk {
    /// Of C and of Rust, by `make W=1 C=2 CLIPPY=1`.
    lints: Known,
    /// By `make rustdoc`.
    docs: Known,
    /// How sparse is called, if it can be.
    sparse: Option<Sparse>,
}

#[derive(Debug, Default)]
struct Known {
    warnings: Warnings,
    /// Why not even the base can be checked.
    fault: Option<String>,
}

/// A make that is called for what it says.
#[derive(Debug)]
pub struct Call {
    /// What its findings are kept under.
    pub kind: &'static str,
    /// The build folder: one for each set of flags, or builds undo each other's work.
    pub folder: &'static str,
    /// Variables of make.
    pub variables: Vec<String>,
    /// Targets of make.
    pub targets: Vec<String>,
    /// Objects that are compiled even if they are up to date: of these nothing would be said again.
    pub anew: Vec<String>,
}

impl Call {
    /// The warnings about the prefix of `number` patches in the configuration `wanted`, now or when they were asked for
    /// last, or why it failed.
    ///
    /// # Errors
    ///
    /// On Ctrl-C, or when tools are missing.
    pub fn listen(
        &self,
        site: &Site<'_>,
        number: usize,
        switch: Switch,
        wanted: &Wanted,
    ) -> Result<Result<Warnings, String>> {
        let tree_key = site.tree_key(number, switch);
        let words = self.variables.iter().chain(&self.targets);
        let key = words.fold(Key::default().with("lint 2").with(self.kind), Key::with);
        let key = key.with(&tree_key).with(wanted.text()).with(site.toolchain.key());
        let found = finding(site.ctx.cache(), self.kind, key.clone(), || {
            let _tree = site.prepare(number, switch)?;
            let request = build::request(site, wanted, &tree_key);
            let mut heard = Heard::open(site, &key.clone().name())?;
            let (variables, targets, anew) = (&self.variables, &self.targets, &self.anew);
            let goal = Goal { folder: self.folder, variables, targets, anew };
            make_targets(site.ctx, site.toolchain, &request, &goal, &mut |line| heard.take(line))?;
            heard.finish()
        });
        match found {
            Ok(warnings) => Ok(Ok(warnings)),
            Err(error) if interrupt::requested() || Failure::of(&error) != Failure::KernelBuild => Err(error),
            Err(error) => Ok(Err(format!("{error:#}"))),
        }
    }
}

impl Walk {
    /// Has the checkers look at the files of the base that `subjects` touch.
    ///
    /// # Errors
    ///
    /// On Ctrl-C, or when tools are missing.
    pub fn start(&mut self, site: &Site<'_>, subjects: &[Subject<'_>]) -> Result<()> {
        if site.wants(Gate::Sparse) || site.wants(Gate::Clippy) {
            let touched: BTreeSet<&str> = subjects.iter().flat_map(|subject| subject.files(".c")).collect();
            let mut there = Vec::new();
            for path in touched {
                if site.content(0, path)?.is_some() {
                    there.push(path);
                }
            }
            let objects = objects(&there);
            let anew = objects.iter().cloned().chain(["rust/kernel.o".to_owned()]).collect();
            let targets = std::iter::once("prepare".to_owned()).chain(objects).collect();
            self.sparse = sparse::find(site)?;
            self.lints.begin(site, &Call { anew, ..lints(targets, self.sparse.as_ref()) })?;
        }
        if site.wants(Gate::Rustdoc) && site.toolchain.rust.rustdoc.is_some() {
            self.docs.begin(site, &docs())?;
        }
        Ok(())
    }

    /// Judges one patch.
    ///
    /// # Errors
    ///
    /// As [`Walk::start`].
    pub fn judge(&mut self, site: &Site<'_>, subject: &Subject<'_>) -> Result<Vec<(Gate, Verdict)>> {
        let mut verdicts = Vec::new();
        let (c, rust) = (objects(&subject.files(".c")), subject.files(".rs"));
        if site.wants(Gate::Sparse) || site.wants(Gate::Clippy) {
            let mut targets = c.clone();
            if !rust.is_empty() {
                targets.push("prepare".to_owned());
            }
            if rust.iter().any(|path| path.starts_with(DRIVER)) {
                targets.push(DRIVER.to_owned());
            }
            let call = lints(targets, self.sparse.as_ref().filter(|_| !c.is_empty()));
            let said = if call.targets.is_empty() { None } else { Some(self.lints.next(site, subject, &call)?) };
            let about = |of_rust: bool| match &said {
                None => Verdict::NotConcerned,
                Some(Ok(new)) => Verdict::of(new.iter().filter(|line| is_about_rust(line) == of_rust).cloned()),
                Some(Err(why)) => why.clone(),
            };
            if site.wants(Gate::Sparse) {
                let verdict = match &self.sparse {
                    _ if c.is_empty() => Verdict::NotConcerned,
                    Some(_) => about(false),
                    None => missing(&subject.files(".c"), "sparse is not installed, or it is too old for this kernel"),
                };
                verdicts.push((Gate::Sparse, verdict));
            }
            if site.wants(Gate::Clippy) {
                let verdict = match site.toolchain.rust.clippy {
                    _ if rust.is_empty() => Verdict::NotConcerned,
                    Some(_) => about(true),
                    None => missing(&rust, "clippy is not installed for the kernel's rustc"),
                };
                verdicts.push((Gate::Clippy, verdict));
            }
        }
        if site.wants(Gate::Rustdoc) {
            let documented = rust.iter().any(|path| path.starts_with("rust/"));
            let verdict = match site.toolchain.rust.rustdoc {
                _ if !documented => Verdict::NotConcerned,
                None => missing(&rust, "rustdoc is not installed for the kernel's rustc"),
                Some(_) => self.docs.next(site, subject, &docs())?.map_or_else(|why| why, Verdict::of),
            };
            verdicts.push((Gate::Rustdoc, verdict));
        }
        Ok(verdicts)
    }
}

/// The folder of the driver's Rust.
pub const DRIVER: &str = "drivers/block/loopfs/";

/// `make W=1 C=2 CLIPPY=1` of `targets`. All at once: each of these needs the kernel's Rust built, which takes longer
/// than the rest. The flags are not those of the kernel that runs, so it has a folder of its own.
fn lints(targets: Vec<String>, sparse: Option<&Sparse>) -> Call {
    let mut variables = ["W=1", "C=2", "CLIPPY=1"].map(str::to_owned).to_vec();
    variables.extend(sparse.and_then(Sparse::variable));
    let kind = if sparse.is_some() { "sparse" } else { "lint" };
    Call { kind, folder: "verify-lint", variables, targets, anew: Vec::new() }
}

/// `make rustdoc`, which takes the kernel's Rust as it was built to be run.
fn docs() -> Call {
    let targets = vec!["rustdoc".to_owned()];
    Call { kind: "rustdoc", folder: build::folder(Switch::On), variables: Vec::new(), targets, anew: Vec::new() }
}

/// The objects that make knows for C files of the kernel; those of programs in its tree are none.
pub fn objects(files: &[&str]) -> Vec<String> {
    let mut objects = BTreeSet::new();
    for path in files {
        // The helpers of Rust are included in one file.
        if path.starts_with("rust/helpers/") {
            objects.insert("rust/helpers/helpers.o".to_owned());
        } else if !["tools/", "samples/", "scripts/"].iter().any(|folder| path.starts_with(folder)) {
            objects.insert(format!("{}.o", path.trim_end_matches(".c")));
        }
    }
    objects.into_iter().collect()
}

/// Whether a warning's place is in a Rust file.
fn is_about_rust(line: &str) -> bool {
    line.split(':').next().is_some_and(|path| path.ends_with(".rs"))
}

impl Known {
    fn begin(&mut self, site: &Site<'_>, call: &Call) -> Result<()> {
        match make(site, 0, call)? {
            Ok(warnings) => self.warnings.extend(&warnings),
            Err(why) => self.fault = Some(format!("the base cannot be checked: {why}")),
        }
        Ok(())
    }

    /// The new warnings of the patch, or why there is no telling.
    fn next(&mut self, site: &Site<'_>, subject: &Subject<'_>, call: &Call) -> Result<Result<Vec<String>, Verdict>> {
        if let Some(why) = &self.fault {
            return Ok(Err(Verdict::Unchecked(why.clone())));
        }
        Ok(match make(site, subject.number, call)? {
            Ok(warnings) => {
                let new = warnings.not_in(&self.warnings);
                self.warnings.extend(&warnings);
                Ok(new)
            }
            Err(why) => Err(Verdict::Failed(vec![why])),
        })
    }
}

/// The warnings of one make, with the option on where there is one, or why it failed.
fn make(site: &Site<'_>, number: usize, call: &Call) -> Result<Result<Warnings, String>> {
    let switch = site.switch_on(number).unwrap_or(Switch::Off);
    call.listen(site, number, switch, &build::wanted(site, switch)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_c_file_of_the_kernel_has_the_object_it_is_compiled_into() {
        let files = ["fs/fuse/inode.c", "rust/helpers/fs.c", "rust/helpers/helpers.c", "tools/testing/a.c"];
        assert_eq!(objects(&files), ["fs/fuse/inode.o", "rust/helpers/helpers.o"]);
    }

    #[test]
    fn warnings_are_told_apart_by_the_language_of_their_file() {
        assert!(is_about_rust("rust/kernel/fs.rs:3:5: warning: unused"));
        assert!(!is_about_rust("drivers/block/loop.c:3:5: warning: rust.rs"));
    }
}
