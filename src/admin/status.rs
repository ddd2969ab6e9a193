//! `/status`: how far each client is with what is published, those that are behind first. JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::{self, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Admin, answer};
use crate::clock;
use crate::fanout::{Fanout, LastNack, Standing};
use crate::text::{clip, clip_to};
use crate::xds::{Kind, PerKind};

/// Maximum of clients listed; the counts are of all.
const LISTED: usize = 1_000;

/// How a client stands, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Behind,
    Refused,
    NotSubscribed,
    InSync,
}

impl State {
    const ALL: [Self; 4] = [Self::InSync, Self::Behind, Self::Refused, Self::NotSubscribed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Refused => "refused",
            Self::NotSubscribed => "not subscribed",
            Self::InSync => "in sync",
        }
    }
}

/// One client: all streams of one node id within a fleet.
#[derive(Debug)]
struct Client {
    state: State,
    streams: Vec<Standing>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StatusQuery {
    client: Option<String>,
}

/// All clients, or those with this node id: 404 where it is not connected.
pub(super) async fn status(
    extract::State(admin): extract::State<Admin>,
    Query(query): Query<StatusQuery>,
) -> Response {
    let clients = clients(admin.fanout.standings(), query.client.as_deref());
    if let Some(name) = query.client.filter(|_| clients.is_empty()) {
        let reason = format!(
            "no client that is connected to this bridge is called `{}`\n",
            clip(&name)
        );
        return (StatusCode::NOT_FOUND, reason).into_response();
    }
    let view = view(&admin.fanout, &clients, clock::now());
    answer::json(&view)
}

/// Those that are behind first, the longest first.
fn clients(standings: Vec<Standing>, node: Option<&str>) -> Vec<Client> {
    let mut by_name: BTreeMap<(String, String), Vec<Standing>> = BTreeMap::new();
    for standing in standings {
        let status = &standing.status;
        // A stream that has not said who it is has nothing either.
        if status.since.is_some() && node.is_none_or(|node| status.node == node) {
            let name = (status.fleet.clone(), status.node.clone());
            by_name.entry(name).or_default().push(standing);
        }
    }
    let mut clients: Vec<Client> = by_name
        .into_values()
        .map(|streams| Client {
            state: state(&streams),
            streams,
        })
        .collect();
    clients.sort_by_key(|client| (client.state, client.behind_since()));
    clients
}

fn state(streams: &[Standing]) -> State {
    let requested = |standing: &Standing| standing.status.types.iter().any(|(_, t)| t.requested);
    if streams.iter().any(|s| s.behind_since.is_some()) {
        State::Behind
    } else if streams.iter().any(|s| s.refused > 0) {
        State::Refused
    } else if streams.iter().any(requested) {
        State::InSync
    } else {
        State::NotSubscribed
    }
}

impl Client {
    fn behind_since(&self) -> Option<Instant> {
        self.streams.iter().filter_map(|s| s.behind_since).min()
    }

    /// The sum of its streams.
    fn behind(&self) -> PerKind<u64> {
        let mut all = PerKind::default();
        for (kind, n) in self.streams.iter().flat_map(|s| s.behind.iter()) {
            *all.get_mut(kind) += *n;
        }
        all
    }

    fn last_nack(&self) -> Option<&LastNack> {
        self.streams.iter().find_map(|s| s.status.last_nack.as_ref())
    }

    fn refused(&self) -> u64 {
        self.streams.iter().map(|s| s.refused).sum()
    }

    fn view(&self, now: Instant) -> Value {
        let behind = self.behind();
        let types = Kind::ALL.into_iter().filter_map(|kind| {
            let of_kind = || self.streams.iter().map(move |s| s.status.types.get(kind));
            let view = json!({
                "wildcard": of_kind().any(|t| t.wildcard),
                "names": of_kind().map(|t| t.names).sum::<u64>(),
                "behind": behind.get(kind),
            });
            of_kind()
                .any(|t| t.requested)
                .then(|| (kind.short().to_owned(), view))
        });
        let types: serde_json::Map<String, Value> = types.collect();
        let seconds =
            |since: Instant| (now.saturating_duration_since(since).as_secs_f64() * 10.0).round() / 10.0;
        let refused = self.last_nack().filter(|_| self.refused() > 0);
        let status = self.streams.first().map(|s| s.status.clone()).unwrap_or_default();
        let release = status
            .release
            .map(|r| format!("{}.{}.{}", r.major, r.minor, r.patch));
        let mut view = json!({
            "node": status.node,
            "fleet": status.fleet,
            "address": status.address,
            "agent": status.agent,
            "version": release,
            "state": self.state.as_str(),
            "connected_seconds": status.since.map(seconds),
            "behind_seconds": self.behind_since().map(seconds),
            "refused": self.refused(),
            "last_refusal": refused.map(|n| json!({
                "type": n.kind.short(), "name": n.name.as_deref(), "message": clip_to(&n.message, 500),
            })),
            "types": types,
        });
        view["text"] = json!(self.words(now));
        view
    }

    /// What there is to say beside its state.
    fn words(&self, now: Instant) -> String {
        let mut words = String::new();
        if let Some(since) = self.behind_since() {
            let behind = self.behind();
            let of_kind = behind.iter().filter(|(_, n)| **n > 0);
            let counts: Vec<String> = of_kind.map(|(kind, n)| format!("{n} {}", kind.short())).collect();
            let what = if counts.is_empty() {
                "an answer".to_owned()
            } else {
                counts.join(", ")
            };
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            // Writing into a String does not fail.
            let _ = write!(words, "{what} for {seconds:.1}s");
        }
        if self.refused() > 0 {
            let separator = if words.is_empty() { "" } else { "; " };
            let _ = write!(words, "{separator}refuses {}", self.refused());
            if let Some(nack) = self.last_nack() {
                let name = nack.name.as_deref().unwrap_or_default();
                let _ = write!(
                    words,
                    ", the last {} {}: {}",
                    nack.kind.short(),
                    clip(name),
                    clip_to(&nack.message, 200)
                );
            }
        }
        words
    }
}

fn view(fanout: &Fanout, clients: &[Client], now: Instant) -> Value {
    let counts = State::ALL.map(|state| {
        let n = clients.iter().filter(|client| client.state == state).count();
        (state.as_str().to_owned(), json!(n))
    });
    json!({
        "generation": fanout.current().map(|generation| generation.number),
        "total": clients.len(),
        "counts": serde_json::Map::from_iter(counts),
        "clients": clients.iter().take(LISTED).map(|client| client.view(now)).collect::<Vec<_>>(),
    })
}
