//! One measurement in a guest of its own, whose clock counts instructions.

use std::{
    os::fd::BorrowedFd,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use loopfs_protocol::{Command, Cost, Window};

use crate::{
    error::Failure,
    guest::{accel::Accel, initramfs::INIT, machine::Machine, qemu::Qemu, running::Guest},
    progress::Progress,
    suite::{
        deadline::Deadlines,
        session::{Session, Stillborn, Streams},
        splat::Detector,
    },
};

/// How much longer than usual things may take: counting costs QEMU most of its speed.
const SLOWER: f64 = 10.0;

/// How long a guest may measure before it tells the next cost.
const SILENCE: Duration = Duration::from_secs(900);

/// Thousands of loop devices, of about 150 kB each, and room for what their makers leave in the caches.
const MEMORY_MIB: u32 = 2048;

/// What the guests of all measurements have in common.
#[derive(Debug)]
pub struct Counted<'run> {
    /// The QEMU that runs them.
    pub qemu: &'run Qemu,
    /// Their kernel and root; the rest is decided here.
    pub machine: &'run Machine,
    /// What must not be in a kernel log.
    pub detector: &'run Detector,
    /// Show QEMU's command lines.
    pub verbose: bool,
}

impl Counted<'_> {
    /// Boots a guest, lets its suite run `bench` with `arguments`, and returns the costs that it tells, each of which is
    /// a step of `progress`. The console is recorded at `log`.
    ///
    /// # Errors
    ///
    /// [`Failure::Guest`] when the guest dies; also when it cannot measure, or when its kernel has
    /// said what it must not: then its costs mean nothing. On Ctrl-C.
    pub fn measure(&self, arguments: &[&str], log: &Path, progress: &Progress) -> Result<Vec<Cost>> {
        let machine = Machine {
            accel: Accel::Counted,
            cpus: 1,
            memory_mib: MEMORY_MIB,
            with_streams: true,
            ..self.machine.clone()
        };
        let deadlines = Deadlines::new(SLOWER, false);
        let guest = Guest::start(self.qemu, &machine, None, self.verbose)?;
        let mut session = Session::new(guest, log, self.detector, &deadlines)?;
        let console = || format!("its console: {}", log.display());
        let up = match session.boot()? {
            Ok(()) => session.greet_for_programs()?,
            stillborn => stillborn,
        };
        if let Err(Stillborn { result }) = up {
            bail!(anyhow!("{}\n{}", result.message.unwrap_or_default(), console()).context(Failure::Guest));
        }

        let argv: Vec<String> = [INIT, "bench"].iter().chain(arguments).map(ToString::to_string).collect();
        let mut listener =
            Listener { progress, heard: Instant::now(), partial: Vec::new(), costs: Vec::new(), errors: String::new() };
        let ended =
            session.exec(&Command::Exec { argv: argv.clone(), env: Vec::new(), terminal: None }, &mut listener)?;
        let Listener { costs, errors, .. } = listener;
        match ended {
            Ok(0) => {}
            Ok(_) => bail!("`{}` in the guest: {}\n{}", argv.join(" "), errors.trim_end(), console()),
            Err(result) => {
                bail!(anyhow!("{}\n{}", result.message.unwrap_or_default(), console()).context(Failure::Guest));
            }
        }
        if let Some(splat) = session.take_stretch().splats().first() {
            bail!("the kernel said while it measured: {}\n{}", splat.line, console());
        }
        ensure!(!costs.is_empty(), "`{}` in the guest tells no cost", argv.join(" "));
        Ok(costs)
    }
}

/// Hears the costs that the guest tells.
struct Listener<'run> {
    progress: &'run Progress,
    heard: Instant,
    partial: Vec<u8>,
    costs: Vec<Cost>,
    errors: String,
}

impl Streams for Listener<'_> {
    fn input(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// There is no input; but this is asked for as long as the program runs.
    fn read(&mut self) -> Result<Option<Vec<u8>>> {
        if self.heard.elapsed() > SILENCE {
            bail!(anyhow!("the guest has told nothing for {} s", SILENCE.as_secs()).context(Failure::Guest));
        }
        Ok(None)
    }

    fn stdout(&mut self, bytes: &[u8]) -> Result<()> {
        self.heard = Instant::now();
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            self.costs.push(Cost::from_line(line.trim_end()).with_context(|| format!("no cost: {line}"))?);
            self.progress.add(1);
        }
        Ok(())
    }

    fn stderr(&mut self, bytes: &[u8]) -> Result<()> {
        self.errors.push_str(&String::from_utf8_lossy(bytes));
        Ok(())
    }

    fn new_size(&mut self) -> Option<Window> {
        None
    }
}

#[cfg(test)]
mod tests {
    use loopfs_protocol::Act;

    use super::*;

    fn listener(progress: &Progress) -> Listener<'_> {
        Listener { progress, heard: Instant::now(), partial: Vec::new(), costs: Vec::new(), errors: String::new() }
    }

    #[test]
    fn costs_are_heard_in_whatever_pieces_they_come() {
        let progress = Progress::steps("test", 2);
        let mut listener = listener(&progress);
        let costs = [1, 255].map(|devices| Cost { act: Act::Umount, devices, took_ns: vec![7] });
        let text: String = costs.iter().map(Cost::to_line).collect();
        let (first, second) = text.as_bytes().split_at(text.len() / 3);
        listener.stdout(first).unwrap();
        listener.stdout(second).unwrap();
        assert_eq!(listener.costs, costs);
    }

    #[test]
    fn noise_is_told_and_no_cost() {
        let progress = Progress::steps("test", 1);
        let error = listener(&progress).stdout(b"umount: 7\n").unwrap_err().to_string();
        assert_eq!(error, "no cost: umount: 7\n");
    }
}
