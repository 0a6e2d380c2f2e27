//! The Kconfig option for loopfs, which comes into being in the course of the series.

/// How a kernel tree knows the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionState {
    /// Not at all.
    Absent,
    /// As a symbol that nobody can turn on yet.
    Hidden,
    /// As one that a person can turn on.
    Offered,
}

const OPTION: &str = "config BLK_DEV_LOOPFS";

/// How the text of `drivers/block/Kconfig` has the option.
pub fn state(kconfig: &str) -> OptionState {
    let mut lines = kconfig.lines().skip_while(|line| line.trim_end() != OPTION);
    if lines.next().is_none() {
        return OptionState::Absent;
    }
    let entry = lines.take_while(|line| line.starts_with(['\t', ' ']) || line.is_empty());
    let has_prompt = |line: &str| line.contains('"') && line.trim_start().starts_with("bool ");
    if entry.into_iter().any(has_prompt) { OptionState::Offered } else { OptionState::Hidden }
}

/// The same text with a prompt for the option.
pub fn with_prompt(kconfig: &str) -> String {
    let mut inside = false;
    let mut text = String::new();
    for line in kconfig.lines() {
        if inside && line.trim() == "bool" {
            text.push_str("\tbool \"loopfs\"\n");
            inside = false;
            continue;
        }
        inside = line.trim_end() == OPTION || (inside && line.starts_with(['\t', ' ']));
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: &str = "config BLK_DEV_LOOP\n\ttristate \"Loop\"\n\nconfig BLK_DEV_LOOPFS\n\tbool\n\tdepends on BLK_DEV_LOOP=y\n\nconfig OTHER\n\tbool\n";

    #[test]
    fn an_option_is_absent_hidden_or_offered() {
        assert_eq!(state("config BLK_DEV_LOOP\n\tbool \"Loop\"\n"), OptionState::Absent);
        assert_eq!(state(HIDDEN), OptionState::Hidden);
        assert_eq!(state(&HIDDEN.replace("FS\n\tbool", "FS\n\tbool \"Private loop devices\"")), OptionState::Offered);
    }

    #[test]
    fn a_prompt_is_added_to_that_option_only() {
        let text = with_prompt(HIDDEN);
        assert_eq!(state(&text), OptionState::Offered);
        assert_eq!(text.replace("\tbool \"loopfs\"", "\tbool"), HIDDEN);
        assert!(text.ends_with("config OTHER\n\tbool\n"));
    }
}
