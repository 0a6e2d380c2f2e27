//! The processes of one case, seen from inside.
//!
//! `loopfs-selftests case NAME WHO` is started by the runner with a channel to it. It becomes three processes:
//! the outer one enters the namespaces and waits; the middle one is PID 1 of the pid namespace and reaps, so that
//! the body has the signal dispositions of an ordinary process; the inner one runs the body. When
//! the body ends, PID 1 ends, and with it whatever the body left running.

use std::{
    ffi::CString,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::Signal,
        wait::{WaitStatus, wait, waitpid},
    },
    unistd::{ForkResult, Gid, Pid, Uid, fork, setgroups, setresgid, setresuid},
};

use super::channel::{Channel, Message, Verdict};
use crate::case::{Case, Context, Skip, Who};

/// Where the case's own tmpfs is.
const DIR: &str = "/tmp";

/// Runs `case` as `who` in namespaces of its own and tells the verdict to `channel`.
pub fn run(case: &Case, who: Who, channel: &Channel) -> ExitCode {
    match enter(case, who, channel) {
        Ok(code) => code,
        Err(error) => {
            // Whether or not it arrives, there is no better place to tell.
            let _ = channel.send(&Message::Verdict(Verdict::Fail(format!("cannot set the case up: {error:#}"))));
            ExitCode::FAILURE
        }
    }
}

fn enter(case: &Case, who: Who, channel: &Channel) -> Result<ExitCode> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    fcntl(channel, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    if who.is_in_user_namespace() {
        enter_user_namespace(channel)?;
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).context("cannot make mount and pid namespaces")?;
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .context("cannot make the mounts private")?;

    // SAFETY: This process has one thread, so the child may do anything the parent may.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Parent { child } => Ok(as_exit_code(waitpid(child, None)?)),
        ForkResult::Child => {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            be_pid_1(case, who, channel)
        }
    }
}

fn enter_user_namespace(channel: &Channel) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER).context("cannot make a user namespace")?;
    channel.send(&Message::Unshared)?;
    match channel.receive()? {
        Some(Message::Mapped) => {}
        other => bail!("expected the id maps to be written, got {other:?}"),
    }
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid)?;
    setgroups(&[])?;
    setresuid(uid, uid, uid)?;
    // A change of credentials forgets it.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

fn be_pid_1(case: &Case, who: Who, channel: &Channel) -> Result<ExitCode> {
    let nothing = None::<&str>;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("proc"), "/proc", Some("proc"), safe | MsFlags::MS_NOEXEC, nothing).context("cannot mount /proc")?;
    mount(Some("case"), DIR, Some("tmpfs"), safe, Some("mode=0755"))
        .with_context(|| format!("cannot mount a tmpfs at {DIR}"))?;

    // SAFETY: This process has one thread, so the child may do anything the parent may.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Parent { child } => Ok(as_exit_code(reap_until(child)?)),
        ForkResult::Child => {
            // Kernel messages name the process they are about.
            prctl::set_name(&CString::new(&case.name[..case.name.len().min(15)])?)?;
            let verdict = run_body(case, &Context { who, dir: DIR.into() });
            channel.send(&Message::Verdict(verdict)).context("the runner is gone")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn reap_until(body: Pid) -> Result<WaitStatus> {
    loop {
        match wait() {
            Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..))) if pid == body => {
                return Ok(status);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// As a shell tells it: 128 and the number of the signal that ended the process.
fn as_exit_code(status: WaitStatus) -> ExitCode {
    match status {
        WaitStatus::Exited(_, code) => ExitCode::from(code as u8),
        WaitStatus::Signaled(_, signal, _) => ExitCode::from(128 + signal as u8),
        _ => ExitCode::FAILURE,
    }
}

fn run_body(case: &Case, context: &Context) -> Verdict {
    let panic = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&panic);
    std::panic::set_hook(Box::new(move |info| {
        let text = info.to_string();
        eprintln!("{text}");
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }));
    match catch_unwind(AssertUnwindSafe(|| (case.run)(context))) {
        Ok(Ok(())) => Verdict::Pass,
        Ok(Err(error)) => match error.downcast_ref::<Skip>() {
            Some(Skip(reason)) => Verdict::Skip(reason.clone()),
            None => Verdict::Fail(format!("{error:#}")),
        },
        Err(_) => Verdict::Fail(std::mem::take(&mut panic.lock().unwrap_or_else(PoisonError::into_inner))),
    }
}

/// Writes the id maps of a case in a user namespace for process `pid`: 0..65536 there are 100000.. here.
///
/// # Errors
///
/// When the caller has not the right to, or the maps are written already.
pub fn write_id_maps(pid: u32) -> io::Result<()> {
    let proc = Path::new("/proc").join(pid.to_string());
    let map = "0 100000 65536\n";
    fs::write(proc.join("uid_map"), map)?;
    fs::write(proc.join("gid_map"), map)
}
