//! What became of the mutants, for the user and for COVERAGE.md.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{
    cache::write_whole,
    mutants::{Fate, mutant::Mutant},
};

/// The file with the table.
const FILE: &str = "selftests/COVERAGE.md";
/// What the table stands between.
const MARKS: [&str; 2] = ["<!-- mutants: written by cargo xtask mutants --write -->", "<!-- end of mutants -->"];

/// One line on one mutant.
pub fn line(mutant: &Mutant, fate: &Fate) -> String {
    let (word, more) = match fate {
        Fate::Killed(cases) => ("killed", cases.join(", ")),
        Fate::Survived => ("SURVIVED", mutant.cases.join(", ")),
        Fate::NoLongerApplies(why) => ("NO LONGER APPLIES", why.clone()),
        Fate::DoesNotBuild(why) => ("DOES NOT BUILD", why.clone()),
    };
    format!("{word:<8} {} ({}): {more}", mutant.name, mutant.line)
}

/// The counts, as the last line of a run.
pub fn summary(fates: &[(Mutant, Fate)]) -> String {
    let count = |is: fn(&Fate) -> bool| fates.iter().filter(|(_, fate)| is(fate)).count();
    format!(
        "{} killed, {} survived, {} no longer apply, {} do not build",
        count(|fate| matches!(fate, Fate::Killed(_))),
        count(|fate| *fate == Fate::Survived),
        count(|fate| matches!(fate, Fate::NoLongerApplies(_))),
        count(|fate| matches!(fate, Fate::DoesNotBuild(_))),
    )
}

/// The table of all mutants; what has to fail is in the files, and a run shows whether it does.
pub fn table(mutants: &[Mutant]) -> String {
    let mut table = "| mutant | line | where | what is broken | what has to fail |\n|---|---|---|---|---|\n".to_owned();
    for mutant in mutants {
        let cases: Vec<String> = mutant.cases.iter().map(|case| format!("`{case}`")).collect();
        let files: Vec<&str> = mutant.files().into_iter().map(short).collect();
        let number = mutant.name.split('-').next().unwrap_or_default();
        let (line, what) = (&mutant.line, mutant.what.trim_end_matches('.'));
        table.push_str(&format!("| {number} | {line} | {} | {what} | {} |\n", files.join(", "), cases.join(", ")));
    }
    table
}

fn short(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Writes the table of `mutants` into COVERAGE.md of the clone at `root`.
pub fn write(root: &Path, mutants: &[Mutant]) -> Result<()> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}"))?;
    write_whole(&path, with_table(&text, &table(mutants))?.as_bytes())
}

/// `text` with `table` between the marks.
fn with_table(text: &str, table: &str) -> Result<String> {
    let (head, rest) = text.split_once(MARKS[0]).with_context(|| format!("{FILE} has lost the mark {}", MARKS[0]))?;
    let (_, tail) = rest.split_once(MARKS[1]).with_context(|| format!("{FILE} has lost the mark {}", MARKS[1]))?;
    Ok(format!("{head}{}\n\n{table}\n{}{tail}", MARKS[0], MARKS[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ctx::Ctx, kernel::config::Flavour, mutants::select};

    fn mutant(name: &str) -> Mutant {
        Mutant {
            name: name.to_owned(),
            line: "M3".to_owned(),
            flavour: Flavour::Default,
            cases: vec!["one".to_owned()],
            what: "The mode is 0644.".to_owned(),
            diff: "diff --git a/a/x.rs b/a/x.rs\n+++ b/a/x.rs\n".to_owned(),
        }
    }

    #[test]
    fn each_fate_has_its_word_and_its_count() {
        let all = [
            Fate::Killed(vec!["one".to_owned()]),
            Fate::Survived,
            Fate::NoLongerApplies("x".to_owned()),
            Fate::DoesNotBuild("y".to_owned()),
        ];
        let fates: Vec<(Mutant, Fate)> = all.into_iter().map(|fate| (mutant("001-mode"), fate)).collect();
        assert_eq!(line(&fates[0].0, &fates[0].1), "killed   001-mode (M3): one");
        assert!(line(&fates[1].0, &fates[1].1).starts_with("SURVIVED 001-mode"));
        assert_eq!(summary(&fates), "1 killed, 1 survived, 1 no longer apply, 1 do not build");
    }

    #[test]
    fn the_table_goes_between_the_marks_and_nothing_else_changes() {
        let text = format!("before\n{}\nold\n{}\nafter\n", MARKS[0], MARKS[1]);
        let new = with_table(&text, &table(&[mutant("001-mode")])).unwrap();
        assert!(new.starts_with("before\n") && new.ends_with("\nafter\n") && !new.contains("old"));
        assert!(new.contains("| 001 | M3 | x.rs | The mode is 0644 | `one` |"), "{new}");
        assert_eq!(with_table(&new, &table(&[mutant("001-mode")])).unwrap(), new);
        assert!(with_table("no marks", "").is_err());
    }

    #[test]
    fn coverage_has_the_table_of_the_repositorys_mutants() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mutants = select(&Ctx::at(&root, root.join("no cache")), &[]).unwrap();
        let text = std::fs::read_to_string(root.join(FILE)).unwrap();
        assert_eq!(with_table(&text, &table(&mutants)).unwrap(), text, "run `cargo xtask mutants --write`");
    }
}
