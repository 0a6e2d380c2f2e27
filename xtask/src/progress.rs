//! Shows how far long work is: a bar or a spinner when standard error is a terminal, a line now and
//! then when it is not (CI, a pipe).

use std::{
    borrow::Cow,
    io::{IsTerminal as _, Write},
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

/// All bars share the terminal, so that lines printed between them do not tear them apart.
static TERMINAL: LazyLock<Option<MultiProgress>> = LazyLock::new(|| {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    (std::io::stderr().is_terminal() && !dumb).then(MultiProgress::new)
});

/// The time between two lines of one piece of work when standard error is not a terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// Prints a line on standard error, above whatever bars are shown.
pub fn say(line: &str) {
    match &*TERMINAL {
        // A terminal that cannot be written to leaves nowhere to report that to.
        Some(terminal) => drop(terminal.suspend(|| writeln!(std::io::stderr(), "{line}"))),
        None => drop(writeln!(std::io::stderr(), "{line}")),
    }
}

/// Prints a line on standard output, above whatever bars are shown.
pub fn show(line: &str) {
    match &*TERMINAL {
        // Standard output that is closed leaves nowhere to report that to.
        Some(terminal) => drop(terminal.suspend(|| writeln!(std::io::stdout(), "{line}"))),
        None => drop(writeln!(std::io::stdout(), "{line}")),
    }
}

/// Whether progress is shown as bars, which need the terminal for themselves.
pub fn has_bars() -> bool {
    TERMINAL.is_some()
}

/// What the numbers of a [`Progress`] count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// Nothing is known but that it goes on.
    Unknown,
    Steps,
    Bytes,
}

/// One piece of long work. Dropped without [`Progress::done`], it disappears: the error that ended it is told elsewhere.
#[derive(Debug)]
pub struct Progress {
    title: Cow<'static, str>,
    start: Instant,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

impl Progress {
    /// Work of `total` steps.
    pub fn steps(title: impl Into<Cow<'static, str>>, total: u64) -> Self {
        Self::new(title.into(), Unit::Steps, total)
    }

    /// Work on `total` bytes.
    pub fn bytes(title: impl Into<Cow<'static, str>>, total: u64) -> Self {
        Self::new(title.into(), Unit::Bytes, total)
    }

    /// Work whose size is not known.
    pub fn spinner(title: impl Into<Cow<'static, str>>) -> Self {
        Self::new(title.into(), Unit::Unknown, 0)
    }

    fn new(title: Cow<'static, str>, unit: Unit, total: u64) -> Self {
        let start = Instant::now();
        let shown = match &*TERMINAL {
            Some(terminal) => {
                let bar = terminal.add(ProgressBar::new(total).with_style(style(unit)).with_message(title.clone()));
                bar.enable_steady_tick(Duration::from_millis(120));
                Shown::Bar(bar)
            }
            None => {
                say(&format!("{title} ..."));
                Shown::Lines(Mutex::new(Lines { unit, total, position: 0, detail: String::new(), last: start }))
            }
        };
        Self { title, start, shown }
    }

    /// Says how much is done, in the unit this was made with. A total that turns out too small grows along.
    pub fn set(&self, position: u64) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_position(position);
                grow(bar);
            }
            Shown::Lines(lines) => self.tell(lines, |lines| lines.position = position),
        }
    }

    /// Says that `delta` more is done, as [`Progress::set`] does.
    pub fn add(&self, delta: u64) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.inc(delta);
                grow(bar);
            }
            Shown::Lines(lines) => self.tell(lines, |lines| lines.position += delta),
        }
    }

    /// Corrects the total when more becomes known.
    pub fn set_total(&self, total: u64) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_length(total),
            Shown::Lines(lines) => self.tell(lines, |lines| lines.total = total),
        }
    }

    /// What is being worked on right now, such as a file name.
    pub fn detail(&self, text: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_prefix(text.to_owned()),
            Shown::Lines(lines) => self.tell(lines, |lines| text.clone_into(&mut lines.detail)),
        }
    }

    /// Ends the work with a line that says what came out of it and how long it took.
    pub fn done(self, outcome: &str) {
        let line = format!("{}: {outcome} ({})", self.title, seconds(self.start.elapsed()));
        drop(self);
        say(&line);
    }

    fn tell(&self, lines: &Mutex<Lines>, change: impl FnOnce(&mut Lines)) {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut lines);
        lines.total = lines.total.max(lines.position);
        if let Some(line) = lines.due(&self.title, Instant::now()) {
            say(&line);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let (Shown::Bar(bar), Some(terminal)) = (&self.shown, &*TERMINAL) {
            bar.finish_and_clear();
            terminal.remove(bar);
        }
    }
}

fn grow(bar: &ProgressBar) {
    if bar.length().is_some_and(|length| length < bar.position()) {
        bar.set_length(bar.position());
    }
}

fn style(unit: Unit) -> ProgressStyle {
    let template = match unit {
        Unit::Unknown => "{spinner} {msg} [{elapsed}] {pos} {prefix:.dim}",
        Unit::Steps => "{spinner} {msg} [{elapsed}] {wide_bar} {pos}/{len} eta {eta} {prefix:.dim}",
        Unit::Bytes => "{spinner} {msg} [{elapsed}] {wide_bar} {binary_bytes}/{binary_total_bytes} eta {eta}",
    };
    ProgressStyle::with_template(template).expect("the templates above are well-formed")
}

/// The state behind the plain lines.
#[derive(Debug)]
struct Lines {
    unit: Unit,
    total: u64,
    position: u64,
    detail: String,
    last: Instant,
}

impl Lines {
    /// The line to print at `now`, or nothing if the last one is younger than [`INTERVAL`].
    fn due(&mut self, title: &str, now: Instant) -> Option<String> {
        if now.duration_since(self.last) < INTERVAL {
            return None;
        }
        self.last = now;
        let amount = match self.unit {
            Unit::Unknown if self.position == 0 => String::new(),
            Unit::Unknown => format!(" {}", self.position),
            Unit::Steps => format!(" {}/{}{}", self.position, self.total, self.percent()),
            Unit::Bytes => format!(" {}/{}{}", HumanBytes(self.position), HumanBytes(self.total), self.percent()),
        };
        let detail = if self.detail.is_empty() { String::new() } else { format!(" {}", self.detail) };
        Some(format!("{title}:{amount}{detail}"))
    }

    fn percent(&self) -> String {
        match (self.position * 100).checked_div(self.total) {
            Some(percent) => format!(" ({percent} %)"),
            None => String::new(),
        }
    }
}

/// `0.4 s`, `12 s`, `3 min 05 s`.
pub fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    match duration.as_secs() {
        0..10 => format!("{}.{} s", tenths / 10, tenths % 10),
        s @ 10..60 => format!("{s} s"),
        s => format!("{} min {:02} s", s / 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_that_is_too_small_grows_along() {
        let progress = Progress {
            title: "build".into(),
            start: Instant::now(),
            shown: Shown::Lines(Mutex::new(lines(Unit::Steps, 10))),
        };
        progress.add(12);
        let Shown::Lines(lines) = &progress.shown else { unreachable!("it was made with lines") };
        assert_eq!(lines.lock().unwrap().total, 12);
    }

    fn lines(unit: Unit, total: u64) -> Lines {
        Lines { unit, total, position: 0, detail: String::new(), last: Instant::now() }
    }

    #[test]
    fn plain_lines_come_no_faster_than_the_interval() {
        let mut lines = lines(Unit::Steps, 200);
        let start = lines.last;
        lines.position = 50;
        assert_eq!(lines.due("build", start + INTERVAL / 2), None);
        assert_eq!(lines.due("build", start + INTERVAL).as_deref(), Some("build: 50/200 (25 %)"));
        assert_eq!(lines.due("build", start + INTERVAL + INTERVAL / 2), None);
    }

    #[test]
    fn a_plain_line_names_what_is_being_worked_on() {
        let mut lines = lines(Unit::Unknown, 0);
        lines.detail = "fs/inode.c".to_owned();
        let now = lines.last + INTERVAL;
        assert_eq!(lines.due("unpack", now).as_deref(), Some("unpack: fs/inode.c"));
    }

    #[test]
    fn bytes_are_shown_in_units_a_person_reads() {
        let mut lines = lines(Unit::Bytes, 4 << 20);
        lines.position = 1 << 20;
        let now = lines.last + INTERVAL;
        assert_eq!(lines.due("download", now).as_deref(), Some("download: 1.00 MiB/4.00 MiB (25 %)"));
    }

    #[test]
    fn durations_lose_precision_as_they_grow() {
        assert_eq!(seconds(Duration::from_millis(440)), "0.4 s");
        assert_eq!(seconds(Duration::from_millis(59_900)), "59 s");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 05 s");
    }
}
