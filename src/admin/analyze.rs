//! `/analyze`: what is wrong with what is registered, declared and served, each with a stable code. Looks at what is known
//! already, and works out nothing of its own but which routes no request reaches.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Admin, STOPPING, answer};
use crate::fanout::Rejected;
use crate::hub::{Detail, Order, SourceDetail};
use crate::model::{Code, Condition, Issue};
use crate::replay::{RouteRow, shadowed};
use crate::text::{clip, clip_to};
use crate::xds::{Generation, Kind};

/// Findings that are listed of each code; all are counted.
const LISTED: usize = 500;
/// Bytes of the words of one.
const WORDS: usize = 1_000;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// The source that it is in; empty: none.
    source: String,
    /// The service, entry, host or listener.
    about: String,
    text: String,
}

/// What was found, each code with how many there are and the first of them.
#[derive(Debug, Default)]
struct Findings(BTreeMap<Code, (usize, Vec<Finding>)>);

impl Findings {
    fn add(&mut self, code: Code, source: &str, about: &str, text: &str) {
        let (count, listed) = self.0.entry(code).or_default();
        *count += 1;
        if listed.len() < LISTED {
            listed.push(Finding {
                source: source.to_owned(),
                about: clip(about),
                text: clip_to(text, WORDS),
            });
        }
    }

    /// These are there as well, but not known by name.
    fn more(&mut self, code: Code, count: usize) {
        if count > 0 {
            self.0.entry(code).or_default().0 += count;
        }
    }

    /// Those that somebody's requests fail by come first.
    fn json(self) -> Value {
        let sum = |level: &str| -> usize {
            let of = self
                .0
                .iter()
                .filter(|(code, _)| code.row().level.as_str() == level);
            of.map(|(_, (count, _))| count).sum()
        };
        let counts = json!({ "error": sum("error"), "warning": sum("warning") });
        let mut codes: Vec<(Code, (usize, Vec<Finding>))> = self.0.into_iter().collect();
        codes.sort_by_key(|(code, _)| (code.row().level, *code));
        let code = |(code, (count, mut listed)): (Code, (usize, Vec<Finding>))| {
            listed.sort();
            let row = code.row();
            let one = |finding: &Finding| {
                json!({
                    "source": (!finding.source.is_empty()).then_some(&finding.source),
                    "about": finding.about,
                    "text": finding.text,
                })
            };
            json!({
                "code": row.name,
                "level": row.level.as_str(),
                "means": row.means,
                "count": count,
                "first": listed.iter().map(one).collect::<Vec<_>>(),
            })
        };
        json!({ "counts": counts, "codes": codes.into_iter().map(code).collect::<Vec<_>>() })
    }
}

/// Answers.
pub(super) async fn analyze(State(admin): State<Admin>) -> Response {
    let (reply, answered) = oneshot::channel();
    let order = Order::Describe { most: LISTED, reply };
    let sent = admin.orders.send(order).await;
    let Some(detail) = answered.await.ok().filter(|_| sent.is_ok()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response();
    };
    let (generation, rejected) = (admin.fanout.current(), admin.fanout.rejected());
    // Each route is compared with those before it: not on a thread that serves streams.
    let found = tokio::task::spawn_blocking(move || {
        let routes = generation.as_deref().map(routes).unwrap_or_default();
        findings(&detail, &rejected, routes).json()
    });
    match found.await {
        Ok(view) => answer::json(&view),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response(),
    }
}

/// Of each route configuration: the first routes that no request reaches, and how many there are.
type Shadowed = Vec<(String, Vec<RouteRow>, usize)>;

fn routes(generation: &Generation) -> Shadowed {
    let all = generation.all(Kind::Route).filter_map(|(_, resource)| {
        let (rows, count) = shadowed(resource.body().ok()?, LISTED);
        (count > 0).then(|| (resource.name.to_string(), rows, count))
    });
    all.collect()
}

fn findings(detail: &Detail, rejected: &[Rejected], routes: Shadowed) -> Findings {
    let mut found = Findings::default();
    for source in &detail.sources {
        of_source(source, &mut found);
    }
    let overview = &detail.overview;
    together(&detail.declared.1, &mut found);
    found.more(Code::EntryWarning, detail.declared.0 - detail.declared.1.len());
    let services = [
        (
            Code::NoHealthyInstance,
            overview.all_unhealthy,
            &overview.all_unhealthy_names,
        ),
        (Code::AllOff, overview.all_off.0, &overview.all_off.1),
    ];
    for (code, count, names) in services {
        for name in names {
            found.add(code, "", name, code.row().means);
        }
        found.more(code, count - names.len());
    }
    for kept in &overview.kept.1 {
        found.add(Code::NoInstance, "", &kept.service, Code::NoInstance.row().means);
    }
    found.more(Code::NoInstance, overview.kept.0 - overview.kept.1.len());
    for (listener, fleets) in overview.unused.iter().flat_map(|unused| &unused.listeners) {
        let fleets = fleets.iter().map(|fleet| &**fleet).collect::<Vec<_>>().join(", ");
        let text = format!(
            "no Envoy of its fleets ({}) has connected since the start",
            clip(&fleets)
        );
        found.add(Code::ListenerUnused, "", listener, &text);
    }
    for one in rejected {
        let about = format!("{} {}", one.kind.short(), one.name);
        let text = format!(
            "refused by {} of fleet `{}`: {}",
            one.refused,
            clip(&one.fleet),
            one.message
        );
        found.add(Code::VersionRejected, "", &about, &text);
    }
    for (listener, rows, count) in routes {
        found.more(Code::RouteShadowed, count - rows.len());
        for row in rows {
            let text = format!(
                "listener {listener}: {} ({}): {} takes all before it",
                row.requests,
                row.to,
                row.shadowed_by.unwrap_or_default()
            );
            found.add(Code::RouteShadowed, "", &row.host, &text);
        }
    }
    found
}

fn together(issues: &[Issue], found: &mut Findings) {
    for issue in issues {
        found.add(issue.code, "", &issue.entry, &issue.reason);
    }
}

fn of_source(source: &SourceDetail, found: &mut Findings) {
    let view = &source.view;
    let name = &*view.name;
    if view.condition == Condition::Away {
        let text = view.reason.as_deref().unwrap_or_default();
        found.add(Code::SourceAway, name, name, text);
    }
    if let Some(age) = view.stale {
        let text = format!("what is served of it is {} s old", age.as_secs());
        found.add(Code::SourceStale, name, name, &text);
    }
    for held in &source.held.1 {
        let text = format!("{} instances are withheld", held.instances);
        found.add(Code::RemovalsWithheld, name, &held.service, &text);
    }
    found.more(Code::RemovalsWithheld, source.held.0 - source.held.1.len());
    for issue in &source.issues {
        found.add(issue.code, name, &issue.entry, &issue.reason);
    }
    found.more(
        Code::EntryWarning,
        source.rejected + source.warnings - source.issues.len(),
    );
}
