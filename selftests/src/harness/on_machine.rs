//! Runs the cases on the machine this program was started on, without a guest around it.

use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Conclusion, Failed, Trial};
use loopfs_protocol::trial_id;
use nix::unistd::geteuid;

use super::{channel::Verdict, leaks::Footprint, probe, runner};
use crate::{
    case::{Case, Need, Who},
    cases,
};

/// The deadline of a case of patience 1.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs the cases that `arguments` choose, one after the other.
pub fn run(mut arguments: Arguments) -> Conclusion {
    // Cases share the machine's loop devices and its limit.
    arguments.test_threads = Some(1);
    // What Debian's programs do is compared between drivers, and the comparison is made by the host of a guest.
    let cases = cases::all().into_iter().filter(|case| !case.needs.contains(&Need::Clients));
    let trials = cases.flat_map(|case| {
        case.who.iter().map(move |who| {
            Trial::ignorable_test(trial_id(case.name, &who.to_string()), {
                let who = *who;
                move || trial(&case, who)
            })
        })
    });
    libtest_mimic::run(&arguments, trials.collect())
}

fn trial(case: &Case, who: Who) -> Result<Completion, Failed> {
    if !geteuid().is_root() {
        return Ok(Completion::ignored_with("needs root: it makes and removes loop devices and namespaces"));
    }
    if let Some(need) = probe::first_missing(case) {
        return Ok(Completion::ignored_with(probe::describe(need)));
    }
    let before = Footprint::take();
    let report = runner::run(case, who, DEADLINE * case.patience, || Ok(()))?;
    print!("{}", report.output.text());
    match report.verdict {
        Verdict::Fail(message) => Err(message.into()),
        Verdict::Skip(reason) => Ok(Completion::ignored_with(reason)),
        Verdict::Pass => match before.settle() {
            leaks if leaks.is_empty() => Ok(Completion::Completed),
            leaks => Err(leaks.join("; ").into()),
        },
    }
}
