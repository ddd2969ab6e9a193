//! What speaks against a candidate: an e-process over its requests and those of the stable version at the same time,
//! which may be looked at after each report without more false alarms. Pure.
//!
//! Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests": under the hypothesis that both
//! versions fail equally often, at whatever rate and also when that rate moves, the expected value stays at 1, so it
//! reaches 100 in one of a hundred rollouts at most, however often it is looked at.
//!
//! A candidate may turn bad after hours. So the bet is not one from the start on: a small part of the stake is kept for each
//! second of a day, and begins then. The sum is an e-process like each of its parts, and what was good for long cannot make
//! up for more than the smallness of such a part.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::beta::float;
use super::facts::{Stratum, Sum};

/// Alternatives that are tried: how much worse the candidate may be.
pub(super) const ALTERNATIVES: usize = 10;

/// Multiples of the stable version's rate.
const TIMES: [f64; 6] = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0];
/// Rates.
const RATES: [f64; 4] = [0.05, 0.2, 0.5, 0.9];

/// Of the whole, for all kinds of clients together; the rest is for each kind alone, so that what only one of them sees
/// is not lost among the others.
const TOGETHER: f64 = 0.75;

/// Of the stake, for starts after the first one.
const LATER: f64 = 0.2;
/// They are spread over this time, milliseconds.
const STARTS: u64 = 86_400_000;
/// Time that is paid at once, at least: logarithms are kept with six digits.
const SECOND: u64 = 1_000;

/// The largest value that is shown.
const MOST: f64 = 1e9;

/// Less is known of the stable version than this: a candidate that has everything is not compared with it.
const KNOWN: u64 = 100;

/// Of one signal: logarithms of likelihood ratios.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// All kinds of clients together, by alternative.
    pub all: [f64; ALTERNATIVES],
    /// Each kind alone.
    pub by: BTreeMap<Stratum, [f64; ALTERNATIVES]>,
    /// Until when the stakes of starts were added, Unix time in milliseconds; 0: nothing is known yet.
    pub at: u64,
    /// The time whose stakes were added, milliseconds.
    pub paid: u64,
}

/// What one kind of clients counted in one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Of the candidate.
    pub candidate: Sum,
    /// Of the stable version.
    pub stable: Sum,
    /// Of the stable version, before.
    pub past: Sum,
}

/// What a candidate is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) enum With {
    /// The stable version at the same time.
    Stable,
    /// The candidate has everything: what the stable version had before, and this much more.
    Past { margin: f64 },
}

impl Evidence {
    /// Adds what one kind of clients counted until now.
    pub(super) fn add(&mut self, stratum: Stratum, block: &Block, with: With, now: u64) {
        let ratios = match with {
            With::Stable => beside(block),
            With::Past { margin } => after(block, margin),
        };
        let Some(ratios) = ratios else { return };
        self.begin(now);
        let late = self.late();
        let by = self.by.entry(stratum).or_insert([late; ALTERNATIVES]);
        for (at, ratio) in ratios.iter().enumerate() {
            self.all[at] = rounded(self.all[at] + ratio);
            by[at] = rounded(by[at] + ratio);
        }
    }

    /// Bets that begin now: with what is kept for the time since the last ones. It depends on time alone.
    fn begin(&mut self, now: u64) {
        let time = now.saturating_sub(self.at);
        if self.at > 0 && now >= self.at && time < SECOND {
            return;
        }
        let time = if self.at == 0 { 0 } else { time };
        self.at = now;
        let time = time.min(STARTS.saturating_sub(self.paid));
        if time == 0 {
            return;
        }
        self.paid = self.paid.saturating_add(time);
        let stake = (part(time) / (1.0 - LATER)).ln();
        for logarithm in self.all.iter_mut().chain(self.by.values_mut().flatten()) {
            *logarithm = rounded(sum_of(*logarithm, stake));
        }
    }

    /// The logarithm of a kind of clients of which nothing is known yet.
    fn late(&self) -> f64 {
        rounded((part(self.paid) / (1.0 - LATER)).ln_1p())
    }

    /// The e-value: what was won, and what is not at stake yet.
    fn won(&self, logarithms: &[f64; ALTERNATIVES]) -> f64 {
        (1.0 - LATER) * mean(logarithms) + (LATER - part(self.paid))
    }

    /// The e-value.
    pub(super) fn value(&self) -> f64 {
        let each = (1.0 - TOGETHER) / float(Stratum::ALL.len() as u64);
        let kinds = Stratum::ALL
            .iter()
            .map(|kind| each * self.by.get(kind).map_or(1.0, |by| self.won(by)));
        (TOGETHER * self.won(&self.all) + kinds.sum::<f64>()).min(MOST)
    }
}

/// Of the stake, for starts within this time.
fn part(time: u64) -> f64 {
    LATER * float(time) / float(STARTS)
}

/// The logarithm of the sum of what these are logarithms of.
fn sum_of(one: f64, other: f64) -> f64 {
    one.max(other) + (-(one - other).abs()).exp().ln_1p()
}

fn mean(logarithms: &[f64; ALTERNATIVES]) -> f64 {
    let sum: f64 = logarithms.iter().map(|value| value.min(50.0).exp()).sum();
    sum / float(ALTERNATIVES as u64)
}

/// Few enough digits that a document gives back exactly what was written.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e6).round().clamp(-1e14, 1e14) / 1e6
}

/// Both versions at the same time.
fn beside(block: &Block) -> Option<[f64; ALTERNATIVES]> {
    let Block {
        candidate,
        stable,
        past,
    } = block;
    if candidate.n == 0 || stable.n == 0 {
        return None;
    }
    let rate = ((float(past.k) + 0.02) / (float(past.n) + 2.0)).clamp(1e-5, 0.5);
    let (nc, nb) = (float(candidate.n), float(stable.n));
    Some(alternatives(rate).map(|worse| {
        let equal = (nc * worse + nb * rate) / (nc + nb);
        likelihood(*candidate, worse, equal) + likelihood(*stable, rate, equal)
    }))
}

/// A candidate that has everything, and what the stable version had before.
fn after(block: &Block, margin: f64) -> Option<[f64; ALTERNATIVES]> {
    let Block { candidate, past, .. } = block;
    if candidate.n == 0 || past.n < KNOWN {
        return None;
    }
    let (n, k) = (float(past.n), float(past.k));
    let rate = k / n;
    let unsure = 3.0 * (rate * (1.0 - rate) / n).sqrt() + 3.0 / n;
    let allowed = (rate + unsure.max(margin)).min(0.6);
    Some(alternatives(allowed).map(|worse| likelihood(*candidate, worse, allowed)))
}

/// Rates that are higher than this one, which is at most 0.6.
fn alternatives(rate: f64) -> [f64; ALTERNATIVES] {
    let mut all = [0.0; ALTERNATIVES];
    let times = TIMES.iter().map(|times| rate * times);
    let rates = RATES.iter().map(|worse| worse.max(rate * 1.5));
    for (place, worse) in all.iter_mut().zip(times.chain(rates)) {
        *place = worse.min(0.99);
    }
    all
}

/// How much better the first rate explains these requests than the second one; a logarithm.
fn likelihood(seen: Sum, rate: f64, instead: f64) -> f64 {
    let bad = seen.k.min(seen.n);
    float(bad) * (rate / instead).ln() + float(seen.n - bad) * ((1.0 - rate) / (1.0 - instead)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sum(n: u64, k: u64) -> Sum {
        Sum { n, k }
    }

    fn block(candidate: Sum, stable: Sum, past: Sum) -> Block {
        Block {
            candidate,
            stable,
            past,
        }
    }

    #[test]
    fn nothing_known_is_no_evidence() {
        let mut evidence = Evidence::default();
        assert!((evidence.value() - 1.0).abs() < 1e-12);
        for (candidate, stable) in [(sum(0, 0), sum(50, 50)), (sum(9, 9), sum(0, 0))] {
            evidence.add(
                Stratum::Envoy,
                &block(candidate, stable, sum(100, 0)),
                With::Stable,
                5,
            );
        }
        let full = With::Past { margin: 0.01 };
        evidence.add(Stratum::Envoy, &block(sum(9, 9), sum(0, 0), sum(99, 0)), full, 5);
        assert_eq!(evidence, Evidence::default());
    }

    #[test]
    fn errors_of_both_are_none_and_those_of_one_are_evidence() {
        let mut equal = Evidence::default();
        equal.add(
            Stratum::Envoy,
            &block(sum(100, 50), sum(900, 450), sum(1_000, 500)),
            With::Stable,
            5,
        );
        assert!(equal.value() < 1.0, "{}", equal.value());
        let mut worse = Evidence::default();
        worse.add(
            Stratum::Envoy,
            &block(sum(100, 10), sum(900, 1), sum(1_000, 1)),
            With::Stable,
            5,
        );
        assert!(worse.value() > 1e6, "{}", worse.value());
        let mut better = Evidence::default();
        better.add(
            Stratum::Envoy,
            &block(sum(100, 0), sum(900, 90), sum(1_000, 100)),
            With::Stable,
            5,
        );
        assert!(better.value() < 1.0, "{}", better.value());
    }

    #[test]
    fn an_hour_of_good_requests_makes_up_for_little() {
        let mut evidence = Evidence::default();
        let mut add = |second: u64, bad: u64| {
            let block = block(sum(50, bad), sum(450, 4), sum(9_000, 90));
            evidence.add(Stratum::Envoy, &block, With::Stable, 1_000_000 + second * 1_000);
            let value = evidence.value();
            assert!(value.is_finite() && value >= 0.0);
            (value, evidence.paid)
        };
        for second in 0..3_600 {
            assert!(add(second, 0).0 < 1.1);
        }
        assert!(add(3_600, 50).0 > 100.0, "all bad, for a second");
        // No more than the stake of a day is ever added.
        assert_eq!(add(1_000_000_000, 0).1, STARTS);
        assert_eq!(add(2_000_000_000, 0).1, STARTS);
    }

    /// A document of a bridge that knew no later starts.
    #[test]
    fn older_evidence_is_read() {
        let text = r#"{"all":[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5],"by":{}}"#;
        let mut evidence: Evidence = serde_json::from_str(text).unwrap();
        assert_eq!((evidence.at, evidence.paid), (0, 0));
        let block = block(sum(9, 0), sum(90, 0), sum(900, 0));
        evidence.add(Stratum::Grpc, &block, With::Stable, 5_000);
        assert_eq!((evidence.at, evidence.paid), (5_000, 0));
        let text = serde_json::to_string(&evidence).unwrap();
        assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), evidence);
    }

    #[test]
    fn what_only_one_kind_of_clients_sees_is_not_lost() {
        let mut evidence = Evidence::default();
        for _ in 0..20 {
            evidence.add(
                Stratum::Envoy,
                &block(sum(1_000, 0), sum(9_000, 0), sum(90_000, 9)),
                With::Stable,
                5,
            );
            evidence.add(
                Stratum::Grpc,
                &block(sum(10, 2), sum(90, 0), sum(900, 0)),
                With::Stable,
                5,
            );
        }
        assert!(evidence.value() > 1e3, "{}", evidence.value());
    }

    #[test]
    fn with_everything_it_is_compared_with_what_was_before() {
        let full = With::Past { margin: 0.01 };
        let past = sum(5_000, 5);
        let value = |k| {
            let mut evidence = Evidence::default();
            evidence.add(Stratum::Envoy, &block(sum(1_000, k), sum(0, 0), past), full, 5);
            evidence.value()
        };
        assert!(value(1) < 1.0 && value(11) < 2.0, "{} {}", value(1), value(11));
        assert!(value(50) > 100.0, "{}", value(50));
    }

    /// The defining property, computed exactly: with equal rates the expected factor is at most 1.
    #[test]
    fn the_expected_factor_is_at_most_one_when_both_are_equal() {
        for (rate, past) in [
            (0.001, sum(0, 0)),
            (0.02, sum(500, 9)),
            (0.3, sum(50, 1)),
            (0.6, sum(9, 9)),
        ] {
            let (nc, nb) = (4_u64, 7_u64);
            let mut expected = 0.0;
            for kc in 0..=nc {
                for kb in 0..=nb {
                    let mut evidence = Evidence::default();
                    evidence.add(
                        Stratum::Grpc,
                        &block(sum(nc, kc), sum(nb, kb), past),
                        With::Stable,
                        5,
                    );
                    expected += chance(nc, kc, rate) * chance(nb, kb, rate) * evidence.value();
                }
            }
            assert!(expected <= 1.0 + 1e-6, "{rate}: {expected}");
        }
    }

    fn chance(n: u64, k: u64, rate: f64) -> f64 {
        let ways = (0..k).fold(1.0, |ways, i| ways * float(n - i) / float(i + 1));
        let power = |base: f64, times: u64| (0..times).fold(1.0, |all, _| all * base);
        ways * power(rate, k) * power(1.0 - rate, n - k)
    }
}
