//! Which version is the stable one, which is rolled out next, and which wait. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::bounds::{MAX_PLAIN, MAX_TEXT, MAX_WAITING, text};
use super::data::{can_read, has_way_back, reads, way_back};
use super::end;
use super::event::Happened;
use super::neighbours::Watched;
use super::pass::Pass;
use super::record::{Hold, Outcome, Record, Rejected, Rollout, Waiting, Why};
use super::tally::{self, Versions};
use super::verdict::Load;
use super::words;
use crate::model::rollouts::WHOLE;

/// A version that was passed over, and that had no instance for this time, is a new one when it comes again.
const RETURN: Duration = Duration::from_secs(600);

/// A candidate that came and went this number of times…
const FLAPS: usize = 3;
/// … within this time is left alone.
const FLAP_TIME: Duration = Duration::from_secs(600);

/// Forgets what no longer matters.
pub(super) fn tidy(record: &mut Record, pass: &mut Pass<'_>) {
    let now = pass.now();
    for retired in &mut record.retired {
        let is_here = pass.facts.versions.contains_key(&retired.version);
        retired.absent_since = if is_here {
            None
        } else {
            retired.absent_since.or(Some(now))
        };
    }
    record.retired.retain(|retired| {
        retired
            .absent_since
            .is_none_or(|since| !pass.is_over(since, RETURN))
    });
    // Of one that declares rollouts, a dry run by hand leaves everything with the stable version, as it is without it.
    let by_instances = pass.settings.dry_run && !(pass.settings.one_dry_run && pass.settings.declared);
    record.plain = if by_instances {
        plain(pass)
    } else {
        BTreeMap::new()
    };
    let changed = record
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.dry_run != pass.settings.dry_run);
    if changed {
        // What was judged on paper says nothing of real steps, and the other way round.
        record.rollout = None;
    }
}

/// What each version gets without a rollout: the share that it declares, the others the rest by their instances.
fn plain(pass: &Pass<'_>) -> BTreeMap<Arc<str>, u32> {
    let mut versions: Vec<(&Arc<str>, Option<u32>, u64)> = pass
        .facts
        .versions
        .iter()
        .filter(|(_, instances)| instances.healthy > 0)
        .map(|(name, instances)| (name, instances.share, u64::from(instances.healthy)))
        .collect();
    versions.sort_by_key(|(name, _, healthy)| (Reverse(*healthy), *name));
    versions.truncate(MAX_PLAIN);
    let (whole, mut left) = (u64::from(WHOLE), WHOLE);
    let declared: u64 = versions
        .iter()
        .filter_map(|(_, share, _)| *share)
        .map(u64::from)
        .sum();
    let others: u64 = versions
        .iter()
        .filter(|(_, share, _)| share.is_none())
        .map(|(_, _, healthy)| healthy)
        .sum();
    let of_declared = if others == 0 { whole } else { declared.min(whole) };
    let mut parts: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    for (name, share, healthy) in &versions {
        let part = match share {
            Some(share) => u64::from(*share) * of_declared / declared.max(1),
            None => (whole - of_declared) * healthy / others.max(1),
        };
        let part = u32::try_from(part).unwrap_or(WHOLE).min(left);
        left -= part;
        parts.insert((*name).clone(), part);
    }
    // What rounding left.
    if let Some((first, _, _)) = versions.first()
        && let Some(part) = parts.get_mut(*first)
    {
        *part += left;
    }
    parts
}

/// The version that serves: at first sight the one with more serving instances, then the older one; and another one when
/// it has gone and nothing is rolled out.
pub(super) fn stable(record: &mut Record, pass: &mut Pass<'_>) {
    // One that is only judged keeps nobody from taking the place of a stable version that has gone.
    if record
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.is_running() && !rollout.dry_run)
    {
        record.stable_gone = None;
        return;
    }
    let Some(stable) = record.stable.clone() else {
        if let Some(first) = best(record, pass) {
            let text = format!("{} is the stable version: it serves now", words::name(&first));
            pass.say(&first, Happened::Stable, text);
            record.stable = Some(first);
        }
        return;
    };
    if pass.facts.versions.contains_key(&stable) {
        record.stable_gone = None;
        return;
    }
    let since = *record.stable_gone.get_or_insert(pass.now());
    if !pass.is_over(since, pass.settings.gone_after) {
        return;
    }
    if let Some(next) = best(record, pass) {
        let (next_name, name) = (words::name(&next), words::name(&stable));
        let text = format!(
            "{next_name} is the stable version: {name} has no instance any more, and nothing else serves"
        );
        pass.say(&next, Happened::Stable, text);
        record.retired.retain(|retired| retired.version != next);
        record.retire(stable);
        record.stable = Some(next);
        record.stable_gone = None;
        record.rollout = None;
    }
}

fn best(record: &Record, pass: &Pass<'_>) -> Option<Arc<str>> {
    let serving = pass
        .facts
        .versions
        .iter()
        .filter(|(_, instances)| instances.healthy > 0);
    serving
        .max_by_key(|(name, instances)| {
            let is_good = !record.is_rejected(name, false);
            let older = Reverse((instances.first_seen, *name));
            (can_read(name, pass.facts), is_good, instances.healthy, older)
        })
        .map(|(name, _)| name.clone())
}

/// Starts the newest version that may start.
pub(super) fn candidate(record: &mut Record, pass: &mut Pass<'_>) {
    let Some(stable) = record.stable.clone() else {
        return;
    };
    if !pass.facts.versions.contains_key(&stable) || !pass.settings.auto {
        return;
    }
    let Some(next) = newest(record, &stable, pass) else {
        return;
    };
    let since = pass.now().saturating_sub(super::pass::millis(FLAP_TIME));
    let is_flap = |outcome: &Outcome| matches!(outcome, Outcome::TakenBack { why: Why::Gone });
    let flaps = record
        .history
        .iter()
        .filter(|past| past.candidate == next && past.ended >= since && is_flap(&past.outcome));
    if flaps.count() >= FLAPS {
        let text = format!("{} {}", words::name(&next), words::why(&Why::Flapping));
        record.reject(Rejected {
            version: next.clone(),
            at: pass.now(),
            why: Why::Flapping,
            text: text.clone(),
            dry_run: pass.settings.dry_run,
        });
        pass.say(
            &next,
            Happened::Alert,
            format!("{text}: it does not start again before a `retry`"),
        );
        return;
    }
    start(record, pass, next, "");
}

/// The newest version that may start.
pub(super) fn newest(record: &Record, stable: &str, pass: &Pass<'_>) -> Option<Arc<str>> {
    let ready = pass.facts.versions.iter().filter(|(name, instances)| {
        instances.healthy > 0 && is_new(record, name, pass) && hindrance(name, stable, pass).is_none()
    });
    ready
        .max_by_key(|(name, instances)| (instances.first_seen, *name))
        .map(|(name, _)| name.clone())
}

/// A bad candidate without a way back makes room for a newer version by itself.
pub(super) fn forward(record: &mut Record, pass: &mut Pass<'_>) {
    let is_stuck =
        |rollout: &Rollout| matches!(rollout.hold, Some(Hold::RollForward { .. })) && rollout.is_running();
    let Some(stuck) = record.rollout.as_deref().filter(|rollout| is_stuck(rollout)) else {
        return;
    };
    let (stable, born) = (
        record.stable.clone().unwrap_or_default(),
        pass.instances(&stuck.candidate).first_seen,
    );
    let candidate = stuck.candidate.clone();
    let newer = newest(record, &stable, pass)
        .filter(|next| *next != candidate && pass.settings.auto && pass.instances(next).first_seen > born);
    if let Some(next) = newer {
        replace(record, pass, next, "");
    }
}

/// Another version in place of a candidate that is bad and has no way back. Where nothing else serves, the candidate
/// stays until the other one has proved itself; otherwise that gets the candidate's share at once.
pub(super) fn replace(record: &mut Record, pass: &mut Pass<'_>, next: Arc<str>, by: &str) {
    let Some(stuck) = record.rollout.take() else {
        return;
    };
    let step = stuck.step;
    if stuck.alone_since.is_some() {
        end::promote(record, stuck, &Outcome::Left, pass);
        record.rollout = None;
        start(record, pass, next, by);
        return;
    }
    end::take_back(record, stuck, Why::Replaced { by: next.clone() }, pass);
    start(record, pass, next, by);
    if let (Some(rollout), Some(step)) = (record.rollout.as_deref_mut(), step) {
        end::step(rollout, step, pass);
    }
}

/// A version that nothing is decided of.
fn is_new(record: &Record, version: &Arc<str>, pass: &Pass<'_>) -> bool {
    record.stable.as_ref() != Some(version)
        && !record.is_rejected(version, pass.settings.dry_run)
        && !record.retired.iter().any(|retired| retired.version == *version)
}

/// Why a version must not start, whoever wants it to.
fn hindrance(version: &str, stable: &str, pass: &Pass<'_>) -> Option<String> {
    let instances = pass.instances(version);
    if version.is_empty() {
        return Some("its instances declare no version: `rollout start` starts them nevertheless".to_owned());
    }
    if let Some(stored) = pass.facts.data
        && !instances.can_read(stored)
    {
        return Some(format!(
            "it reads data {}, and {stored} is stored",
            reads(&instances)
        ));
    }
    if pass.settings.refuse_one_way && !has_way_back(version, stable, pass.facts) {
        return Some(format!(
            "{}; this service refuses that: deploy a stable version first that reads it",
            way_back(version, stable, pass.facts)
        ));
    }
    None
}

/// Starts a rollout; its first step begins in the next round.
pub(super) fn start(record: &mut Record, pass: &mut Pass<'_>, candidate: Arc<str>, by: &str) {
    let (now, stable) = (pass.now(), record.stable.clone().unwrap_or_default());
    let versions = Versions {
        candidate: &candidate,
        stable: &stable,
    };
    let seen = tally::begin(versions, pass.facts);
    let (new, old) = (words::name(&candidate), words::name(&stable));
    let back = way_back(&candidate, &stable, pass.facts);
    let would = if pass.settings.dry_run {
        " (judged only)"
    } else {
        ""
    };
    let text = format!("{new} is rolled out beside {old}{would}; {back}");
    pass.say(
        &candidate,
        Happened::Started {
            stable: stable.clone(),
        },
        text,
    );
    if !has_way_back(&candidate, &stable, pass.facts) {
        let text = format!(
            "{new}: {back}. If it turns out bad afterwards, a version that is right has to be deployed"
        );
        pass.say(&candidate, Happened::Warning, text);
    }
    record.rollout = Some(Box::new(Rollout {
        candidate,
        started: now,
        by: text_of(by),
        dry_run: pass.settings.dry_run,
        step_since: now,
        deadline_from: now,
        seen,
        watched: Watched::begin(&pass.facts.neighbours),
        load: Load {
            at: now,
            ..Load::default()
        },
        ..Rollout::default()
    }));
}

fn text_of(by: &str) -> String {
    text(by, MAX_TEXT)
}

/// What others wait for the end of.
enum Stage {
    Runs,
    Judged,
    Over,
}

/// Who waits, and what for. Each is said once.
pub(super) fn waiting(record: &mut Record, pass: &mut Pass<'_>) {
    let Some(stable) = record.stable.clone() else {
        return;
    };
    let under_way = record.rollout.as_ref().map(|rollout| {
        let stage = match rollout.is_running() {
            true if rollout.dry_run => Stage::Judged,
            true => Stage::Runs,
            false => Stage::Over,
        };
        (rollout.candidate.clone(), stage)
    });
    let mut list = Vec::new();
    for version in pass.facts.versions.keys() {
        if under_way.as_ref().is_some_and(|(other, _)| other == version) || !is_new(record, version, pass) {
            continue;
        }
        let why = match (hindrance(version, &stable, pass), &under_way) {
            (Some(why), _) => why,
            (None, Some((other, Stage::Runs))) => {
                format!("for the end of the rollout of {}", words::name(other))
            }
            (None, Some((other, Stage::Judged))) => format!(
                "for the end of the dry run of {}, which `rollout abort` ends",
                words::name(other)
            ),
            (None, Some((other, Stage::Over))) => format!(
                "for the end of the grace time after the rollout of {}",
                words::name(other)
            ),
            (None, None) if !pass.settings.auto => "for a person: `rollout start`".to_owned(),
            (None, None) => continue,
        };
        list.push(Waiting {
            version: version.clone(),
            why: text(&why, 2 * MAX_TEXT),
        });
    }
    list.truncate(MAX_WAITING);
    for new in list.iter().filter(|new| !record.waiting.contains(new)) {
        let text = format!("{} waits: {}", words::name(&new.version), new.why);
        pass.say(&new.version, Happened::Waiting, text);
    }
    record.waiting = list;
}
