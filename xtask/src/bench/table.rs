//! Costs as tables of medians and ratios, and the bounds they have to keep.

use std::fmt::Write as _;

use loopfs_protocol::{Act, Cost, Others, Party};
use serde::Serialize;

/// SPEC S4: "umount of 255 bound devices costs a small multiple of one".
const SHUTDOWN: f64 = 8.0;

/// SPEC N6: "not slowed by it beyond its share".
const FOREIGN: f64 = 1.1;

/// All costs of a run.
#[derive(Debug)]
pub struct Costs(Vec<Cost>);

/// Two costs that are held against each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// What costs that much.
    pub what: String,
    /// The cost with few devices, in nanoseconds of the guest's clock.
    pub few_ns: u64,
    /// The cost with many.
    pub many_ns: u64,
    /// The second divided by the first.
    pub ratio: f64,
    /// What that may be at most, if the contract says so.
    pub allowed: Option<f64>,
}

impl Ratio {
    fn new(what: String, few_ns: u64, many_ns: u64, allowed: Option<f64>) -> Self {
        Self { what, few_ns, many_ns, ratio: many_ns as f64 / few_ns.max(1) as f64, allowed }
    }

    /// Whether the bound is kept.
    pub fn is_kept(&self) -> bool {
        self.allowed.is_none_or(|allowed| self.ratio <= allowed)
    }

    /// What to say about a bound that is broken.
    pub fn complaint(&self) -> Option<String> {
        let allowed = self.allowed.filter(|_| !self.is_kept())?;
        Some(format!(
            "{}: {:.2} times as much as with few devices, and {allowed} times is the most",
            self.what, self.ratio
        ))
    }
}

impl Costs {
    /// The costs that the guests have told.
    pub fn new(costs: Vec<Cost>) -> Self {
        Self(costs)
    }

    /// Each of them.
    pub fn all(&self) -> &[Cost] {
        &self.0
    }

    /// The numbers of devices `act` was done with, and the medians, in the order they were measured.
    fn of(&self, act: Act) -> Vec<(u32, u64)> {
        self.0.iter().filter(|cost| cost.act == act).map(|cost| (cost.devices, cost.median_ns())).collect()
    }

    /// `act` with the fewest and with the most devices.
    fn ratio(&self, act: Act, what: String, allowed: Option<f64>) -> Option<Ratio> {
        let medians = self.of(act);
        let (_, few) = medians.iter().min_by_key(|(devices, _)| devices)?;
        let (_, many) = medians.iter().max_by_key(|(devices, _)| devices)?;
        Some(Ratio::new(what, *few, *many, allowed))
    }

    /// The ratios that say how costs grow with the devices there are.
    pub fn ratios(&self) -> Vec<Ratio> {
        let most = |act| self.of(act).into_iter().map(|(devices, _)| devices).max().unwrap_or_default();
        let mut ratios = Vec::new();
        ratios.extend(self.ratio(
            Act::Umount,
            format!("umount of {} bound devices", most(Act::Umount)),
            Some(SHUTDOWN),
        ));
        let what = format!("LOOP_CTL_REMOVE of {} devices by the host", most(Act::HostRemove));
        ratios.extend(self.ratio(Act::HostRemove, what, None));
        for of in [Party::Instance, Party::Host] {
            for beside in [Others::Private, Others::LowPrivate, Others::Host] {
                for (call, act) in [("GET_FREE", Act::GetFree { of, beside }), ("ADD", Act::Add { of, beside })] {
                    let what = format!("{call} {} beside {} {}", party(of), most(act), others(of, beside));
                    ratios.extend(self.ratio(act, what, foreign_bound(of, beside)));
                }
            }
        }
        ratios
    }

    /// All of it, as tables in Markdown.
    pub fn tables(&self) -> String {
        let mut text = String::new();
        let (umount, remove) = (self.of(Act::Umount), self.of(Act::HostRemove));
        if let (Some((_, umount_one)), Some((_, remove_one))) = (umount.first(), remove.first()) {
            text += "| devices | umount of an instance, all bound | ratio | LOOP_CTL_REMOVE by the host, none bound | ratio |\n\
                     |---|---|---|---|---|\n";
            for ((devices, umount), (_, remove)) in umount.iter().zip(&remove) {
                let ratio = |ns: &u64, one: &u64| *ns as f64 / (*one).max(1) as f64;
                let (umount_ratio, remove_ratio) = (ratio(umount, umount_one), ratio(remove, remove_one));
                let _ = writeln!(
                    text,
                    "| {devices} | {} | {umount_ratio:.1} | {} | {remove_ratio:.1} |",
                    milliseconds(*umount),
                    milliseconds(*remove),
                );
            }
            text.push('\n');
        }
        text += "| instructions, or nanoseconds where there is nothing to run | few | many | ratio | at most |\n\
                 |---|---|---|---|---|\n";
        for Ratio { what, few_ns, many_ns, ratio, allowed } in self.ratios() {
            let allowed = allowed.map_or_else(|| "-".to_owned(), |allowed| allowed.to_string());
            let _ = writeln!(text, "| {what} | {few_ns} | {many_ns} | {ratio:.2} | {allowed} |");
        }
        text
    }
}

/// How much more a call of `of` may cost beside many devices of `beside`.
fn foreign_bound(of: Party, beside: Others) -> Option<f64> {
    match (of, beside) {
        (Party::Instance, _) | (Party::Host, Others::Private) => Some(FOREIGN),
        // The stock driver goes over all its devices. A device that a tenant has given a number in between is passed
        // on the way, at a fraction of what one of the host's own costs.
        (Party::Host, Others::LowPrivate | Others::Host) => None,
    }
}

fn party(party: Party) -> &'static str {
    match party {
        Party::Instance => "in an instance",
        Party::Host => "of the host",
    }
}

fn others(of: Party, others: Others) -> &'static str {
    match (of, others) {
        (_, Others::Private) => "private devices of another instance",
        (_, Others::LowPrivate) => "private devices with the lowest numbers",
        (Party::Instance, Others::Host) => "devices of the host",
        (Party::Host, Others::Host) => "of its own (stock driver)",
    }
}

fn milliseconds(ns: u64) -> String {
    format!("{:.1} ms", ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn umounts(times: &[(u32, u64)]) -> Costs {
        let cost = |act| move |&(devices, ns): &(u32, u64)| Cost { act, devices, took_ns: vec![ns] };
        let umounts = times.iter().map(cost(Act::Umount));
        Costs::new(umounts.chain(times.iter().map(cost(Act::HostRemove))).collect())
    }

    #[test]
    fn a_bound_that_is_kept_is_not_complained_of() {
        let ratios = umounts(&[(1, 10_000_000), (16, 20_000_000), (255, 80_000_000)]).ratios();
        assert_eq!(ratios[0].complaint(), None);
        assert_eq!((ratios[0].few_ns, ratios[0].many_ns, ratios[0].ratio), (10_000_000, 80_000_000, 8.0));
    }

    #[test]
    fn a_bound_that_is_broken_says_which_and_by_how_much() {
        let ratios = umounts(&[(1, 10_000_000), (255, 81_000_000)]).ratios();
        assert_eq!(
            ratios[0].complaint().unwrap(),
            "umount of 255 bound devices: 8.10 times as much as with few devices, and 8 times is the most"
        );
        assert_eq!(ratios[1].complaint(), None, "the stock driver has no bound");
    }

    #[test]
    fn foreign_devices_may_cost_a_tenth_and_the_stock_driver_what_it_does() {
        let costs = |of, beside| {
            let cost = |devices, ns| Cost { act: Act::GetFree { of, beside }, devices, took_ns: vec![ns] };
            Costs::new(vec![cost(0, 1000), cost(4000, 1200)])
        };
        let complaint = |of, beside| costs(of, beside).ratios()[0].complaint();
        assert!(complaint(Party::Instance, Others::Host).unwrap().starts_with("GET_FREE in an instance beside 4000"));
        assert!(complaint(Party::Host, Others::Private).is_some());
        assert_eq!(complaint(Party::Host, Others::Host), None);
    }

    #[test]
    fn the_tables_show_each_number_of_devices() {
        let text = umounts(&[(1, 10_000_000), (16, 25_000_000)]).tables();
        assert!(text.contains("| 16 | 25.0 ms | 2.5 | 25.0 ms | 2.5 |\n"), "{text}");
        assert!(text.contains("| umount of 16 bound devices | 10000000 | 25000000 | 2.50 | 8 |\n"), "{text}");
    }
}
