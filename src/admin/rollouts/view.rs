//! Rollouts for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock;
use crate::intake::Loads;
use crate::pilot::{Desk, Sight};
use crate::rollout::{Ordered, Record, Settings};
use crate::text::show_duration;

/// All of them, in short.
pub(super) fn list(desk: &Desk) -> Value {
    let one = |(service, seen): (&Arc<str>, &Sight)| {
        let record = &seen.record;
        let rollout = record.rollout.as_deref();
        json!({
            "service": service,
            "phase": record.phase(),
            "stable": record.stable,
            "candidate": rollout.map(|rollout| &rollout.candidate),
            "step": rollout.and_then(|rollout| rollout.step).map(|step| step.to_string()),
            "since_unix_ms": rollout.map(|rollout| rollout.step_since),
            "text": line(record),
        })
    };
    let unreadable = desk.all_unreadable();
    let all = desk.all();
    let known = all
        .iter()
        .filter(|(service, _)| !unreadable.contains_key(*service))
        .map(one);
    let others = unreadable.iter().map(|(service, why)| {
        json!({ "service": service, "phase": "unreadable", "text": format!("unreadable: {why}") })
    });
    let mut view = json!({ "rollouts": known.chain(others).collect::<Vec<_>>() });
    around(desk, &mut view);
    view
}

/// A line for each.
pub(super) fn list_text(desk: &Desk) -> String {
    let all = desk.all();
    let known = all.iter().map(|(service, seen)| (service, line(&seen.record)));
    let unreadable = desk.all_unreadable();
    let unreadable = unreadable
        .iter()
        .map(|(service, why)| (service, format!("unreadable: {why}")));
    let all: BTreeMap<&Arc<str>, String> = known.chain(unreadable).collect();
    if let Some(off) = desk.off() {
        return format!("nothing is rolled out: {off}\n");
    }
    if all.is_empty() {
        return "no service is rolled out: declare rollout = auto, or start one with `xds-bridge rollout start SERVICE`\n"
            .to_owned();
    }
    let width = all.keys().map(|service| service.len()).max().unwrap_or(0);
    let lines = all
        .iter()
        .map(|(service, line)| format!("{service:width$}  {line}\n"));
    lines.collect()
}

/// All that is known of one.
pub(super) fn one(desk: &Desk, loads: &Loads, service: &Arc<str>, seen: &Sight) -> Value {
    let record = &seen.record;
    let report = seen.report(service, loads);
    let mut view = json!({
        "service": service,
        "phase": record.phase(),
        "text": line(record),
        "shares": shares(record),
        "grace_until_unix_ms": grace_ends(record, &seen.settings),
        "settings": settings(&seen.settings),
        "wrong": *seen.wrong,
        "instances": instances(seen),
        "counts": counts(seen),
        "clients": seen.facts.clients,
        "endpoints": seen.facts.rows,
        "data": seen.facts.data,
        "report": report,
        "record": **record,
    });
    around(desk, &mut view);
    view
}

/// The same for a person.
pub(super) fn one_text(desk: &Desk, loads: &Loads, service: &Arc<str>, seen: &Sight) -> String {
    let record = &seen.record;
    let mut text = format!("{service}: {}\n", line(record));
    // Writing into a String does not fail.
    if let Some(shares) = record.shares() {
        let parts = shares.weights.iter().map(|(version, weight)| {
            let is_stable = if *version == shares.stable {
                " (stable)"
            } else {
                ""
            };
            format!("{} {}{is_stable}", named(version), percent(*weight))
        });
        let _ = writeln!(text, "shares: {}", parts.collect::<Vec<_>>().join(", "));
    }
    let versions = seen.facts.versions.iter().map(|(version, instances)| {
        format!(
            "{} {} of {} healthy",
            named(version),
            instances.healthy,
            instances.total
        )
    });
    let _ = writeln!(text, "instances: {}", versions.collect::<Vec<_>>().join(", "));
    if let Some(end) = grace_ends(record, &seen.settings) {
        let left = show_duration(Duration::from_secs(
            end.saturating_sub(clock::unix_millis()).div_ceil(1_000),
        ));
        let grace = show_duration(seen.settings.grace);
        let _ = writeln!(
            text,
            "grace: the next rollout starts in {left} at the earliest (rollouts.grace = {grace})"
        );
    }
    if let Some(rollout) = record
        .rollout
        .as_deref()
        .filter(|rollout| !rollout.orders.is_empty())
    {
        let _ = write!(text, "ordered:\n{}", ordered(&rollout.orders));
    }
    if let Some(report) = seen.report(service, loads) {
        let _ = writeln!(text, "\n{}\n", report.text().trim_end());
    }
    for waiting in &record.waiting {
        let _ = writeln!(text, "waits: {}: {}", named(&waiting.version), waiting.why);
    }
    for rejected in &record.rejected {
        let _ = writeln!(
            text,
            "rejected: {} {}: {}",
            named(&rejected.version),
            ago(rejected.at),
            rejected.text
        );
    }
    for wrong in &*seen.wrong {
        let _ = writeln!(text, "wrong, and as configured instead: {wrong}");
    }
    let state = desk.state().words().unwrap_or_default();
    let leader = match desk.leader() {
        _ if desk.leads() => "this bridge".to_owned(),
        Some(leader) => format!("the bridge on {}", leader.host),
        None => "nobody at the moment, so nothing moves".to_owned(),
    };
    let _ = writeln!(text, "decided by: {leader}; shared state: {state}");
    text
}

/// What happened to one, the last of it last.
pub(super) fn history_text(service: &str, seen: &Sight) -> String {
    let past = &seen.record.history;
    if past.is_empty() {
        return format!("{service}: no rollout has ended yet\n");
    }
    let lines = past.iter().map(|past| {
        let took = Duration::from_millis(past.ended.saturating_sub(past.started));
        let took = show_duration(Duration::from_secs(took.as_secs()));
        let dry_run = if past.dry_run { " (dry run)" } else { "" };
        format!(
            "{}  {} beside {}, {took}{dry_run}: {}\n",
            ago(past.ended),
            named(&past.candidate),
            named(&past.stable),
            past.text
        ) + &ordered(&past.orders)
    });
    lines.collect()
}

/// What people ordered, a line each.
fn ordered(orders: &[Ordered]) -> String {
    let one = |order: &Ordered| {
        let reason = if order.why.is_empty() {
            String::new()
        } else {
            format!(": {}", order.why)
        };
        format!("    {}  {} {} it{reason}\n", ago(order.at), order.by, order.what)
    };
    orders.iter().map(one).collect()
}

/// When the next rollout may start, after one that has ended: Unix time, milliseconds.
fn grace_ends(record: &Record, settings: &Settings) -> Option<u64> {
    let ended = record.rollout.as_deref()?.ended()?;
    let grace = u64::try_from(settings.grace.as_millis()).unwrap_or(u64::MAX);
    Some(ended.saturating_add(grace)).filter(|end| *end > clock::unix_millis())
}

/// How it stands.
pub(super) fn line(record: &Record) -> String {
    let stable = record
        .stable
        .as_ref()
        .map_or_else(|| "nothing".to_owned(), |version| named(version));
    let Some(rollout) = record.rollout.as_deref() else {
        return format!("{}, {stable} serves", record.phase());
    };
    let step = rollout.step.map_or_else(
        || "before the first step".to_owned(),
        |step| format!("step {step}"),
    );
    let dry_run = if rollout.dry_run { ", dry run" } else { "" };
    let candidate = named(&rollout.candidate);
    if !rollout.is_running() {
        return format!("{}: {candidate}{dry_run}; {stable} serves", record.phase());
    }
    format!(
        "{}: {candidate} beside {stable}, {step} since {}{dry_run}",
        record.phase(),
        since(rollout.step_since)
    )
}

fn around(desk: &Desk, view: &mut Value) {
    view["off"] = json!(desk.off().map(|off| off.to_string()));
    view["leader"] = json!(desk.leader());
    view["leads"] = desk.leads().into();
    view["state"] = json!(desk.state().words().or(desk.state().off().map(str::to_owned)));
}

fn shares(record: &Record) -> Value {
    record.shares().map_or(Value::Null, |shares| {
        json!({
            "of": crate::model::rollouts::WHOLE,
            "weights": shares.weights,
            "stable": shares.stable,
            "mirror": shares.mirror,
            "watched": shares.watched,
        })
    })
}

fn settings(settings: &Settings) -> Value {
    let all = |texts: Vec<String>| texts.join(",");
    json!({
        "auto": settings.auto,
        "dry_run": settings.dry_run,
        "steps": all(settings.steps.iter().map(ToString::to_string).collect()),
        "step_time": show_duration(settings.step_time),
        "min_sample": settings.min_sample,
        "margin": settings.margin,
        "deadline": show_duration(settings.deadline),
        "on_no_data": settings.on_no_data.to_string(),
        "gates": all(settings.gates.iter().map(ToString::to_string).collect()),
        "abandoned": settings.abandoned,
        "metric": settings.metric,
        "grace": show_duration(settings.grace),
        "gone_after": show_duration(settings.gone_after),
        "refuse_one_way": settings.refuse_one_way,
    })
}

fn instances(seen: &Sight) -> Value {
    let one = |(version, instances): (&Arc<str>, &crate::rollout::Instances)| {
        let view = json!({
            "healthy": instances.healthy,
            "total": instances.total,
            "data": instances.data,
            "data_reads": instances.reads.as_ref().map(|reads| format!("{}..{}", reads.start(), reads.end())),
            "share": instances.share,
        });
        (version.to_string(), view)
    };
    Value::Object(seen.facts.versions.iter().map(one).collect())
}

/// By version and kind of client, of all bridges that count now.
fn counts(seen: &Sight) -> Value {
    let mut all: BTreeMap<&Arc<str>, Map<String, Value>> = BTreeMap::new();
    let mut sums: BTreeMap<(&Arc<str>, crate::rollout::Stratum), crate::rollout::Count> = BTreeMap::new();
    for ((version, stratum), count) in seen.facts.runs.values().flat_map(|run| &run.counts) {
        let sum = sums.entry((version, *stratum)).or_default();
        sum.ok = sum.ok.saturating_add(count.ok);
        sum.errors = sum.errors.saturating_add(count.errors);
        sum.issued = sum.issued.saturating_add(count.issued);
        sum.open = sum.open.saturating_add(count.open);
        sum.measured = sum.measured.saturating_add(count.measured);
        sum.bad = sum.bad.saturating_add(count.bad);
    }
    for ((version, stratum), sum) in sums {
        let of_version = all.entry(version).or_default();
        of_version.insert(stratum.as_str().to_owned(), json!(sum));
    }
    json!(all)
}

fn named(version: &str) -> String {
    if version.is_empty() {
        "(no version)".to_owned()
    } else {
        version.to_owned()
    }
}

fn percent(weight: u32) -> String {
    let whole = crate::model::rollouts::WHOLE;
    let (percent, rest) = (weight * 100 / whole, weight * 100 % whole);
    if rest == 0 {
        format!("{percent} %")
    } else {
        format!("{percent}.{:02} %", rest * 100 / whole)
    }
}

fn since(at: u64) -> String {
    let seconds = clock::unix_millis().saturating_sub(at) / 1_000;
    show_duration(Duration::from_secs(seconds))
}

/// How long ago that is.
pub(super) fn ago(at: u64) -> String {
    format!("{} ago", since(at))
}
