//! Ctrl-C at each stage: the run ends soon, with its children, and leaves no half entry.

use std::{
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::scene::Scene;

/// Long enough for a loaded machine, far shorter than what the fake tools would take.
const SOON: Duration = Duration::from_secs(20);

/// What a fake tool does that is to be interrupted: it says that it runs, and does not come back.
const HANGS: &str = "echo $$ > $SCENE/running.tmp && mv $SCENE/running.tmp $SCENE/running; sleep 600; echo late";

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < SOON, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts the command, interrupts it when the tool that hangs has started, and checks how it ends.
fn interrupt(scene: &Scene, args: &[&str], signal: Signal) {
    scene.real("mv");
    let mut run: Child = scene.xtask().args(args).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let tool: i32 =
        wait_for("the tool to start", || fs::read_to_string(scene.path("running")).ok()).trim().parse().unwrap();
    kill(Pid::from_raw(run.id().cast_signed()), signal).unwrap();
    let status = wait_for("the run to end", || run.try_wait().unwrap());
    let mut told = String::new();
    std::io::Read::read_to_string(&mut run.stderr.take().unwrap(), &mut told).unwrap();
    assert_eq!(status.code(), Some(130), "{told}");
    assert!(told.ends_with("error: interrupted\n"), "{told}");
    wait_for("the tool to be gone", || kill(Pid::from_raw(tool), None).is_err().then_some(()));
    assert!(scene.cached("base").is_empty(), "{:?}", scene.cached("base"));
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.real("git").real("xz");
    scene
}

#[test]
fn while_the_package_is_downloaded() {
    let scene = scene();
    scene.tool("apt-get", HANGS);
    interrupt(&scene, &["tree"], Signal::SIGINT);
}

#[test]
fn while_the_tarball_is_downloaded() {
    let scene = scene();
    scene
        .tool("apt-get", "exit 1")
        .tool("curl", &format!("case $* in *.asc) printf '%064d  linux-7.3.4.tar.xz\\n' 0;; *) {HANGS};; esac"));
    interrupt(&scene, &["tree"], Signal::SIGTERM);
}

#[test]
fn while_a_tarball_is_unpacked() {
    let scene = scene();
    fs::remove_file(scene.path("bin/xz")).unwrap();
    scene.tool("xz", &format!("[ $1 = --version ] && echo 'xz 5.4.1' && exit; {HANGS}"));
    fs::write(scene.path("linux.tar.xz"), b"\xfd7zXZ\0").unwrap();
    let tarball = scene.path("linux.tar.xz");
    interrupt(&scene, &["tree", "--from", tarball.to_str().unwrap()], Signal::SIGINT);
}

#[test]
fn while_the_suite_is_asked_for_its_cases() {
    let scene = scene();
    scene.tool("cargo", HANGS);
    interrupt(&scene, &["build"], Signal::SIGHUP);
}
