//! What `cargo xtask test` says about guests that go wrong, tried with a fake QEMU and no kernel.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");
const FAKE: &str = env!("CARGO_BIN_EXE_fake-qemu");

/// A folder of its own, so that runs can be told apart by it, with the file that names the trouble.
struct Bench {
    dir: tempfile::TempDir,
    kernel: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    took: Duration,
}

impl Bench {
    fn new(trouble: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("a bench with spaces ").tempdir().unwrap();
        let kernel = dir.path().join(trouble);
        fs::write(&kernel, "").unwrap();
        Self { dir, kernel }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(XTASK);
        command.args(["test", "--accel", "tcg", "--suite", FAKE, "--kernel"]).arg(&self.kernel);
        command.args(arguments).env("LOOPFS_CACHE", self.dir.path().join("cache")).env("LOOPFS_QEMU", FAKE);
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let start = Instant::now();
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        let run = Run::of(output, start);
        self.assert_no_process_is_left();
        run
    }

    /// Every process of a run has this bench's folder on its command line.
    fn processes(&self) -> Vec<String> {
        let mark = self.dir.path().to_str().unwrap();
        let lines = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        lines.filter(|line| line.contains(mark)).collect()
    }

    fn assert_no_process_is_left(&self) {
        let gone = wait_until(Duration::from_secs(5), || self.processes().is_empty());
        assert!(gone, "left: {:?}", self.processes());
    }
}

impl Run {
    fn of(output: Output, start: Instant) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            took: start.elapsed(),
        }
    }

    #[track_caller]
    fn assert_has(&self, text: &str) {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "{text:?} is not in {self:#?}");
    }

    /// The last line on standard output, which CI systems read.
    fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }
}

fn wait_until(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    condition()
}

/// Runs with short deadlines, for troubles that only a deadline ends.
fn run_impatiently(trouble: &str) -> Run {
    Bench::new(trouble).run(&["--timeout-scale", "0.1"])
}

#[test]
fn a_good_run_ends_with_the_counts_and_code_0() {
    let run = Bench::new("fine").run(&[]);
    assert_eq!((run.code, run.last_line()), (Some(0), "3 passed, 0 failed, 0 skipped"), "{run:#?}");
}

/// The outcome of the case `bad`, and that the cases around it ran all the same.
#[track_caller]
fn assert_only_bad_ends_as(outcome: &str, code: i32, run: &Run) {
    assert_eq!((run.code, run.last_line()), (Some(code), "2 passed, 1 failed, 0 skipped"), "{run:#?}");
    run.assert_has(&format!("{outcome:<8} bad/root"));
    run.assert_has("ok       first/root");
    run.assert_has("ok       last/root");
}

#[test]
fn a_guest_that_ends_without_a_verdict_loses_one_case_and_another_guest_goes_on() {
    let run = Bench::new("exit-without-verdict").run(&[]);
    assert_only_bad_ends_as("LOST", 5, &run);
    run.assert_has("the guest ended in this case without a verdict");
    assert!(run.took < Duration::from_secs(10), "{run:#?}");
}

#[test]
fn a_reboot_is_no_verdict() {
    let run = Bench::new("reboot").run(&[]);
    assert_only_bad_ends_as("LOST", 5, &run);
    run.assert_has("reboot: Restarting system");
}

#[test]
fn two_verdicts_are_none() {
    let run = Bench::new("two-verdicts").run(&[]);
    assert_only_bad_ends_as("LOST", 5, &run);
    run.assert_has("after the verdict came: ok 2 bad/root");
}

#[test]
fn a_verdict_on_another_case_is_none() {
    assert_only_bad_ends_as("LOST", 5, &Bench::new("foreign-verdict").run(&[]));
}

#[test]
fn garbage_on_the_port_is_told_as_it_came() {
    let run = Bench::new("garbage").run(&[]);
    assert_only_bad_ends_as("LOST", 5, &run);
    run.assert_has("what is this");
}

#[test]
fn a_panic_in_a_case_is_that_cases_crash() {
    let run = Bench::new("panic").run(&[]);
    assert_only_bad_ends_as("CRASHED", 5, &run);
    run.assert_has("the kernel died in this case: BUG: kernel NULL pointer dereference");
    run.assert_has("Kernel panic - not syncing: Fatal exception");
    run.assert_has("    to reproduce: cargo xtask test --kernel '");
    run.assert_has("--accel tcg bad/root\n");
    run.assert_has("error: 1 of 3 cases failed");
}

#[test]
fn an_oops_without_a_panic_is_a_crash_although_the_case_passed() {
    assert_only_bad_ends_as("CRASHED", 5, &Bench::new("oops-without-panic").run(&[]));
}

#[test]
fn a_warning_fails_the_case_it_comes_in() {
    let run = Bench::new("warning").run(&[]);
    assert_only_bad_ends_as("FAILED", 1, &run);
    run.assert_has("kernel: WARNING: fs/inode.c:336 at drop_nlink");
}

#[test]
fn a_warning_between_two_cases_belongs_to_the_first() {
    assert_only_bad_ends_as("FAILED", 1, &Bench::new("warning-afterwards").run(&[]));
}

#[test]
fn a_warning_during_boot_fails_the_run() {
    let run = Bench::new("warning-at-boot").run(&[]);
    assert_eq!((run.code, run.last_line()), (Some(1), "3 passed, 1 failed, 0 skipped"), "{run:#?}");
    run.assert_has("FAILED   boot");
}

#[test]
fn a_case_whose_marks_do_not_show_in_the_kernel_log_is_not_taken_for_clean() {
    let run = run_impatiently("no-marks");
    assert_only_bad_ends_as("LOST", 5, &run);
    run.assert_has("the marks of this case did not show in the kernel log");
}

#[test]
fn a_silent_hang_ends_with_the_deadline_and_shows_where_the_guest_is() {
    let run = run_impatiently("hang-silent");
    assert_only_bad_ends_as("HUNG", 5, &run);
    run.assert_has("RIP=ffffffff81000000");
    assert!(run.took < Duration::from_secs(15), "{run:#?}");
}

#[test]
fn a_hang_with_a_talking_console_ends_with_the_deadline_as_well() {
    assert_only_bad_ends_as("HUNG", 5, &run_impatiently("hang-talking"));
}

#[test]
fn a_case_past_its_deadline_is_hung_and_the_guest_goes_on() {
    let run = Bench::new("overdue").run(&[]);
    assert_only_bad_ends_as("HUNG", 5, &run);
    assert_eq!(run.stderr.matches("booted in").count(), 1, "{run:#?}");
}

#[test]
fn a_case_that_cannot_be_killed_costs_the_guest() {
    let run = Bench::new("stuck").run(&[]);
    assert_only_bad_ends_as("HUNG", 5, &run);
    assert_eq!(run.stderr.matches("booted in").count(), 2, "{run:#?}");
}

#[test]
fn a_flood_on_the_console_fills_neither_disk_nor_report() {
    let bench = Bench::new("flood");
    let run = bench.run(&["--timeout-scale", "6"]);
    assert_eq!((run.code, run.last_line()), (Some(0), "3 passed, 0 failed, 0 skipped"), "{run:#?}");
    assert!(run.stdout.len() < 1 << 20, "{} bytes", run.stdout.len());
    let logs = fs::read_dir(bench.dir.path().join("cache/runs")).unwrap().flatten().next().unwrap();
    let size = fs::metadata(logs.path().join("console-1.log")).unwrap().len();
    assert!((32 << 20..33 << 20).contains(&size), "{size}");
}

#[test]
fn a_guest_that_dies_in_the_last_checks_fails_the_run() {
    let run = Bench::new("dies-in-checks").run(&[]);
    assert_eq!((run.code, run.last_line()), (Some(5), "3 passed, 1 failed, 0 skipped"), "{run:#?}");
    run.assert_has("LOST     end-of-run");
}

#[test]
fn a_panic_before_init_is_told_with_its_line_and_no_case_counts_as_run() {
    let run = Bench::new("panic-before-init").run(&[]);
    assert_eq!((run.code, run.last_line()), (Some(5), "0 passed, 4 failed, 0 skipped"), "{run:#?}");
    run.assert_has("the kernel died while it booted: Kernel panic - not syncing: No working init found.");
    run.assert_has("3 cases did not run: the guest does not boot");
}

#[test]
fn a_boot_that_says_nothing_ends_with_the_deadline() {
    let run = run_impatiently("silent-boot");
    assert_eq!(run.code, Some(5), "{run:#?}");
    run.assert_has("nothing came from the guest while it booted within 6 s");
}

#[test]
fn what_qemu_refuses_is_told_in_its_own_words() {
    let run = Bench::new("refused-machine").run(&[]);
    assert_eq!(run.code, Some(5), "{run:#?}");
    run.assert_has("QEMU said: fake: unsupported machine type");
}

#[test]
fn a_missing_qemu_is_named_with_the_package_that_has_it() {
    let run = Bench::new("fine").run(&["--qemu", "/nowhere/qemu"]);
    assert_eq!(run.code, Some(2), "{run:#?}");
    run.assert_has("qemu-system-x86");
}

#[test]
fn an_old_qemu_is_refused_with_its_version() {
    let bench = Bench::new("fine");
    let old = bench.dir.path().join("old-version");
    std::os::unix::fs::symlink(FAKE, &old).unwrap();
    let run = bench.run(&["--qemu", old.to_str().unwrap()]);
    assert_eq!(run.code, Some(2), "{run:#?}");
    run.assert_has("is QEMU 6.2.0, and the guest needs 7.2.0 or newer");
}

#[test]
fn a_missing_kernel_is_named() {
    let bench = Bench::new("fine");
    fs::remove_file(&bench.kernel).unwrap();
    let run = bench.run(&[]);
    assert_eq!(run.code, Some(2), "{run:#?}");
    run.assert_has("the kernel cannot be read at");
}

#[test]
fn a_filter_that_matches_nothing_is_an_error_and_starts_no_guest() {
    let run = Bench::new("fine").run(&["no_such_case"]);
    assert_eq!(run.code, Some(2), "{run:#?}");
    run.assert_has("no case is named like \"no_such_case\"");
    assert!(!run.stderr.contains("booted in"), "{run:#?}");
}

#[test]
fn repeating_until_a_failure_ends_with_the_first() {
    let run = Bench::new("warning").run(&["--until-fail"]);
    assert_eq!((run.code, run.last_line()), (Some(1), "1 passed, 1 failed, 0 skipped"), "{run:#?}");
}

#[test]
fn a_repeated_run_counts_every_round() {
    let run = Bench::new("fine").run(&["--repeat", "4", "--shuffle=7"]);
    assert_eq!((run.code, run.last_line()), (Some(0), "12 passed, 0 failed, 0 skipped"), "{run:#?}");
    run.assert_has("--shuffle=7");
}

#[test]
fn guests_side_by_side_run_every_case_once() {
    let run = Bench::new("panic").run(&["--jobs", "3", "--repeat", "5"]);
    assert_eq!((run.code, run.last_line()), (Some(5), "10 passed, 5 failed, 0 skipped"), "{run:#?}");
    assert_eq!(run.stdout.matches("ok       first/root").count(), 5, "{run:#?}");
}

#[test]
fn reports_are_written_also_when_the_run_fails() {
    let bench = Bench::new("panic");
    let (json, junit) = (bench.dir.path().join("a.json"), bench.dir.path().join("a.xml"));
    let run = bench.run(&["--json", json.to_str().unwrap(), "--junit", junit.to_str().unwrap()]);
    assert_eq!(run.code, Some(5), "{run:#?}");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(json["summary"]["crashed"], 1);
    assert_eq!(json["results"][1]["outcome"], "crash");
    assert!(fs::read_to_string(junit).unwrap().contains("bad/root"));
}

/// Starts a run and waits until its guest is there.
fn start(bench: &Bench, arguments: &[&str]) -> Child {
    let mut command = bench.command(arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    let guest = || bench.processes().iter().any(|line| line.contains("-chardev"));
    assert!(wait_until(Duration::from_secs(20), guest), "no guest: {:?}", bench.processes());
    child
}

#[test]
fn ctrl_c_ends_the_guest_and_the_run_at_once() {
    for (trouble, jobs) in [("hang-silent", "1"), ("silent-boot", "1"), ("hang-silent", "3")] {
        let bench = Bench::new(trouble);
        let child = start(&bench, &["--jobs", jobs]);
        let begin = Instant::now();
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        let run = Run::of(child.wait_with_output().unwrap(), begin);
        assert_eq!(run.code, Some(130), "{run:#?}");
        assert!(run.took < Duration::from_secs(5), "{run:#?}");
        bench.assert_no_process_is_left();
    }
}

#[test]
fn a_run_that_is_killed_takes_its_guest_along() {
    let bench = Bench::new("hang-silent");
    let mut child = start(&bench, &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    bench.assert_no_process_is_left();
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let bench = Bench::new("fine");
    let runs: Vec<Child> = (0..2)
        .map(|_| bench.command(&["--repeat", "50"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for run in runs {
        let run = Run::of(run.wait_with_output().unwrap(), Instant::now());
        assert_eq!((run.code, run.last_line()), (Some(0), "150 passed, 0 failed, 0 skipped"), "{run:#?}");
    }
    bench.assert_no_process_is_left();
}

/// Runs `cargo xtask run` with this input.
fn run_program(bench: &Bench, words: &[&str], input: &[u8]) -> Run {
    let mut command = Command::new(XTASK);
    command.args(["run", "--accel", "tcg", "--suite", FAKE, "--kernel"]).arg(&bench.kernel).args(words);
    command.env("LOOPFS_CACHE", bench.dir.path().join("cache")).env("LOOPFS_QEMU", FAKE);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let run = Run::of(child.wait_with_output().unwrap(), start);
    bench.assert_no_process_is_left();
    run
}

#[test]
fn a_command_gets_our_input_and_we_get_its_output_its_errors_and_its_exit_code() {
    let input = "line\n".repeat(100_000);
    let run = run_program(&Bench::new("fine"), &["--", "two words", "-x"], input.as_bytes());
    assert_eq!(run.code, Some(7));
    assert_eq!(run.stdout, format!("[\"two words\", \"-x\"]\n{input}"));
    assert_eq!(run.stderr, "complaint\n");
}

#[test]
fn a_guest_that_dies_under_a_command_is_no_exit_code_of_the_command() {
    let run = run_program(&Bench::new("panic"), &["--", "x"], b"");
    assert_eq!(run.code, Some(5), "{run:#?}");
    run.assert_has("the kernel died while the program ran: Kernel panic");
}

#[test]
fn a_kernel_warning_under_a_command_that_succeeds_is_a_failure_of_the_run() {
    let run = run_program(&Bench::new("warning"), &["--", "true"], b"");
    assert_eq!(run.code, Some(5), "{run:#?}");
    run.assert_has("error: the kernel reported a fault: WARNING: fs/inode.c:336");
    assert_eq!(run_program(&Bench::new("fine"), &["--", "true"], b"").code, Some(0));
}

#[test]
fn a_kernel_warning_under_a_command_that_fails_is_told_and_the_exit_code_stays_the_commands() {
    let run = run_program(&Bench::new("warning"), &["--", "x"], b"");
    assert_eq!(run.code, Some(7), "{run:#?}");
    assert!(run.stderr.contains("WARNING: fs/inode.c:336"), "{run:#?}");
}

#[test]
fn without_a_command_the_tour_runs_and_its_failure_is_ours() {
    let run = run_program(&Bench::new("fine"), &[], b"");
    assert_eq!(run.code, Some(7), "{run:#?}");
    assert!(run.stdout.contains(r#"["/init", "tour"]"#), "{run:#?}");
}

#[test]
fn an_ordinary_user_can_run_the_suite() {
    const NOBODY: u32 = 65534;
    let bench = Bench::new("fine");
    let as_nobody = |program: &str| {
        let mut command = Command::new(program);
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    let readable =
        as_nobody("cat").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/splats.toml")).output().unwrap();
    let runnable = as_nobody("test").args(["-x", XTASK]).status().unwrap();
    if !readable.status.success() || !runnable.success() {
        // A clone below a closed home folder; there another user has no business.
        return;
    }
    fs::set_permissions(bench.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = as_nobody(XTASK);
    command.args(["test", "--accel", "tcg", "--qemu", FAKE, "--suite", FAKE, "--kernel"]).arg(&bench.kernel);
    command.env("LOOPFS_CACHE", bench.dir.path().join("cache"));
    let run = Run::of(command.output().unwrap(), Instant::now());
    assert_eq!((run.code, run.last_line()), (Some(0), "3 passed, 0 failed, 0 skipped"), "{run:#?}");
}
