//! `/plan`: what a declaration or a configuration would change, without changing anything.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, oneshot};

use super::{Admin, STOPPING, answer};
use crate::config::load_str;
use crate::hub::Order;
use crate::model::declaration::{self, Spelling};
use crate::model::service::{Registered, address, assemble, check_name};
use crate::model::{Health, Issue};
use crate::plan::preview::{Difference, Fate, Proposal, Scene, difference};
use crate::text::{chain, clip};
use crate::xds::Audience;

/// Which service the body declares; without, the body is a configuration.
#[derive(Debug, Deserialize)]
pub(super) struct PlanQuery {
    service: Option<String>,
}

/// The answer is JSON; `text` is for people, and `hurts` says that somebody would lose requests, or that something would
/// be refused.
pub(super) async fn plan(
    State(admin): State<Admin>,
    Query(query): Query<PlanQuery>,
    body: String,
) -> Response {
    // Two plans of everything take a while, and memory: one at a time.
    static ONE: Semaphore = Semaphore::const_new(1);
    let Ok(_one) = ONE.try_acquire() else {
        let busy = "another plan is on its way; try again in a moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, busy).into_response();
    };
    let (reply, answer) = oneshot::channel();
    let sent = admin.orders.send(Order::Scene { reply }).await;
    let Some(before) = answer.await.ok().filter(|_| sent.is_ok()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, STOPPING).into_response();
    };
    // Two plans of everything: not on a thread that serves streams.
    let planned = tokio::task::spawn_blocking(move || {
        let (after, slips) = changed(&before, query.service.as_deref(), &body)?;
        let mut found = difference(&before, &after);
        found.issues.splice(..0, slips);
        Ok::<_, String>(found)
    });
    match planned.await {
        Ok(Ok(found)) => answer::json(&view(&found)),
        Ok(Err(reason)) => (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, STOPPING).into_response(),
    }
}

/// The scene as it would be, and what is wrong with the proposal itself.
fn changed(before: &Scene, service: Option<&str>, body: &str) -> Result<(Scene, Vec<Issue>), String> {
    let mut after = before.clone();
    let mut slips = Vec::new();
    match service {
        Some(service) => {
            check_name(service)?;
            let proposal = proposal(service, body, &mut slips)?;
            after.propose(&Arc::from(service), proposal);
        }
        None => {
            let config = load_str(Path::new("bridge.toml"), body, None).map_err(|error| chain(&error))?;
            after.network = Arc::new(config.network());
        }
    }
    Ok((after, slips))
}

/// With an address it is an instance, as in etcd, and else a policy document.
fn proposal(service: &str, body: &str, slips: &mut Vec<Issue>) -> Result<Proposal, String> {
    let wrong = |error| format!("a declaration is a JSON object of keys and values: {error}");
    let mut keys: Map<String, Value> = serde_json::from_str(body).map_err(wrong)?;
    let mut take = |key: &str| keys.remove(key);
    let (host, port, id) = (take("address"), take("port"), take("id"));
    let mut pairs = Vec::new();
    for (key, value) in &keys {
        match value {
            Value::String(text) => pairs.push((key.as_str(), text.clone())),
            Value::Number(number) => pairs.push((key.as_str(), number.to_string())),
            _ => slips.push(Issue::warning(
                service,
                format!("{}: is neither text nor a number", clip(key)),
            )),
        }
    }
    let pairs = pairs.iter().map(|(key, value)| (*key, value.as_str()));
    let declared = declaration::parse(service, Spelling::Plain, pairs, slips);
    let Some(host) = host else {
        return Ok(Proposal::Policy(Box::new(declared.policy)));
    };
    let host = host.as_str().ok_or("address: must be text")?;
    let port = port
        .as_ref()
        .and_then(Value::as_u64)
        .ok_or("port: must be a number")?;
    let id = id.as_ref().and_then(Value::as_str).unwrap_or("(planned)");
    let registered = Registered {
        id,
        address: address(host, port)?,
        health: Health::Healthy,
        weight: 1,
        zone: "",
        region: "",
    };
    Ok(Proposal::Instance(assemble(&registered, declared)))
}

const fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Added => "added",
        Fate::Changed => "changed",
        Fate::Removed => "removed",
    }
}

fn view(found: &Difference) -> Value {
    let named = |all: &[(Arc<str>, Fate)]| -> Value {
        all.iter()
            .map(|(name, fate)| json!({"name": &**name, "change": word(*fate)}))
            .collect()
    };
    let fleets = |all: &BTreeSet<Arc<str>>| -> Value { all.iter().map(|name| json!(&**name)).collect() };
    let sight: Value = found
        .sight
        .iter()
        .map(|s| {
            let (before, after) = (seen_by(s.before.as_deref()), seen_by(s.after.as_deref()));
            json!({"service": &*s.service, "before": before, "after": after})
        })
        .collect();
    let routes: Value = found
        .routes
        .iter()
        .map(|r| {
            json!({
                "exposure": &*r.exposure, "host": &*r.host, "requests": r.requests,
                "before": r.before.as_deref(), "after": r.after.as_deref(), "fleets": fleets(&r.fleets),
            })
        })
        .collect();
    let issues: Value = found
        .issues
        .iter()
        .map(|issue| json!({"service": &*issue.entry, "reason": issue.reason}))
        .collect();
    json!({
        "hurts": found.hurts(),
        "routes": routes,
        "clusters": named(&found.clusters),
        "listeners": named(&found.listeners),
        "sight": sight,
        "issues": issues,
        "text": text(found),
    })
}

/// The rules of `[fleets]`, and the fleets by their names, that see a service.
fn seen_by(audience: Option<&Audience>) -> Vec<String> {
    let Some(audience) = audience else {
        return vec!["each fleet without a view".to_owned()];
    };
    let names = audience.sections.iter().chain(&audience.fleets);
    names.map(ToString::to_string).collect()
}

/// For people.
fn text(found: &Difference) -> String {
    // Writing into a String does not fail.
    let mut text = String::new();
    for r in &found.routes {
        let fleets: Vec<&str> = r.fleets.iter().map(|name| &**name).collect();
        let envoys = match &fleets[..] {
            [] => " (no listener)".to_owned(),
            fleets if fleets.contains(&"*") => String::new(),
            fleets => format!(" (Envoys of {})", fleets.join(", ")),
        };
        let what = format!("{} {} on {}{envoys}", r.host, r.requests, r.exposure);
        let _ = match (r.before.as_deref(), r.after.as_deref()) {
            (Some(a), Some(b)) if a == b => {
                writeln!(text, "  {what}: {a} treats these requests in another way")
            }
            (Some(a), Some(b)) => writeln!(text, "! {what}: {a} loses these requests to {b}"),
            (None, Some(b)) => writeln!(text, "+ {what}: {b} gets these requests"),
            (Some(a), None) => writeln!(text, "! {what}: {a} loses this route"),
            (None, None) => Ok(()),
        };
    }
    for (what, all) in [("cluster", &found.clusters), ("listener", &found.listeners)] {
        for (name, fate) in all {
            let reconnects = if (what, *fate) == ("cluster", Fate::Changed) {
                " (Envoys connect again)"
            } else {
                ""
            };
            let _ = writeln!(text, "  {what} {name}: {}{reconnects}", word(*fate));
        }
    }
    for s in &found.sight {
        let shown = |audience: Option<&Audience>| match &seen_by(audience)[..] {
            [] => "nobody".to_owned(),
            names => names.join(", "),
        };
        let (before, after) = (shown(s.before.as_deref()), shown(s.after.as_deref()));
        let _ = writeln!(text, "  {} is seen by {after}, now by {before}", s.service);
    }
    for issue in &found.issues {
        let _ = writeln!(text, "! {}: {}", issue.entry, issue.reason);
    }
    if text.is_empty() {
        text.push_str("nothing changes\n");
    }
    text
}
