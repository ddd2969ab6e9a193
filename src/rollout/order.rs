//! What a person wants of a rollout. Pure.

use std::sync::Arc;

use super::advance::following;
use super::bounds::{self, MAX_TEXT, text};
use super::choose;
use super::data::can_read;
use super::decide::{Decision, settle};
use super::end;
use super::event::Happened;
use super::facts::Facts;
use super::pass::Pass;
use super::record::{Hold, Ordered, Outcome, Phase, Record, Rollout, Why};
use super::settings::Settings;
use super::words;

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start this version, also a rejected or retired one; `None`: the newest that waits.
    Start {
        /// The version.
        version: Option<Arc<str>>,
    },
    /// Stay at this step.
    Pause,
    /// Go on; a deadline counts from now on.
    Resume,
    /// Begin the next step now, whatever it waits for, or make the candidate the stable version.
    Promote {
        /// The latter.
        all: bool,
    },
    /// Take the candidate back, and reject it.
    Abort,
    /// Forget that this version was rejected; `None`: the one that was rejected last.
    Retry {
        /// The version.
        version: Option<Arc<str>>,
    },
}

/// Whose order it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub who: String,
    /// What for, in their words; it may be empty.
    pub why: String,
}

impl From<&str> for Person {
    fn from(who: &str) -> Self {
        Self {
            who: who.to_owned(),
            why: String::new(),
        }
    }
}

/// What follows from an order of this person, and from the facts.
///
/// # Errors
/// A sentence that says why it cannot be carried out, and what can be done.
pub fn order(
    record: &Record,
    settings: &Settings,
    facts: &Facts,
    order: &Order,
    by: &Person,
) -> Result<Decision, String> {
    let facts = bounds::admit(facts);
    let mut pass = Pass::new(settings, &facts);
    let mut next = record.clone();
    let by = &Person {
        who: text(&by.who, MAX_TEXT),
        why: text(&by.why, MAX_TEXT),
    };
    match order {
        Order::Start { version } => start(&mut next, &mut pass, version.as_ref(), by)?,
        Order::Pause => pause(&mut next, &mut pass, by)?,
        Order::Resume => resume(&mut next, &mut pass, by)?,
        Order::Promote { all } => promote(&mut next, &mut pass, *all, by)?,
        Order::Abort => abort(&mut next, &mut pass, by)?,
        Order::Retry { version } => retry(&mut next, &mut pass, version.as_ref(), by)?,
    }
    Ok(settle(record, next, pass))
}

/// Says what somebody orders, and gives it to be remembered.
fn say(pass: &mut Pass<'_>, version: &Arc<str>, by: &Person, what: &str) -> Ordered {
    let Person { who, why } = by;
    let name = words::name(version);
    let reason = if why.is_empty() {
        String::new()
    } else {
        format!(": {why}")
    };
    let happened = Happened::Ordered { by: who.clone() };
    pass.say(version, happened, format!("{who} {what} {name}{reason}"));
    Ordered {
        at: pass.now(),
        by: who.clone(),
        what: what.to_owned(),
        why: why.clone(),
    }
}

fn running(record: &mut Record) -> Result<&mut Rollout, String> {
    let rollout = record
        .rollout
        .as_deref_mut()
        .filter(|rollout| rollout.is_running());
    rollout.ok_or_else(|| "no rollout is under way; `rollout start` starts one".to_owned())
}

fn start(
    record: &mut Record,
    pass: &mut Pass<'_>,
    version: Option<&Arc<str>>,
    by: &Person,
) -> Result<(), String> {
    let Some(stable) = record.stable.clone() else {
        return Err("no version of the service is known yet; register an instance first".to_owned());
    };
    let version = match version {
        Some(version) => version.clone(),
        None => choose::newest(record, &stable, pass).ok_or_else(|| {
            let waits = |waiting: &super::record::Waiting| format!("{} waits: {}", words::name(&waiting.version), waiting.why);
            let waiting: Vec<String> = record.waiting.iter().map(waits).collect();
            if waiting.is_empty() {
                "no version waits; name one that was rejected or replaced, or register a new one: `rollout start SERVICE \
                 --version VERSION`"
                    .to_owned()
            } else {
                format!("no version can start: {}", waiting.join("; "))
            }
        })?,
    };
    let name = words::name(&version);
    if version == stable {
        return Err(format!("{name} is the stable version already"));
    }
    let instances = pass.instances(&version);
    if instances.healthy == 0 {
        return Err(format!("{name} has no healthy instance; start one first"));
    }
    if !can_read(&version, pass.facts) {
        return Err(format!(
            "{name} reads data {}, and {} is stored; deploy a version that reads it",
            super::data::reads(&instances),
            pass.facts.data.unwrap_or_default()
        ));
    }
    let stuck = match record.rollout.as_deref().filter(|rollout| rollout.is_running()) {
        Some(other) if other.candidate == version => {
            return Err(format!("{name} is rolled out already"));
        }
        Some(other) if !matches!(other.hold, Some(Hold::RollForward { .. })) => {
            let name = words::name(&other.candidate);
            return Err(if other.dry_run {
                format!("{name} is judged at present (dry run); abort that first")
            } else {
                format!("{name} is rolled out at present; abort or promote it first")
            });
        }
        stuck => stuck.is_some(),
    };
    let judged = pass.settings.dry_run;
    if stuck && judged {
        let other = record.rollout.as_deref().map_or("", |rollout| &rollout.candidate);
        return Err(format!(
            "{} is rolled out at present, and a dry run does not take its place; abort or promote it first",
            words::name(other)
        ));
    }
    // What is only judged does not start in earnest afterwards, if it did not before.
    record
        .rejected
        .retain(|past| past.version != version || (judged && !past.dry_run));
    if !judged {
        record.retired.retain(|retired| retired.version != version);
    }
    let what = if judged { "starts the dry run of" } else { "starts" };
    let ordered = say(pass, &version, by, what);
    if stuck {
        choose::replace(record, pass, version, &by.who);
    } else {
        choose::start(record, pass, version, &by.who);
    }
    if let Some(rollout) = record.rollout.as_deref_mut() {
        bounds::note(&mut rollout.orders, ordered);
    }
    Ok(())
}

fn pause(record: &mut Record, pass: &mut Pass<'_>, by: &Person) -> Result<(), String> {
    let rollout = running(record)?;
    if matches!(rollout.phase, Phase::Paused { .. }) {
        return Err(format!("{} is paused already", words::name(&rollout.candidate)));
    }
    rollout.phase = Phase::Paused {
        since: pass.now(),
        by: by.who.clone(),
        why: by.why.clone(),
    };
    let ordered = say(pass, &rollout.candidate, by, "pauses");
    bounds::note(&mut rollout.orders, ordered);
    Ok(())
}

fn resume(record: &mut Record, pass: &mut Pass<'_>, by: &Person) -> Result<(), String> {
    let rollout = running(record)?;
    let is_late = rollout.hold == Some(Hold::Deadline);
    if !is_late && !matches!(rollout.phase, Phase::Paused { .. }) {
        return Err(format!("{} is not paused", words::name(&rollout.candidate)));
    }
    if !is_late {
        rollout.phase = Phase::Running;
    }
    rollout.deadline_from = pass.now();
    let ordered = say(pass, &rollout.candidate, by, "resumes");
    bounds::note(&mut rollout.orders, ordered);
    Ok(())
}

fn promote(record: &mut Record, pass: &mut Pass<'_>, all: bool, by: &Person) -> Result<(), String> {
    let rollout = running(record)?;
    let name = words::name(&rollout.candidate).to_owned();
    if rollout.dry_run {
        return Err(format!(
            "{name} is only judged (dry run): its requests are not decided here"
        ));
    }
    if pass.instances(&rollout.candidate).healthy == 0 {
        return Err(format!("{name} has no healthy instance; start one first"));
    }
    if !can_read(&rollout.candidate, pass.facts) {
        return Err(format!(
            "{name} cannot read the stored data; deploy a version that reads it"
        ));
    }
    let what = if all { "gives all requests to" } else { "promotes" };
    let ordered = say(pass, &rollout.candidate, by, what);
    bounds::note(&mut rollout.orders, ordered);
    rollout.deadline_from = pass.now();
    if rollout.step.is_none() && rollout.announced.is_none() && !all {
        // Its first step begins once clients have it.
        rollout.announced = Some(pass.now());
        rollout.phase = Phase::Running;
        return Ok(());
    }
    match following(rollout, &pass.settings.steps).filter(|_| !all) {
        Some(step) => end::step(rollout, step, pass),
        None => {
            if let Some(rollout) = record.rollout.take() {
                end::promote(record, rollout, &Outcome::Promoted, pass);
            }
        }
    }
    Ok(())
}

fn abort(record: &mut Record, pass: &mut Pass<'_>, by: &Person) -> Result<(), String> {
    let stable = record.stable.clone().unwrap_or_default();
    let rollout = running(record)?;
    if let Some(stored) = pass.facts.data
        && !rollout.dry_run
        && !can_read(&stable, pass.facts)
        && pass.instances(&rollout.candidate).healthy > 0
    {
        return Err(format!(
            "there is no way back: {stored} is stored, and {} reads data {}. Roll forward: deploy a version that is \
             right",
            words::name(&stable),
            super::data::reads(&pass.instances(&stable))
        ));
    }
    let what = if rollout.dry_run {
        "ends the dry run of"
    } else {
        "takes back"
    };
    let ordered = say(pass, &rollout.candidate, by, what);
    bounds::note(&mut rollout.orders, ordered);
    let why = Why::Order {
        by: by.who.clone(),
        reason: by.why.clone(),
    };
    if let Some(rollout) = record.rollout.take() {
        end::take_back(record, rollout, why, pass);
    }
    Ok(())
}

fn retry(
    record: &mut Record,
    pass: &mut Pass<'_>,
    version: Option<&Arc<str>>,
    by: &Person,
) -> Result<(), String> {
    let found = match version {
        Some(version) => record.rejected.iter().find(|past| past.version == *version),
        None => record.rejected.last(),
    };
    let Some(found) = found.map(|past| past.version.clone()) else {
        return Err(match version {
            Some(version) => format!(
                "{} was not rejected; `rollout show` lists those that were",
                words::name(version)
            ),
            None => "no version was rejected".to_owned(),
        });
    };
    record.rejected.retain(|past| past.version != found);
    record.history.retain(|past| {
        past.candidate != found || !matches!(past.outcome, Outcome::TakenBack { why: Why::Gone })
    });
    let over = record
        .rollout
        .as_deref()
        .is_some_and(|rollout| !rollout.is_running() && rollout.candidate == found);
    if over {
        record.rollout = None;
    }
    let ordered = say(pass, &found, by, "retries");
    let last = record.history.iter_mut().rfind(|past| past.candidate == found);
    if let Some(last) = last {
        bounds::note(&mut last.orders, ordered);
    }
    Ok(())
}
