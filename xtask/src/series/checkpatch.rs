//! `checkpatch --strict`, with the complaints that stand justified in `patches/checkpatch.toml`.

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use xshell::cmd;

use crate::{ctx::Ctx, process, reason::Reason, series::folder::slug};

/// The file of justified complaints.
pub const EXCEPTIONS: &str = "patches/checkpatch.toml";

/// Something checkpatch has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// checkpatch's name for the kind, such as `CAMELCASE`.
    pub kind: String,
    /// The whole line, from the severity on.
    pub text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A complaint that stays, and why.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The patch's name without number and ending; `*` for any.
    pub patch: String,
    /// The kind of complaint.
    pub kind: String,
    /// A part of the complaint's text, where the kind alone would excuse too much.
    #[serde(default)]
    pub text: String,
    /// Why the code is right as it is.
    pub reason: Reason,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    exception: Vec<Exception>,
}

/// Reads the justified complaints; none, if there is no file of them.
///
/// # Errors
///
/// When the file is malformed or an exception has no reason.
pub fn exceptions(ctx: &Ctx) -> Result<Vec<Exception>> {
    let path = ctx.root().join(EXCEPTIONS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {EXCEPTIONS}"))?;
    let file: File = toml::from_str(&text).with_context(|| format!("{EXCEPTIONS} is malformed"))?;
    Ok(file.exception)
}

/// Runs the checkpatch of the kernel in `tree` on the text of a patch. Without `signed_off`, a missing sign-off is fine.
///
/// # Errors
///
/// When there is no checkpatch in `tree`, or no Perl.
pub fn run(ctx: &Ctx, tree: &Path, patch: &str, signed_off: bool) -> Result<Vec<Complaint>> {
    let mail = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    fs::write(mail.path(), patch).context("cannot write a temporary file")?;
    let (sh, script, mail) = (process::shell_in(tree)?, tree.join("scripts/checkpatch.pl"), mail.path());
    let signoff = (!signed_off).then_some("--no-signoff");
    let command = cmd!(
        sh,
        "perl {script} --strict --terse --show-types --no-summary --color=never --root={tree} {signoff...} {mail}"
    );
    // Its exit code only tells whether it has complaints.
    let output = process::attempt(&command.into(), ctx.verbose)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints: Vec<Complaint> = text.lines().filter_map(complaint).collect();
    if complaints.is_empty() && !output.status.success() {
        bail!("checkpatch does not run: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(complaints)
}

/// `FILE:LINE: WARNING:KIND: what`.
fn complaint(line: &str) -> Option<Complaint> {
    let severity = ["ERROR:", "WARNING:", "CHECK:"].iter().filter_map(|word| line.find(&format!(": {word}"))).min()?;
    let text = &line[severity + 2..];
    let (_, rest) = text.split_once(':')?;
    let kind = rest.split(':').next()?.trim();
    Some(Complaint { kind: kind.to_owned(), text: text.to_owned() })
}

/// Those of `complaints` about the patch `stem` that no exception justifies; marks in `used` which exceptions do.
pub fn unjustified(
    stem: &str,
    complaints: Vec<Complaint>,
    exceptions: &[Exception],
    used: &mut Vec<bool>,
) -> Vec<Complaint> {
    used.resize(exceptions.len(), false);
    let mut left = Vec::new();
    for complaint in complaints {
        let covers = |e: &Exception| {
            ["*", slug(stem)].contains(&e.patch.as_str())
                && e.kind == complaint.kind
                && complaint.text.contains(e.text.as_str())
        };
        let mut justified = false;
        for (index, _) in exceptions.iter().enumerate().filter(|(_, exception)| covers(exception)) {
            used[index] = true;
            justified = true;
        }
        if !justified {
            left.push(complaint);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camel(name: &str) -> Complaint {
        complaint(&format!("0006-x.patch:82: CHECK:CAMELCASE: Avoid CamelCase: <{name}>")).unwrap()
    }

    #[test]
    fn a_complaint_is_taken_apart() {
        assert_eq!(camel("Lo_bound").kind, "CAMELCASE");
        assert_eq!(camel("Lo_bound").text, "CHECK:CAMELCASE: Avoid CamelCase: <Lo_bound>");
        assert_eq!(complaint("total: 0 errors, 1 warnings"), None);
    }

    #[test]
    fn only_what_an_exception_names_is_justified() {
        let exception = |patch: &str, text: &str| Exception {
            patch: patch.to_owned(),
            kind: "CAMELCASE".to_owned(),
            text: text.to_owned(),
            reason: "moved as it is".to_owned().try_into().unwrap(),
        };
        let exceptions = [exception("loop-move", "<Lo_"), exception("other", "")];
        let mut used = Vec::new();
        let left = unjustified("0006-loop-move", vec![camel("Lo_bound"), camel("NewName")], &exceptions, &mut used);
        assert_eq!(left, [camel("NewName")]);
        assert_eq!(used, [true, false]);
        let any = [exception("*", "")];
        assert_eq!(unjustified("0006-loop-move", vec![camel("NewName")], &any, &mut vec![]), []);
    }

    #[test]
    fn an_exception_without_a_reason_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Ctx::at(dir.path(), dir.path().join("cache"));
        assert_eq!(exceptions(&ctx).unwrap(), []);
        fs::create_dir(dir.path().join("patches")).unwrap();
        let text = "[[exception]]\npatch = \"a\"\nkind = \"B\"\nreason = \" \"\n";
        fs::write(dir.path().join(EXCEPTIONS), text).unwrap();
        assert!(format!("{:#}", exceptions(&ctx).unwrap_err()).contains("has no reason"));
    }
}
