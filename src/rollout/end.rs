//! How a rollout ends: taken back, promoted, or left over. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bounds::{MAX_SENTENCE, text};
use super::data::can_read;
use super::event::Happened;
use super::find::verdict;
use super::load;
use super::neighbours::Watched;
use super::pass::Pass;
use super::record::{Outcome, Past, Phase, Record, Rejected, Rollout, Why};
use super::settings::Step;
use super::verdict::{Signal, Verdict};
use super::words;

/// The stable version has everything again.
pub(super) fn take_back(record: &mut Record, mut rollout: Box<Rollout>, why: Why, pass: &mut Pass<'_>) {
    let stable = record.stable.clone().unwrap_or_default();
    let mut verdict = verdict(&rollout, &stable, pass.settings, pass.facts);
    let is_worse = matches!(why, Why::Worse { .. });
    let name = words::name(&rollout.candidate);
    if !is_worse {
        verdict.text = text(
            &format!("{name} {}, {}", words::why(&why), words::at(rollout.step)),
            MAX_SENTENCE,
        );
    }
    let old = words::name(&stable);
    let action = match &why {
        Why::Replaced { .. } => "it gets no requests any more".to_owned(),
        _ if pass.settings.dry_run => "it would be taken back".to_owned(),
        _ if !can_read(&stable, pass.facts) => {
            format!("{old} has all requests, and cannot read the stored data: roll forward")
        }
        _ => format!("it is taken back, and {old} has all requests"),
    };
    let mut said = format!("{}: {action}", verdict.text);
    for affected in &verdict.affected {
        said.push_str("; ");
        said.push_str(&affected.service);
        said.push_str(" began to fail at the same time");
    }
    if matches!(why, Why::Worse { .. } | Why::Order { .. } | Why::Replaced { .. }) {
        record.reject(Rejected {
            version: rollout.candidate.clone(),
            at: pass.now(),
            why: why.clone(),
            text: verdict.text.clone(),
            dry_run: pass.settings.dry_run,
        });
    }
    pass.say(&rollout.candidate, Happened::TakenBack { why: why.clone() }, said);
    note(
        record,
        &rollout,
        &stable,
        Outcome::TakenBack { why: why.clone() },
        &verdict,
        pass,
    );
    record.last = Some(Box::new(verdict));
    rollout.phase = Phase::TakenBack { at: pass.now(), why };
    close(record, rollout);
}

/// The candidate is the stable version.
pub(super) fn promote(
    record: &mut Record,
    mut rollout: Box<Rollout>,
    outcome: &Outcome,
    pass: &mut Pass<'_>,
) {
    let stable = record.stable.clone().unwrap_or_default();
    let mut verdict = verdict(&rollout, &stable, pass.settings, pass.facts);
    let (new, old) = (words::name(&rollout.candidate), words::name(&stable));
    let said = match outcome {
        Outcome::Left => format!("{new} is the stable version: {old} has no instance any more"),
        _ if pass.settings.dry_run => format!("{new} would be the stable version, instead of {old}"),
        _ => format!("{new} is the stable version, instead of {old}"),
    };
    verdict.text = text(&format!("{said}; {}", verdict.text), MAX_SENTENCE);
    pass.say(&rollout.candidate, Happened::Promoted, verdict.text.clone());
    note(record, &rollout, &stable, outcome.clone(), &verdict, pass);
    if pass.settings.dry_run && *outcome != Outcome::Left {
        record.reject(Rejected {
            version: rollout.candidate.clone(),
            at: pass.now(),
            why: Why::DryRun,
            text: verdict.text.clone(),
            dry_run: true,
        });
    } else {
        let candidate = rollout.candidate.clone();
        let born = pass.instances(&candidate).first_seen;
        let older = pass.facts.versions.iter().filter(|(name, instances)| {
            **name != candidate && **name != stable && !name.is_empty() && instances.first_seen < born
        });
        let passed_over: Vec<Arc<str>> = older
            .map(|(name, _)| name.clone())
            .filter(|name| !record.is_rejected(name, false))
            .collect();
        for name in passed_over {
            record.retire(name);
        }
        record.retire(stable);
        record.retired.retain(|retired| retired.version != candidate);
        record.rejected.retain(|past| past.version != candidate);
        record.stable = Some(candidate);
    }
    record.last = Some(Box::new(verdict));
    rollout.phase = Phase::Promoted { at: pass.now() };
    close(record, rollout);
}

/// Remembers it for people.
fn note(
    record: &mut Record,
    rollout: &Rollout,
    stable: &Arc<str>,
    outcome: Outcome,
    verdict: &Verdict,
    pass: &Pass<'_>,
) {
    record.history.push(Past {
        candidate: rollout.candidate.clone(),
        stable: stable.clone(),
        started: rollout.started,
        ended: pass.now(),
        step: rollout.step,
        outcome,
        text: verdict.text.clone(),
        dry_run: rollout.dry_run,
        orders: rollout.orders.clone(),
    });
}

/// What is only needed while it runs is forgotten.
fn close(record: &mut Record, mut rollout: Box<Rollout>) {
    rollout.hold = None;
    rollout.seen = BTreeMap::new();
    rollout.in_step = BTreeMap::new();
    rollout.watched = Watched::default();
    record.rollout = Some(rollout);
}

/// It had everything and did worse than was known before: back a step, where it is compared again.
pub(super) fn fall(rollout: &mut Rollout, to: Step, signal: Signal, pass: &mut Pass<'_>) {
    let text = format!(
        "{} does worse by {} with all requests than was known before: it goes back a step, to be compared again",
        words::name(&rollout.candidate),
        words::signal(signal)
    );
    let candidate = rollout.candidate.clone();
    pass.say(&candidate, Happened::Warning, text);
    rollout.falls = rollout.falls.saturating_add(1);
    rollout.fell_by = Some(signal);
    step(rollout, to, pass);
}

/// A step begins.
pub(super) fn step(rollout: &mut Rollout, step: Step, pass: &mut Pass<'_>) {
    rollout.step = Some(step);
    rollout.step_since = pass.now();
    rollout.phase = Phase::Running;
    rollout.hold = None;
    rollout.in_step = BTreeMap::new();
    rollout.since_all = BTreeMap::new();
    rollout.watched.step(&pass.facts.neighbours);
    load::restart(rollout, pass.now());
    let would = if pass.settings.dry_run {
        "would get"
    } else {
        "gets"
    };
    let what = match step {
        Step::Header => "the requests that ask for it by header".to_owned(),
        Step::Mirror(_) => {
            let text = step.to_string();
            format!(
                "a copy of {} % of the requests",
                text.trim_start_matches("mirror:")
            )
        }
        Step::Share(_) => format!("{step} % of the requests"),
    };
    let text = format!("{} {would} {what}", words::name(&rollout.candidate));
    let candidate = rollout.candidate.clone();
    pass.say(&candidate, Happened::Step { step }, text);
}
