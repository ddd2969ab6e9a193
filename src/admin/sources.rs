//! How the sources are: `/readyz` in words for people, `/sources` as JSON with everything.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::hub::{Detail, Held, Kept, LastGood, Overview, SourceDetail, SourceView};
use crate::model::{Condition, Issue};
use crate::text::{clip, list};

/// Maximum of names in one line.
const IN_WORDS: usize = 10;

/// One line for each source, and one about services that are all unhealthy.
pub(super) fn words(overview: &Overview, now: Instant) -> String {
    let mut text = String::from(if overview.ready { "ready\n" } else { "not ready\n" });
    for source in &overview.sources {
        // Writing into a String does not fail.
        let _ = writeln!(text, "{} ({}): {}", source.name, source.kind, line(source, now));
    }
    let unhealthy = (overview.all_unhealthy, &*overview.all_unhealthy_names);
    let off = (overview.all_off.0, &*overview.all_off.1);
    for (what, (count, names)) in [
        ("no instance is healthy in", unhealthy),
        ("all instances are off in", off),
    ] {
        if count > 0 {
            let _ = writeln!(
                text,
                "{what} {}: {}",
                counted(count, "service"),
                list(names, IN_WORDS, count)
            );
        }
    }
    for (listener, fleets) in overview.unused.iter().flat_map(|unused| &unused.listeners) {
        let seen = overview
            .unused
            .iter()
            .flat_map(|unused| &unused.seen)
            .map(|f| clip(f));
        let _ = writeln!(
            text,
            "listener {listener}: no connected Envoy is of its fleets ({}); they are of: {}",
            fleets.join(", "),
            seen.collect::<Vec<_>>().join(", ")
        );
    }
    if overview.declared > 0 {
        let _ = writeln!(
            text,
            "{} about what services declare together (see /sources)",
            counted(overview.declared, "warning")
        );
    }
    let (kept, first) = &overview.kept;
    if *kept > 0 {
        let left = |k: &Kept| k.ends.saturating_duration_since(now).as_secs().div_ceil(60);
        let shown = first.iter().map(|k| format!("{} ({} min)", k.service, left(k)));
        let _ = writeln!(
            text,
            "routes kept of {} without instances: {}; ended at once by: xds-bridge forget SERVICE",
            counted(*kept, "service"),
            list(shown, IN_WORDS, *kept)
        );
    }
    text
}

fn line(source: &SourceView, now: Instant) -> String {
    let since = now.saturating_duration_since(source.since).as_secs();
    let served = format!(
        "{}, {}",
        counted(source.services, "service"),
        counted(source.instances, "instance")
    );
    let mut text = match source.condition {
        Condition::Connecting => format!("connecting for {since} s"),
        Condition::Live if source.delivered => format!("live, {served}"),
        Condition::Live => "live".to_owned(),
        Condition::Empty => "reachable and empty".to_owned(),
        Condition::Away => format!(
            "away for {since} s: {}",
            source.reason.as_deref().unwrap_or_default()
        ),
    };
    if !source.delivered {
        text += ", not delivered yet";
    }
    if let Some(note) = &source.note {
        let _ = write!(text, "; {note}");
    }
    match source.stale {
        Some(age) => {
            let _ = write!(
                text,
                "; its last known state is served, {} s old: {served}",
                age.as_secs()
            );
        }
        None if source.condition == Condition::Away && source.delivered => {
            let _ = write!(text, "; its last delivery is still served: {served}");
        }
        None => {}
    }
    text += &wrong(source.entries);
    if source.withheld > 0 {
        let until = match source.believed_at {
            _ if source.verifying => "its registry is being asked again".to_owned(),
            None => "until it is reachable".to_owned(),
            Some(at) => {
                let left = at.saturating_duration_since(now).as_secs();
                format!("believed in {left} s if its registry, read again, still lacks them")
            }
        };
        let alive = match source.alive {
            0 => String::new(),
            n => format!(" ({n} of their addresses accept connections)"),
        };
        let _ = write!(
            text,
            "; {} removed instances withheld{alive}, {until}; let go at once by: xds-bridge accept {}",
            source.withheld, source.name
        );
    }
    text
}

/// Rejected entries, and those with warnings.
fn wrong((rejected, warnings): (usize, usize)) -> String {
    let entries = |n| {
        if n == 1 {
            "1 entry".to_owned()
        } else {
            format!("{n} entries")
        }
    };
    let parts = [
        (rejected, format!("{} not served", entries(rejected))),
        (warnings, counted(warnings, "warning")),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(_, text)| text)
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("; {} (see /sources)", parts.join(", "))
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The same and more, for programs; lists are cut off at a hundred, counts are whole.
pub(super) fn json(detail: &Detail, now: Instant) -> Value {
    let overview = &detail.overview;
    json!({
        "ready": overview.ready,
        "sources": detail.sources.iter().map(|s| source(s, now)).collect::<Vec<_>>(),
        "all_unhealthy": { "services": overview.all_unhealthy, "names": texts(&overview.all_unhealthy_names) },
        "all_off": { "services": overview.all_off.0, "names": texts(&overview.all_off.1) },
        "kept_routes": { "services": overview.kept.0, "first": overview.kept.1.iter().map(|k| kept(k, now)).collect::<Vec<_>>() },
        "declared_together": { "issues": detail.declared.0, "first": issues(&detail.declared.1) },
    })
}

fn source(detail: &SourceDetail, now: Instant) -> Value {
    let view = &detail.view;
    let ago = |at: Instant| now.saturating_duration_since(at).as_secs();
    json!({
        "name": &*view.name,
        "kind": view.kind,
        "priority": view.priority,
        "state": view.condition.as_str(),
        "reason": view.reason,
        "for_seconds": ago(view.since),
        "note": view.note,
        "delivered": view.delivered,
        "services": view.services,
        "instances": view.instances,
        "last_change_seconds_ago": detail.last_delivery.map(ago),
        "last_known_state_seconds_old": view.stale.as_ref().map(Duration::as_secs),
        "withheld": {
            "instances": view.withheld,
            "addresses_alive": view.alive,
            "verifying": view.verifying,
            "services": detail.held.0,
            "first": detail.held.1.iter().map(|h| held(h, now)).collect::<Vec<_>>(),
        },
        "last_good_values": {
            "count": detail.last_good.0,
            "first": detail.last_good.1.iter().map(last_good).collect::<Vec<_>>(),
        },
        "entries": { "rejected": detail.rejected, "warnings": detail.warnings, "first": issues(&detail.issues) },
    })
}

fn held(held: &Held, now: Instant) -> Value {
    json!({
        "service": &*held.service,
        "instances": held.instances,
        "since_seconds": now.saturating_duration_since(held.since).as_secs(),
        "believed_in_seconds": held.believed_at.map(|at| at.saturating_duration_since(now).as_secs()),
    })
}

fn kept(kept: &Kept, now: Instant) -> Value {
    json!({
        "service": &*kept.service,
        "ends_in_seconds": kept.ends.saturating_duration_since(now).as_secs(),
    })
}

/// A `null` key means the whole entry, a `null` instance the policy document.
fn last_good(kept: &LastGood) -> Value {
    json!({
        "service": &*kept.service,
        "instance": (!kept.instance.is_empty()).then_some(&*kept.instance),
        "key": kept.key.map(|key| key.to_string()),
    })
}

fn issues(issues: &[Issue]) -> Vec<Value> {
    let one = |i: &Issue| {
        json!({
            "entry": i.entry,
            "severity": i.severity.as_str(),
            "code": i.code.as_str(),
            "reason": i.reason,
        })
    };
    issues.iter().map(one).collect()
}

fn texts(names: &[Arc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::fanout::Unused;

    fn view(name: &str, condition: Condition, now: Instant) -> SourceView {
        SourceView {
            name: name.into(),
            kind: "etcd",
            priority: 0,
            condition,
            reason: None,
            since: now,
            note: None,
            delivered: true,
            services: 2,
            instances: 21,
            entries: (0, 0),
            withheld: 0,
            alive: 0,
            believed_at: None,
            verifying: false,
            stale: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_state_has_its_own_words() {
        let began = crate::clock::now();
        let now = began + Duration::from_secs(34);
        let view = |name, condition| view(name, condition, began);
        let away = || SourceView {
            reason: Some("10.0.0.1: refused".into()),
            ..view("away", Condition::Away)
        };
        let sources = vec![
            SourceView {
                delivered: false,
                ..view("new", Condition::Connecting)
            },
            SourceView {
                note: Some("reads in turns".into()),
                entries: (1, 2),
                ..view("live", Condition::Live)
            },
            SourceView {
                services: 0,
                instances: 0,
                ..view("empty", Condition::Empty)
            },
            SourceView {
                withheld: 21,
                believed_at: Some(now + Duration::from_secs(26)),
                ..view("wiped", Condition::Empty)
            },
            SourceView {
                withheld: 3,
                alive: 2,
                ..away()
            },
            SourceView {
                delivered: false,
                stale: Some(Duration::from_secs(3600)),
                ..away()
            },
        ];
        let overview = Overview {
            ready: true,
            sources,
            all_unhealthy: 12,
            all_unhealthy_names: (0..12).map(|n| format!("s{n}").into()).collect(),
            declared: 1,
            all_off: (1, vec!["night-jobs".into()]),
            kept: (
                12,
                vec![Kept {
                    service: "cart".into(),
                    ends: now + Duration::from_secs(61),
                }],
            ),
            unused: Some(Unused {
                listeners: vec![("edge".into(), vec!["egde".into()])],
                seen: vec!["edge".into(), "bff".into()],
            }),
        };
        expect![[r#"
            ready
            new (etcd): connecting for 34 s, not delivered yet
            live (etcd): live, 2 services, 21 instances; reads in turns; 1 entry not served, 2 warnings (see /sources)
            empty (etcd): reachable and empty
            wiped (etcd): reachable and empty; 21 removed instances withheld, believed in 26 s if its registry, read again, still lacks them; let go at once by: xds-bridge accept wiped
            away (etcd): away for 34 s: 10.0.0.1: refused; its last delivery is still served: 2 services, 21 instances; 3 removed instances withheld (2 of their addresses accept connections), until it is reachable; let go at once by: xds-bridge accept away
            away (etcd): away for 34 s: 10.0.0.1: refused, not delivered yet; its last known state is served, 3600 s old: 2 services, 21 instances
            no instance is healthy in 12 services: s0, s1, s2, s3, s4, s5, s6, s7, s8, s9 and 2 more
            all instances are off in 1 service: night-jobs
            listener edge: no connected Envoy is of its fleets (egde); they are of: edge, bff
            1 warning about what services declare together (see /sources)
            routes kept of 12 services without instances: cart (2 min) and 11 more; ended at once by: xds-bridge forget SERVICE
        "#]].assert_eq(&words(&overview, now));
    }
}
