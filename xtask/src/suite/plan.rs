//! Which cases run, how often and in which order.

use anyhow::{Result, bail};
use loopfs_protocol::{CaseInfo, trial_id};

/// One case run as somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The case.
    pub case: CaseInfo,
    /// As whom.
    pub who: String,
}

impl Trial {
    /// Its name.
    pub fn id(&self) -> String {
        trial_id(&self.case.name, &self.who)
    }
}

/// The trials that `filters` choose: those whose name contains one of them, or that cover a line of
/// SPEC.md of that name. All, if there is no filter.
///
/// # Errors
///
/// When a filter chooses nothing: that is a typing mistake, not a run without failures.
pub fn select(cases: &[CaseInfo], filters: &[String]) -> Result<Vec<Trial>> {
    let all: Vec<Trial> = cases
        .iter()
        .flat_map(|case| case.who.iter().map(|who| Trial { case: case.clone(), who: who.clone() }))
        .collect();
    // The whole name of a trial means that one, and not those that have it in theirs.
    let is_whole = |filter: &String| all.iter().any(|trial| trial.id() == *filter);
    let chooses = |filter: &String, trial: &Trial| {
        if is_whole(filter) { trial.id() == *filter } else { chooses(filter, trial) }
    };
    for filter in filters {
        if !all.iter().any(|trial| chooses(filter, trial)) {
            bail!(
                "no case is named like {filter:?} or covers such a line of SPEC.md; `cargo xtask test --list` shows them"
            );
        }
    }
    let chosen = |trial: &Trial| filters.is_empty() || filters.iter().any(|filter| chooses(filter, trial));
    Ok(all.iter().filter(|trial| chosen(trial)).cloned().collect())
}

fn chooses(filter: &str, trial: &Trial) -> bool {
    trial.id().contains(filter) || trial.case.spec.iter().any(|line| line == filter)
}

/// Puts the trials of round `round` in the order that `seed` gives.
pub fn shuffle(trials: &mut [Trial], seed: u64, round: u64) {
    fastrand::Rng::with_seed(seed.wrapping_add(round)).shuffle(trials);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> Vec<CaseInfo> {
        let case = |name: &str, spec: &[&str], who: &[&str]| CaseInfo {
            name: name.into(),
            spec: spec.iter().map(ToString::to_string).collect(),
            who: who.iter().map(ToString::to_string).collect(),
            patience: 1,
            ..CaseInfo::default()
        };
        vec![case("mount_works", &["M1", "M10"], &["root", "userns"]), case("unlink_is_ebusy", &["U1"], &["root"])]
    }

    fn ids(filters: &[&str]) -> Vec<String> {
        let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
        select(&cases(), &filters).unwrap().iter().map(Trial::id).collect()
    }

    #[test]
    fn without_a_filter_everything_runs_in_order() {
        assert_eq!(ids(&[]), ["mount_works/root", "mount_works/userns", "unlink_is_ebusy/root"]);
    }

    #[test]
    fn a_filter_is_a_part_of_a_name_or_a_line_of_the_contract() {
        assert_eq!(ids(&["ebusy"]), ["unlink_is_ebusy/root"]);
        assert_eq!(ids(&["U1"]), ["unlink_is_ebusy/root"]);
        assert_eq!(ids(&["works/userns", "U1"]), ["mount_works/userns", "unlink_is_ebusy/root"]);
    }

    #[test]
    fn the_whole_name_of_a_trial_chooses_it_alone() {
        let mut cases = cases();
        cases[0].name = "no_unlink_is_ebusy".into();
        let trials = select(&cases, &["unlink_is_ebusy/root".into()]).unwrap();
        assert_eq!(trials.iter().map(Trial::id).collect::<Vec<_>>(), ["unlink_is_ebusy/root"]);
    }

    #[test]
    fn a_filter_that_chooses_nothing_is_an_error() {
        let error = select(&cases(), &["ebusy".into(), "M".into()]).unwrap_err().to_string();
        assert!(error.contains("\"M\"") && error.contains("--list"), "{error}");
    }

    #[test]
    fn a_seed_gives_the_same_order_again_and_rounds_differ() {
        let order = |seed, round| {
            let mut trials: Vec<Trial> = (0..50).flat_map(|_| select(&cases(), &[]).unwrap()).collect();
            shuffle(&mut trials, seed, round);
            trials.iter().map(Trial::id).collect::<Vec<_>>()
        };
        assert_eq!(order(7, 0), order(7, 0));
        assert_ne!(order(7, 0), order(7, 1));
    }
}
