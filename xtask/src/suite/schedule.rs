//! How the trials of a run are spread over guests: how many run side by side, with how many CPUs, in which order.

use std::{panic::resume_unwind, sync::Mutex, thread};

use anyhow::Result;

use crate::suite::{
    drive::{Setup, Sink, in_a_guest_each, in_one_guest},
    plan::{Trial, shuffle},
};

/// How many cases take longer than a boot.
const WORTH_A_GUEST: usize = 16;

/// What keeps cases apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Isolate {
    /// One guest; each case has its own processes and namespaces.
    #[default]
    Process,
    /// A guest for each case, all from one snapshot.
    Vm,
}

/// How a run is spread over guests.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// What keeps cases apart.
    pub isolate: Isolate,
    /// This many guests side by side; otherwise as many as the host has CPUs for.
    pub jobs: Option<usize>,
    /// This many CPUs for every guest; otherwise one, and two for the cases that race.
    pub cpus: Option<usize>,
    /// How many times everything is run.
    pub rounds: u64,
    /// Run until something fails: rounds have no end, or only at a failure.
    pub until_fail: bool,
    /// What the order of each round comes from; otherwise the cases run as they are listed.
    pub seed: Option<u64>,
    /// A debugger can only follow one guest.
    pub debugger: bool,
    /// The CPUs of the host.
    pub host_cpus: usize,
}

impl Default for Schedule {
    /// Everything once, in as many guests as this host can run.
    fn default() -> Self {
        Self {
            isolate: Isolate::Process,
            jobs: None,
            cpus: None,
            rounds: 1,
            until_fail: false,
            seed: None,
            debugger: false,
            host_cpus: thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

/// Trials for one guest, and its CPUs.
type Share = (usize, Vec<Trial>);

impl Schedule {
    /// Runs `trials`, and returns when the last guest has ended.
    ///
    /// # Errors
    ///
    /// The first error of any guest, after all of them have ended.
    pub fn run(&self, setup: &Setup, trials: Vec<Trial>, sink: &Mutex<impl Sink + Send>) -> Result<()> {
        for group in self.groups(setup.debug, trials) {
            // Every thread starts its guests itself and lives longer than they do: a guest ends with the thread.
            thread::scope(|scope| {
                let jobs: Vec<_> =
                    group.iter().map(|(cpus, share)| scope.spawn(|| self.drive(setup, *cpus, share, sink))).collect();
                let ended = jobs.into_iter().map(|job| job.join().unwrap_or_else(|panic| resume_unwind(panic)));
                ended.collect::<Vec<_>>().into_iter().collect::<Result<()>>()
            })?;
        }
        Ok(())
    }

    /// Runs a share of the trials, one after the other.
    fn drive(&self, setup: &Setup, cpus: usize, share: &[Trial], mut sink: &Mutex<impl Sink>) -> Result<()> {
        let rounds = (0..self.rounds).map(|round| {
            let mut trials = share.to_vec();
            if let Some(seed) = self.seed {
                shuffle(&mut trials, seed, round);
            }
            trials
        });
        match self.isolate {
            Isolate::Process => in_one_guest(setup, cpus, rounds, &mut sink),
            Isolate::Vm => in_a_guest_each(setup, cpus, rounds, &mut sink),
        }
    }

    /// The shares, in groups of those that run side by side.
    fn groups(&self, debug: bool, trials: Vec<Trial>) -> Vec<Vec<Share>> {
        let by_cpus = self.by_cpus(trials).into_iter().map(|(cpus, trials)| {
            let jobs = self.jobs(cpus, trials.len());
            (0..jobs).map(|job| (cpus, trials.iter().skip(job).step_by(jobs).cloned().collect())).collect()
        });
        let groups: Vec<Vec<Share>> = by_cpus.collect();
        // Cases mostly wait for grace periods, so that guests with one CPU and with two get along on few CPUs. What
        // the debugging costs is CPU time; the same for a guest for each case, which boots and does not wait.
        if debug || self.isolate == Isolate::Vm || self.jobs.is_some() {
            groups
        } else {
            vec![groups.into_iter().flatten().collect()]
        }
    }

    /// How many guests of `cpus` CPUs share `trials` trials.
    fn jobs(&self, cpus: usize, trials: usize) -> usize {
        match self.jobs {
            _ if self.debugger => 1,
            Some(jobs) => jobs.min(trials),
            // More CPUs than the host's would wait for each other, and a guest for a few cases is not worth its boot.
            None => (self.host_cpus / cpus).min(trials / WORTH_A_GUEST).max(1),
        }
    }

    /// A guest with one CPU boots faster; those cases that race get one with two.
    fn by_cpus(&self, trials: Vec<Trial>) -> Vec<Share> {
        // Also on a host with one CPU: TCG takes turns then, and the cases can run.
        let most = self.cpus.unwrap_or(2);
        let (smp, single): (Vec<_>, Vec<_>) = trials.into_iter().partition(|trial| trial.case.wants_smp());
        // Repeating until a failure has no end, so that a second guest would never come.
        if self.cpus.is_some() || self.until_fail || single.is_empty() {
            let cpus = if smp.is_empty() { self.cpus.unwrap_or(1) } else { most };
            return vec![(cpus, single.into_iter().chain(smp).collect())];
        }
        [(1, single), (most, smp)].into_iter().filter(|(_, trials)| !trials.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use loopfs_protocol::CaseInfo;

    use super::*;

    /// `single` cases for one CPU, and `smp` that race.
    fn trials(single: usize, smp: usize) -> Vec<Trial> {
        let trial = |needs: &[&str]| Trial {
            case: CaseInfo { needs: needs.iter().map(ToString::to_string).collect(), ..CaseInfo::default() },
            who: "root".to_owned(),
        };
        let singles = (0..single).map(|_| trial(&[]));
        singles.chain((0..smp).map(|_| trial(&["smp"]))).collect()
    }

    /// The CPUs and the number of trials of each guest, in groups.
    fn spread(schedule: Schedule, debug: bool, trials: Vec<Trial>) -> Vec<Vec<(usize, usize)>> {
        let groups = schedule.groups(debug, trials);
        groups.iter().map(|group| group.iter().map(|(cpus, share)| (*cpus, share.len())).collect()).collect()
    }

    fn on(host_cpus: usize) -> Schedule {
        Schedule { host_cpus, ..Schedule::default() }
    }

    #[test]
    fn cases_that_race_get_a_guest_with_two_cpus_beside_the_others() {
        assert_eq!(spread(on(2), false, trials(20, 3)), [[(1, 20), (2, 3)]]);
        assert_eq!(spread(on(2), false, trials(3, 0)), [[(1, 3)]]);
        assert_eq!(spread(on(1), false, trials(0, 3)), [[(2, 3)]]);
    }

    #[test]
    fn many_cases_share_as_many_guests_as_the_host_has_cpus_for() {
        assert_eq!(spread(on(4), false, trials(100, 40)), [[(1, 25), (1, 25), (1, 25), (1, 25), (2, 20), (2, 20)]]);
        // Twenty cases are not worth a second boot.
        assert_eq!(spread(on(4), false, trials(20, 0)), [[(1, 20)]]);
    }

    #[test]
    fn what_costs_cpu_time_does_not_run_side_by_side_with_other_cpus() {
        let apart = vec![vec![(1, 20)], vec![(2, 3)]];
        assert_eq!(spread(on(2), true, trials(20, 3)), apart);
        assert_eq!(spread(Schedule { isolate: Isolate::Vm, ..on(2) }, false, trials(20, 3)), apart);
    }

    #[test]
    fn what_was_asked_for_holds() {
        assert_eq!(spread(Schedule { jobs: Some(3), ..on(2) }, false, trials(4, 0)), [[(1, 2), (1, 1), (1, 1)]]);
        assert_eq!(spread(Schedule { jobs: Some(9), ..on(2) }, false, trials(2, 0)), [[(1, 1), (1, 1)]]);
        assert_eq!(spread(Schedule { cpus: Some(3), ..on(2) }, false, trials(4, 1)), [[(3, 5)]]);
        assert_eq!(spread(Schedule { debugger: true, jobs: Some(4), ..on(8) }, false, trials(40, 0)), [[(1, 40)]]);
    }

    #[test]
    fn a_run_until_a_failure_has_one_guest_for_all() {
        assert_eq!(spread(Schedule { until_fail: true, ..on(2) }, false, trials(4, 1)), [[(2, 5)]]);
    }

    #[test]
    fn no_trial_is_lost_or_run_twice() {
        for schedule in [on(1), on(3), Schedule { jobs: Some(5), ..on(2) }] {
            let count: usize = spread(schedule, false, trials(47, 18)).iter().flatten().map(|(_, count)| count).sum();
            assert_eq!(count, 65);
        }
    }
}
