//! The verdict of a rollout: figures and one line for a person. Pure.

use std::sync::Arc;

use super::bounds::{MAX_ROWS, MAX_SENTENCE, text};
use super::data::has_way_back;
use super::facts::{Facts, Row, Stratum};
use super::judge::{self, THRESHOLD};
use super::load;
use super::record::Rollout;
use super::settings::{Settings, Step};
use super::tally::all;
use super::verdict::{Load, Signal, SignalVerdict, StratumVerdict, Verdict};
use super::words;
use crate::model::rollouts::WHOLE;

/// A load that was measured this long ago, in milliseconds, is measured again.
const OLD_LOAD: u64 = 1_000;

/// What is found now.
pub(super) fn verdict(rollout: &Rollout, stable: &Arc<str>, settings: &Settings, facts: &Facts) -> Verdict {
    let alarm = judge::alarm(rollout, settings);
    let signals: Vec<SignalVerdict> = judge::signals(settings)
        .map(|signal| figures(rollout, signal, settings))
        .collect();
    let is_old = facts.now.saturating_sub(rollout.load.at) >= OLD_LOAD || rollout.load.candidate.issued == 0;
    let load = if is_old {
        load::measure(rollout, stable, facts)
    } else {
        rollout.load
    };
    let mut verdict = Verdict {
        at: facts.now,
        candidate: rollout.candidate.clone(),
        stable: stable.clone(),
        step: rollout.step,
        text: String::new(),
        alarm,
        signals,
        load,
        clients: facts.clients.clone(),
        way_back: has_way_back(&rollout.candidate, stable, facts),
        affected: rollout.watched.affected.clone(),
        rows: rows(&rollout.candidate, stable, &facts.rows),
    };
    verdict.text = text(&line(&verdict, rollout), MAX_SENTENCE);
    verdict
}

fn figures(rollout: &Rollout, signal: Signal, settings: &Settings) -> SignalVerdict {
    let strata = rollout.totals.iter().map(|(stratum, pair)| {
        let of = StratumVerdict {
            candidate: pair.candidate.of(signal),
            stable: pair.stable.of(signal),
        };
        (*stratum, of)
    });
    let standing = judge::standing(rollout, signal, settings);
    SignalVerdict {
        signal,
        e: significant(judge::value(rollout, signal)),
        threshold: THRESHOLD,
        strata: strata
            .filter(|(_, of)| *of != StratumVerdict::default())
            .collect(),
        beyond_margin: (standing.n > 0).then(|| significant(standing.beyond)),
    }
}

/// Three digits: more say nothing, and a document gives them back exactly.
fn significant(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// Those with the most that went wrong, of the candidate first.
fn rows(candidate: &str, stable: &str, all: &[Row]) -> Vec<Row> {
    let of = |version: &str| {
        let mut rows: Vec<&Row> = all.iter().filter(|row| *row.version == *version).collect();
        let bad = |row: &Row| row.errors.k.saturating_add(row.abandoned);
        rows.sort_by(|a, b| (bad(b), &a.zone, &a.endpoint).cmp(&(bad(a), &b.zone, &b.endpoint)));
        rows.into_iter().cloned().collect::<Vec<Row>>()
    };
    let (mut first, mut second) = (of(candidate), of(stable));
    second.truncate((MAX_ROWS / 3).max(MAX_ROWS.saturating_sub(first.len())));
    first.truncate(MAX_ROWS - second.len().min(MAX_ROWS));
    first.append(&mut second);
    first
}

fn line(verdict: &Verdict, rollout: &Rollout) -> String {
    let (new, old) = (words::name(&verdict.candidate), words::name(&verdict.stable));
    let total = all(&rollout.totals);
    if total.candidate.errors.n == 0 && total.candidate.abandoned.n == 0 {
        return format!("nothing is known of {new}: none of its requests has ended");
    }
    let signal = verdict.alarm.unwrap_or(Signal::Errors);
    let Some(found) = verdict.signals.iter().find(|found| found.signal == signal) else {
        return String::new();
    };
    let then = if rollout.step == Some(Step::Share(WHOLE)) {
        " before"
    } else {
        ""
    };
    let rates = rates(found, then);
    let e = words::value(found.e);
    let load = at_load(&verdict.load, rollout.step);
    let name = words::signal(signal);
    if verdict.alarm.is_some() {
        format!("{new} is worse than {old} by {name}: {rates}, E = {e} (bad from {THRESHOLD}), {load}")
    } else {
        format!("{new} beside {old}, by {name}: {rates}, E = {e} (bad from {THRESHOLD}), {load}")
    }
}

/// `13 of 260 (5.00 %) against 2 of 2340 (0.09 %)`, by kind of client where there are several.
fn rates(found: &SignalVerdict, then: &str) -> String {
    let of: Vec<(&Stratum, &StratumVerdict)> =
        found.strata.iter().filter(|(_, of)| of.candidate.n > 0).collect();
    let one = |of: &StratumVerdict| {
        format!(
            "{} against {}{then}",
            words::part(of.candidate),
            words::part(of.stable)
        )
    };
    match &of[..] {
        [] => "none".to_owned(),
        [(_, of)] => one(of),
        several => {
            let texts: Vec<String> = several
                .iter()
                .map(|(kind, of)| format!("{} {}", kind.as_str(), one(of)))
                .collect();
            texts.join(", ")
        }
    }
}

fn at_load(load: &Load, step: Option<Step>) -> String {
    let sample = load.candidate;
    format!(
        "{}, at {:.1} requests per second on {} {}",
        words::at(step),
        sample.rate,
        sample.instances,
        if sample.instances == 1 {
            "instance"
        } else {
            "instances"
        },
    )
}
