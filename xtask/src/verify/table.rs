//! A verification as a table.

use std::fmt::Write as _;

use crate::verify::{Report, Step, build::Built};

/// The table and what is wrong, for a terminal.
pub fn full(report: &Report) -> String {
    let mut text = plain(report);
    for line in report.steps.iter().flat_map(faults) {
        let _ = write!(text, "\n{line}");
    }
    for fault in &report.faults {
        let _ = write!(text, "\n{fault}");
    }
    text
}

/// What is wrong with one prefix, each fault with the name of its last patch.
pub fn faults(step: &Step) -> Vec<String> {
    let name = &step.name;
    let built = step.builds.iter().flat_map(|built| {
        let boot = built.boot.iter().flat_map(|boot| &boot.faults);
        let faults = built.fault.iter().chain(&built.new_warnings).chain(boot);
        faults.map(move |fault| format!("{name}, {}: {}", built.switch, indent(fault)))
    });
    let judged = step.gates.iter().flat_map(|(gate, verdict)| {
        verdict.told().into_iter().map(move |line| format!("{name}, {gate}: {}", indent(line)))
    });
    built.chain(judged).collect()
}

/// The table alone, for a cover letter.
pub fn plain(report: &Report) -> String {
    let head = ["patch", "build s", "boot ms", "cases", "warn", "C", "Rust", "docs", "checks"];
    let mut rows: Vec<Vec<String>> = vec![head.iter().map(ToString::to_string).collect()];
    rows.extend(report.steps.iter().map(row));
    let mut widths: Vec<usize> =
        (0..head.len()).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let others: usize = widths[1..].iter().map(|width| width + 2).sum();
    widths[0] = widths[0].min(WIDTH.saturating_sub(others).max(NAME));
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 {
                format!("{:<width$}", cell.chars().take(*width).collect::<String>())
            } else {
                format!("{cell:>width$}")
            }
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    let _ = write!(
        text,
        "Linux {}. Where there are two numbers, the option is off and on. A case\n\
         counts from the patch on that makes it pass, and has to pass from then on.",
        report.version
    );
    for whole in &report.whole {
        let (config, passed, skipped) = (&whole.config, whole.passed, whole.skipped);
        let _ = write!(text, "\n{WHOLE} configuration {config}: {passed} cases passed, {skipped} skipped");
        if whole.kunit > 0 {
            let _ = write!(text, ",\n  and {} KUnit tests and documentation examples passed", whole.kunit);
        }
        text.push('.');
    }
    text
}

/// The part of the table `plain` that is about the first `count` patches. What is said of all patches goes.
pub fn start(plain: &str, count: usize) -> String {
    let among = |line: &&str| {
        let number = line.split_once('-').and_then(|(number, _)| number.parse::<usize>().ok());
        number.is_none_or(|number| number <= count)
    };
    let lines = plain.lines().take_while(|line| !line.starts_with(WHOLE)).filter(among);
    lines.collect::<Vec<_>>().join("\n")
}

/// How wide the table may be, in a mail.
const WIDTH: usize = 78;
/// What a line about the whole series starts with.
const WHOLE: &str = "All patches,";
/// What is left of a patch's name even in a wide table: its number, and something of its subject.
const NAME: usize = 12;

fn row(step: &Step) -> Vec<String> {
    let each = |cell: &dyn Fn(&Built) -> String| {
        let cells: Vec<String> = step.builds.iter().map(cell).collect();
        if cells.is_empty() { "-".to_owned() } else { cells.join("/") }
    };
    let build = |built: &Built| match &built.fault {
        Some(_) => "FAILED".to_owned(),
        None => format!("{:.0}", built.seconds),
    };
    let boot = |built: &Built| match &built.boot {
        Some(boot) => boot.boot_ms.map_or_else(|| "FAILED".to_owned(), |ms| ms.to_string()),
        None => "-".to_owned(),
    };
    let cases = |built: &Built| match &built.boot {
        Some(boot) if !boot.faults.is_empty() => format!("{} FAILED", boot.faults.len()),
        Some(boot) => boot.passed.to_string(),
        None => "-".to_owned(),
    };
    let bad = step.gates.iter().filter(|(_, verdict)| verdict.is_bad()).count();
    let run = step.gates.iter().filter(|(_, verdict)| !verdict.is_skipped()).count();
    let count = |lines: usize| if lines == 0 { "-".to_owned() } else { lines.to_string() };
    vec![
        step.name.clone(),
        each(&build),
        each(&boot),
        each(&cases),
        each(&|built| built.new_warnings.len().to_string()),
        count(step.lines.c),
        count(step.lines.rust),
        count(step.lines.docs),
        match (run, bad) {
            (0, _) => "-".to_owned(),
            (run, 0) => format!("{run} ok"),
            (_, bad) => format!("{bad} FAILED"),
        },
    ]
}

fn indent(text: &str) -> String {
    text.replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Verdict;
    use crate::verify::{Lines, Switch, boot::Boot, gate::Gate, whole_suite::Whole};

    fn report() -> Report {
        let boot = |failed| Boot {
            boot_ms: Some(1234),
            passed: 57,
            not_yet: 3,
            skipped: 2,
            faults: (0..failed).map(|_| "a/root: EBUSY".to_owned()).collect(),
        };
        let built = |switch, failed| Built {
            switch,
            seconds: 41.6,
            new_warnings: Vec::new(),
            fault: None,
            boot: Some(boot(failed)),
        };
        let step = |number, name: &str, failed| Step {
            number,
            name: name.to_owned(),
            lines: Lines { c: 7, rust: 0, docs: 120 },
            builds: vec![built(Switch::Off, 0), built(Switch::On, failed)],
            gates: vec![(Gate::Checkpatch, Verdict::Passed)],
        };
        let steps = vec![step(0, "Linux 7.3.4", 0), step(1, "0001-loop-undo-the-backing-file-when-it-is-refused", 1)];
        let whole = Whole { config: "debug".to_owned(), passed: 311, skipped: 1, kunit: 250, failures: Vec::new() };
        Report { version: "7.3.4".to_owned(), steps, whole: vec![whole], faults: Vec::new() }
    }

    #[test]
    fn the_table_fits_a_mail_and_tells_what_failed() {
        let text = full(&report());
        let table: Vec<&str> = text.lines().take(3).collect();
        assert!(table.iter().all(|line| line.len() <= 78), "{text}");
        assert!(plain(&report()).lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains("configuration debug: 311 cases passed, 1 skipped,\n  and 250 KUnit tests"), "{text}");
        assert!(table[1].contains("42/42") && table[1].contains("57/57"), "{text}");
        assert!(table[2].contains("57/1 FAILED"), "{text}");
        assert!(
            text.contains("0001-loop-undo-the-backing-file-when-it-is-refused, option on: a/root: EBUSY"),
            "{text}"
        );
    }

    #[test]
    fn the_start_of_the_table_is_about_the_first_patches_only() {
        let mut report = report();
        let second = Step { name: "0002-loop-add-private-devices".to_owned(), ..report.steps[1].clone() };
        report.steps.push(second);
        let text = start(&plain(&report), 1);
        assert!(text.starts_with("patch ") && text.ends_with("from then on."), "{text}");
        assert!(text.contains("\nLinux 7.3.4  ") && text.contains("\n0001-loop-undo"), "{text}");
        assert!(!text.contains("0002-"), "{text}");
    }

    #[test]
    fn a_report_with_a_failed_case_is_not_good() {
        assert!(!report().is_good());
        let mut good = report();
        good.steps.pop();
        assert!(good.is_good());
        good.faults.push("an exception excuses nothing".to_owned());
        assert!(!good.is_good());
    }
}
