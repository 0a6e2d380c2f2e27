//! Whether KVM works is found out by a guest that boots, within seconds and once, tried with a fake QEMU.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use xtask::guest::{
    accel::Accel,
    machine::Machine,
    probe::{self, Choice, Decision},
    qemu::Qemu,
};

struct Bench {
    dir: tempfile::TempDir,
    device: PathBuf,
    machine: Machine,
}

impl Bench {
    /// A machine whose `/dev/kvm` does what `trouble` says.
    fn new(trouble: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("kvm");
        fs::write(&device, "").unwrap();
        let kernel = dir.path().join(trouble);
        fs::write(&kernel, "").unwrap();
        let machine = Machine {
            kernel,
            initramfs: dir.path().join("root.cpio"),
            disk: None,
            accel: Accel::tcg(),
            cpus: 1,
            memory_mib: 64,
            log_level: 5,
            append: None,
            with_streams: false,
            gdb: None,
        };
        Self { dir, device, machine }
    }

    fn decide(&self, choice: Choice) -> anyhow::Result<Decision> {
        let qemu = Qemu::find(Some(Path::new(env!("CARGO_BIN_EXE_fake-qemu"))), false)?;
        probe::decide(choice, &self.device, &qemu, &self.machine, &self.dir.path().join("cache"), false)
    }
}

#[test]
fn a_kvm_that_aborts_means_tcg_with_the_reason() {
    let decision = Bench::new("kvm-aborts").decide(Choice::Auto).unwrap();
    assert_eq!(decision.accel.name(), "tcg");
    assert!(decision.reason.contains("failed to set MSR"), "{decision:?}");
}

#[test]
fn a_kvm_that_sleeps_costs_seconds_once() {
    let bench = Bench::new("kvm-sleeps");
    let start = Instant::now();
    let first = bench.decide(Choice::Auto).unwrap();
    assert_eq!(first.accel.name(), "tcg");
    assert!(first.reason.contains("does not start with it within 5 s"), "{first:?}");
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());

    let start = Instant::now();
    let second = bench.decide(Choice::Auto).unwrap();
    assert!(second.reason.ends_with(", as tried before"), "{second:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_kvm_that_works_is_used() {
    assert_eq!(Bench::new("kvm-works").decide(Choice::Auto).unwrap().accel, Accel::Kvm);
    assert_eq!(Bench::new("kvm-works").decide(Choice::Kvm).unwrap().accel, Accel::Kvm);
}

#[test]
fn kvm_by_name_fails_where_it_does_not_work() {
    let error = Bench::new("kvm-aborts").decide(Choice::Kvm).unwrap_err().to_string();
    assert!(error.starts_with("KVM does not work here (") && error.contains("failed to set MSR"), "{error}");
}

#[test]
fn without_the_device_nothing_is_tried() {
    let bench = Bench::new("kvm-sleeps");
    fs::remove_file(&bench.device).unwrap();
    let start = Instant::now();
    let decision = bench.decide(Choice::Auto).unwrap();
    assert!(decision.reason.contains("cannot be used: No such file"), "{decision:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_damaged_memory_of_the_verdict_is_made_anew() {
    let bench = Bench::new("kvm-aborts");
    bench.decide(Choice::Auto).unwrap();
    let note = fs::read_dir(bench.dir.path().join("cache/accel")).unwrap().next().unwrap().unwrap().path();
    fs::write(&note, "{").unwrap();
    assert_eq!(bench.decide(Choice::Auto).unwrap().accel.name(), "tcg");
    assert!(fs::read_to_string(&note).unwrap().ends_with('}'));
}
