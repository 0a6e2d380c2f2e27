//! The cover letter's table of the lines that each patch adds, by where: C of others, the driver's C, the C that bindings
//! need, and Rust. The first question about a driver in Rust is what it costs those who maintain the C, so the table has
//! to be right; it is made from the patches.

use crate::series::patch::Patch;

/// The table's head, by which it is found in the cover letter.
const HEAD: [&str; 2] = [
    "   patch                                            C  loopfs rust/   Rust",
    "                                                            C     C",
];

/// The longest subject that is shown whole, and how much of a longer one is left.
const SUBJECT: (usize, usize) = (39, 36);

/// Lines added and removed, by column.
type Counts = [(usize, usize); 4];

/// The cover letter `text` with the table that `patches` make; it stays as it is if it has no table.
pub fn update<'a>(text: &str, patches: impl IntoIterator<Item = &'a Patch>) -> String {
    let Some(start) = text.find(HEAD[0]) else { return text.to_owned() };
    // The table ends with its sums.
    let rest = &text[start..];
    let end = rest.find("\n\n").map_or(text.len(), |end| start + end);
    format!("{}{}{}", &text[..start], table(patches), &text[end..])
}

fn table<'a>(patches: impl IntoIterator<Item = &'a Patch>) -> String {
    let mut lines: Vec<String> = HEAD.iter().map(ToString::to_string).collect();
    let mut sum = Counts::default();
    for patch in patches {
        let mut counts = Counts::default();
        for file in &patch.files {
            if let Some(column) = column(&file.path) {
                let (added, removed) = file.churn();
                counts[column].0 += added;
                counts[column].1 += removed;
            }
        }
        if counts != Counts::default() {
            lines.push(row(&short(&patch.subject), &counts, true));
        }
        for (sum, (added, removed)) in sum.iter_mut().zip(counts) {
            sum.0 += added;
            sum.1 += removed;
        }
    }
    lines.push(format!("{:44}--------- ------- ----- ------", ""));
    lines.push(row("", &sum, false));
    lines.join("\n")
}

/// One line. What is removed counts where the file is somebody else's, and not in the sums.
fn row(subject: &str, counts: &Counts, with_removed: bool) -> String {
    let first = match counts[0] {
        (0, 0) => String::new(),
        (added, removed) if with_removed => format!("+{added} -{removed}"),
        (added, _) => format!("+{added}"),
    };
    let rest = counts[1..].iter().zip([8, 6, 7]).map(|(&(added, _), width)| match added {
        0 => format!("{:width$}", ""),
        _ => format!("{:>width$}", format!("+{added}")),
    });
    format!("   {subject:<41}{first:>9}{}", rest.collect::<String>()).trim_end().to_owned()
}

fn short(subject: &str) -> String {
    let (whole, left) = SUBJECT;
    if subject.chars().count() <= whole {
        return subject.to_owned();
    }
    format!("{}...", subject.chars().take(left).collect::<String>())
}

/// The column in which a file counts; tests and documentation do in none.
fn column(path: &str) -> Option<usize> {
    if path.starts_with("tools/") || path.starts_with("samples/") {
        return None;
    }
    match path.rsplit_once('.')?.1 {
        "c" | "h" if path.starts_with("drivers/block/loopfs/") => Some(1),
        "c" | "h" if path.starts_with("rust/") => Some(2),
        "c" | "h" => Some(0),
        "rs" => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(subject: &str, path: &str) -> Patch {
        let text = format!(
            "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\nFrom: a <a@b>\n\
             Date: Sun, 22 Nov 2026 08:40:00 +0000\nSubject: [PATCH] {subject}\n\nBecause.\n\
             ---\n {path} | 3 ++-\n 1 file changed, 2 insertions(+), 1 deletion(-)\n\n\
             diff --git a/{path} b/{path}\nindex 0000000000000000000000000000000000000001..\
             0000000000000000000000000000000000000002 100644\n--- a/{path}\n+++ b/{path}\n\
             @@ -1,2 +1,3 @@\n a\n-b\n+c\n+d\n"
        );
        Patch::parse(&text).unwrap()
    }

    #[test]
    fn each_line_counts_where_its_file_belongs() {
        let patches = [
            patch("loop: split the creation of the disk out of loop_add()", "drivers/block/loop.c"),
            patch("loop: add private devices", "drivers/block/loopfs/private.h"),
            patch("rust: add user namespaces", "rust/helpers/user_namespace.c"),
            patch("loopfs: add loop-control", "drivers/block/loopfs/control.rs"),
            patch("docs: filesystems: add loopfs", "Documentation/filesystems/loopfs.rst"),
            patch("selftests: filesystems: add loopfs", "tools/testing/selftests/filesystems/loopfs/a.c"),
        ];
        let cover = format!("loop\n\nIt is:\n\n{}\nold\nold\n\nAnd so on.\n", HEAD[0]);
        let want = "loop\n\nIt is:\n\n\
            \x20  patch                                            C  loopfs rust/   Rust\n\
            \x20                                                           C     C\n\
            \x20  loop: split the creation of the disk...      +2 -1\n\
            \x20  loop: add private devices                               +2\n\
            \x20  rust: add user namespaces                                     +2\n\
            \x20  loopfs: add loop-control                                             +2\n\
            \x20                                           --------- ------- ----- ------\n\
            \x20                                                  +2      +2    +2     +2\n\n\
            And so on.\n";
        assert_eq!(update(&cover, &patches), want);
        assert_eq!(update(want, &patches), want);
    }

    #[test]
    fn a_cover_letter_without_the_table_stays_as_it_is() {
        assert_eq!(update("loop\n\nIt is.\n", &[patch("loop: a", "drivers/block/loop.c")]), "loop\n\nIt is.\n");
    }
}
