//! One guest that runs cases: what it says on its ports and on its console, put together.
//!
//! The guest marks in the kernel log where each case starts and ends. A kernel message between two
//! marks belongs to the case between them, and one between two cases to the one before.

use std::{
    os::fd::BorrowedFd,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use loopfs_protocol::{Clock, Command, Event, Marker, Missing, Window};

use crate::{
    guest::{
        console::{Console, Excerpt, demangled, message},
        running::{Ending, Guest, Input},
    },
    suite::{
        deadline::Deadlines,
        ktap::{self, Collector},
        outcome::{Outcome, TestResult},
        plan::Trial,
        splat::{Detector, Splat},
    },
};

/// How long a hung guest gets to answer the emergency keys.
const LAST_WORDS: Duration = Duration::from_millis(700);

/// What the kernel said in one stretch of the log.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    log: Excerpt,
    splats: Vec<Splat>,
}

impl Stretch {
    fn push(&mut self, line: String, detector: &Detector) {
        self.splats.extend(detector.check(message(&line)));
        self.log.push(demangled(line));
    }

    /// Adds all of this to `result`.
    pub fn add_to(self, result: &mut TestResult) {
        result.add_kernel_log(self.log.lines(), self.splats);
    }

    /// What of it must not be there.
    pub fn splats(&self) -> &[Splat] {
        &self.splats
    }

    fn panic(&self) -> Option<&Splat> {
        self.splats.iter().find(|splat| splat.fatal)
    }
}

/// How a wait for something ended otherwise.
#[derive(Debug)]
enum End {
    /// QEMU is gone.
    Ended(Ending),
    /// Time is up.
    Silent,
    /// The guest says what makes no sense.
    Nonsense(String),
}

/// A guest under way.
#[derive(Debug)]
pub struct Session<'run> {
    guest: Guest,
    console: Console,
    detector: &'run Detector,
    deadlines: &'run Deadlines,
    /// What the kernel said since the last mark.
    now: Stretch,
    kunit: Option<Collector>,
    boot: Duration,
    number: usize,
}

/// How a case ended, and whether the guest can go on.
#[derive(Debug)]
pub struct CaseEnd {
    /// What the kernel said since the case before, which belongs to that one.
    pub before: Stretch,
    /// The result.
    pub result: TestResult,
    /// The guest may run another case.
    pub alive: bool,
}

/// What a guest that does not come up leaves.
#[derive(Debug)]
pub struct Stillborn {
    /// How and why.
    pub result: TestResult,
}

impl<'run> Session<'run> {
    /// Watches over `guest`, which was just started.
    ///
    /// # Errors
    ///
    /// When the console cannot be recorded at `log`.
    pub fn new(guest: Guest, log: &Path, detector: &'run Detector, deadlines: &'run Deadlines) -> Result<Self> {
        Ok(Self {
            guest,
            console: Console::record_to(log)?,
            detector,
            deadlines,
            now: Stretch::default(),
            kunit: Some(Collector::default()),
            boot: Duration::ZERO,
            number: 0,
        })
    }

    /// Waits for PID 1.
    ///
    /// # Errors
    ///
    /// On Ctrl-C, or when the disk is full. A guest that does not come up is no error but [`Stillborn`].
    pub fn boot(&mut self) -> Result<Result<(), Stillborn>> {
        let until = self.guest.started() + self.deadlines.boot();
        let end = match self.next_line(until)? {
            Ok(line) if Event::from_line(&line).is_ok_and(|event| event == Some(Event::Booted)) => {
                self.boot = self.guest.started().elapsed();
                return Ok(Ok(()));
            }
            Ok(line) => End::Nonsense(line),
            Err(end) => end,
        };
        let mut result = TestResult::own("boot", Outcome::Pass, None);
        self.conclude(&mut result, end, "while it booted", self.deadlines.boot())?;
        Ok(Err(Stillborn { result }))
    }

    /// Takes over a guest restored from a snapshot, which had booted in `boot` and waits for its first command.
    pub fn resume(&mut self, boot: Duration) {
        self.boot = boot;
        self.kunit = None;
    }

    /// Takes what the kernel said since the last mark.
    pub fn take_stretch(&mut self) -> Stretch {
        std::mem::take(&mut self.now)
    }

    /// How long the guest took from the start of QEMU to PID 1.
    pub fn boot_time(&self) -> Duration {
        self.boot
    }

    /// Where the console is recorded.
    pub fn log(&self) -> &Path {
        self.console.path()
    }

    /// Sets up a guest that has booted or was restored, and starts a KTAP stream of `cases` cases.
    ///
    /// # Errors
    ///
    /// As for [`Session::boot`].
    pub fn greet(&mut self, cases: usize, missing: Missing) -> Result<Result<(), Stillborn>> {
        let end = match self.hello()? {
            None => self.plan(cases, missing)?,
            end => end,
        };
        self.stillborn_if(end)
    }

    /// Sets up a guest that has booted, to run programs.
    ///
    /// # Errors
    ///
    /// As for [`Session::boot`].
    pub fn greet_for_programs(&mut self) -> Result<Result<(), Stillborn>> {
        let end = self.hello()?;
        self.stillborn_if(end)
    }

    fn hello(&mut self) -> Result<Option<End>> {
        let mut seed = [0; 32];
        fastrand::Rng::new().fill(&mut seed);
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let clock = Clock { seconds: since_epoch.as_secs().cast_signed(), nanoseconds: since_epoch.subsec_nanos() };
        self.send(&Command::Hello { seed, clock });
        Ok(match self.next_line(Instant::now() + self.deadlines.cleanup())? {
            Ok(line) => match Event::from_line(&line) {
                Ok(Some(Event::Ready { .. })) => None,
                _ => Some(End::Nonsense(line)),
            },
            Err(end) => Some(end),
        })
    }

    fn stillborn_if(&mut self, end: Option<End>) -> Result<Result<(), Stillborn>> {
        let Some(end) = end else { return Ok(Ok(())) };
        let mut result = TestResult::own("boot", Outcome::Pass, None);
        self.conclude(&mut result, end, "when it was greeted", self.deadlines.cleanup())?;
        Ok(Err(Stillborn { result }))
    }

    /// The results of the kernel's own tests, which it ran while it booted.
    pub fn take_kunit(&mut self) -> Vec<ktap::Nested> {
        self.kunit.take().map(Collector::finish).unwrap_or_default()
    }

    /// Starts another KTAP stream of `cases` cases in a guest that has run some.
    ///
    /// # Errors
    ///
    /// As for [`Session::boot`].
    pub fn plan_more(&mut self, cases: usize, missing: Missing) -> Result<bool> {
        Ok(self.plan(cases, missing)?.is_none())
    }

    fn plan(&mut self, cases: usize, missing: Missing) -> Result<Option<End>> {
        self.number = 0;
        self.send(&Command::Plan { cases, missing });
        let until = Instant::now() + self.deadlines.cleanup();
        for expected in [ktap::Line::Version, ktap::Line::Plan(cases)] {
            match self.next_line(until)? {
                Ok(line) if ktap::parse(&line).1 == expected => {}
                Ok(line) => return Ok(Some(End::Nonsense(line))),
                Err(end) => return Ok(Some(end)),
            }
        }
        Ok(None)
    }

    /// Runs one case to its end, whatever that is.
    ///
    /// # Errors
    ///
    /// On Ctrl-C, or when the disk is full.
    pub fn case(&mut self, trial: &Trial) -> Result<CaseEnd> {
        let id = trial.id();
        let deadline = self.deadlines.case(self.boot, trial.case.patience);
        self.number += 1;
        self.send(&Command::Case {
            name: trial.case.name.clone(),
            who: trial.who.clone(),
            deadline_ms: deadline.as_millis() as u64,
        });
        let mut case = Case::new(&id, &trial.case.spec, self.number);
        let mut until = Instant::now() + deadline + self.deadlines.silence();
        let end = loop {
            if case.is_over() {
                // Whatever came along with the verdict belongs to this case as well.
                let more = self.guest.pending_control();
                break more.map(|line| End::Nonsense(format!("after the verdict came: {line}")));
            }
            match self.guest.next(until, None)? {
                Some(Input::Console(bytes)) => {
                    for line in self.console.push(&bytes)? {
                        case.hear(line, &mut self.now, self.detector);
                    }
                }
                Some(Input::Control(line)) => match case.understand(&line) {
                    Ok(()) => until = until.max(Instant::now() + case.patience(self.deadlines)),
                    Err(why) => break Some(End::Nonsense(why)),
                },
                Some(Input::Stdout(_) | Input::Stderr(_)) => {}
                Some(Input::Ended(ending)) => break Some(End::Ended(ending)),
                None if case.judged => {
                    break Some(End::Nonsense("the marks of this case did not show in the kernel log".to_owned()));
                }
                None => break Some(End::Silent),
            }
        };
        let Case { mut result, before, stuck, .. } = case;
        let before = before.unwrap_or_default();
        let mut alive = end.is_none() && !stuck;
        match end {
            None => {
                let during = std::mem::take(&mut self.now);
                alive &= during.panic().is_none();
                during.add_to(&mut result);
                if stuck {
                    self.last_words(&mut result)?;
                }
            }
            Some(end) => self.conclude(&mut result, end, "in this case", deadline)?,
        }
        Ok(CaseEnd { before, result, alive })
    }

    /// Lets the guest do its last checks and end. Returns what the kernel said after the last case, which belongs to it,
    /// and the result of the checks.
    ///
    /// # Errors
    ///
    /// As for [`Session::case`].
    pub fn finish(mut self, kmemleak: bool) -> Result<(Stretch, TestResult)> {
        self.send(&Command::Finish { kmemleak });
        let mut result = TestResult::own("end-of-run", Outcome::Pass, None);
        let until = Instant::now() + self.deadlines.finish();
        let mut before = None;
        let (mut finished, mut bye) = (false, false);
        let end = loop {
            match self.guest.next(until, None)? {
                Some(Input::Console(bytes)) => {
                    for line in self.console.push(&bytes)? {
                        match message(&line).parse() {
                            Ok(Marker::Finishing) => before = Some(std::mem::take(&mut self.now)),
                            Ok(Marker::Finished) => finished = true,
                            _ => self.now.push(line, self.detector),
                        }
                    }
                }
                Some(Input::Control(line)) => match Event::from_line(&line) {
                    Ok(Some(Event::Bye)) => bye = true,
                    _ => break Some(End::Nonsense(line)),
                },
                Some(Input::Stdout(_) | Input::Stderr(_)) => {}
                Some(Input::Ended(_)) if finished && bye => break None,
                Some(Input::Ended(ending)) => break Some(End::Ended(ending)),
                None => break Some(End::Silent),
            }
        };
        match end {
            None => std::mem::take(&mut self.now).add_to(&mut result),
            Some(end) => {
                self.conclude(&mut result, end, "in the checks after the last case", self.deadlines.finish())?;
            }
        }
        Ok((before.unwrap_or_default(), result))
    }

    /// Runs a program in the guest to its end; its streams are those of `ours`, which say how long it may take.
    ///
    /// # Errors
    ///
    /// On Ctrl-C, or when our own standard output cannot be written. A guest that dies is no error but a [`TestResult`].
    pub fn exec(&mut self, command: &Command, ours: &mut impl Streams) -> Result<Result<u8, TestResult>> {
        self.send(command);
        let mut program = Program::default();
        let (start, patience) = (Instant::now(), ours.patience());
        let end = loop {
            if let Some(code) = program.ended() {
                return Ok(Ok(code));
            }
            if patience.is_some_and(|patience| start.elapsed() > patience) {
                break End::Silent;
            }
            if let Some(window) = ours.new_size() {
                self.send(&Command::Resize(window));
            }
            program.feed(&mut self.guest, ours)?;
            match self.guest.next(Instant::now() + program.pause(), ours.input().filter(|_| program.takes_input()))? {
                Some(Input::Console(bytes)) => {
                    for line in self.console.push(&bytes)? {
                        self.now.push(line, self.detector);
                    }
                }
                Some(Input::Stdout(bytes)) => {
                    program.stdout += bytes.len() as u64;
                    ours.stdout(&bytes)?;
                }
                Some(Input::Stderr(bytes)) => {
                    program.stderr += bytes.len() as u64;
                    ours.stderr(&bytes)?;
                }
                Some(Input::Control(line)) => match Event::from_line(&line) {
                    Ok(Some(Event::Exited { code, stdout, stderr })) => program.exited = Some((code, stdout, stderr)),
                    _ => break End::Nonsense(line),
                },
                Some(Input::Ended(ending)) => break End::Ended(ending),
                None => {}
            }
        };
        let mut result = TestResult::own("run", Outcome::Pass, None);
        self.conclude(&mut result, end, "while the program ran", patience.unwrap_or_default())?;
        Ok(Err(result))
    }

    /// Gives the guest up, for one to keep its state as a snapshot.
    pub fn into_guest(self) -> Guest {
        self.guest
    }

    fn send(&mut self, command: &Command) {
        // If the guest is gone, the wait for its answer tells, with all that is known by then.
        let _ = self.guest.send(&command.to_line());
    }

    /// Waits for the next line on the control port, and hears what the console says meanwhile.
    fn next_line(&mut self, until: Instant) -> Result<Result<String, End>> {
        loop {
            match self.guest.next(until, None)? {
                Some(Input::Console(bytes)) => {
                    for line in self.console.push(&bytes)? {
                        if let Some(kunit) = &mut self.kunit {
                            kunit.push(message(&line));
                        }
                        self.now.push(line, self.detector);
                    }
                }
                Some(Input::Control(line)) => return Ok(Ok(line)),
                Some(Input::Stdout(_) | Input::Stderr(_)) => {}
                Some(Input::Ended(ending)) => return Ok(Err(End::Ended(ending))),
                None => return Ok(Err(End::Silent)),
            }
        }
    }

    /// Writes down why a guest that did not do its part is given up.
    fn conclude(&mut self, result: &mut TestResult, end: End, when: &str, deadline: Duration) -> Result<()> {
        if let Some(rest) = self.console.rest() {
            self.now.push(rest, self.detector);
        }
        let now = std::mem::take(&mut self.now);
        let panic = now.panic().map(|splat| splat.line.clone());
        let (outcome, why) = match (&end, panic) {
            (End::Ended(_), Some(panic)) => (Outcome::Crash, format!("the kernel died {when}: {panic}")),
            (End::Ended(ending), None) => (Outcome::Lost, lost(ending, when)),
            (End::Nonsense(line), _) => (Outcome::Lost, format!("the guest made no sense {when}: {line}")),
            (End::Silent, panic) => {
                let cause = panic.map(|line| format!(", after: {line}")).unwrap_or_default();
                (
                    Outcome::Hang,
                    format!("nothing came from the guest {when} within {:.0} s{cause}", deadline.as_secs_f64()),
                )
            }
        };
        result.outcome = outcome;
        result.message = Some(match result.message.take() {
            Some(before) => format!("{why}\n{before}"),
            None => why,
        });
        now.add_to(result);
        if !matches!(end, End::Ended(_)) {
            self.last_words(result)?;
        }
        Ok(())
    }

    /// Asks a guest that does not answer what its tasks and CPUs are doing.
    fn last_words(&mut self, result: &mut TestResult) -> Result<()> {
        for key in ['w', 'l'] {
            if let Err(error) = self.guest.sysrq(key) {
                result.kernel_log.push(format!("[the emergency key {key} could not be typed: {error:#}]"));
            }
        }
        let until = Instant::now() + LAST_WORDS;
        let mut words = Excerpt::default();
        while let Some(input) = self.guest.next(until, None)? {
            match input {
                Input::Console(bytes) => {
                    for line in self.console.push(&bytes)? {
                        words.push(demangled(line));
                    }
                }
                Input::Ended(_) => break,
                _ => {}
            }
        }
        result.kernel_log.extend(words.lines());
        match self.guest.qmp().human("info registers -a") {
            Ok(registers) => {
                result.kernel_log.push("[QEMU's info registers -a]".to_owned());
                let named =
                    |line: &&str| line.starts_with("CPU#") || line.starts_with("RAX") || line.starts_with("RIP");
                result.kernel_log.extend(registers.lines().filter(named).map(str::to_owned));
            }
            Err(error) => result.kernel_log.push(format!("[no registers: {error:#}]")),
        }
        Ok(())
    }
}

/// Where the streams of a program in the guest come from and go to.
pub trait Streams {
    /// What to wait for before [`Streams::read`] has something; nothing once the input has ended.
    fn input(&self) -> Option<BorrowedFd<'_>>;
    /// The next input, if there is some now; empty at its end.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or the person wants to leave.
    fn read(&mut self) -> Result<Option<Vec<u8>>>;
    /// The program printed this.
    ///
    /// # Errors
    ///
    /// When it cannot be passed on.
    fn stdout(&mut self, bytes: &[u8]) -> Result<()>;
    /// The program printed this on its standard error.
    ///
    /// # Errors
    ///
    /// When it cannot be passed on.
    fn stderr(&mut self, bytes: &[u8]) -> Result<()>;
    /// The terminal's size, if it has changed.
    fn new_size(&mut self) -> Option<Window>;
    /// How long the program may take; without end if a person watches it.
    fn patience(&self) -> Option<Duration> {
        None
    }
}

/// A program under way in the guest.
#[derive(Debug, Default)]
struct Program {
    /// Input that the guest has not taken yet.
    waiting: Vec<u8>,
    input_ended: bool,
    stdout: u64,
    stderr: u64,
    /// Its exit code, and how much it has printed on either stream.
    exited: Option<(u8, u64, u64)>,
}

impl Program {
    /// Its exit code, once all it printed has arrived.
    fn ended(&self) -> Option<u8> {
        let (code, stdout, stderr) = self.exited?;
        (self.stdout >= stdout && self.stderr >= stderr).then_some(code)
    }

    fn takes_input(&self) -> bool {
        self.waiting.is_empty() && !self.input_ended
    }

    /// How long to wait for news; short while input waits, as nothing tells when the guest takes some.
    fn pause(&self) -> Duration {
        Duration::from_millis(if self.waiting.is_empty() { 200 } else { 2 })
    }

    fn feed(&mut self, guest: &mut Guest, ours: &mut impl Streams) -> Result<()> {
        if self.takes_input()
            && let Some(bytes) = ours.read()?
        {
            self.input_ended = bytes.is_empty();
            self.waiting = bytes;
            if self.input_ended {
                guest.end_feed();
            }
        }
        if !self.waiting.is_empty() {
            // If the guest is gone, the next input from it tells.
            let taken = guest.feed(&self.waiting).unwrap_or(self.waiting.len());
            self.waiting.drain(..taken);
        }
        Ok(())
    }
}

fn lost(ending: &Ending, when: &str) -> String {
    let said = if ending.said.is_empty() { String::new() } else { format!("; QEMU said: {}", ending.said) };
    format!("the guest ended {when} without a verdict (QEMU: {}){said}", ending.status)
}

/// A case under way.
struct Case<'case> {
    id: &'case str,
    number: usize,
    result: TestResult,
    /// What the kernel said before the case started.
    before: Option<Stretch>,
    ended: bool,
    judged: bool,
    /// Its deadline has passed, as the guest says.
    overdue: bool,
    stuck: bool,
}

impl<'case> Case<'case> {
    fn new(id: &'case str, spec: &[String], number: usize) -> Self {
        let mut result = TestResult::own(id, Outcome::Pass, None);
        result.spec = spec.to_vec();
        Self { id, number, result, before: None, ended: false, judged: false, overdue: false, stuck: false }
    }

    /// The verdict is there, and the console has caught up with it.
    fn is_over(&self) -> bool {
        self.judged && self.ended
    }

    /// How much longer than now the guest may be silent.
    fn patience(&self, deadlines: &Deadlines) -> Duration {
        if self.judged { deadlines.lag() } else { deadlines.cleanup() }
    }

    /// Takes a line of the console.
    fn hear(&mut self, line: String, now: &mut Stretch, detector: &Detector) {
        match message(&line).parse() {
            Ok(Marker::Start(id)) if id == self.id && self.before.is_none() => self.before = Some(std::mem::take(now)),
            Ok(Marker::End(id)) if id == self.id && self.before.is_some() => self.ended = true,
            _ => now.push(line, detector),
        }
    }

    /// Takes a line of the control port.
    fn understand(&mut self, line: &str) -> Result<(), String> {
        if self.judged {
            return Err(format!("after the verdict came: {line}"));
        }
        match Event::from_line(line).map_err(|error| format!("{error}: {line}"))? {
            Some(Event::Took { ms }) => self.result.duration_ms = ms,
            Some(Event::Failed { message }) => self.result.message = Some(message),
            Some(Event::Overdue) => self.overdue = true,
            Some(Event::Stuck) => self.stuck = true,
            Some(other) => return Err(format!("{other:?}")),
            None => match ktap::parse(line) {
                (0, ktap::Line::Result(result)) => self.judge(&result)?,
                (0, ktap::Line::Diagnostic(text)) => {
                    let text = text.strip_prefix("# ").unwrap_or(&text[1..]);
                    self.result.output.push(text.to_owned());
                }
                _ => return Err(line.to_owned()),
            },
        }
        Ok(())
    }

    fn judge(&mut self, line: &ktap::ResultLine<'_>) -> Result<(), String> {
        if (line.name, line.number) != (self.id, self.number) {
            return Err(format!("a result for {} as number {}", line.name, line.number));
        }
        self.judged = true;
        self.result.outcome = match (line.ok, line.skip) {
            _ if self.overdue || self.stuck => Outcome::Hang,
            (true, Some(reason)) => {
                self.result.message = Some(reason.to_owned());
                Outcome::Skip
            }
            (true, None) => Outcome::Pass,
            (false, _) => Outcome::Fail,
        };
        Ok(())
    }
}

/// How a guest's boot is judged: by what the kernel said until the first case, which `before` is.
pub fn boot_result(before: Stretch, took: Duration) -> TestResult {
    let mut result = TestResult::own("boot", Outcome::Pass, None);
    result.duration_ms = took.as_millis() as u64;
    before.add_to(&mut result);
    result
}

/// Makes sure that the console's recording can be named in an error.
pub fn log_path(folder: &Path, number: usize) -> Result<std::path::PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.join(format!("console-{number}.log")))
}
