//! What is found about a candidate: whether it is worse, and whether it is good enough for the next step. Pure.

use std::collections::BTreeMap;

use super::beta::{above, float};
use super::evidence::{Block, Evidence, With};
use super::facts::{Stratum, Sum};
use super::record::Rollout;
use super::settings::{Settings, Step};
use super::tally::{Pair, all};
use super::verdict::Signal;
use crate::model::rollouts::WHOLE;

/// A candidate is taken back from this e-value on: with equal versions one of a hundred rollouts reaches it.
pub(super) const THRESHOLD: f64 = 100.0;
/// And with at least this number of bad requests.
const BAD: u64 = 3;
/// The next step begins when a candidate beyond the margin is not more probable than this.
const RISK: f64 = 0.05;
/// Without enough requests it begins all the same, unless a candidate beyond the margin is more probable than this.
const AGAINST: f64 = 0.95;

/// The signals that the settings judge by.
pub(super) fn signals(settings: &Settings) -> impl Iterator<Item = Signal> {
    Signal::ALL.into_iter().filter(|signal| match signal {
        Signal::Errors => true,
        Signal::Abandoned => settings.abandoned,
        Signal::Metric => settings.metric.is_some(),
    })
}

/// The candidate has all requests: there is nothing at the same time to compare it with.
fn has_all(rollout: &Rollout) -> bool {
    !rollout.dry_run && rollout.step == Some(Step::Share(WHOLE))
}

/// Takes in what is new.
pub(super) fn count(rollout: &mut Rollout, fresh: &[(Stratum, Pair)], settings: &Settings, now: u64) {
    let (all, margin) = (has_all(rollout), settings.margin);
    for (stratum, pair) in fresh {
        let total = rollout.totals.entry(*stratum).or_default();
        for signal in signals(settings) {
            let block = Block {
                candidate: pair.candidate.of(signal),
                stable: pair.stable.of(signal),
                past: total.stable.of(signal),
            };
            if block.candidate.n == 0 {
                continue;
            }
            if all {
                let evidence = rollout.since_all.entry(signal).or_default();
                evidence.add(*stratum, &block, With::Past { margin }, now);
            } else {
                let evidence = rollout.evidence.entry(signal).or_default();
                evidence.add(*stratum, &block, With::Stable, now);
            }
        }
        total.add(pair);
        rollout.in_step.entry(*stratum).or_default().add(pair);
    }
}

/// The e-value of a signal.
pub(super) fn value(rollout: &Rollout, signal: Signal) -> f64 {
    of(&rollout.evidence, signal)
}

fn of(evidence: &BTreeMap<Signal, Evidence>, signal: Signal) -> f64 {
    evidence.get(&signal).map_or(1.0, Evidence::value)
}

/// The signal that says most surely that the candidate is worse than the stable version at the same time.
pub(super) fn alarm(rollout: &Rollout, settings: &Settings) -> Option<Signal> {
    surest(&rollout.evidence, &rollout.totals, settings)
}

/// The same, of a candidate that has everything, by what the stable version had before. Times may have changed for both,
/// so this is no reason to take it back: it is compared again.
pub(super) fn suspicion(rollout: &Rollout, settings: &Settings) -> Option<Signal> {
    surest(&rollout.since_all, &rollout.in_step, settings)
}

fn surest(
    evidence: &BTreeMap<Signal, Evidence>,
    counts: &BTreeMap<Stratum, Pair>,
    settings: &Settings,
) -> Option<Signal> {
    let bad = all(counts).candidate;
    let sure =
        signals(settings).filter(|signal| bad.of(*signal).k >= BAD && of(evidence, *signal) >= THRESHOLD);
    // The first one of equals.
    sure.fold(None, |best: Option<Signal>, signal| match best {
        Some(best) if of(evidence, best) >= of(evidence, signal) => Some(best),
        _ => Some(signal),
    })
}

/// How a candidate stands in its step, by one signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    /// Requests that can be compared with the stable version.
    pub n: u64,
    /// The probability that the candidate is beyond the margin.
    pub beyond: f64,
}

/// The candidate's requests of this step against the stable version's rate at the same time, each kind of clients by its
/// own. Where the stable version has too few in this step, those since the start of the rollout count.
pub(super) fn standing(rollout: &Rollout, signal: Signal, settings: &Settings) -> Standing {
    let (mut seen, mut expected) = (Sum::default(), 0.0);
    for (stratum, pair) in &rollout.in_step {
        let candidate = pair.candidate.of(signal);
        let mut stable = pair.stable.of(signal);
        if stable.n < settings.min_sample || has_all(rollout) {
            stable = rollout
                .totals
                .get(stratum)
                .copied()
                .unwrap_or_default()
                .stable
                .of(signal);
        }
        if stable.n == 0 {
            continue;
        }
        seen = seen.plus(candidate);
        expected += float(candidate.n) * float(stable.k) / float(stable.n);
    }
    let rate = if seen.n == 0 {
        0.0
    } else {
        expected / float(seen.n)
    };
    Standing {
        n: seen.n,
        beyond: above(seen, (rate + settings.margin).min(1.0)),
    }
}

/// What is said of a step by its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The next one may begin.
    Good,
    /// By this signal it is not sure.
    Unsure(Signal),
    /// Too few requests with this signal; nothing speaks against the candidate.
    Few(Signal),
    /// Too few requests with this signal, and they speak against it.
    FewAndBad(Signal),
}

/// What the figures of the present step say.
pub(super) fn finding(rollout: &Rollout, settings: &Settings) -> Finding {
    // Whoever asks by header may ask for nothing, and what is asked for is no sample.
    if matches!(rollout.step, None | Some(Step::Header)) {
        return Finding::Good;
    }
    let mut few = None;
    for signal in signals(settings) {
        let Standing { n, beyond } = standing(rollout, signal, settings);
        if n >= settings.min_sample {
            if beyond > RISK {
                return Finding::Unsure(signal);
            }
        } else if beyond > AGAINST {
            return Finding::FewAndBad(signal);
        } else if signal != Signal::Abandoned {
            // Older Envoys cannot say what clients gave up on.
            few = few.or(Some(signal));
        }
    }
    few.map_or(Finding::Good, Finding::Few)
}
