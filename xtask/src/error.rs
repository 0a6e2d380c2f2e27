//! Failures that decide the exit code.

/// What went wrong, as far as the exit code is concerned (DESIGN.md 4).
///
/// Attach it to an error with [`anyhow::Context`]; the outermost one found in the chain decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// At least one case failed.
    #[error("a case failed")]
    Case,
    /// Wrong usage, or something the environment lacks.
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
    /// The person pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// The exit code of this failure.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Case => 1,
            Self::Environment => 2,
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
