//! The machine's own Debian mirror, read from apt's source files in both of their formats.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::error::Failure;

/// Where the machine gets its Debian packages from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// As apt is given it, with its scheme.
    uri: String,
    /// The keyring its indices are signed with; the machine's default ones without it.
    signed_by: Option<String>,
}

impl Mirror {
    /// The line of a source list that names this mirror's `suite`.
    pub fn line(&self, suite: &str) -> String {
        let options = self.signed_by.as_ref().map(|key| format!("[signed-by={key}] ")).unwrap_or_default();
        format!("deb {options}{} {suite} main\n", self.uri)
    }
}

/// One source as apt knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// The first mirror below `etc` (`/etc`) that has the main component of the running release.
///
/// # Errors
///
/// [`Failure::Environment`] when this is no Debian, or no source names its main archive.
pub fn mirror(etc: &Path) -> Result<Mirror> {
    let codename = codename(etc)?;
    let found = all(etc)?.into_iter().find(|source| {
        source.suites.iter().any(|s| s == &codename || s == "stable") && source.components.iter().any(|c| c == "main")
    });
    found
        .and_then(|source| Some(Mirror { uri: source.uris.into_iter().next()?, signed_by: source.signed_by }))
        .with_context(|| format!("no source of apt in {}/apt names a Debian mirror", etc.display()))
        .context(Failure::Environment)
}

/// The name of the running release, such as `bookworm`, as `etc` (`/etc`) tells it.
///
/// # Errors
///
/// [`Failure::Environment`] when this is no Debian.
pub fn codename(etc: &Path) -> Result<String> {
    let path = etc.join("os-release");
    let release = fs::read_to_string(&path).unwrap_or_default();
    os_release(&release, "VERSION_CODENAME")
        .filter(|_| os_release(&release, "ID").is_some_and(|id| id == "debian"))
        .with_context(|| format!("{} names no release of Debian", path.display()))
        .context(Failure::Environment)
}

/// The value of `key` in the text of an `os-release` file.
pub fn os_release(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

/// Every source of packages that is switched on, in the order apt reads the files.
fn all(etc: &Path) -> Result<Vec<Source>> {
    let mut files = vec![etc.join("apt/sources.list")];
    let parts = etc.join("apt/sources.list.d");
    if let Ok(entries) = fs::read_dir(&parts) {
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()
            .with_context(|| format!("cannot read {}", parts.display()))?;
        paths.sort();
        files.extend(paths);
    }
    let mut sources = Vec::new();
    for file in files {
        let read = |parse: fn(&str) -> Vec<Source>| match fs::read_to_string(&file) {
            Ok(text) => Ok(parse(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(read(one_line)?),
            Some("sources") => sources.extend(read(deb822)?),
            _ => {}
        }
    }
    Ok(sources)
}

/// `deb [signed-by=/k.gpg] http://mirror/debian bookworm main contrib`
fn one_line(text: &str) -> Vec<Source> {
    let line = |line: &str| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix("signed-by=")).map(str::to_owned);
        Some(Source { uris: vec![words.next()?], suites: vec![words.next()?], components: words.collect(), signed_by })
    };
    text.lines().filter_map(line).collect()
}

/// Paragraphs of `Key: value` lines; a line that starts with white space goes on with the value above it.
fn deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for paragraph in lines.split(|line| line.trim().is_empty()) {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in paragraph {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push('\n');
                    value.push_str(line.trim());
                }
            } else if let Some((key, value)) = line.split_once(':') {
                fields.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let field = |key: &str| fields.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
        let words =
            |key: &str| field(key).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        if words("types").iter().any(|kind| kind == "deb") && field("enabled").is_none_or(|value| value != "no") {
            sources.push(Source {
                uris: words("uris"),
                suites: words("suites"),
                components: words("components"),
                // A key may also stand here itself, over many lines; a list in one-line format cannot name that.
                signed_by: field("signed-by").filter(|value| value.starts_with('/')).map(|v| v.replace('\n', ",")),
            });
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etc(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const BOOKWORM: (&str, &str) = ("os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");

    #[test]
    fn a_deb822_file_names_the_mirror() {
        let sources = "Types: deb\n# a comment\nURIs: https://m.example/debian\nSuites: bookworm bookworm-updates\n\
                       Components: main\nSigned-By: /usr/share/keyrings/k.gpg\n\nTypes: deb\nURIs: https://s.example\n\
                       Suites: bookworm-security\nComponents: main\n";
        let etc = etc(&[BOOKWORM, ("apt/sources.list.d/debian.sources", sources)]);
        assert_eq!(
            mirror(etc.path()).unwrap().line("trixie-backports"),
            "deb [signed-by=/usr/share/keyrings/k.gpg] https://m.example/debian trixie-backports main\n"
        );
    }

    #[test]
    fn a_one_line_file_names_the_mirror() {
        let list = "# deb https://off.example bookworm main\ndeb-src https://src.example bookworm main\n\
                    deb https://other.example stuff non-free\ndeb [arch=amd64 signed-by=/k.gpg] https://m.example bookworm main\n";
        let etc = etc(&[BOOKWORM, ("apt/sources.list", list)]);
        assert_eq!(mirror(etc.path()).unwrap().line("s"), "deb [signed-by=/k.gpg] https://m.example s main\n");
    }

    #[test]
    fn a_source_that_is_switched_off_is_not_used() {
        let off = "Types: deb\nURIs: https://off.example\nSuites: bookworm\nComponents: main\nEnabled: no\n";
        let etc = etc(&[BOOKWORM, ("apt/sources.list.d/a.sources", off)]);
        let error = mirror(etc.path()).unwrap_err();
        assert_eq!(Failure::of(&error), Failure::Environment);
    }

    #[test]
    fn another_distribution_has_no_debian_mirror() {
        let etc = etc(&[("os-release", "ID=arch\n"), ("apt/sources.list", "deb https://m.example stable main\n")]);
        assert!(mirror(etc.path()).is_err());
    }
}
