//! The answer to `/wait`, as JSON and in words.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::barrier::{Answer, Client, Everywhere, Verdict, Wanted};
use crate::catalog::find::Found;
use crate::clock;
use crate::state;
use crate::text::list;

/// Clients that an answer names.
const NAMED: usize = 100;

/// The answer of one instance, on all bridges.
pub(super) fn view(found: &Found, wanted: Wanted, all: &Everywhere) -> Value {
    let mut view = here(found, wanted, &all.here);
    let others = |(host, answer): &(String, Option<state::Answer>)| match answer {
        None => json!({ "host": host, "done": false }),
        Some(answer) => json!({
            "host": host,
            "done": answer.done,
            "acknowledged": answer.clients,
            "lagging": answer.laggards.iter().map(|l| json!({ "node": l.node, "fleet": l.fleet })).collect::<Vec<_>>(),
            "disconnected": answer.unknown,
            "open": answer.open,
        }),
    };
    if !all.others.is_empty() {
        view["bridges"] = json!(all.others.iter().map(others).collect::<Vec<_>>());
    }
    let done_here = all.here.verdict == Verdict::Done;
    let mut parts: Vec<String> = Vec::new();
    for (host, answer) in &all.others {
        match answer {
            Some(answer) if answer.done => {}
            Some(answer) => {
                parts.push(format!("the bridge on {host}: {}", elsewhere(answer)));
                if done_here {
                    let busy =
                        answer.open.is_some() && answer.laggards.is_empty() && answer.unknown.is_empty();
                    view["state"] = json!(if busy { "in flight" } else { "not acknowledged" });
                }
            }
            None => parts.push(format!("the bridge on {host} has not answered")),
        }
    }
    if let Some(reason) = &all.unasked {
        parts.push(format!("other bridges cannot be asked: {reason}"));
    }
    if !parts.is_empty() {
        if done_here {
            if view["state"] == "done" {
                view["state"] = json!("not acknowledged");
            }
            view["text"] = json!("the clients of this bridge are done");
        }
        let text = view["text"].as_str().unwrap_or_default();
        view["text"] = json!(format!("{text}; {}", parts.join("; ")));
    } else if done_here {
        let elsewhere: u64 = all
            .others
            .iter()
            .flat_map(|(_, answer)| answer)
            .fold(0, |all, answer| all.saturating_add(answer.clients));
        let acked = all
            .here
            .acked
            .saturating_add(usize::try_from(elsewhere).unwrap_or(usize::MAX));
        let given_up = given_up(&all.here.given_up);
        view["text"] = json!(format!("{}{given_up}", done(wanted, acked, found.address)));
    }
    view
}

/// Clients that are not waited for any more, as the end of a sentence.
fn given_up(clients: &[Client]) -> String {
    if clients.is_empty() {
        return String::new();
    }
    let names = list(clients.iter().map(|(_, node)| node), 5, clients.len());
    format!("; not counted, since disconnected for longer than drain.grace: {names}")
}

/// What another bridge waits for.
fn elsewhere(answer: &state::Answer) -> String {
    let mut parts = Vec::new();
    let names = |all: Vec<&str>| list(all.iter(), 5, all.len());
    if !answer.laggards.is_empty() {
        let nodes = answer.laggards.iter().map(|laggard| &*laggard.node).collect();
        parts.push(format!(
            "{} not acknowledged it: {}",
            counted_have(answer.laggards.len()),
            names(nodes)
        ));
    }
    if !answer.unknown.is_empty() {
        let nodes = answer.unknown.iter().map(|node| &**node).collect();
        parts.push(format!(
            "{} disconnected without it: {}",
            counted(answer.unknown.len(), "client"),
            names(nodes)
        ));
    }
    match answer.open {
        Some(0) => parts.push("requests may be under way".to_owned()),
        Some(open) => parts.push(format!(
            "{} under way",
            counted(usize::try_from(open).unwrap_or(usize::MAX), "request")
        )),
        None => {}
    }
    if parts.is_empty() {
        parts.push("it has not seen it yet".to_owned());
    }
    parts.join(", ")
}

/// The answer of this bridge.
fn here(found: &Found, wanted: Wanted, answer: &Answer) -> Value {
    let now = clock::now().saturating_duration_since(answer.origin);
    let seconds = |since: &Duration| round(now.saturating_sub(*since));
    let clients = |all: &[(Client, Duration)]| -> Vec<Value> {
        let one = |((fleet, node), since): &(Client, Duration)| json!({ "node": node, "fleet": fleet, "seconds": seconds(since) });
        all.iter().take(NAMED).map(one).collect()
    };
    let name = format!("{}/{}", found.service, found.id);
    let mut view = json!({ "instance": name, "address": found.address, "acknowledged": answer.acked });
    if !answer.given_up.is_empty() {
        let one = |(fleet, node): &Client| json!({ "node": node, "fleet": fleet });
        let named: Vec<Value> = answer.given_up.iter().take(NAMED).map(one).collect();
        view["given_up"] = json!({ "count": answer.given_up.len(), "clients": named });
    }
    let (state, text) = match &answer.verdict {
        Verdict::Done => ("done", done(wanted, answer.acked, found.address)),
        Verdict::NotServed(health) => {
            let health = health.map_or("not there", |health| health.as_str());
            view["health"] = json!(health);
            let wanted = match wanted {
                Wanted::Drained => "draining",
                Wanted::Serving { .. } => "healthy",
            };
            ("not served", format!("it is {health}, not {wanted}"))
        }
        Verdict::Alone => (
            "not served",
            "nobody else of the service serves: it still gets requests".to_owned(),
        ),
        Verdict::NotAcked {
            lagging,
            unknown,
            returning,
            missing,
        } => {
            view["lagging"] = json!({ "count": lagging.len(), "clients": clients(lagging) });
            view["disconnected"] = json!({ "count": unknown.len(), "clients": clients(unknown) });
            view["missing"] = json!(missing);
            (
                "not acknowledged",
                unacked(lagging, unknown, *returning, *missing, now),
            )
        }
        Verdict::Busy {
            open,
            by,
            unreported,
            silent,
        } => {
            let by: Vec<Value> = by
                .iter()
                .take(NAMED)
                .map(|(node, open)| json!({ "node": node, "open": open }))
                .collect();
            view["open"] = json!(open);
            view["open_by"] = json!(by);
            view["unreported"] = json!(unreported);
            view["silent"] = json!(silent.map_or(0, |(count, _)| count));
            ("in flight", busy(*open, *unreported, silent.as_ref(), now))
        }
    };
    view["state"] = json!(state);
    view["text"] = json!(text);
    view
}

/// With the address: the same id may be registered elsewhere by now.
fn done(wanted: Wanted, acked: usize, address: SocketAddr) -> String {
    let one = acked == 1;
    let clients = counted(acked, "client");
    match wanted {
        Wanted::Drained => {
            let know = if one { "knows" } else { "know" };
            format!("safe to stop at {address}: {clients} {know} that it drains, and their requests are over")
        }
        Wanted::Serving { .. } => format!("serving: {clients} {} it", if one { "has" } else { "have" }),
    }
}

fn unacked(
    lagging: &[(Client, Duration)],
    unknown: &[(Client, Duration)],
    returning: Option<Duration>,
    missing: usize,
    now: Duration,
) -> String {
    let named = |all: &[(Client, Duration)]| {
        let one = |((fleet, node), since): &(Client, Duration)| {
            let name = if fleet.is_empty() {
                node.clone()
            } else {
                format!("{node} ({fleet})")
            };
            format!("{name} for {}s", round(now.saturating_sub(*since)))
        };
        list(all.iter().map(one), 5, all.len())
    };
    let mut parts = Vec::new();
    if !lagging.is_empty() {
        parts.push(format!(
            "{} not acknowledged it: {}",
            counted_have(lagging.len()),
            named(lagging)
        ));
    }
    if !unknown.is_empty() {
        parts.push(format!(
            "{} disconnected without it: {}",
            counted(unknown.len(), "client"),
            named(unknown)
        ));
    }
    if let Some(until) = returning {
        parts.push(format!(
            "a bridge started or was lost: its clients may come back within {}s",
            round(until.saturating_sub(now))
        ));
    }
    if missing > 0 {
        parts.push(format!("{} more must have it", counted(missing, "client")));
    }
    parts.join("; ")
}

fn busy(open: u64, unreported: usize, silent: Option<&(usize, Duration)>, now: Duration) -> String {
    let mut parts = Vec::new();
    if open > 0 {
        let noun = if open == 1 { "request is" } else { "requests are" };
        parts.push(format!("{open} {noun} under way"));
    }
    if unreported > 0 {
        parts.push(format!(
            "the next report of {} is awaited",
            counted(unreported, "client")
        ));
    }
    if let Some((count, until)) = silent {
        parts.push(format!(
            "{} not report requests: theirs may take {}s more",
            if *count == 1 {
                "1 client does".to_owned()
            } else {
                format!("{count} clients do")
            },
            round(until.saturating_sub(now))
        ));
    }
    parts.join("; ")
}

fn counted(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

fn counted_have(n: usize) -> String {
    if n == 1 {
        "1 client has".to_owned()
    } else {
        format!("{n} clients have")
    }
}

/// Seconds with one digit.
fn round(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}
