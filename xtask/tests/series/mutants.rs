//! Mutants of a small kernel, with tools that are scripts.

use std::{fs, sync::Mutex};

use crate::{lab::LOOP_C, verify::Bench};
use loopfs_protocol::CaseInfo;
use xtask::{
    kernel::config::{Flavour, Wanted},
    mutants::{self, Fate, Laboratory, mutant::Mutant},
};

/// The kernel with `new` in place of its second line.
fn mutant(old: &str, new: &str) -> Mutant {
    Mutant {
        name: format!("001-{new}"),
        line: "M3".to_owned(),
        flavour: Flavour::Default,
        cases: vec!["one".to_owned()],
        what: "A line differs.".to_owned(),
        diff: format!(
            "diff --git a/{LOOP_C} b/{LOOP_C}\n--- a/{LOOP_C}\n+++ b/{LOOP_C}\n@@ -2,3 +2,3 @@\n // loop one\n-// loop {old}\n\
             +// loop {new}\n // loop 3\n"
        ),
    }
}

/// What became of `mutants`, and how many kernels were booted; the case fails where the kernel is `bad`.
fn run(bench: &Bench, mutants: &[Mutant]) -> (Vec<Fate>, usize) {
    let boots = Mutex::new(0);
    let case = CaseInfo { name: "one".to_owned(), ..CaseInfo::default() };
    let laboratory = Laboratory {
        ctx: &bench.ctx,
        base: &bench.lab.base,
        toolchain: &bench.toolchain(),
        wanted: &|_| Wanted::read(bench.ctx.root(), Flavour::Verify),
        cases: &[case],
        suite_key: "suite",
        run: &|mutant, vmlinux| {
            *boots.lock().unwrap() += 1;
            let kernel = fs::read_to_string(vmlinux)?;
            Ok(if kernel.contains("loop bad") { mutant.cases.clone() } else { Vec::new() })
        },
    };
    let fates = mutants::run(&laboratory, mutants).unwrap().into_iter().map(|(_, fate)| fate).collect();
    (fates, boots.into_inner().unwrap())
}

#[test]
fn each_mutant_has_its_fate_and_is_tried_once() {
    let bench = Bench::new();
    let all = [mutant("2", "bad"), mutant("2", "harmless"), mutant("none", "stale"), mutant("2", "broken")];
    let (fates, boots) = run(&bench, &all);
    assert_eq!(fates[0], Fate::Killed(vec!["one".to_owned()]));
    assert_eq!(fates[1], Fate::Survived);
    assert!(matches!(&fates[2], Fate::NoLongerApplies(why) if why.contains("patch")), "{:?}", fates[2]);
    assert!(matches!(&fates[3], Fate::DoesNotBuild(why) if why.contains("broken")), "{:?}", fates[3]);
    assert_eq!(boots, 2);
    // What is known is not built and booted again.
    let (again, boots) = run(&bench, &all[..2]);
    assert_eq!((again.as_slice(), boots), (&fates[..2], 0));
}

#[test]
fn what_no_longer_applies_is_found_without_a_build() {
    let bench = Bench::new();
    let all = [mutant("2", "bad"), mutant("none", "stale")];
    let stale = mutants::stale(&bench.ctx, &bench.lab.base, &all).unwrap();
    assert_eq!(stale.iter().map(|(mutant, _)| mutant.name.as_str()).collect::<Vec<_>>(), ["001-stale"]);
}

#[test]
fn a_mutant_of_a_case_that_does_not_exist_is_an_error() {
    let bench = Bench::new();
    let wrong = Mutant { cases: vec!["two".to_owned()], ..mutant("2", "bad") };
    let laboratory = Laboratory {
        ctx: &bench.ctx,
        base: &bench.lab.base,
        toolchain: &bench.toolchain(),
        wanted: &|_| unreachable!(),
        cases: &[],
        suite_key: "suite",
        run: &|_, _| unreachable!(),
    };
    let error = format!("{:#}", mutants::run(&laboratory, &[wrong]).unwrap_err());
    assert!(error.contains("there is no case two"), "{error}");
}
