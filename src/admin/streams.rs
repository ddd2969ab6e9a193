//! `/streams`: who is connected, what each refused, and what fleets reject. JSON.

use serde_json::{Value, json};

use crate::clock;
use crate::fanout::{Fanout, Rejected, StreamStatus};
use crate::text::{clip, clip_to};
use crate::xds::Kind;

/// Maximum of streams listed; `total` counts all.
const LISTED: usize = 1_000;

/// All streams, or those of one node.
pub(super) fn view(fanout: &Fanout, node: Option<&str>) -> Value {
    let mut streams = fanout.streams();
    streams.retain(|s| node.is_none_or(|node| s.node == node));
    let total = streams.len();
    // Those that refused something first: that is what one looks for.
    streams.sort_by(|a, b| (a.last_nack.is_none(), &a.node).cmp(&(b.last_nack.is_none(), &b.node)));
    streams.truncate(LISTED);
    json!({
        "total": total,
        "streams": streams.iter().map(stream).collect::<Vec<_>>(),
        "rejected": fanout.rejected().iter().take(LISTED).map(rejected).collect::<Vec<_>>(),
    })
}

fn stream(status: &StreamStatus) -> Value {
    let types = Kind::ALL
        .into_iter()
        .map(|kind| (kind, status.types.get(kind)))
        .filter(|(_, t)| t.requested);
    let types: serde_json::Map<String, Value> = types
        .map(|(kind, t)| {
            let view = json!({ "wildcard": t.wildcard, "names": t.names, "acks": t.acks, "nacks": t.nacks });
            (kind.short().to_owned(), view)
        })
        .collect();
    let nack = status.last_nack.as_ref();
    json!({
        "node": status.node,
        "fleet": status.fleet,
        "agent": status.agent,
        "variant": status.variant,
        "age_seconds": status.since.map(|since| clock::now().duration_since(since).as_secs()),
        "types": types,
        "last_nack": nack.map(|n| json!({ "type": n.kind.short(), "name": n.name.as_deref(), "message": n.message })),
    })
}

fn rejected(rejected: &Rejected) -> Value {
    json!({
        "fleet": clip(&rejected.fleet),
        "type": rejected.kind.short(),
        "name": &*rejected.name,
        "version": rejected.version.to_string(),
        "refused_by": rejected.refused,
        "accepted_by": rejected.accepted,
        "newcomers_get_the_content_before": rejected.held,
        "message": clip_to(&rejected.message, 500),
    })
}
