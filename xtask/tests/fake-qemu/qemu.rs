//! Stands in for QEMU, the guest in it, and the suite, to test the harness with every way a guest can go wrong.
//!
//! The name of the file given as `-kernel` says what goes wrong: see [`Trouble`]. It goes wrong in the case named `bad`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};

use loopfs_protocol::{CaseInfo, Command, Event, Marker, trial_id};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Nothing.
    None,
    OldVersion,
    PanicBeforeInit,
    SilentBoot,
    RefusedMachine,
    WarningAtBoot,
    ExitWithoutVerdict,
    Reboot,
    TwoVerdicts,
    ForeignVerdict,
    Garbage,
    Panic,
    OopsWithoutPanic,
    Warning,
    WarningAfterwards,
    HangTalking,
    HangSilent,
    Overdue,
    Stuck,
    Flood,
    NoMarks,
    DiesInChecks,
    KvmAborts,
    KvmSleeps,
    KvmWorks,
}

impl Trouble {
    const ALL: [(&'static str, Self); 25] = [
        ("fine", Self::None),
        ("old-version", Self::OldVersion),
        ("panic-before-init", Self::PanicBeforeInit),
        ("silent-boot", Self::SilentBoot),
        ("refused-machine", Self::RefusedMachine),
        ("warning-at-boot", Self::WarningAtBoot),
        ("exit-without-verdict", Self::ExitWithoutVerdict),
        ("reboot", Self::Reboot),
        ("two-verdicts", Self::TwoVerdicts),
        ("foreign-verdict", Self::ForeignVerdict),
        ("garbage", Self::Garbage),
        ("panic", Self::Panic),
        ("oops-without-panic", Self::OopsWithoutPanic),
        ("warning", Self::Warning),
        ("warning-afterwards", Self::WarningAfterwards),
        ("hang-talking", Self::HangTalking),
        ("hang-silent", Self::HangSilent),
        ("overdue", Self::Overdue),
        ("stuck", Self::Stuck),
        ("flood", Self::Flood),
        ("no-marks", Self::NoMarks),
        ("dies-in-checks", Self::DiesInChecks),
        ("kvm-aborts", Self::KvmAborts),
        ("kvm-sleeps", Self::KvmSleeps),
        ("kvm-works", Self::KvmWorks),
    ];

    fn of(kernel: &str) -> Self {
        let name = Path::new(kernel).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Self::ALL.iter().find(|(word, _)| *word == name).map(|(_, trouble)| *trouble).expect("no such trouble")
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        // A sibling of this program's name tells the version, as there is not a kernel to name it.
        Some("--version") => version(&arguments[0]),
        Some("list") => list(),
        _ => return Qemu::new(&arguments).run(),
    }
    ExitCode::SUCCESS
}

fn version(program: &str) {
    let number = if program.ends_with("old-version") { "6.2.0" } else { "7.2.22" };
    println!("QEMU emulator version {number} (fake)");
}

fn list() {
    let case = |name: &str| CaseInfo {
        name: name.to_owned(),
        spec: vec!["M1".to_owned()],
        who: vec!["root".to_owned()],
        patience: 1,
        ..CaseInfo::default()
    };
    println!("{}", serde_json::to_string(&["first", "bad", "last"].map(case)).unwrap());
}

struct Qemu {
    trouble: Trouble,
    kvm: bool,
    streams: Option<[UnixStream; 3]>,
    console: UnixStream,
    control: UnixStream,
    number: usize,
}

impl Qemu {
    fn new(arguments: &[String]) -> Self {
        let value = |name: &str| arguments.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
        let open = |id: &str| {
            let prefix = format!("socket,id={id},fd=");
            let fd: RawFd = arguments.iter().find_map(|word| word.strip_prefix(&prefix)?.parse().ok())?;
            // SAFETY: The harness left this descriptor open for us, and it is taken once.
            Some(UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
        };
        let channel = |id: &str| open(id).expect("a channel");
        let qmp = channel("qmp");
        thread::spawn(move || serve_qmp(&qmp));
        Self {
            trouble: Trouble::of(&value("-kernel").unwrap()),
            kvm: value("-accel").unwrap() == "kvm",
            streams: open("stdin").map(|stdin| [stdin, channel("stdout"), channel("stderr")]),
            console: channel("console"),
            control: channel("control"),
            number: 0,
        }
    }

    fn run(mut self) -> ExitCode {
        match (self.trouble, self.kvm) {
            (Trouble::KvmAborts, true) => {
                eprintln!("fake: error: failed to set MSR 0x10a to 0x69");
                std::process::abort();
            }
            (Trouble::KvmSleeps, true) | (Trouble::SilentBoot, _) => hang(),
            (Trouble::RefusedMachine, _) => {
                eprintln!("fake: unsupported machine type");
                return ExitCode::FAILURE;
            }
            (Trouble::PanicBeforeInit, _) => {
                self.log("Kernel panic - not syncing: No working init found.");
                return ExitCode::SUCCESS;
            }
            (Trouble::WarningAtBoot, _) => self.log("WARNING: fs/super.c:1 at early_thing+0x1/0x2, CPU#0: swapper/1"),
            _ => self.log("Run /init as init process"),
        }
        self.tell(&Event::Booted.to_line());
        let commands = BufReader::new(self.control.try_clone().unwrap());
        for line in commands.lines() {
            match Command::from_line(&line.unwrap()).unwrap() {
                Command::Hello { .. } => {
                    let ready = Event::Ready { uptime_ms: 1, release: "7.3.4".to_owned(), cpus: 1 };
                    self.tell(&ready.to_line());
                }
                Command::Plan { cases, .. } => {
                    self.number = 0;
                    self.tell(&format!("KTAP version 1\n1..{cases}\n"));
                }
                Command::Case { name, who, .. } => {
                    self.number += 1;
                    let id = trial_id(&name, &who);
                    if name == "bad" {
                        self.bad_case(&id);
                    } else {
                        self.good_case(&id);
                    }
                }
                Command::Finish { .. } => {
                    self.mark(&Marker::Finishing);
                    if self.trouble == Trouble::DiesInChecks {
                        return ExitCode::SUCCESS;
                    }
                    self.mark(&Marker::Finished);
                    self.tell(&Event::Bye.to_line());
                    return ExitCode::SUCCESS;
                }
                Command::Exec { argv, .. } => self.exec(&argv),
                Command::Resize(_) => {}
            }
        }
        ExitCode::SUCCESS
    }

    fn good_case(&mut self, id: &str) {
        self.mark(&Marker::Start(id.to_owned()));
        self.mark(&Marker::End(id.to_owned()));
        self.pass(id);
    }

    fn bad_case(&mut self, id: &str) {
        if self.trouble == Trouble::NoMarks {
            return self.pass(id);
        }
        self.mark(&Marker::Start(id.to_owned()));
        match self.trouble {
            Trouble::ExitWithoutVerdict => std::process::exit(0),
            Trouble::Reboot => {
                self.log("reboot: Restarting system");
                std::process::exit(0);
            }
            Trouble::Panic => {
                self.log("BUG: kernel NULL pointer dereference, address: 0000000000000008");
                self.log("Kernel panic - not syncing: Fatal exception");
                std::process::exit(0);
            }
            Trouble::Garbage => return self.tell("what is this\n"),
            Trouble::ForeignVerdict => return self.tell(&format!("ok {} somebody_else/root\n", self.number)),
            Trouble::OopsWithoutPanic => self.log("Oops: 0000 [#1] SMP PTI"),
            Trouble::Warning => self.log("WARNING: fs/inode.c:336 at drop_nlink+0x3b/0x50, CPU#0: case/63"),
            Trouble::HangTalking => loop {
                self.log("loop: still here");
                thread::sleep(Duration::from_millis(20));
            },
            Trouble::HangSilent => hang(),
            Trouble::Overdue => self.tell(&Event::Overdue.to_line()),
            Trouble::Stuck => {
                self.tell(&Event::Overdue.to_line());
                self.tell(&Event::Stuck.to_line());
            }
            Trouble::Flood => {
                let line = format!("[    1.000000] {}\n", "x".repeat(1000));
                for _ in 0..100 * 1024 {
                    self.console.write_all(line.as_bytes()).unwrap();
                }
            }
            _ => {}
        }
        self.mark(&Marker::End(id.to_owned()));
        if self.trouble == Trouble::TwoVerdicts {
            // In one piece, so that the second is never taken for the next case's.
            let verdict = format!("ok {} {id}\n", self.number);
            return self.tell(&verdict.repeat(2));
        }
        self.pass(id);
        if self.trouble == Trouble::WarningAfterwards {
            self.log("WARNING: fs/inode.c:336 at late_work+0x3b/0x50, CPU#0: kworker/1");
        }
    }

    /// A program that prints its arguments, complains, passes its input on and exits with 7, or as `true`.
    fn exec(&mut self, argv: &[String]) {
        if self.trouble == Trouble::Panic {
            self.log("Kernel panic - not syncing: Fatal exception");
            std::process::exit(0);
        }
        if self.trouble == Trouble::Warning {
            self.log("WARNING: fs/inode.c:336 at drop_nlink+0x3b/0x50, CPU#0: program/63");
        }
        let [stdin, stdout, stderr] = self.streams.as_mut().unwrap();
        let mut printed = format!("{argv:?}\n").into_bytes();
        stdin.read_to_end(&mut printed).unwrap();
        stdout.write_all(&printed).unwrap();
        stderr.write_all(b"complaint\n").unwrap();
        let code = if argv[0] == "true" { 0 } else { 7 };
        let ended = Event::Exited { code, stdout: printed.len() as u64, stderr: "complaint\n".len() as u64 };
        self.tell(&ended.to_line());
    }

    fn pass(&mut self, id: &str) {
        let line = format!("{}ok {} {id}\n", Event::Took { ms: 3 }.to_line(), self.number);
        self.tell(&line);
    }

    fn mark(&mut self, marker: &Marker) {
        self.log(&marker.to_string());
    }

    fn log(&mut self, text: &str) {
        // If the harness has gone, so have we in a moment.
        let _ = writeln!(self.console, "[    1.000000] {text}");
    }

    fn tell(&mut self, text: &str) {
        let _ = self.control.write_all(text.as_bytes());
    }
}

fn hang() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn serve_qmp(mut socket: &UnixStream) {
    let _ = socket.write_all(b"{\"QMP\": {}}\n");
    for line in BufReader::new(socket).lines().map_while(Result::ok) {
        let answer = if line.contains("info registers") { "\"CPU#0\\r\\nRIP=ffffffff81000000\"" } else { "{}" };
        let _ = socket.write_all(format!("{{\"return\": {answer}}}\n").as_bytes());
    }
}
