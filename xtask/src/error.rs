//! Failures that decide the exit code.

/// What went wrong, as far as the exit code is concerned.
///
/// Attach it to an error with [`anyhow::Context`]; the outermost one found in the chain decides. [`message`] leaves it
/// out: the user reads what happened, and the exit code says of which kind it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// At least one case failed.
    #[error("a case failed")]
    Case,
    /// The command line asks for something that does not exist.
    #[error("wrong usage")]
    Usage,
    /// Something the machine lacks.
    #[error("the environment lacks something")]
    Environment,
    /// The kernel does not configure or build.
    #[error("the kernel does not build")]
    KernelBuild,
    /// The series does not apply, or `patches/`, `rust/` and the work tree disagree.
    #[error("the series does not apply")]
    Series,
    /// The guest crashed, hung or was lost.
    #[error("the guest crashed, hung or was lost")]
    Guest,
    /// A command run in the guest ended with this exit code, which becomes ours.
    #[error("the guest command exited with {0}")]
    GuestCommand(u8),
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// The exit code of this failure.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Case => 1,
            Self::Usage | Self::Environment => 2,
            Self::KernelBuild => 3,
            Self::Series => 4,
            Self::Guest => 5,
            Self::GuestCommand(code) => code,
            Self::Interrupted => 130,
        }
    }

    /// The failure that decides the exit code of `error`; [`Failure::Environment`] if it names none.
    pub fn of(error: &anyhow::Error) -> Self {
        error.downcast_ref::<Self>().copied().unwrap_or(Self::Environment)
    }
}

/// The chain of `error` in one line, without the [`Failure`]s in it, unless it holds nothing else.
pub fn message(error: &anyhow::Error) -> String {
    const KINDS: [Failure; 7] = [
        Failure::Case,
        Failure::Usage,
        Failure::Environment,
        Failure::KernelBuild,
        Failure::Series,
        Failure::Guest,
        Failure::Interrupted,
    ];
    // A context does not show its type in the chain, only its text.
    let kinds = KINDS.map(|kind| kind.to_string());
    let causes: Vec<String> = error.chain().map(ToString::to_string).filter(|cause| !kinds.contains(cause)).collect();
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn a_failure_decides_the_exit_code_and_is_not_printed() {
        let error = anyhow!("no case is named x").context(Failure::Usage);
        assert_eq!((Failure::of(&error).exit_code(), message(&error).as_str()), (2, "no case is named x"));
        let error = Err::<(), _>(error).context("cannot run the suite").context(Failure::Series).unwrap_err();
        assert_eq!(
            (Failure::of(&error), message(&error).as_str()),
            (Failure::Series, "cannot run the suite: no case is named x")
        );
    }

    #[test]
    fn a_failure_alone_is_printed() {
        assert_eq!(message(&Failure::Interrupted.into()), "interrupted");
    }
}
