//! Why an exception stands: every list of exceptions in the repository gives a reason for each.

use std::{fmt, ops::Deref};

use serde::Deserialize;

/// The reason of an exception, which is never blank: a list without one cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Reason(String);

impl TryFrom<String> for Reason {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.trim().is_empty() { Err("this has no reason") } else { Ok(Self(text)) }
    }
}

impl Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Exception {
        reason: Reason,
    }

    #[test]
    fn a_blank_reason_is_refused_with_its_place() {
        let good: Exception = toml::from_str("reason = 'it is moved'").unwrap();
        assert_eq!(&*good.reason, "it is moved");
        let error = toml::from_str::<Exception>("\nreason = ' '").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("no reason"), "{error}");
    }
}
