//! Forked helpers of a case: other parties of the story, each with credentials, namespaces and
//! descriptors of its own.
//!
//! A child inherits every open descriptor, so a device the case holds open stays in use while the
//! child lives. Start children before opening what they must not hold.

use std::{
    io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Write as _, pipe},
    mem,
    os::fd::AsFd as _,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::case::Skip;

/// How the body of a child ended, as it travels through the pipe.
#[derive(Serialize, Deserialize)]
enum Outcome<T> {
    Done(T),
    Skipped(String),
    Failed(String),
}

impl<T> Outcome<T> {
    fn of(body: impl FnOnce() -> Result<T>) -> Self {
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(value)) => Self::Done(value),
            Ok(Err(error)) => match error.downcast::<Skip>() {
                Ok(Skip(reason)) => Self::Skipped(reason),
                Err(error) => Self::Failed(format!("{error:#}")),
            },
            Err(_) => Self::Failed("panicked, see the message above".to_owned()),
        }
    }

    fn into_result(self) -> Result<T> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Skipped(reason) => Err(Skip(reason).into()),
            Self::Failed(message) => Err(anyhow!(message)),
        }
    }
}

/// Runs `body` in a forked child and returns what it returned. Everything the child opened or
/// changed about itself is gone afterwards.
///
/// # Errors
///
/// The error of `body`; or when the child cannot be started or died before it answered.
pub fn run<T: Serialize + DeserializeOwned>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    start(body)?.join()
}

/// A child on its way, whose answer is read later: for acts that happen at the same time.
pub struct Started<T> {
    child: Child,
    answer: PipeReader,
    _value: std::marker::PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Started<T> {
    fn answer(&self) -> Result<T> {
        // A line, not all until the end of the pipe: a child of the child inherits its writing end.
        let mut json = String::new();
        BufReader::new(&self.answer).read_line(&mut json).context("cannot read the answer of a child")?;
        let outcome: Outcome<T> =
            serde_json::from_str(&json).with_context(|| format!("child {} died without an answer", self.child.pid))?;
        outcome.into_result()
    }

    /// Waits for the body to end and returns what it returned.
    ///
    /// # Errors
    ///
    /// As [`run`].
    pub fn join(self) -> Result<T> {
        let outcome = self.answer();
        let ended = self.child.wait();
        let value = outcome?;
        ended?;
        Ok(value)
    }

    /// The process id, in the pid namespace of the case.
    pub fn pid(&self) -> Pid {
        self.child.pid
    }

    /// Whether the body ends within `limit`, well or not; [`Started::join`] then returns at once.
    ///
    /// # Errors
    ///
    /// When the pipe cannot be polled.
    pub fn ends_within(&self, limit: Duration) -> Result<bool> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.answer.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the child to die of the SIGKILL that it sends itself.
    ///
    /// # Errors
    ///
    /// When it ends otherwise; the error is that of the body, if it left one.
    pub fn killed_itself(self) -> Result<()> {
        let outcome = self.answer();
        match self.child.status()? {
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => Ok(()),
            status => {
                outcome?;
                bail!("a child was to be killed, but ended with {status:?}")
            }
        }
    }

    /// Kills the child with SIGKILL, wherever it is, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it cannot be killed, or had ended by itself: then nobody was killed in the middle of anything. The error is
    /// that of the body, if it left one.
    pub fn kill(self) -> Result<()> {
        let Self { child, answer, .. } = self;
        child.kill().or_else(|error| {
            let mut json = String::new();
            // Only what is there already: a child of the child may have the pipe's other end, and never write.
            BufReader::new(answer).read_line(&mut json).context("cannot read the answer of a child")?;
            let outcome: Outcome<serde::de::IgnoredAny> = serde_json::from_str(&json).map_err(|_| error)?;
            outcome.into_result().and_then(|_| bail!("the child ended by itself before it was killed"))
        })
    }

    /// Sends SIGKILL to the child and tells whether it is gone within `limit`. One that is not is left behind: to wait
    /// for it would be to hang with it.
    ///
    /// # Errors
    ///
    /// When it cannot be killed or waited for.
    pub fn dies_within(self, limit: Duration) -> Result<bool> {
        self.child.dies_within(limit)
    }

    /// Leaves the child behind: neither killed nor waited for until the case ends.
    pub fn abandon(self) {
        mem::forget(self.child);
    }
}

/// Starts `body` in a forked child and goes on; see [`run`].
///
/// # Errors
///
/// When the child cannot be started.
pub fn start<T: Serialize + DeserializeOwned>(body: impl FnOnce() -> Result<T>) -> Result<Started<T>> {
    let (answer, writer) = pipe()?;
    let child = Child::fork(|| send(writer, &Outcome::of(body)))?;
    Ok(Started { child, answer, _value: std::marker::PhantomData })
}

/// A child that keeps what it made until it is told to let go.
pub struct Held {
    child: Child,
    release: PipeWriter,
}

/// Runs `body` in a forked child that then keeps the value it returned, and with it its
/// descriptors and namespaces, until [`Held::release`] or [`Held::kill`].
///
/// # Errors
///
/// The error of `body`; or when the child cannot be started or died before it answered.
pub fn hold<V>(body: impl FnOnce() -> Result<V>) -> Result<Held> {
    let (answer, writer) = pipe()?;
    let (mut released, release) = pipe()?;
    let child = Child::fork(|| {
        let mut kept = None;
        let outcome = Outcome::of(|| {
            kept = Some(body()?);
            Ok(())
        });
        send(writer, &outcome);
        // A byte, not the end of the pipe: later children inherit its writing end.
        let _ = released.read(&mut [0]);
        drop(kept);
    })?;
    let started = Started { child, answer, _value: std::marker::PhantomData };
    match started.answer() {
        Ok(()) => Ok(Held { child: started.child, release }),
        Err(error) => {
            started.child.kill()?;
            Err(error)
        }
    }
}

impl Held {
    /// The process id, in the pid namespace of the case.
    pub fn pid(&self) -> Pid {
        self.child.pid
    }

    /// Lets the child drop what it holds and end, and waits for that.
    ///
    /// # Errors
    ///
    /// When the child is gone already or ends badly.
    pub fn release(mut self) -> Result<()> {
        self.release.write_all(&[1]).context("the child that holds something is gone")?;
        self.child.wait()
    }

    /// Kills the child with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it cannot be killed or waited for.
    pub fn kill(self) -> Result<()> {
        self.child.kill()
    }

    /// As [`Started::dies_within`].
    ///
    /// # Errors
    ///
    /// When it cannot be killed or waited for.
    pub fn dies_within(self, limit: Duration) -> Result<bool> {
        self.child.dies_within(limit)
    }
}

/// A forked child, killed when dropped.
struct Child {
    pid: Pid,
}

impl Child {
    fn fork(body: impl FnOnce()) -> Result<Self> {
        // SAFETY: The child runs ordinary code, which is sound where the forking process has one
        // thread, as each case's own process has when it forks.
        match unsafe { fork() }.context("cannot fork")? {
            ForkResult::Parent { child } => Ok(Self { pid: child }),
            ForkResult::Child => {
                let _ = prctl::set_pdeathsig(Signal::SIGKILL);
                body();
                // SAFETY: `_exit` may be called at any time. Destructors and exit handlers are
                // the parent's business.
                unsafe { nix::libc::_exit(0) }
            }
        }
    }

    fn status(self) -> Result<WaitStatus> {
        let pid = self.pid;
        mem::forget(self);
        waitpid(pid, None).context("cannot wait for a child")
    }

    fn wait(self) -> Result<()> {
        match self.status()? {
            WaitStatus::Exited(_, 0) => Ok(()),
            status => bail!("a child ended with {status:?}"),
        }
    }

    fn dies_within(self, limit: Duration) -> Result<bool> {
        let pid = self.pid;
        mem::forget(self);
        kill(pid, Signal::SIGKILL).context("cannot kill a child")?;
        let until = Instant::now() + limit;
        while waitpid(pid, Some(WaitPidFlag::WNOHANG)).context("cannot wait for a killed child")?
            == WaitStatus::StillAlive
        {
            if Instant::now() > until {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(true)
    }

    fn kill(self) -> Result<()> {
        kill(self.pid, Signal::SIGKILL).context("cannot kill a child")?;
        match self.status()? {
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => Ok(()),
            status => bail!("a child was to be killed, but had ended with {status:?}"),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

fn send<T: Serialize>(mut pipe: PipeWriter, outcome: &Outcome<T>) {
    let mut json = serde_json::to_string(outcome).expect("an outcome is plain data");
    json.push('\n');
    // Nobody reads where the parent gave up: there is nobody left to tell.
    let _ = pipe.write_all(json.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_gives_back_its_value_its_error_and_its_skip() {
        assert_eq!(run(|| Ok(7)).unwrap(), 7);
        assert_eq!(run::<()>(|| bail!("no")).unwrap_err().to_string(), "no");
        let skipped = run::<()>(|| crate::case::skip("not here")).unwrap_err();
        assert_eq!(skipped.downcast::<Skip>().unwrap().0, "not here");
    }

    #[test]
    fn a_child_that_dies_is_an_error() {
        let error = run::<()>(|| std::process::abort()).unwrap_err().to_string();
        assert!(error.contains("died without an answer"), "{error}");
    }

    #[test]
    fn only_a_child_that_still_runs_can_be_killed() {
        let child = start(|| {
            std::thread::sleep(std::time::Duration::from_secs(600));
            Ok(())
        })
        .unwrap();
        child.kill().unwrap();
        for (failing, why) in [(true, "no luck"), (false, "ended by itself")] {
            let child = start(|| if failing { bail!("no luck") } else { Ok(()) }).unwrap();
            // A child that has answered has nothing left to do but to end.
            std::thread::sleep(std::time::Duration::from_millis(500));
            let error = child.kill().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_child_may_leave_a_child_of_its_own_behind() {
        let held = hold(|| hold(|| Ok(()))).unwrap();
        held.release().unwrap();
    }

    #[test]
    fn a_held_child_lives_until_released() {
        let held = hold(|| Ok(())).unwrap();
        let pid = held.pid();
        kill(pid, None).unwrap();
        held.release().unwrap();
        assert!(kill(pid, None).is_err());
    }
}
