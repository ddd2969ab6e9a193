//! At which load something was found: requests per second of each version and of each of its instances. Pure.

use std::sync::Arc;

use super::beta::float;
use super::evidence::rounded;
use super::facts::Facts;
use super::record::Rollout;
use super::tally;
use super::verdict::{Load, Sample};

/// Requests per second since the load was measured last.
pub(super) fn measure(rollout: &Rollout, stable: &Arc<str>, facts: &Facts) -> Load {
    let seconds = float(facts.now.saturating_sub(rollout.load.at)) / 1_000.0;
    let total = tally::all(&rollout.totals);
    let open = |version: &Arc<str>| {
        let counts = facts.runs.values().flat_map(|run| &run.counts);
        let of = counts.filter(|((of, _), _)| of == version);
        of.fold(0_u64, |sum, (_, count)| sum.saturating_add(count.open))
    };
    let sample = |version: &Arc<str>, begun: u64, before: Sample| {
        let instances = facts
            .versions
            .get(version)
            .map_or(0, |instances| instances.healthy);
        let rate = if seconds < 0.2 {
            before.rate
        } else {
            float(begun.saturating_sub(before.issued)) / seconds
        };
        Sample {
            issued: begun,
            rate: rounded(rate),
            per_instance: rounded(rate / float(u64::from(instances.max(1)))),
            instances,
            open: open(version),
        }
    };
    Load {
        at: facts.now,
        candidate: sample(
            &rollout.candidate,
            total.candidate.begun(),
            rollout.load.candidate,
        ),
        stable: sample(stable, total.stable.begun(), rollout.load.stable),
    }
}

/// A step begins: requests of another one say nothing of its load.
pub(super) fn restart(rollout: &mut Rollout, now: u64) {
    let total = tally::all(&rollout.totals);
    rollout.load.at = now;
    rollout.load.candidate.issued = total.candidate.begun();
    rollout.load.stable.issued = total.stable.begun();
}
