//! Reads KTAP 1 (`Documentation/dev-tools/ktap.rst`), as our guest and the kernel's KUnit write it.

/// What one line of a KTAP stream means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// `KTAP version 1`: a stream, or a stream nested in another, starts.
    Version,
    /// `1..N`
    Plan(usize),
    /// `# Subtest: NAME`
    Subtest(&'a str),
    /// A result.
    Result(ResultLine<'a>),
    /// Any other line that starts with `#`, with the `#`.
    Diagnostic(&'a str),
    /// Not KTAP: output that got between.
    Other,
}

/// `ok 1 name # SKIP reason`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultLine<'a> {
    /// `ok`, not `not ok`.
    pub ok: bool,
    /// The result's number within its stream.
    pub number: usize,
    /// The test's name.
    pub name: &'a str,
    /// The directive's text after `SKIP`.
    pub skip: Option<&'a str>,
}

/// Reads one line without its line feed; also returns how far it is indented.
pub fn parse(line: &str) -> (usize, Line<'_>) {
    let text = line.trim_start_matches(' ');
    let indent = line.len() - text.len();
    (indent, meaning(text.trim_end()))
}

fn meaning(text: &str) -> Line<'_> {
    if text == "KTAP version 1" || text == "TAP version 14" {
        return Line::Version;
    }
    if let Some(count) = text.strip_prefix("1..") {
        return count.parse().map_or(Line::Other, Line::Plan);
    }
    if let Some(name) = text.strip_prefix("# Subtest: ") {
        return Line::Subtest(name);
    }
    if text.starts_with('#') {
        return Line::Diagnostic(text);
    }
    result(text).map_or(Line::Other, Line::Result)
}

fn result(text: &str) -> Option<ResultLine<'_>> {
    let (ok, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
    let skip = directive.get(..4).filter(|word| word.eq_ignore_ascii_case("SKIP")).map(|_| directive[4..].trim());
    let name = name.strip_prefix("- ").unwrap_or(name);
    Some(ResultLine { ok, number: number.parse().ok()?, name, skip })
}

/// How one test of a nested stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nested {
    /// The names of its suites and its own, joined with `/`.
    pub name: String,
    /// Why it failed: its diagnostics.
    pub failure: Option<String>,
    /// Why it was skipped.
    pub skip: Option<String>,
}

/// Collects the results of nested streams, such as KUnit prints while the kernel boots.
///
/// A suite counts by its tests; its own result counts only when it fails and none of its tests did.
#[derive(Debug, Default)]
pub struct Collector {
    open: Vec<Stream>,
    results: Vec<Nested>,
}

#[derive(Debug)]
struct Stream {
    indent: usize,
    name: String,
    planned: Option<usize>,
    seen: usize,
    failed: bool,
    diagnostics: Vec<String>,
}

impl Collector {
    /// Takes the next line, without the time stamp the console puts before it.
    pub fn push(&mut self, text: &str) {
        let (indent, line) = parse(text);
        match line {
            Line::Version => {
                self.close_deeper_than(indent.saturating_sub(1));
                self.open.push(Stream::new(indent));
            }
            Line::Subtest(name) => {
                // Older writers start a nested stream with this line alone.
                if self.open.last().is_none_or(|stream| stream.indent < indent) && !self.open.is_empty() {
                    self.open.push(Stream::new(indent));
                }
                if let Some(stream) = self.open.last_mut().filter(|stream| stream.indent == indent) {
                    name.clone_into(&mut stream.name);
                }
            }
            Line::Plan(count) => {
                if let Some(stream) = self.open.last_mut().filter(|stream| stream.indent == indent) {
                    stream.planned = Some(count);
                }
            }
            Line::Result(result) => self.result(indent, &result),
            Line::Diagnostic(text) => {
                if let Some(stream) = self.open.last_mut() {
                    stream.diagnostics.push(text.to_owned());
                }
            }
            Line::Other => {}
        }
    }

    /// Everything that ended. A stream that is still open or came short of its plan counts as a failure of its own.
    pub fn finish(mut self) -> Vec<Nested> {
        while let Some(stream) = self.open.pop() {
            if let Some(failure) = stream.shortfall() {
                let name = self.path(&stream.name);
                self.results.push(Nested { name, failure: Some(failure), skip: None });
            }
        }
        self.results
    }

    fn result(&mut self, indent: usize, result: &ResultLine<'_>) {
        let suite = self.close_deeper_than(indent);
        if self.open.last().is_none_or(|stream| stream.indent != indent) {
            return;
        }
        let name = self.path(result.name);
        let Some(stream) = self.open.last_mut() else { return };
        stream.seen += 1;
        stream.failed |= !result.ok;
        let mut failure = stream.diagnostics.join("\n");
        stream.diagnostics.clear();
        match suite {
            Some(suite) if result.ok || suite.failed => return,
            Some(suite) => failure = suite.diagnostics.join("\n"),
            None => {}
        }
        let failure = (!result.ok).then_some(failure);
        self.results.push(Nested { name, failure, skip: result.skip.map(str::to_owned) });
    }

    /// Ends the streams nested deeper than `indent` and returns the outermost of them.
    fn close_deeper_than(&mut self, indent: usize) -> Option<Stream> {
        let mut outermost = None;
        while self.open.last().is_some_and(|stream| stream.indent > indent) {
            let mut stream = self.open.pop()?;
            if let Some(failure) = stream.shortfall() {
                stream.failed = true;
                let name = self.path(&stream.name);
                self.results.push(Nested { name, failure: Some(failure), skip: None });
            }
            outermost = Some(stream);
        }
        outermost
    }

    fn path(&self, name: &str) -> String {
        let suites = self.open.iter().map(|stream| stream.name.as_str()).filter(|name| !name.is_empty());
        suites.chain([name]).collect::<Vec<_>>().join("/")
    }
}

impl Stream {
    fn new(indent: usize) -> Self {
        Self { indent, name: String::new(), planned: None, seen: 0, failed: false, diagnostics: Vec::new() }
    }

    fn shortfall(&self) -> Option<String> {
        let planned = self.planned?;
        (self.seen != planned).then(|| format!("{} results came where {planned} were planned", self.seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(log: &str) -> Vec<Nested> {
        let mut collector = Collector::default();
        log.lines().for_each(|line| collector.push(line));
        collector.finish()
    }

    #[test]
    fn result_lines_of_all_kinds_are_read() {
        let read = |line| match parse(line) {
            (_, Line::Result(result)) => Some((result.ok, result.number, result.name, result.skip)),
            _ => None,
        };
        assert_eq!(read("ok 1 a/root"), Some((true, 1, "a/root", None)));
        assert_eq!(read("not ok 12 a/root"), Some((false, 12, "a/root", None)));
        assert_eq!(read("ok 3 a # SKIP no FUSE"), Some((true, 3, "a", Some("no FUSE"))));
        assert_eq!(read("ok 3 - a # skip"), Some((true, 3, "a", Some(""))));
        assert_eq!(read("okay 3 a"), None);
        assert_eq!(read("ok three"), None);
    }

    #[test]
    fn a_name_with_a_short_directive_in_another_script_does_not_upset_the_reader() {
        assert_eq!(parse("ok 1 a # äé").1, Line::Result(ResultLine { ok: true, number: 1, name: "a", skip: None }));
    }

    const KUNIT: &str = "\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: loopfs_name
    # module: loopfs
    1..3
    ok 1 accepts_what_rename_may_make
loop: module loaded
    # refuses: EXPECTATION FAILED at drivers/block/loopfs/name.rs:40
    not ok 2 refuses
    ok 3 needs_smp # SKIP one CPU
# loopfs_name: pass:1 fail:1 skip:1 total:3
not ok 1 loopfs_name
    KTAP version 1
    # Subtest: rust_doctests_kernel
    1..1
    ok 1 rust_doctest_kernel_fs_rs_0
ok 2 rust_doctests_kernel
";

    #[test]
    fn a_kunit_log_with_a_failure_a_skip_and_noise_is_read_test_by_test() {
        let results = collect(KUNIT);
        let names: Vec<&str> = results.iter().map(|r| r.name.as_str()).collect();
        let expected = [
            "loopfs_name/accepts_what_rename_may_make",
            "loopfs_name/refuses",
            "loopfs_name/needs_smp",
            "rust_doctests_kernel/rust_doctest_kernel_fs_rs_0",
        ];
        assert_eq!(names, expected);
        assert!(results[1].failure.as_ref().unwrap().contains("EXPECTATION FAILED at drivers/block/loopfs/name.rs:40"));
        assert_eq!(results[2].skip.as_deref(), Some("one CPU"));
        assert_eq!(results.iter().filter(|r| r.failure.is_some()).count(), 1);
    }

    #[test]
    fn a_suite_that_fails_without_a_failed_test_is_a_failure() {
        let log = KUNIT.replace("    not ok 2 refuses", "    ok 2 refuses");
        let failed: Vec<_> = collect(&log).into_iter().filter(|r| r.failure.is_some()).map(|r| r.name).collect();
        assert_eq!(failed, ["loopfs_name"]);
    }

    #[test]
    fn a_log_that_breaks_off_is_a_failure() {
        let end = KUNIT.find("    ok 1 rust_doctest").unwrap();
        let failed: Vec<_> = collect(&KUNIT[..end]).into_iter().filter(|r| r.failure.is_some()).collect();
        let names: Vec<_> = failed.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["loopfs_name/refuses", "rust_doctests_kernel", ""]);
        assert_eq!(failed[1].failure.as_deref(), Some("0 results came where 1 were planned"));
    }

    #[test]
    fn a_log_without_ktap_has_no_results() {
        assert_eq!(collect("Linux version 7.3.4\nok then\nok 1 this is no test\n"), []);
    }
}
