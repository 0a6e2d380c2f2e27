//! Assertions on the outcome of system calls, which name the errno.

use std::{fmt::Debug, io};

use anyhow::{Result, bail};
use nix::errno::Errno;

/// The errno behind an I/O error; `UnknownErrno` where the error came from no system call.
fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// Requires that `act`, described by `what`, failed with `expected` and nothing else.
///
/// # Errors
///
/// When it succeeded or failed otherwise; the message holds both outcomes.
pub fn errno<T: Debug, E: Into<io::Error>>(act: Result<T, E>, expected: Errno, what: &str) -> Result<()> {
    one_of(act, &[expected], what)
}

/// Requires that `act`, described by `what`, failed with one of `expected`.
///
/// # Errors
///
/// When it succeeded or failed otherwise; the message holds both outcomes.
pub fn one_of<T: Debug, E: Into<io::Error>>(act: Result<T, E>, expected: &[Errno], what: &str) -> Result<()> {
    match act {
        Ok(value) => bail!("{what}: succeeded with {value:?}, not {expected:?}"),
        Err(error) => {
            let found = errno_of(&error.into());
            if !expected.contains(&found) {
                bail!("{what}: {found:?}, not {expected:?}");
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_errno_passes() {
        errno(Err::<(), _>(Errno::EBUSY), Errno::EBUSY, "unlink").unwrap();
        errno(Err::<(), _>(io::Error::from_raw_os_error(libc_ebusy())), Errno::EBUSY, "unlink").unwrap();
    }

    #[test]
    fn success_and_another_errno_fail_and_are_told() {
        let success = errno(Ok::<_, Errno>(7), Errno::EBUSY, "unlink").unwrap_err().to_string();
        assert_eq!(success, "unlink: succeeded with 7, not [EBUSY]");
        let other = errno(Err::<(), _>(Errno::EPERM), Errno::EBUSY, "unlink").unwrap_err().to_string();
        assert_eq!(other, "unlink: EPERM, not [EBUSY]");
    }

    fn libc_ebusy() -> i32 {
        Errno::EBUSY as i32
    }
}
