//! loopfs compared with the stock loop driver: the same command lines, on the host and in a container.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::reason::Reason;
use crate::suite::outcome::{Outcome, TestResult};

/// Where the differences that are as they should be are written down.
const FILE: &str = "ci/clients/differences.toml";

/// The columns of the table: as whom a case runs, and what that is.
const COLUMNS: [(&str, &str); 4] = [
    ("stock", "host, stock"),
    ("root", "host, loopfs"),
    ("stock-userns", "container, stock"),
    ("userns", "container, loopfs"),
];

/// Differences between the drivers that are as they should be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Differences {
    #[serde(default, rename = "difference")]
    entries: Vec<Difference>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    who: String,
    cases: Vec<String>,
    says: Vec<String>,
    because: Reason,
}

impl Differences {
    /// Those of the repository `root`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or names nobody of those that cases run as.
    pub fn read(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let differences: Self = toml::from_str(text).with_context(|| format!("cannot read {FILE}"))?;
        for Difference { who, says, .. } in &differences.entries {
            ensure!(COLUMNS.iter().any(|(known, _)| known == who), "{FILE}: no case runs as {who:?}");
            let specific = !says.is_empty() && says.iter().all(|words| !words.trim().is_empty());
            ensure!(specific, "{FILE}: a difference of {who} accepts any failure; `says` has to name words of it");
        }
        Ok(differences)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Judges a result by what is written down: a failure that is expected passes, and one that does not come fails.
    pub fn judge(&self, result: &mut TestResult) {
        let Some((case, who)) = result.name.rsplit_once('/') else { return };
        let Some(entry) = self.find(case, who) else { return };
        match result.outcome {
            // What the kernel warns of, or what is left behind, is never expected.
            Outcome::Fail if result.splats.is_empty() && fails_as(result.message.as_deref(), &entry.says) => {
                result.outcome = Outcome::Pass;
                result.difference = Some(entry.because.to_string());
            }
            Outcome::Pass => {
                result.outcome = Outcome::Fail;
                let because = &entry.because;
                result.message = Some(format!("it works, but is listed in {FILE} as what does not: {because}"));
            }
            _ => {}
        }
    }

    fn find(&self, case: &str, who: &str) -> Option<&Difference> {
        let named = |name: &str| {
            self.entries.iter().find(|entry| entry.who == who && entry.cases.iter().any(|listed| listed == name))
        };
        named(case).or_else(|| named("*"))
    }
}

fn fails_as(message: Option<&str>, says: &[String]) -> bool {
    message.is_some_and(|message| {
        says.iter().any(|words| message.contains(words)) && !message.contains(loopfs_protocol::AFTERWARDS)
    })
}

/// One case, with each driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name.
    pub case: String,
    /// How it ended, in the order of the columns; nothing where it did not run.
    pub cells: Vec<Option<Cell>>,
}

/// How one case ended with one driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// As whom it ran: `stock`, `root`, `stock-userns` or `userns`.
    pub who: &'static str,
    /// What became of it: `works`, `does not`, `FAILED` and so on.
    pub outcome: String,
    /// Why it may not work.
    pub because: Option<String>,
}

/// The comparison, a row for each case that ran with more than one driver, in the order they ran.
pub fn rows(results: &[TestResult]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for result in results {
        let Some((case, who)) = result.name.rsplit_once('/') else { continue };
        let Some(column) = COLUMNS.iter().position(|(name, _)| *name == who) else { continue };
        let at = rows.iter().position(|row| row.case == case).unwrap_or_else(|| {
            rows.push(Row { case: case.to_owned(), cells: vec![None; COLUMNS.len()] });
            rows.len() - 1
        });
        rows[at].cells[column] = Some(cell(COLUMNS[column].0, result));
    }
    rows.retain(|row| row.cells.iter().flatten().count() > 1);
    rows
}

fn cell(who: &'static str, result: &TestResult) -> Cell {
    let outcome = match (result.outcome, &result.difference) {
        (Outcome::Pass, None) => "works".to_owned(),
        (Outcome::Pass, Some(_)) => "does not".to_owned(),
        (other, _) => other.to_string(),
    };
    Cell { who, outcome, because: result.difference.clone() }
}

/// The table for a person, with the reasons under it.
pub fn table(rows: &[Row]) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    let width = rows.iter().map(|row| row.case.len()).max().unwrap_or_default();
    let mut text = format!("{:width$}", "");
    for (_, title) in COLUMNS {
        text.push_str(&format!("  {title:<17}"));
    }
    for row in rows {
        text = format!("{}\n{:width$}", text.trim_end(), row.case);
        for cell in &row.cells {
            let shown = match cell {
                None => "-".to_owned(),
                Some(Cell { outcome, because: Some(because), .. }) => {
                    let number = reasons.iter().position(|reason| reason == because).unwrap_or_else(|| {
                        reasons.push(because);
                        reasons.len() - 1
                    });
                    format!("{outcome} [{}]", number + 1)
                }
                Some(cell) => cell.outcome.clone(),
            };
            text.push_str(&format!("  {shown:<17}"));
        }
    }
    let mut text = text.trim_end().to_owned();
    for (number, reason) in (1..).zip(reasons) {
        text.push_str(&format!("\n[{number}] {reason}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences() -> Differences {
        Differences::parse(
            "[[difference]]\nwho = 'userns'\ncases = ['mount']\nsays = ['not permitted']\nbecause = 'no mount'\n\
             [[difference]]\nwho = 'stock-userns'\ncases = ['*']\nsays = ['denied', 'no such device']\nbecause = 'no devices'\n",
        )
        .unwrap()
    }

    fn judged(name: &str, outcome: Outcome, message: &str) -> TestResult {
        let message = (outcome != Outcome::Pass).then(|| message.to_owned());
        let mut result = TestResult::own(name, outcome, message);
        differences().judge(&mut result);
        result
    }

    #[test]
    fn a_failure_that_is_listed_passes_if_it_says_what_it_should() {
        let result = judged("mount/userns", Outcome::Fail, "mount: not permitted");
        assert_eq!((result.outcome, result.difference.as_deref()), (Outcome::Pass, Some("no mount")));
        assert_eq!(judged("mount/userns", Outcome::Fail, "no such file").outcome, Outcome::Fail);
        assert_eq!(judged("mount/root", Outcome::Fail, "not permitted").outcome, Outcome::Fail);
    }

    #[test]
    fn what_is_left_behind_is_never_expected() {
        let left = format!("not permitted\n{}left a mount", loopfs_protocol::AFTERWARDS);
        assert_eq!(judged("mount/userns", Outcome::Fail, &left).outcome, Outcome::Fail);
        assert_eq!(judged("mount/userns", Outcome::Crash, "not permitted").outcome, Outcome::Crash);
    }

    #[test]
    fn what_works_although_it_is_listed_fails() {
        let result = judged("any/stock-userns", Outcome::Pass, "");
        assert_eq!(result.outcome, Outcome::Fail);
        assert!(result.message.unwrap().contains("no devices"));
        assert_eq!(judged("any/userns", Outcome::Pass, "").outcome, Outcome::Pass);
    }

    #[test]
    fn a_difference_of_nobody_or_of_any_failure_or_without_a_reason_is_refused() {
        for (who, says, because) in
            [("nobody", "'x'", "x"), ("userns", "'x'", " "), ("userns", "", "x"), ("userns", "''", "x")]
        {
            let text = format!("[[difference]]\nwho = '{who}'\ncases = []\nsays = [{says}]\nbecause = '{because}'");
            assert!(Differences::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_case_and_the_reasons_once() {
        let results = [
            judged("find/stock", Outcome::Pass, ""),
            judged("find/userns", Outcome::Pass, ""),
            judged("find/stock-userns", Outcome::Fail, "no such device"),
            judged("mount/userns", Outcome::Fail, "not permitted"),
            judged("mount/stock-userns", Outcome::Fail, "denied"),
            judged("mount/root", Outcome::Fail, "broken"),
        ];
        let expected = "       host, stock        host, loopfs       container, stock   container, loopfs\n\
                        find   works              -                  does not [1]       works\n\
                        mount  -                  FAILED             does not [1]       does not [2]\n\
                        [1] no devices\n[2] no mount";
        assert_eq!(table(&rows(&results)), expected);
    }

    #[test]
    fn the_repositorys_list_can_be_read() {
        assert!(!Differences::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap().is_empty());
    }
}
