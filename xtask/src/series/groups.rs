//! Groups of patches that are also mailed as a series of their own. `patches/groups.toml` lists them. A group is the
//! start of the series, so that it applies to the base.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// The list of groups, in `patches/`.
pub const GROUPS: &str = "groups.toml";

/// The end of the name of a group's cover letter.
const COVER_END: &str = "-cover-letter.txt";

/// The first patches of the series, up to one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What the group is called.
    pub name: String,
    /// The name of its last patch, without number and ending.
    pub last: String,
    /// The file in `patches/` with its cover letter.
    pub cover: String,
    /// The cover letter; empty if the file is not there.
    #[serde(skip)]
    pub text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    group: Vec<Group>,
}

/// Reads the groups in the folder `dir`, with their cover letters. Without a list there are none.
///
/// # Errors
///
/// When a file cannot be read, or the list does not say what it must.
pub fn read(dir: &Path) -> Result<Vec<Group>> {
    let path = dir.join(GROUPS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let list = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut groups = parse(&list)?;
    for group in &mut groups {
        let path = dir.join(&group.cover);
        if path.exists() {
            group.text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        }
    }
    Ok(groups)
}

fn parse(list: &str) -> Result<Vec<Group>> {
    let groups = toml::from_str::<File>(list)?.group;
    for (index, Group { name, cover, .. }) in groups.iter().enumerate() {
        // The mails go to a folder of this name, beside the folders v1, v2 and so on of the whole series.
        ensure!(is_word(name), "the name {name:?} is not made of lower-case letters and hyphens");
        ensure!(groups[..index].iter().all(|other| other.name != *name), "two groups have the name {name:?}");
        ensure!(
            cover.strip_suffix(COVER_END).is_some_and(is_word),
            "the cover letter of {name} is {cover:?}, which is not of the form `NAME{COVER_END}`"
        );
    }
    Ok(groups)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_wrong_is_refused() {
        let group = |name: &str, cover: &str| format!("[[group]]\nname = {name:?}\nlast = \"x\"\ncover = {cover:?}\n");
        let good = group("fixes", "fixes-cover-letter.txt");
        assert_eq!(parse(&good).unwrap().len(), 1);
        for (list, expected) in [
            (format!("{good}first = \"y\"\n"), "unknown field `first`"),
            ("[[groups]]\n".to_owned(), "unknown field `groups`"),
            ("[[group]]\nname = \"fixes\"\n".to_owned(), "missing field `last`"),
            (good.repeat(2), "two groups have the name \"fixes\""),
            (group("../v1", "fixes-cover-letter.txt"), "not made of lower-case letters"),
            (group("", "fixes-cover-letter.txt"), "not made of lower-case letters"),
            (group("fixes", "0000-cover-letter.txt"), "not of the form"),
            (group("fixes", "../fixes-cover-letter.txt"), "not of the form"),
            (group("fixes", "evidence.txt"), "not of the form"),
        ] {
            let error = format!("{:#}", parse(&list).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
