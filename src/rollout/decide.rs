//! The decision: what is remembered and what is seen → what is remembered next, and what happened. Pure.

use std::sync::Arc;

use super::advance;
use super::bounds;
use super::choose;
use super::event::Event;
use super::facts::Facts;
use super::pass::Pass;
use super::record::{Record, Rollout};
use super::settings::Settings;

/// Rounds until nothing more follows from the same facts: a start, a first step, an end.
const ROUNDS: usize = 8;

/// What follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// To remember.
    pub record: Record,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// When to decide again at the latest, if nothing is reported before; Unix time, milliseconds.
    pub next_at: Option<u64>,
    /// Addresses of gates to ask.
    pub gates: Vec<Arc<str>>,
    /// More than counts have changed: the record is to be written before it is acted upon.
    pub urgent: bool,
}

/// Decides. The same facts a second time change nothing.
#[must_use]
pub fn decide(record: &Record, settings: &Settings, facts: &Facts) -> Decision {
    let facts = bounds::admit(facts);
    settle(record, record.clone(), Pass::new(settings, &facts))
}

/// Rounds until nothing more follows; `next` is what an order has made of `record`.
pub(super) fn settle(record: &Record, mut next: Record, mut pass: Pass<'_>) -> Decision {
    for _ in 0..ROUNDS {
        if pass.settings.one_dry_run && next.rollout.is_none() {
            // It is over, and with it these settings: what follows is decided by the policy, at once.
            pass.next_at = Some(pass.now());
            break;
        }
        let (said, under_way) = (pass.events.len(), next.rollout.is_some());
        pass.gates.clear();
        pass.next_at = None;
        round(&mut next, &mut pass);
        // What begins, goes on or ends is said; what else may follow is that a rollout is no longer there.
        if pass.events.len() == said && next.rollout.is_some() == under_way {
            break;
        }
    }
    bounds::fit(&mut next);
    let urgent = !pass.events.is_empty() || !is_same_but_for_counts(record, &next);
    Decision {
        record: next,
        events: pass.events,
        next_at: pass.next_at,
        gates: pass.gates,
        urgent,
    }
}

fn round(record: &mut Record, pass: &mut Pass<'_>) {
    choose::tidy(record, pass);
    choose::stable(record, pass);
    match record.rollout.as_deref() {
        None => choose::candidate(record, pass),
        Some(rollout) if rollout.is_running() => {
            advance::advance(record, pass);
            choose::forward(record, pass);
        }
        Some(rollout) => {
            if rollout
                .ended()
                .is_none_or(|at| pass.is_over(at, pass.settings.grace))
            {
                record.rollout = None;
            }
        }
    }
    choose::waiting(record, pass);
}

fn is_same_but_for_counts(one: &Record, other: &Record) -> bool {
    let state = |rollout: &Rollout| {
        (
            rollout.started,
            rollout.step,
            rollout.step_since,
            rollout.announced,
            rollout.deadline_from,
            rollout.missing_since,
            rollout.alone_since,
        )
    };
    let same = match (one.rollout.as_deref(), other.rollout.as_deref()) {
        (Some(one), Some(other)) => {
            one.candidate == other.candidate
                && one.phase == other.phase
                && one.hold == other.hold
                && state(one) == state(other)
        }
        (None, None) => true,
        _ => false,
    };
    same && one.stable == other.stable
        && one.stable_gone == other.stable_gone
        && one.plain == other.plain
        && one.waiting == other.waiting
        && one.rejected == other.rejected
        && one.retired == other.retired
        && one.history == other.history
}
