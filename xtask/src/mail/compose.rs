//! The text of the mails.

use crate::{
    cache::Key,
    mail::people::{People, Person},
};

/// A series about to become mails.
#[derive(Clone, Debug)]
pub struct Series {
    /// Which version it is, from 1.
    pub version: u32,
    /// Whether it is a request for comments only.
    pub rfc: bool,
    /// Who submits.
    pub submitter: Person,
    /// The patches.
    pub patches: Vec<Part>,
}

/// One patch.
#[derive(Clone, Debug)]
pub struct Part {
    /// Number and subject part of its name.
    pub stem: String,
    /// The subject.
    pub subject: String,
    /// The value of its `Date:` header.
    pub date: String,
    /// The message, with the sign-off.
    pub body: String,
    /// What goes under `---`.
    pub note: Option<String>,
    /// Diffstat and diff.
    pub diff: String,
    /// Who gets it.
    pub people: People,
}

/// What the cover letter is made of.
#[derive(Clone, Debug)]
pub struct Cover {
    /// Subject, blank line, text.
    pub text: String,
    /// What was built and run.
    pub evidence: Option<String>,
    /// What changed since the version before.
    pub range_diff: Option<String>,
    /// Diffstat of the whole.
    pub summary: String,
    /// The official commit it is based on.
    pub base: Option<String>,
}

/// One mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The name of its file.
    pub name: String,
    /// Its message id, without the angle brackets.
    pub id: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Mail {
    /// The mail as a file: headers, a blank line, the body.
    pub fn render(&self) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("From {:040} Mon Sep 17 00:00:00 2001\n{headers}\n{}", 0, self.body)
    }
}

/// The cover letter and the patches, in a thread.
pub fn mails(series: &Series, cover: &Cover) -> Vec<Mail> {
    let count = series.patches.len();
    let digits = count.to_string().len();
    let tag = |number: usize| {
        let rfc = if series.rfc { " RFC" } else { "" };
        let version = if series.version > 1 { format!(" v{}", series.version) } else { String::new() };
        format!("[PATCH{rfc}{version} {number:0digits$}/{count}]")
    };
    let key = series.patches.iter().fold(Key::default().with(&cover.text), |key, part| {
        key.with(&part.subject).with(&part.body).with(part.note.as_deref().unwrap_or_default()).with(&part.diff)
    });
    let key = &key.name()[..12];
    let domain = series.submitter.address.rsplit('@').next().unwrap_or_default();
    let id = |number: usize| format!("loopfs-v{}-{number}-{key}@{domain}", series.version);
    let mail = |number: usize, name: String, subject: &str, date: &str, people: &People, body: String| {
        let mut headers = vec![
            ("From", address(&series.submitter)),
            ("Date", date.to_owned()),
            ("Subject", fold(&format!("{} {}", tag(number), encode(subject)))),
            ("Message-ID", format!("<{}>", id(number))),
        ];
        if number > 0 {
            headers.push(("In-Reply-To", format!("<{}>", id(0))));
            headers.push(("References", format!("<{}>", id(0))));
        }
        for (name, list) in [("To", &people.to), ("Cc", &people.cc)] {
            if !list.is_empty() {
                headers.push((name, list.iter().map(address).collect::<Vec<_>>().join(",\n ")));
            }
        }
        headers.push(("MIME-Version", "1.0".to_owned()));
        headers.push(("Content-Type", "text/plain; charset=UTF-8".to_owned()));
        headers.push(("Content-Transfer-Encoding", "8bit".to_owned()));
        Mail { name, id: id(number), headers, body }
    };

    let (subject, text) = cover.text.split_once('\n').unwrap_or((&cover.text, ""));
    let date = series.patches.last().map_or("", |part| part.date.as_str());
    let name = format!("v{}-0000-cover-letter.patch", series.version);
    let everybody = everybody(series);
    let mut all = vec![mail(0, name, subject.trim(), date, &everybody, cover_body(series, cover, text))];
    for (index, part) in series.patches.iter().enumerate() {
        let name = format!("v{}-{}.patch", series.version, part.stem);
        all.push(mail(index + 1, name, &part.subject, &part.date, &part.people, patch_body(part)));
    }
    all
}

fn patch_body(part: &Part) -> String {
    let message = part.body.trim();
    let message = if message.is_empty() { String::new() } else { format!("{message}\n") };
    let note = part.note.as_deref().map_or_else(String::new, |note| format!("{}\n\n", note.trim_end()));
    format!("{message}---\n{note}{}", part.diff)
}

fn cover_body(series: &Series, cover: &Cover, text: &str) -> String {
    let mut body = format!("{}\n\n", text.trim());
    if let Some(evidence) = &cover.evidence {
        body.push_str(&format!("What was built, booted and run, patch by patch:\n\n{}\n\n", evidence.trim_end()));
    }
    body.push_str(&format!("{} ({}):\n", series.submitter.name, series.patches.len()));
    for part in &series.patches {
        body.push_str(&format!("  {}\n", part.subject));
    }
    body.push_str(&format!("\n{}\n", cover.summary.trim_end()));
    if let Some(range_diff) = &cover.range_diff {
        body.push_str(&format!("\n{}\n", range_diff.trim_end()));
    }
    if let Some(base) = &cover.base {
        body.push_str(&format!("\nbase-commit: {base}\n"));
    }
    body
}

/// Everybody who gets a patch gets the cover letter, as the higher of their roles.
fn everybody(series: &Series) -> People {
    series.patches.iter().fold(People::default(), |all, part| all.with(&part.people))
}

/// A person as a header has it.
fn address(person: &Person) -> String {
    if person.name.is_empty() {
        return person.address.clone();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || " !#$%&'*+-/=?^_`{|}~".contains(c);
    let name = if !person.name.is_ascii() {
        encode(&person.name)
    } else if person.name.chars().all(plain) {
        person.name.clone()
    } else {
        format!("\"{}\"", person.name.replace('\\', "\\\\").replace('"', "\\\""))
    };
    format!("{name} <{}>", person.address)
}

/// The longest encoded word (RFC 2047).
const ENCODED_WORD: usize = 75;

/// `text` as encoded words where it is not ASCII.
fn encode(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let (start, end) = ("=?UTF-8?q?", "?=");
    let mut words: Vec<String> = vec![String::new()];
    for c in text.chars() {
        let mut bytes = [0; 4];
        let piece: String = match c {
            ' ' => "_".to_owned(),
            c if c.is_ascii_alphanumeric() || "!*+-/".contains(c) => c.to_string(),
            c => c.encode_utf8(&mut bytes).bytes().map(|byte| format!("={byte:02X}")).collect(),
        };
        let full = words.last().is_some_and(|word| start.len() + word.len() + piece.len() + end.len() > ENCODED_WORD);
        if full {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push_str(&piece);
        }
    }
    words.iter().map(|word| format!("{start}{word}{end}")).collect::<Vec<_>>().join(" ")
}

/// A header's value on lines of at most 76 columns where it has spaces to break at.
fn fold(value: &str) -> String {
    let mut folded = String::new();
    // The name of the header takes its part of the first line.
    let mut column = "Subject: ".len();
    for word in value.split(' ') {
        if !folded.is_empty() {
            let fits = column + 1 + word.len() <= 76;
            folded.push_str(if fits { " " } else { "\n " });
            column = if fits { column + 1 } else { 1 };
        }
        folded.push_str(word);
        column += word.len();
    }
    folded
}

/// A mail as part of a mailbox, in which a line that starts with `From ` starts a mail.
pub fn in_mailbox(mail: &str) -> String {
    let (first, rest) = mail.split_once('\n').unwrap_or((mail, ""));
    let mut text = format!("{first}\n");
    for line in rest.split_inclusive('\n') {
        if line.trim_start_matches('>').starts_with("From ") {
            text.push('>');
        }
        text.push_str(line);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(text: &str) -> Person {
        text.parse().unwrap()
    }

    fn series() -> Series {
        let part = |number: usize, subject: &str, to: &str| Part {
            stem: format!("{number:04}-x"),
            subject: subject.to_owned(),
            date: "Sun, 22 Nov 2026 07:44:15 +0000".to_owned(),
            body: "Why.\n\nSigned-off-by: A Person <a@kernel.org>\n".to_owned(),
            note: (number == 2).then(|| "v2: reworded\n".to_owned()),
            diff: " a | 1 +\n\ndiff --git a/a b/a\n".to_owned(),
            people: People { to: vec![person(to)], cc: vec![person("list@kernel.org")] },
        };
        Series {
            version: 2,
            rfc: false,
            submitter: person("A Person <a@kernel.org>"),
            patches: vec![part(1, "loop: one", "One <one@kernel.org>"), part(2, "loop: zwölf", "Two <two@kernel.org>")],
        }
    }

    fn cover() -> Cover {
        Cover {
            text: "loop: private devices\n\nChanges in v2: reworded\n".to_owned(),
            evidence: Some("| patch | build s |\n".to_owned()),
            range_diff: Some("1: a = 1: b\n".to_owned()),
            summary: " a | 2 ++\n".to_owned(),
            base: None,
        }
    }

    #[test]
    fn the_cover_letter_starts_the_thread_and_goes_to_everybody() {
        let mails = mails(&series(), &cover());
        let text = mails[0].render();
        assert!(text.contains("\nSubject: [PATCH v2 0/2] loop: private devices\n"), "{text}");
        assert!(text.contains("\nTo: One <one@kernel.org>,\n Two <two@kernel.org>\nCc: list@kernel.org\n"), "{text}");
        assert!(!text.contains("In-Reply-To"), "{text}");
        for part in ["| patch | build s |", "A Person (2):\n  loop: one\n  loop: zwölf\n", " a | 2 ++", "1: a = 1: b"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("base-commit"), "a base that is not official was named");
        for mail in &mails[1..] {
            assert!(mail.render().contains(&format!("\nIn-Reply-To: <{}>\n", mails[0].id)));
        }
    }

    #[test]
    fn a_note_goes_under_the_cut() {
        let text = mails(&series(), &cover())[2].render();
        let message = "Why.\n\nSigned-off-by: A Person <a@kernel.org>\n---\nv2: reworded\n\n a | 1 +\n";
        assert!(text.contains(message), "{text}");
    }

    #[test]
    fn an_official_base_is_named_at_the_foot_of_the_cover_letter() {
        let cover = Cover { base: Some("abc".to_owned()), ..cover() };
        assert!(mails(&series(), &cover)[0].render().ends_with("\nbase-commit: abc\n"));
    }

    #[test]
    fn subjects_that_are_not_ascii_are_encoded_and_long_ones_folded() {
        let text = mails(&series(), &cover())[2].render();
        assert!(text.contains("Subject: [PATCH v2 2/2] =?UTF-8?q?loop=3A_zw=C3=B6lf?=\n"), "{text}");
        let long = fold(&format!("[PATCH 01/10] {}", "word ".repeat(20).trim()));
        assert!(long.lines().all(|line| line.len() <= 76) && long.contains("\n word"), "{long}");
        let words = encode(&"ä".repeat(60));
        assert!(words.split(' ').all(|word| word.len() <= ENCODED_WORD && word.ends_with("?=")), "{words}");
    }

    #[test]
    fn names_with_commas_are_quoted() {
        assert_eq!(address(&person("\"Person, A.\" <a@b.c>")), "\"Person, A.\" <a@b.c>");
        assert_eq!(address(&person("Onur Özkan <a@b.c>")), "=?UTF-8?q?Onur_=C3=96zkan?= <a@b.c>");
    }

    #[test]
    fn version_one_has_no_number_and_rfc_is_told() {
        let series = Series { version: 1, rfc: true, ..series() };
        assert!(mails(&series, &cover())[1].render().contains("Subject: [PATCH RFC 1/2] loop: one\n"));
    }

    #[test]
    fn the_same_series_gives_the_same_mails() {
        assert_eq!(mails(&series(), &cover()), mails(&series(), &cover()));
    }

    #[test]
    fn a_line_that_would_start_a_mail_is_escaped_in_a_mailbox() {
        assert_eq!(in_mailbox("From 0 x\nA: b\n\nFrom here\n"), "From 0 x\nA: b\n\n>From here\n\n");
    }
}
