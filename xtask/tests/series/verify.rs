//! Every prefix of a series, with tools that are scripts.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    lab::{DRIVER, LOOP_C, Lab, write},
    scene::Scene,
};
use clap::ValueEnum as _;
use xtask::{
    ctx::Ctx,
    error::Failure,
    suite::outcome::Outcome,
    toolchain::{Toolchain, version::Minimum},
    verify::{
        self, Order, Report, Step, Switch,
        boot::{CaseResult, Manner, Ran, RunSuite},
        evidence::Evidence,
        gate::Gate,
        table,
    },
};

const KCONFIG: &str = "drivers/block/Kconfig";

/// Compiles what differs from the last time: warns of a word in loop.c, and stumbles over another one.
const MAKE: &str = r#"
[ "$1" = --version ] && echo 'GNU Make 4.3' && exit
clippy=no gcc=no
while [ $# -gt 0 ]; do
    case $1 in -C) tree=$2; shift;; O=*) out=${1#O=};; CLIPPY=1) clippy=yes;; CC=gcc) gcc=yes;; esac
    target=$1; shift
done
echo $target >> $SCENE/targets
case $target in
allnoconfig) cp "$KCONFIG_ALLCONFIG" $out/.config; exit;;
esac
loop=$tree/drivers/block/loop.c
if ! cmp -s $loop $out/loop.c || [ ! -e $out/drivers/block/loop.o ]; then
    echo "  CC      drivers/block/loop.o"
    n=0
    while read -r line; do
        n=$((n + 1))
        case $line in *dubious*) echo "$loop:$n:1: warning: dubious [-Wdubious]";; esac
        case $line in *unlinted*) [ $clippy = yes ] && echo "$loop:$n:1: warning: unlinted [-Wextra]";; esac
        case $line in *gnuish*) [ $gcc = yes ] && echo "$loop:$n:1: warning: gnuish [-Wgnu]";; esac
        case $line in *broken*) echo "$loop:$n:1: error: broken"; exit 2;; esac
    done < $loop
    cp $loop $out/loop.c
fi
[ -e $SCENE/stumble ] && echo 'make: *** [stumble] Error 1' && exit 2
mkdir -p $out/drivers/block; cp $loop $out/drivers/block/loop.o
touch $out/.loop.o.cmd; cat $loop $out/.config > $out/vmlinux; echo "ffffffff81000000 T loop_add" > $out/System.map
case $(cat $loop) in *leaky*) echo "ffffffff81000010 t loopfs_init" >> $out/System.map;; esac
"#;

/// Tells the code of an object that is the text it was made of: one function a line, named by its fourth word.
const OBJDUMP: &str = r#"
for object; do :; done
echo 'Disassembly of section .text:'
while read -r slashes subject number rest; do printf '<%s>:\n\tcall %s\n' "$number" "$rest"; done < $object
"#;

/// Stands for guests: everything passes, unless the kernel is said to be bad.
#[derive(Debug)]
struct FakeGuests {
    bad: PathBuf,
    dead: PathBuf,
    boots: PathBuf,
}

impl RunSuite for FakeGuests {
    fn run(&self, _: &Ctx, _: &Order, _: &Path, _: Manner) -> anyhow::Result<Ran> {
        let boots = fs::read_to_string(&self.boots).unwrap_or_default();
        anyhow::ensure!(!self.dead.exists() || boots.is_empty(), "no guest starts");
        fs::write(&self.boots, boots + "boot\n")?;
        let outcome = if self.bad.exists() { Outcome::Fail } else { Outcome::Pass };
        let message = Some("EBUSY".to_owned());
        let result = CaseResult { name: "a/root".to_owned(), outcome, message, splats: 0, is_case: true };
        Ok(Ran { boots_ms: vec![1500], results: vec![result] })
    }
}

struct Bench {
    lab: Lab,
    scene: Scene,
    ctx: Ctx,
}

impl Bench {
    /// A series of five patches whose third makes the option and whose last offers it.
    fn new() -> Self {
        let mut lab = Lab::bare();
        lab.dev.read(["checkout", "-q", "-B", "base"]).unwrap();
        for name in ["kernel/configs/tiny-base.config", "kernel/configs/tiny.config", "arch/x86/configs/tiny.config"] {
            write(lab.dev.dir(), name, "CONFIG_TINY=y\n");
        }
        lab.commit("base", &[(KCONFIG, |_| "config BLK_DEV_LOOP\n\tbool \"Loop\"\n".to_owned())]);
        lab.dev.read(["checkout", "-q", "-B", "loopfs"]).unwrap();
        lab.base = xtask::source::Base::at(lab.dev.dir(), "base", false).unwrap();
        lab.commit("loop: one", &[(LOOP_C, |text| text.replace("loop 1\n", "loop one\n"))]);
        lab.commit("loop: two", &[(LOOP_C, |text| text.replace("loop 4\n", "loop four\n"))]);
        lab.commit(
            "loopfs: three",
            &[
                (KCONFIG, |text| text + "\nconfig BLK_DEV_LOOPFS\n\tbool\n\tdepends on BLK_DEV_LOOP=y\n"),
                (DRIVER, |_| "// SPDX-License-Identifier: GPL-2.0\n".to_owned()),
            ],
        );
        lab.commit("loop: four", &[(LOOP_C, |text| text.replace("loop 7\n", "loop seven\n"))]);
        lab.commit("loopfs: five", &[(KCONFIG, |text| text.replace("FS\n\tbool", "FS\n\tbool \"Private\""))]);
        lab.import();
        for name in ["base", "verify"] {
            lab.write(&format!("ci/kconfig/{name}.config"), "CONFIG_BLK_DEV_LOOP=y # the tests\n");
        }
        lab.save();
        let scene = Scene::new();
        scene.real("cmp");
        scene.with_toolchain().tool("make", MAKE);
        scene.tool("llvm-objdump-22", OBJDUMP).tool("pahole", "").tool("sparse", "");
        scene.file("suite", "the suite");
        let ctx = Ctx::at(lab.ctx.root(), scene.cache());
        Self { lab, scene, ctx }
    }

    fn order(&self, gates: &[Gate]) -> Order {
        Order {
            gates: gates.iter().copied().collect::<BTreeSet<_>>(),
            suite: self.scene.path("suite"),
            cases: Vec::new(),
            run_suite: Arc::new(FakeGuests {
                bad: self.scene.path("bad"),
                dead: self.scene.path("dead"),
                boots: self.scene.path("boots"),
            }),
        }
    }

    fn toolchain(&self) -> Toolchain {
        Toolchain::find(&self.scene.machine(), &self.scene.cache(), Minimum::default()).unwrap()
    }

    fn verify(&self, gates: &[Gate]) -> Report {
        verify::verify_with(&self.ctx, &self.lab.base, &self.order(gates), &self.toolchain()).unwrap()
    }

    /// How many lines a fake has written down since the last time.
    fn count(&self, name: &str) -> usize {
        let path = self.scene.path(name);
        let count = fs::read_to_string(&path).unwrap_or_default().lines().filter(|line| *line != "allnoconfig").count();
        drop(fs::remove_file(path));
        count
    }

    /// Changes the series by a fixup of its patch `number`.
    fn change(&self, number: usize, edit: fn(String) -> String) {
        let dev = &self.lab.dev;
        let target = dev.line(["rev-list", "--reverse", "base..loopfs"]).unwrap();
        let target = target.lines().nth(number - 1).unwrap();
        self.lab.commit(&format!("fixup! {target}"), &[(LOOP_C, edit)]);
        dev.read(["rebase", "-q", "-i", "--autosquash", "base"]).unwrap();
        self.lab.import();
    }
}

fn new_warnings(report: &Report) -> Vec<(usize, Switch)> {
    let with = |step: &Step| {
        let builds = step.builds.iter().filter(|built| !built.new_warnings.is_empty());
        builds.map(|built| (step.number, built.switch)).collect::<Vec<_>>()
    };
    report.steps.iter().flat_map(with).collect()
}

#[test]
fn every_prefix_is_built_off_and_where_there_is_an_option_on() {
    let bench = Bench::new();
    let report = bench.verify(&[Gate::Build]);
    assert!(report.is_good(), "{}", table::full(&report));
    let switches: Vec<Vec<Switch>> =
        report.steps.iter().map(|step| step.builds.iter().map(|built| built.switch).collect()).collect();
    use Switch::{Forced, Off, On};
    assert_eq!(switches, [vec![Off], vec![Off], vec![Off], vec![Off, Forced], vec![Off, Forced], vec![Off, On]]);
}

#[test]
fn an_unchanged_series_costs_no_build_and_a_changed_patch_only_itself_and_those_after() {
    let bench = Bench::new();
    bench.verify(&[Gate::Build, Gate::Boot]);
    // A patch that makes no other kernel, such as one of documentation, needs no boot.
    assert_eq!((bench.count("targets"), bench.count("boots")), (9, 6));
    bench.verify(&[Gate::Build, Gate::Boot]);
    assert_eq!((bench.count("targets"), bench.count("boots")), (0, 0));
    bench.change(4, |text| text.replace("loop seven", "loop 007"));
    let report = bench.verify(&[Gate::Build, Gate::Boot]);
    assert!(report.is_good(), "{}", table::full(&report));
    assert_eq!((bench.count("targets"), bench.count("boots")), (4, 2), "two prefixes, off and on; the same kernels");
}

#[test]
fn a_new_warning_is_blamed_on_the_patch_that_brings_it_and_on_no_other() {
    let bench = Bench::new();
    bench.change(2, |text| text.replace("loop four", "loop four dubious"));
    let report = bench.verify(&[Gate::Build]);
    assert_eq!(new_warnings(&report), [(2, Switch::Off)]);
    assert!(!report.is_good());
    let told = table::full(&report);
    let place = "0002-loop-two, option off: drivers/block/loop.c:5:1: warning: dubious";
    assert!(told.contains(place), "{told}");
}

#[test]
fn a_warning_of_the_base_is_nobodys() {
    let bench = Bench::new();
    bench.lab.dev.read(["checkout", "-q", "base"]).unwrap();
    bench.lab.commit("base", &[(LOOP_C, |text| text + "// dubious\n")]);
    bench.lab.dev.read(["rebase", "-q", "base", "loopfs"]).unwrap();
    bench.lab.import();
    let base = xtask::source::Base::at(bench.lab.dev.dir(), "base", false).unwrap();
    let report = verify::verify_with(&bench.ctx, &base, &bench.order(&[Gate::Build]), &bench.toolchain()).unwrap();
    assert_eq!(new_warnings(&report), []);
}

#[test]
fn a_symbol_of_loopfs_in_a_kernel_without_the_option_is_told() {
    let bench = Bench::new();
    bench.change(4, |text| text.replace("loop seven", "loop leaky"));
    let told = table::full(&bench.verify(&[Gate::Build, Gate::Absent]));
    assert!(told.contains("absent: the kernel has `loopfs_init` although the option is off"), "{told}");
}

#[test]
fn another_loop_driver_without_the_option_needs_a_reason_for_each_difference() {
    let bench = Bench::new();
    let told = table::full(&bench.verify(&[Gate::Build, Gate::Absent]));
    for name in ["`1` is gone", "`one` is new", "`4` is gone"] {
        assert!(
            told.contains(&format!("absent: drivers/block/loop.o: with the option off, function {name}")),
            "{told}"
        );
    }
    let excuse = |name: &str| format!("[[function]]\nname = \"{name}\"\npatch = \"loop-one\"\nreason = \"so\"\n");
    let names = ["1", "one", "4", "four", "7", "seven"];
    bench.lab.write("patches/absent.toml", &names.map(excuse).concat());
    let report = bench.verify(&[Gate::Build, Gate::Absent]);
    assert!(report.is_good(), "{}", table::full(&report));
    bench.lab.write("patches/absent.toml", &[names.map(excuse).concat(), excuse("2")].concat());
    let report = bench.verify(&[Gate::Build, Gate::Absent]);
    assert!(report.faults[0].contains("function 2 is the same as before"), "{:?}", report.faults);
}

#[test]
fn what_only_the_checkers_flags_show_is_blamed_on_its_patch_too() {
    let bench = Bench::new();
    bench.change(2, |text| text.replace("loop four", "loop four unlinted"));
    let report = bench.verify(&[Gate::Sparse]);
    let bad: Vec<usize> =
        report.steps.iter().filter(|s| s.gates.iter().any(|(_, verdict)| verdict.is_bad())).map(|s| s.number).collect();
    assert_eq!(bad, [2], "{}", table::full(&report));
    assert!(table::full(&report).contains("0002-loop-two, sparse: drivers/block/loop.c:5:1: warning: unlinted"));
}

#[test]
fn what_only_a_neighbouring_configuration_shows_is_told_with_its_name() {
    let bench = Bench::new();
    assert!(bench.verify(&[Gate::Neighbours]).is_good());
    bench.change(2, |text| text.replace("loop four", "loop four gnuish"));
    let told = table::full(&bench.verify(&[Gate::Neighbours]));
    let fault = "0005-loopfs-five, neighbours: by gcc: drivers/block/loop.c:5:1: warning: gnuish [-Wgnu]";
    assert!(told.contains(fault), "{told}");
    assert_eq!(told.matches("warning").count(), 1, "{told}");
}

#[test]
fn a_case_that_a_later_patch_breaks_is_told_with_where_it_passed() {
    let bench = Bench::new();
    bench.verify(&[Gate::Build, Gate::Boot]);
    bench.change(4, |text| text.replace("loop seven", "loop 777"));
    bench.scene.file("bad", "");
    let told = table::full(&bench.verify(&[Gate::Build, Gate::Boot]));
    assert!(told.contains("0004-loop-four, option off: a/root: EBUSY (it passes with 0 patches)"), "{told}");
}

#[test]
fn a_prefix_that_does_not_build_is_told_and_the_others_are_tried() {
    let bench = Bench::new();
    bench.change(2, |text| text.replace("loop four", "loop broken"));
    bench.change(4, |text| text.replace("loop broken", "loop four"));
    let report = bench.verify(&[Gate::Build]);
    let broken: Vec<usize> =
        report.steps.iter().filter(|step| step.builds.iter().any(|b| b.fault.is_some())).map(|s| s.number).collect();
    assert_eq!(broken, [2, 3]);
    let told = table::full(&report);
    assert!(told.contains("0002-loop-two, option off:") && told.contains("error: broken"), "{told}");
    let error = verify::failure(&report);
    assert_eq!(Failure::of(&error), Failure::Series);
    assert!(format!("{error:#}").contains("0002-loop-two, 0003-loopfs-three"), "{error:#}");
}

#[test]
fn what_an_interrupted_build_has_said_is_not_forgotten() {
    let bench = Bench::new();
    bench.change(2, |text| text.replace("loop four", "loop four dubious"));
    // The compiler has warned and its object is done when make ends; nothing of it is printed again.
    bench.scene.file("stumble", "");
    bench.verify(&[Gate::Build]);
    fs::remove_file(bench.scene.path("stumble")).unwrap();
    let report = bench.verify(&[Gate::Build]);
    assert_eq!(new_warnings(&report), [(2, Switch::Off)]);
}

#[test]
fn an_interrupted_verification_goes_on_where_it_was() {
    let bench = Bench::new();
    // After the first boot, nothing can be run any more.
    bench.scene.file("dead", "");
    let toolchain = bench.toolchain();
    let order = bench.order(&[Gate::Build, Gate::Boot]);
    let error = verify::verify_with(&bench.ctx, &bench.lab.base, &order, &toolchain).unwrap_err();
    assert!(format!("{error:#}").contains("the suite does not run on prefix 1, option off"), "{error:#}");
    assert_eq!((bench.count("targets"), bench.count("boots")), (2, 1));
    fs::remove_file(bench.scene.path("dead")).unwrap();
    let report = bench.verify(&[Gate::Build, Gate::Boot]);
    assert!(report.is_good(), "{}", table::full(&report));
    assert_eq!((bench.count("targets"), bench.count("boots")), (7, 5), "what was found out before is found out again");
}

#[test]
fn a_failed_case_is_told_and_tried_again_the_next_time() {
    let bench = Bench::new();
    bench.scene.file("bad", "");
    let report = bench.verify(&[Gate::Build, Gate::Boot]);
    assert!(!report.is_good());
    assert!(table::full(&report).contains("0005-loopfs-five, option on: a/root: EBUSY"), "{}", table::full(&report));
    fs::remove_file(bench.scene.path("bad")).unwrap();
    assert!(bench.verify(&[Gate::Build, Gate::Boot]).is_good());
}

#[test]
fn a_tree_somebody_has_meddled_with_is_put_right() {
    let bench = Bench::new();
    let tree = xtask::series::tree::any_prefix(&bench.ctx, &bench.lab.base).unwrap();
    write(&tree, LOOP_C, "broken\n");
    let report = bench.verify(&[Gate::Build]);
    assert!(report.is_good(), "{}", table::full(&report));
}

#[test]
fn a_complaint_needs_a_reason_and_a_reason_a_complaint() {
    let bench = Bench::new();
    bench.lab.commit("loop: limit", &[(LOOP_C, |text| text + "// limit\n")]);
    bench.lab.import();
    let report = bench.verify(&[Gate::Checkpatch]);
    assert!(table::full(&report).contains("0006-loop-limit, checkpatch: CHECK:LIMIT: Avoid limit"));

    let exception = |patch: &str| format!("[[exception]]\npatch = \"{patch}\"\nkind = \"LIMIT\"\nreason = \"so\"\n");
    bench.lab.write("patches/checkpatch.toml", &exception("loop-limit"));
    assert!(bench.verify(&[Gate::Checkpatch]).is_good());

    bench.lab.write("patches/checkpatch.toml", &(exception("loop-limit") + &exception("loop-one")));
    let report = bench.verify(&[Gate::Checkpatch]);
    assert!(!report.is_good());
    assert!(report.faults[0].contains("the exception of loop-one for LIMIT excuses nothing"), "{:?}", report.faults);
}

#[test]
fn only_a_complete_and_good_verification_is_evidence() {
    let bench = Bench::new();
    let evidence = || Evidence::read(bench.ctx.root(), &bench.lab.base).unwrap();
    let keep = |gates: &[Gate], report: &Report| {
        verify::keep_evidence(&bench.ctx, &bench.lab.base, &bench.order(gates), report).unwrap();
    };
    let good = bench.verify(&[Gate::Build]);
    keep(&[Gate::Build], &good);
    assert_eq!(evidence(), Evidence::Missing, "gates were left out");
    keep(Gate::value_variants(), &good);
    assert!(evidence().table().unwrap().contains("0005-loopfs-five"));
    keep(&[Gate::Build], &good);
    assert!(evidence().table().is_some(), "a second look at some gates has found nothing");
    let mut bad = good.clone();
    bad.faults.push("something".to_owned());
    keep(&[Gate::Build], &bad);
    assert_eq!(evidence(), Evidence::Missing, "old evidence outlived a failure");
    keep(Gate::value_variants(), &good);
    bench.change(4, |text| text.replace("loop seven", "loop 007"));
    assert_eq!(evidence(), Evidence::Stale, "it is of other patches");
    keep(Gate::value_variants(), &bad);
    assert_eq!(evidence(), Evidence::Stale, "what is of others is not this failure's to remove");
}

#[test]
fn the_report_is_readable_by_machines() {
    let bench = Bench::new();
    let report = serde_json::to_value(bench.verify(&[Gate::Build])).unwrap();
    assert_eq!(report["steps"][3]["builds"][1]["switch"], "forced");
    assert_eq!(report["steps"][0]["name"], "Linux 7.3.4");
}
