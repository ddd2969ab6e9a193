//! `/drain`, `/undrain` and `/drains`: what operators drain, in the state that bridges share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{self, Query};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::bad;
use super::over::{Over, over};
use super::wait::{self, Asked, find};
use super::{Admin, answer};
use crate::barrier::Wanted;
use crate::catalog::find::{Found, Target};
use crate::clock;
use crate::state::{self, Drain, StateError};
use crate::text::{clip_to, list};

/// Characters of who asked for it.
const BY: usize = 100;

/// Who is meant: one of `name`, `service` with `instance`, `node` and `zone`.
#[derive(Debug, Deserialize)]
pub(super) struct DrainQuery {
    name: Option<String>,
    service: Option<String>,
    instance: Option<String>,
    node: Option<String>,
    zone: Option<String>,
    /// Also the last one that serves.
    #[serde(default)]
    force: bool,
    /// Then wait until nobody calls it any more.
    wait: Option<String>,
    /// Who asks, for people.
    by: Option<String>,
}

impl DrainQuery {
    fn target(&self) -> Result<Target, String> {
        let parts = (
            self.name.clone(),
            self.service.clone().zip(self.instance.clone()),
            self.node.clone(),
            self.zone.clone(),
        );
        match parts {
            (Some(name), None, None, None) => Ok(Target::Named(name)),
            (None, Some((service, id)), None, None) => Ok(Target::Instance { service, id }),
            (None, None, Some(node), None) => Ok(Target::Node(node)),
            (None, None, None, Some(zone)) => Ok(Target::Zone(zone)),
            _ => Err("say one of name=SERVICE/ID, service= with instance=, node= and zone=".to_owned()),
        }
    }
}

/// Drains, and waits if that is asked for.
pub(super) async fn drain(
    extract::State(admin): extract::State<Admin>,
    Query(query): Query<DrainQuery>,
    headers: HeaderMap,
) -> Response {
    let read = query
        .target()
        .and_then(|target| Ok((target, wait::patience(query.wait.as_deref())?)));
    let (target, patience) = match read {
        Ok(read) => read,
        Err(reason) => return bad(StatusCode::BAD_REQUEST, &reason),
    };
    let found = match find(&admin, &target).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let last: Vec<&Found> = found.iter().filter(|found| found.last).collect();
    if !last.is_empty() && !query.force {
        let names = list(last.iter().map(|found| name(found)), 5, last.len());
        let reason = format!(
            "nobody else of the service serves: {names} (force=true, or --force, drains it all the same)"
        );
        return bad(StatusCode::CONFLICT, &reason);
    }
    let now = clock::unix_millis();
    let drain = |created| Drain {
        since: now,
        created,
        by: clip_to(query.by.as_deref().unwrap_or_default(), BY),
    };
    for (target, created) in kept(&target, &found) {
        if let Err(error) = admin.state.put_drain(&target, &drain(created)).await {
            return refused(&error);
        }
    }
    if !query.force
        && let Some(alone) = applied(&admin, &target, &found).await
    {
        for (target, _) in kept(&target, &found) {
            if let Err(error) = admin.state.delete_drain(&target).await {
                return refused(&error);
            }
        }
        let reason = format!(
            "nobody else of the service serves by now, another one was drained at the same time: {alone}; its drain was \
             ended again (force=true, or --force, drains it all the same)"
        );
        return bad(StatusCode::CONFLICT, &reason);
    }
    tracing::warn!(
        instances = list(found.iter().map(name), 5, found.len()),
        "an operator drains"
    );
    match patience {
        Some(patience) => {
            let asked = Asked {
                target,
                wanted: Wanted::Drained,
                address: None,
                deadline: clock::now() + patience,
            };
            wait::answer(admin, asked, found, &headers).await
        }
        None => done("drained", &found),
    }
}

/// How long the hub may take to know of a drain.
const APPLIED: Duration = Duration::from_secs(5);

/// Waits until the hub has what was written. Two who drain the last two instances at once both find that the other one
/// serves; whoever wrote later sees both drains. Returns those that nobody else of their service serves beside.
async fn applied(admin: &Admin, target: &Target, before: &[Found]) -> Option<String> {
    let served: Vec<&Found> = before.iter().filter(|found| found.health.serves()).collect();
    let deadline = clock::now() + APPLIED;
    loop {
        let now = find(admin, target).await.ok()?;
        let is_meant = |found: &&Found| served.iter().any(|one| one.is(found));
        let of_them: Vec<&Found> = now.iter().filter(is_meant).collect();
        if of_them.iter().all(|found| !found.health.serves()) {
            let alone: Vec<&&Found> = of_them.iter().filter(|found| !found.others).collect();
            return (!alone.is_empty()).then(|| list(alone.iter().map(|found| name(found)), 5, alone.len()));
        }
        if clock::now() >= deadline {
            return None;
        }
        clock::until(Some(clock::now() + Duration::from_millis(20))).await;
    }
}

/// Ends drains.
pub(super) async fn undrain(
    extract::State(admin): extract::State<Admin>,
    Query(query): Query<DrainQuery>,
) -> Response {
    let target = match query.target() {
        Ok(target) => target,
        Err(reason) => return bad(StatusCode::BAD_REQUEST, &reason),
    };
    // Also of a node or zone where nobody is any more.
    let found = match find(&admin, &target).await {
        Ok(found) => found,
        Err(_) if matches!(target, Target::Node(_) | Target::Zone(_)) => Vec::new(),
        // Also of one that is not there any more.
        Err(refused) => match left(&admin, &target) {
            Some(drained) => {
                if let Err(error) = admin.state.delete_drain(&drained).await {
                    return self::refused(&error);
                }
                return done("undrained", &[]);
            }
            None => return refused,
        },
    };
    let drains = admin.state.drains();
    let mut ended = Vec::new();
    for (drained, _) in kept(&target, &found) {
        if !drains.contains_key(&drained) {
            continue;
        }
        if let Err(error) = admin.state.delete_drain(&drained).await {
            return refused(&error);
        }
        ended.push(drained);
    }
    if let Some(reason) = unended(&target, &ended, &drains, &found) {
        return bad(StatusCode::CONFLICT, &reason);
    }
    // What an instance that was not drained has to do with it: nothing.
    let of_it = |one: &&Found| ended.iter().any(|ended| over(ended, one).is_some());
    let found: Vec<Found> = found.iter().filter(of_it).cloned().collect();
    tracing::warn!(
        instances = list(found.iter().map(name), 5, found.len()),
        "an operator ends a drain"
    );
    done("undrained", &found)
}

/// Why it is not over: nothing was ended of a node or zone, or one of these goes on that an instance is in.
fn unended(
    target: &Target,
    ended: &[state::Target],
    drains: &BTreeMap<state::Target, Drain>,
    found: &[Found],
) -> Option<String> {
    let nobody = |what: &str, name: &str| {
        let reason = format!("the {what} `{name}` is not drained; /drains lists what is");
        ended.is_empty().then_some(reason)
    };
    match target {
        Target::Node(name) => nobody("node", name),
        Target::Zone(name) => nobody("zone", name),
        Target::Named(_) | Target::Instance { .. } => {
            let mut above = drains
                .keys()
                .filter(|drained| !matches!(drained, state::Target::Instance { .. }));
            above.find_map(|drained| {
                let mut under = found.iter().filter_map(|one| Some((one, over(drained, one)?)));
                let (one, Over { ends, .. }) = under.next()?;
                Some(format!("{} stays drained: `{ends}` ends that", name(one)))
            })
        }
    }
}

/// All that is drained.
pub(super) async fn drains(extract::State(admin): extract::State<Admin>) -> Response {
    let drains = admin.state.drains();
    let one = |(target, drain): (&state::Target, &Drain)| {
        let mut view = match target {
            state::Target::Instance { service, id } => json!({ "instance": format!("{service}/{id}") }),
            state::Target::Node(node) => json!({ "node": node }),
            state::Target::Zone(zone) => json!({ "zone": zone }),
        };
        view["since_unix_ms"] = json!(drain.since);
        view["by"] = json!(drain.by);
        view
    };
    let drains: Vec<Value> = drains.iter().map(one).collect();
    let state = admin.state.words().or(admin.state.off().map(str::to_owned));
    answer::json(&json!({ "drains": drains, "state": state, "trouble": admin.state.trouble() }))
}

/// The drain of an instance that is known by this name only.
fn left(admin: &Admin, target: &Target) -> Option<state::Target> {
    let is_meant = |service: &str, id: &str| match target {
        Target::Named(name) => *name == format!("{service}/{id}"),
        Target::Instance {
            service: of,
            id: which,
        } => of == service && which == id,
        Target::Node(_) | Target::Zone(_) => false,
    };
    let drains = admin.state.drains();
    drains.into_keys().find(|drained| match drained {
        state::Target::Instance { service, id } => is_meant(service, id),
        state::Target::Node(_) | state::Target::Zone(_) => false,
    })
}

/// How they are kept: instances one by one, a node or a zone as such, so that it holds for those that come.
fn kept(target: &Target, found: &[Found]) -> Vec<(state::Target, u64)> {
    match target {
        Target::Node(node) => vec![(state::Target::Node(node.as_str().into()), 0)],
        Target::Zone(zone) => vec![(state::Target::Zone(zone.as_str().into()), 0)],
        Target::Named(_) | Target::Instance { .. } => {
            let mut all: Vec<(state::Target, u64)> = Vec::new();
            for one in found {
                let target = state::Target::Instance {
                    service: one.service.clone(),
                    id: one.id.clone(),
                };
                match all.iter_mut().find(|(known, _)| *known == target) {
                    // One id in two registries, whose counts cannot be compared.
                    Some((_, created)) => *created = 0,
                    None => all.push((target, one.created)),
                }
            }
            all
        }
    }
}

fn name(found: &Found) -> Arc<str> {
    format!("{}/{}", found.service, found.id).into()
}

fn done(what: &str, found: &[Found]) -> Response {
    let names: Vec<Arc<str>> = found.iter().map(name).collect();
    answer::json(&json!({ what: names }))
}

fn refused(error: &StateError) -> Response {
    let status = match error {
        StateError::Off(_) | StateError::Unreadable(_) => StatusCode::CONFLICT,
        StateError::Store(_) | StateError::Full => StatusCode::SERVICE_UNAVAILABLE,
    };
    bad(status, &error.to_string())
}
