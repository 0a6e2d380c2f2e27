//! The runner, tried with sample cases that end in every way a case can.
//!
//! Like the suite's program this one starts itself again for each case, so it has a `main` of its own.
//! Namespaces are for root only, and not for the root of every container; where they cannot be made, the tests are
//! skipped and say so.

use std::{
    fs,
    io::Write as _,
    os::fd::{FromRawFd as _, OwnedFd},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use loopfs_selftests::{
    case,
    case::{Case, Context, Who, skip},
    harness::{
        channel::{Channel, Verdict},
        isolate,
        runner::{self, Report},
    },
};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, raise},
    unistd::{getpid, getuid, setsid},
};

fn returns(_: &Context) -> Result<()> {
    println!("printed by the case");
    Ok(())
}

fn returns_an_error(_: &Context) -> Result<()> {
    bail!("expected EBUSY")
}

fn panics(_: &Context) -> Result<()> {
    panic!("this is a panic");
}

fn skips(_: &Context) -> Result<()> {
    skip("no such thing here")
}

fn exits(_: &Context) -> Result<()> {
    std::process::exit(3)
}

fn dies(_: &Context) -> Result<()> {
    raise(Signal::SIGKILL)?;
    Ok(())
}

fn aborts(_: &Context) -> Result<()> {
    std::process::abort()
}

fn sleeps_in_another_session(_: &Context) -> Result<()> {
    setsid()?;
    std::thread::sleep(Duration::from_secs(3600));
    Ok(())
}

fn leaves_a_process(_: &Context) -> Result<()> {
    Command::new("sleep").arg("3600").spawn()?;
    Ok(())
}

fn floods(_: &Context) -> Result<()> {
    let line = [b'x'; 4096];
    for _ in 0..4096 {
        std::io::stdout().write_all(&line)?;
    }
    Ok(())
}

fn has_a_place_of_its_own(ctx: &Context) -> Result<()> {
    ensure!(fs::read_dir(&ctx.dir)?.count() == 0, "{} is not empty", ctx.dir.display());
    fs::write(ctx.dir.join("file"), "text")?;
    mount(Some("none"), &ctx.dir, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    ensure!(getpid().as_raw() == 2, "the body is process {}", getpid());
    ensure!(getuid().is_root(), "the body runs as {}", getuid());
    Ok(())
}

fn is_nobody_outside(_: &Context) -> Result<()> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let numbers: Vec<&str> = map.split_ascii_whitespace().collect();
    ensure!(numbers == ["0", "100000", "65536"], "{map}");
    let refused = fs::write("/proc/sys/kernel/printk", "4").is_err();
    ensure!(refused, "the kernel took a setting from an unprivileged user");
    Ok(())
}

const ROOT: &[Who] = &[Who::Root];
const USERNS: &[Who] = &[Who::UsernsRoot];

fn samples() -> Vec<Case> {
    vec![
        case!(["-"], returns),
        case!(["-"], returns_an_error).only(ROOT),
        case!(["-"], panics).only(ROOT),
        case!(["-"], skips).only(ROOT),
        case!(["-"], exits).only(ROOT),
        case!(["-"], dies).only(ROOT),
        case!(["-"], aborts).only(USERNS),
        case!(["-"], sleeps_in_another_session),
        case!(["-"], leaves_a_process),
        case!(["-"], floods).only(ROOT),
        case!(["-"], has_a_place_of_its_own),
        case!(["-"], is_nobody_outside).only(USERNS),
    ]
}

/// Whether the report on a sample is what it should be.
fn check(name: &str, report: &Report) -> Result<()> {
    let text = report.output.text();
    let failure = match &report.verdict {
        Verdict::Fail(message) => message.as_str(),
        _ => "",
    };
    match name {
        "returns" => ensure!(report.verdict == Verdict::Pass && text.contains("printed by the case")),
        "returns_an_error" => ensure!(failure == "expected EBUSY"),
        "panics" => ensure!(failure.contains("this is a panic") && failure.contains("runner.rs:")),
        "skips" => ensure!(report.verdict == Verdict::Skip("no such thing here".to_owned())),
        "exits" => ensure!(failure == "the case's process exited with 3 and no verdict"),
        "dies" => ensure!(failure == "the case's process was ended by SIGKILL"),
        "aborts" => ensure!(failure == "the case's process was ended by SIGABRT"),
        "sleeps_in_another_session" => {
            ensure!(failure == "no end after 500ms" && text.contains("(sleeping)"));
            ensure!(report.took < Duration::from_secs(8), "the deadline did not end it");
        }
        "floods" => ensure!(report.verdict == Verdict::Pass && text.len() < 200 * 1024),
        _ => ensure!(report.verdict == Verdict::Pass),
    }
    ensure!(!report.stuck);
    Ok(())
}

/// Whether util-linux can make the namespaces that a sample of `who` needs: then we have to, too.
fn has_namespaces(who: Who) -> Result<bool> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork"]).args(who.is_in_user_namespace().then_some("--user"));
    Ok(unshare.arg("true").stderr(Stdio::null()).status()?.success())
}

fn try_sample(case: &Case, who: Who) -> Result<Completion, Failed> {
    if !getuid().is_root() {
        return Ok(Completion::ignored_with("needs root, to make namespaces"));
    }
    if !has_namespaces(who).map_err(|error| format!("cannot start unshare: {error:#}"))? {
        return Ok(Completion::ignored_with("needs namespaces, which root cannot make in this container or chroot"));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let deadline =
        if case.name == "sleeps_in_another_session" { Duration::from_millis(500) } else { Duration::from_secs(30) };
    let start = Instant::now();
    let report = runner::run(case, who, deadline, || Ok(()))?;
    check(case.name, &report).map_err(|error| format!("{error:#}: {report:#?}, after {:?}", start.elapsed()))?;
    if fs::read_to_string("/proc/self/mountinfo")? != mounts {
        return Err("the sample's mounts show outside".into());
    }
    let children = fs::read_to_string(format!("/proc/self/task/{}/children", getpid()))?;
    if !children.trim().is_empty() {
        return Err(format!("left the processes {children}").into());
    }
    Ok(Completion::Completed)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, name, who, channel] = words.as_slice()
        && word == "case"
    {
        let case = samples().into_iter().find(|case| case.name == name).expect("a sample's name");
        let who = case.who.iter().copied().find(|w| w.to_string() == *who).expect("a sample's user");
        let fd = channel.parse().expect("a descriptor");
        // SAFETY: The runner left this descriptor open for us and nothing else in this process uses it.
        let channel = Channel::from_fd(unsafe { OwnedFd::from_raw_fd(fd) });
        return isolate::run(&case, who, &channel);
    }
    let mut arguments = Arguments::from_args();
    // The processes a sample leaves are looked for among the children of this one.
    arguments.test_threads = Some(1);
    let trials = samples().into_iter().flat_map(|case| {
        case.who.iter().map(move |who| {
            let who = *who;
            Trial::ignorable_test(format!("a_sample_that_{}/{who}", case.name), move || try_sample(&case, who))
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
