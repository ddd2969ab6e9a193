//! Who has the endpoints of a service, and what clients report of their requests to it.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::instances::{LISTED, Row};
use crate::admin::Admin;
use crate::clock;
use crate::fanout::Wanted;
use crate::hub::Explanation;
use crate::text::{clip, clip_to, list};
use crate::xds::Kind;

/// Characters of a client's own words.
const MESSAGE: usize = 300;

/// Who holds the endpoints.
#[derive(Default)]
pub(super) struct Clients {
    have: Vec<String>,
    behind: Vec<Behind>,
    left: usize,
    /// There are clients at all.
    connected: bool,
}

/// A client without the present endpoints.
struct Behind {
    node: String,
    seconds: u64,
    /// What it refused last, in its own words.
    refused: Option<String>,
}

/// What clients report.
#[derive(Default)]
pub(super) struct Requests {
    reported: bool,
    successes: u64,
    errors: u64,
    open: u64,
}

impl Clients {
    pub(super) fn of(admin: &Admin, name: &str, explanation: &Explanation) -> Self {
        let planned = explanation.planned.iter().flat_map(|planned| &planned.resources);
        let endpoints = planned.filter(|key| key.kind == Kind::Endpoints);
        let mut names: Vec<Arc<str>> = endpoints.map(|key| key.name.clone()).collect();
        names.push(name.into());
        names.sort_unstable();
        names.dedup();
        let wanted: Vec<Wanted> = names
            .into_iter()
            .map(|name| Wanted {
                kind: Kind::Endpoints,
                name,
            })
            .collect();
        let now = clock::now();
        let progress = admin.fanout.watch_acks(&wanted, now).progress();
        let streams = admin.fanout.streams();
        let behind = progress.laggards.iter().map(|laggard| {
            let mut of = streams.iter().filter(|stream| stream.node == laggard.node);
            let nack = of.find_map(|stream| stream.last_nack.as_ref());
            Behind {
                node: clip(&laggard.node),
                seconds: now.saturating_duration_since(laggard.since).as_secs(),
                refused: nack
                    .map(|nack| format!("{}: {}", nack.kind.short(), clip_to(&nack.message, MESSAGE))),
            }
        });
        Self {
            have: progress.acked.iter().map(|(_, node)| clip(node)).collect(),
            behind: behind.collect(),
            left: progress.unknown.len(),
            connected: !streams.is_empty(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let behind = |b: &Behind| json!({ "client": b.node, "seconds": b.seconds, "refused": b.refused });
        json!({
            "have_it": self.have.len(),
            "behind": self.behind.iter().take(LISTED).map(behind).collect::<Vec<_>>(),
            "left_without_it": self.left,
        })
    }

    // Writing into a String does not fail.
    pub(super) fn words(&self) -> String {
        let mut text = String::new();
        let have = self.have.len();
        let _ = match have {
            0 if !self.connected => writeln!(
                text,
                "  no client is connected to this bridge (xds-bridge doctor on the machine of an Envoy says why)"
            ),
            0 => writeln!(text, "  no client has its endpoints: nobody asks for them"),
            _ => writeln!(
                text,
                "  {have} clients have its present endpoints: {}",
                list(&self.have, 10, have)
            ),
        };
        for behind in self.behind.iter().take(LISTED) {
            let (node, seconds) = (&behind.node, behind.seconds);
            let _ = write!(
                text,
                "  ! {node} has not acknowledged them, for {seconds} s: it has older ones"
            );
            let _ = match &behind.refused {
                Some(refused) => writeln!(text, "; the last that it refused was {refused}"),
                None => writeln!(text),
            };
        }
        if self.left > 0 {
            let _ = writeln!(
                text,
                "  ! {} clients disconnected a moment ago without them",
                self.left
            );
        }
        text
    }
}

impl Requests {
    pub(super) fn of(admin: &Admin, name: &str, rows: &[Row<'_>], only_these: bool) -> Self {
        let mut sum = Self::default();
        for service in admin.loads.services(Some(name), 1_000) {
            for end in &service.ends {
                let here = |row: &Row<'_>| end.address == Some(row.instance.address);
                if only_these && !rows.iter().any(here) {
                    continue;
                }
                for totals in &end.totals {
                    sum.reported = true;
                    sum.successes += totals.counts.successes;
                    sum.errors += totals.counts.errors;
                    sum.open += totals.counts.open;
                }
            }
        }
        sum
    }

    pub(super) fn words(&self) -> String {
        if !self.reported {
            return "  no client reports requests to it (load reports: see `xds-bridge bootstrap`)\n"
                .to_owned();
        }
        format!(
            "  requests as clients report them: {} succeeded, {} failed, {} under way\n",
            self.successes, self.errors, self.open
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "reported": self.reported,
            "successes": self.successes,
            "errors": self.errors,
            "in_progress": self.open,
        })
    }
}
