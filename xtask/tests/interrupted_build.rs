//! Ctrl-C while the kernel is built: in a program of its own, since a signal is for the whole process.

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "acquire/fake_build.rs"]
mod fake_build;
#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "acquire/scene.rs"]
mod scene;

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, raise},
    unistd::Pid,
};
use xtask::interrupt;

#[test]
fn ctrl_c_ends_the_compilers_and_keeps_no_kernel() {
    interrupt::install().unwrap();
    let scene = fake_build::scene();
    // make's child, as a compiler is: it has to end with make.
    scene.file("compile", "export SCENE; sh -c 'echo $$ > $SCENE/running; sleep 600; true' & wait");
    let start = Instant::now();
    let compiler = std::thread::scope(|scope| {
        let presser = scope.spawn(|| {
            let compiler: i32 = loop {
                let written = fs::read_to_string(scene.path("running")).unwrap_or_default();
                if let Some(pid) = written.strip_suffix('\n') {
                    break pid.parse().unwrap();
                }
                assert!(start.elapsed() < Duration::from_secs(20), "make did not start");
                std::thread::sleep(Duration::from_millis(20));
            };
            raise(Signal::SIGINT).unwrap();
            Pid::from_raw(compiler)
        });
        assert!(fake_build::build(&scene, "a").is_err());
        presser.join().unwrap()
    });
    assert!(interrupt::requested());
    assert!(start.elapsed() < Duration::from_secs(60), "the build was waited for, not ended");
    let gone = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        kill(compiler, None).is_err()
    });
    assert!(gone, "a compiler was left");
    assert!(scene.cached("kernel/default").is_empty());
}
