//! The suite's program on a machine that is no guest.

use std::{os::unix::process::CommandExt as _, process::Command};

use loopfs_protocol::CaseInfo;

const PROGRAM: &str = env!("CARGO_BIN_EXE_loopfs-selftests");

/// Exit code, standard output and standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn it_refuses_to_touch_a_machine_it_was_not_told_to() {
    let (code, stdout, stderr) = run(Command::new(PROGRAM).arg("run"));
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("--on-this-machine"), "{stderr}");
}

#[test]
fn it_lists_every_case_with_what_it_covers_and_needs() {
    let (code, stdout, _) = run(Command::new(PROGRAM).args(["list", "--json"]));
    let cases: Vec<CaseInfo> = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, Some(0));
    assert!(
        cases.iter().any(|case| case.spec.contains(&"M1".to_owned()) && case.kconfig.contains(&"USER_NS".to_owned()))
    );
}

#[test]
fn an_ordinary_user_sees_every_case_skipped_with_the_reason() {
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--on-this-machine", "mount"]);
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
        let runnable = Command::new("test").args(["-x", PROGRAM]).uid(65534).gid(65534).status().unwrap();
        if !runnable.success() {
            // A clone below a closed home folder; there another user has no business.
            return;
        }
    }
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("needs root"), "{stdout}");
    assert!(stdout.contains("0 passed; 0 failed"), "{stdout}");
}
