//! A rollout under way: what is new is counted and judged, and it stays, goes on or ends. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::data::can_read;
use super::end;
use super::event::Happened;
use super::facts::{Facts, Stratum};
use super::judge::{self, Finding};
use super::load;
use super::pass::Pass;
use super::record::{Hold, Outcome, Phase, Record, Rollout, Why};
use super::settings::{OnNoData, Pass as Agree, Step};
use super::tally::{self, Pair, Versions};
use super::verdict::Signal;
use super::words;
use crate::model::rollouts::WHOLE;

/// A load is measured over at least this time.
const LOAD: Duration = Duration::from_secs(5);

/// No report for three intervals and this time: nothing is known.
const BLIND: u64 = 6_000;
/// A candidate that had everything and fell back this number of times waits for a person.
const FALLS: u32 = 2;

/// Clients have the candidate for an interval and this time before its first step, milliseconds.
const ANNOUNCE: u64 = 500;

/// Unless the facts say another one.
const INTERVAL: u64 = 1_000;

/// What follows for a rollout.
enum Fate {
    /// It stays where it is, held or not.
    Stay(Option<Hold>),
    /// What this step needs has to agree.
    Wait(Step),
    /// Clients get the candidate, and send it nothing yet.
    Announce,
    /// This step begins.
    Step(Step),
    /// It has everything, and by this signal it does worse than was known before: it goes back to this step.
    Fall(Step, Signal),
    /// The candidate becomes the stable version.
    Promote(Outcome),
    /// It is taken back.
    Back(Why),
}

/// One round of a rollout under way.
pub(super) fn advance(record: &mut Record, pass: &mut Pass<'_>) {
    let (Some(mut rollout), Some(stable)) = (record.rollout.take(), record.stable.clone()) else {
        return;
    };
    count(&mut rollout, &stable, pass);
    neighbours(&mut rollout, pass);
    match fate(&mut rollout, &stable, pass) {
        Fate::Back(why) => end::take_back(record, rollout, why, pass),
        Fate::Promote(outcome) => end::promote(record, rollout, &outcome, pass),
        Fate::Step(step) => {
            end::step(&mut rollout, step, pass);
            record.rollout = Some(rollout);
        }
        Fate::Announce => {
            hold(&mut rollout, None, pass);
            rollout.phase = Phase::Running;
            rollout.announced.get_or_insert(pass.now());
            record.rollout = Some(rollout);
        }
        Fate::Fall(step, signal) => {
            end::fall(&mut rollout, step, signal, pass);
            record.rollout = Some(rollout);
        }
        Fate::Wait(step) => {
            hold(&mut rollout, None, pass);
            wait(&mut rollout, step, pass);
            record.rollout = Some(rollout);
        }
        Fate::Stay(held) => {
            hold(&mut rollout, held, pass);
            record.rollout = Some(rollout);
        }
    }
}

fn count(rollout: &mut Rollout, stable: &Arc<str>, pass: &mut Pass<'_>) {
    let candidate = rollout.candidate.clone();
    let versions = Versions {
        candidate: &candidate,
        stable,
    };
    let fresh = tally::take(&mut rollout.seen, rollout.started, versions, pass.facts);
    let fresh: Vec<(Stratum, Pair)> = fresh.into_iter().collect();
    judge::count(rollout, &fresh, pass.settings, pass.now());
    if pass.is_over(rollout.load.at, LOAD) {
        rollout.load = load::measure(rollout, stable, pass.facts);
    }
}

fn neighbours(rollout: &mut Rollout, pass: &mut Pass<'_>) {
    let found = rollout
        .watched
        .look(&pass.facts.neighbours, rollout.step, pass.now());
    for affected in found {
        let text = format!(
            "{} began to fail after a step of {}, {}: {} before, {} since",
            affected.service,
            words::name(&rollout.candidate),
            words::at(affected.step),
            words::part(affected.before),
            words::part(affected.after)
        );
        let service = affected.service.clone();
        pass.say(&rollout.candidate, Happened::Neighbour { service }, text);
    }
}

/// Says what holds it, when that is new.
fn hold(rollout: &mut Rollout, next: Option<Hold>, pass: &mut Pass<'_>) {
    if rollout.hold == next {
        return;
    }
    let name = words::name(&rollout.candidate);
    if let Some(hold) = &next {
        let text = format!(
            "{name} is held, {}: {}",
            words::at(rollout.step),
            words::hold(hold)
        );
        let needs_alert =
            pass.settings.on_no_data == OnNoData::Alert && matches!(hold, Hold::FewRequests { .. });
        pass.say(
            &rollout.candidate,
            Happened::Held { hold: hold.clone() },
            text.clone(),
        );
        if needs_alert {
            pass.say(&rollout.candidate, Happened::Alert, text);
        }
    } else {
        pass.say(
            &rollout.candidate,
            Happened::Released,
            format!("{name} is no longer held"),
        );
    }
    rollout.hold = next;
}

/// It waits for the gates of a step.
fn wait(rollout: &mut Rollout, step: Step, pass: &mut Pass<'_>) {
    if matches!(rollout.phase, Phase::Gate { step: known, .. } if known == step) {
        return;
    }
    let gates = pass.settings.gates.iter().filter(|gate| gate.step == step);
    let names: Vec<String> = gates
        .map(|gate| match &gate.pass {
            Agree::Person => "a person (`rollout promote`)".to_owned(),
            Agree::Http(address) => address.to_string(),
        })
        .collect();
    let text = format!(
        "{} waits before step {step} for {}",
        words::name(&rollout.candidate),
        names.join(" and ")
    );
    rollout.phase = Phase::Gate {
        since: pass.now(),
        step,
    };
    pass.say(&rollout.candidate, Happened::Gate { step }, text);
}

fn fate(rollout: &mut Rollout, stable: &Arc<str>, pass: &mut Pass<'_>) -> Fate {
    let now = pass.now();
    let (new, old) = (pass.instances(&rollout.candidate), pass.instances(stable));
    let since = |before: Option<u64>, is: bool| is.then(|| before.unwrap_or(now));
    rollout.missing_since = since(rollout.missing_since, new.healthy == 0);
    rollout.alone_since = since(
        rollout.alone_since,
        old.healthy == 0 && new.healthy > 0 && !rollout.dry_run && rollout.step.is_some(),
    );
    if new.total == 0 {
        return Fate::Back(Why::Gone);
    }
    if let Some(since) = rollout.missing_since
        && pass.is_over(since, pass.settings.gone_after)
    {
        return Fate::Back(Why::Gone);
    }
    let way_back = old.healthy > 0 && can_read(stable, pass.facts);
    let reason = if let Some(stored) = pass.facts.data.filter(|stored| !new.can_read(*stored)) {
        Some(Why::Data { stored })
    } else {
        judge::alarm(rollout, pass.settings).map(|signal| Why::Worse { signal })
    };
    match reason {
        Some(why) if way_back || pass.settings.dry_run => return Fate::Back(why),
        Some(why) => return Fate::Stay(Some(Hold::RollForward { why })),
        None => {}
    }
    if let Some(since) = rollout.alone_since
        && old.total == 0
        && pass.is_over(since, pass.settings.gone_after)
    {
        return Fate::Promote(Outcome::Left);
    }
    if let Some(signal) = judge::suspicion(rollout, pass.settings) {
        return match before(rollout, &pass.settings.steps) {
            Some(step) if way_back => Fate::Fall(step, signal),
            _ => Fate::Stay(Some(Hold::RollForward {
                why: Why::Worse { signal },
            })),
        };
    }
    if rollout.missing_since.is_some() {
        return Fate::Stay(Some(Hold::Missing));
    }
    if rollout.alone_since.is_some() {
        return Fate::Stay(Some(Hold::Alone));
    }
    if matches!(rollout.phase, Phase::Paused { .. }) {
        return Fate::Stay(None);
    }
    let deadline = pass.settings.deadline;
    if !deadline.is_zero() && pass.is_over(rollout.deadline_from, deadline) {
        return Fate::Stay(Some(Hold::Deadline));
    }
    // Who reports is only looked at once a rollout is there: it starts by what was seen before that.
    if rollout.started != now && is_blind(rollout.started, pass) {
        return Fate::Stay(Some(Hold::NoReports));
    }
    if let Some(signal) = stays_below(rollout) {
        return Fate::Stay(Some(Hold::FullLoad { signal }));
    }
    match ready(rollout, pass) {
        Ok(()) => next(rollout, pass),
        Err(held) => Fate::Stay(held),
    }
}

/// No client has reported for too long. Before the rollout they reported more seldom: their next report is waited for.
fn is_blind(started: u64, pass: &mut Pass<'_>) -> bool {
    let patience = Duration::from_millis(interval(pass.facts).saturating_mul(3).saturating_add(BLIND));
    let last = pass.facts.clients.last_report;
    last.is_none_or(|last| pass.is_over(last.max(started).saturating_add(1), patience))
}

/// The present step has had its time, its requests, and nothing speaks against the next one.
fn ready(rollout: &Rollout, pass: &mut Pass<'_>) -> Result<(), Option<Hold>> {
    // Once it was, only its gates are waited for.
    if rollout.step.is_none() || matches!(rollout.phase, Phase::Gate { .. }) {
        return Ok(());
    }
    if !pass.is_over(rollout.step_since, pass.settings.step_time) {
        return Err(None);
    }
    let need = pass.settings.min_sample;
    match judge::finding(rollout, pass.settings) {
        Finding::Good => Ok(()),
        Finding::Unsure(signal) | Finding::FewAndBad(signal) => Err(Some(Hold::Margin { signal })),
        Finding::Few(signal) => {
            let few = Err(Some(Hold::FewRequests { signal, need }));
            let is_enough = match pass.settings.on_no_data {
                OnNoData::PromoteAfter(time) => pass.is_over(rollout.step_since, time),
                OnNoData::Hold | OnNoData::Alert => false,
            };
            if is_enough { Ok(()) } else { few }
        }
    }
}

/// The step after the present one.
pub(super) fn following(rollout: &Rollout, steps: &[Step]) -> Option<Step> {
    steps
        .iter()
        .copied()
        .find(|step| rollout.step.is_none_or(|present| present.is_before(*step)))
}

/// The step to compare again in: the one before the present one, or a half.
fn before(rollout: &Rollout, steps: &[Step]) -> Option<Step> {
    let present = rollout.step?;
    let mut shares = steps
        .iter()
        .copied()
        .filter(|step| matches!(step, Step::Share(_)) && step.is_before(present));
    Some(shares.next_back().unwrap_or(Step::Share(WHOLE / 2)))
}

/// It had everything and fell too often.
fn stays_below(rollout: &Rollout) -> Option<Signal> {
    let is_below = rollout
        .step
        .is_some_and(|step| step.is_before(Step::Share(WHOLE)));
    (is_below && rollout.falls >= FALLS).then(|| rollout.fell_by.unwrap_or(Signal::Errors))
}

fn next(rollout: &Rollout, pass: &mut Pass<'_>) -> Fate {
    let Some(step) = following(rollout, &pass.settings.steps) else {
        return Fate::Promote(Outcome::Promoted);
    };
    let is_first = rollout.step.is_none() && !rollout.dry_run;
    if is_first && rollout.announced.is_some() {
        return if is_announced(rollout, pass) {
            Fate::Step(step)
        } else {
            Fate::Announce
        };
    }
    let is_waiting = match &rollout.phase {
        Phase::Gate { since, step: known } if *known == step => Some(*since),
        _ => None,
    };
    let mut is_open = true;
    for gate in pass
        .settings
        .gates
        .iter()
        .filter(|gate| gate.step == step && !rollout.dry_run)
    {
        match &gate.pass {
            // The order `promote` begins the step.
            Agree::Person => is_open = false,
            Agree::Http(address) => {
                let answer = pass.facts.gates.get(address);
                let fresh = answer
                    .zip(is_waiting)
                    .filter(|(answer, since)| answer.at >= *since);
                let agrees = fresh.is_some_and(|(answer, _)| answer.status == Some(200));
                is_open &= agrees;
                if !agrees {
                    pass.gates.push(address.clone());
                }
            }
        }
    }
    if !is_open {
        return Fate::Wait(step);
    }
    if is_first {
        Fate::Announce
    } else {
        Fate::Step(step)
    }
}

/// Clients have had the candidate for a whole interval of their reports: Envoy loses what a cluster did before the first
/// one that lists it.
fn is_announced(rollout: &Rollout, pass: &mut Pass<'_>) -> bool {
    let since = rollout.announced.unwrap_or(pass.now());
    let time = Duration::from_millis(interval(pass.facts).saturating_add(ANNOUNCE));
    pass.is_over(since, time)
}

/// Clients report this often, milliseconds.
const fn interval(facts: &Facts) -> u64 {
    match facts.clients.interval {
        0 => INTERVAL,
        known => known,
    }
}
