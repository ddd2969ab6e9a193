//! The virtual hosts of a route configuration: each route with what it inherits, in our words. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::action::{self, Inherited, Owner};
use super::at::At;
use super::changes;
use super::matches::matching;
use super::report::{Change, Rest};
use super::upstream::Upstreams;
use super::words::Words;
use crate::model::RouteRule;
use crate::model::route::is_host;

/// What the listener says that matters to its routes.
pub(super) struct Around<'a> {
    /// The names of its HTTP filters, without the router.
    pub(super) filters: BTreeSet<String>,
    /// The name of the filter that does CORS.
    pub(super) cors: Option<String>,
    pub(super) stream_idle: Duration,
    pub(super) upstreams: &'a Upstreams,
}

/// A virtual host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Of all hosts that no other one has.
    pub(super) all: bool,
    /// Exact, or `*.example.com`.
    pub(super) names: Vec<String>,
    pub(super) routes: Vec<Read>,
}

/// A route that was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) at: String,
    /// How a person recognises it.
    pub(super) name: String,
    pub(super) outcome: Result<Moved, Vec<Rest>>,
    pub(super) changes: Vec<Change>,
}

/// A route that a service can declare.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    /// Without hosts and priority.
    pub(super) rule: RouteRule,
    pub(super) owner: Owner,
}

/// What is taken over with each route below, wherever it stands.
const OF_EACH_ROUTE: [&str; 5] = [
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
    "typed_per_filter_config",
];

/// Reads the virtual hosts of a configuration.
pub(super) fn hosts(config: &At<'_>, around: &Around<'_>) -> Vec<Host> {
    let mut of_config = config.fields();
    of_config.ignore(&[
        "name",
        "virtual_hosts",
        "validate_clusters",
        "max_direct_response_body_size_bytes",
        "ignore_port_in_host_matching",
        "metadata",
    ]);
    of_config.ignore(&OF_EACH_ROUTE);
    let rests = of_config.rests();
    let mut taken = BTreeSet::new();
    let hosts = config.list("virtual_hosts");
    hosts
        .iter()
        .map(|at| host(at, config, around, &rests, &mut taken))
        .collect()
}

fn host(
    at: &At<'_>,
    config: &At<'_>,
    around: &Around<'_>,
    above: &[Rest],
    taken: &mut BTreeSet<String>,
) -> Host {
    let mut rests = above.to_vec();
    let mut changes = Vec::new();
    let (mut all, mut names) = (false, BTreeSet::new());
    for at in at.list("domains") {
        let text = at.text().unwrap_or_default().to_ascii_lowercase();
        let bare = match text.rsplit_once(':') {
            Some((bare, port)) if !bare.contains(':') => {
                if port != "*" {
                    changes.push(Change {
                        at: at.path.clone(),
                        what: "the port in the header `host` is not compared".to_owned(),
                    });
                }
                bare.to_owned()
            }
            _ => text,
        };
        match bare.as_str() {
            "*" => all = true,
            bare if is_host(bare.strip_prefix("*.").unwrap_or(bare)) => {
                names.insert(bare.to_owned());
            }
            _ => rests.push(at.rest("a host of the bridge is `api.example.com`, `*.example.com`, or all")),
        }
    }
    let mut fields = at.fields();
    fields.ignore(&[
        "name",
        "domains",
        "routes",
        "cors",
        "retry_policy",
        "virtual_clusters",
        "include_is_timeout_retry_header",
        "metadata",
    ]);
    fields.ignore(&OF_EACH_ROUTE);
    if around.filters.is_empty() {
        fields.ignore(&["rate_limits"]);
    }
    if let Some(at) = fields.take("require_tls")
        && at.text() != Some("NONE")
    {
        rests.push(at.not_expressed());
    }
    rests.extend(fields.rests());
    for name in &names {
        if !taken.insert(name.clone()) {
            rests.push(at.rest(format!("another virtual host has `{name}` with another port")));
        }
    }
    let routes = at.list("routes");
    let routes = routes.iter().map(|route| {
        let mut read = read(route, &[at.clone(), config.clone()], around, &rests);
        read.changes.extend(changes.iter().cloned());
        read
    });
    Host {
        all,
        routes: routes.collect(),
        names: names.into_iter().collect(),
    }
}

fn read(at: &At<'_>, above: &[At<'_>], around: &Around<'_>, rests: &[Rest]) -> Read {
    let mut words = Words::default();
    words.rests.extend_from_slice(rests);
    let mut fields = at.fields();
    for key in ["name", "metadata", "decorator", "stat_prefix", "tracing"] {
        if let Some(at) = fields.take(key) {
            words.change(
                &at,
                format!("the `{key}` of a route is not taken over; no request is answered otherwise"),
            );
        }
    }
    fields.ignore(&OF_EACH_ROUTE);
    let wanted = fields.take("match");
    if let Some(at) = &wanted {
        matching(at, &mut words);
    }
    let mut owner = Owner::Nobody;
    let mut deprecated = None;
    if let Some(route) = fields.take("route") {
        let inherited = Inherited {
            retry: above.first().and_then(|host| host.get("retry_policy")),
            stream_idle: around.stream_idle,
            upstreams: around.upstreams,
        };
        // CORS and rate limits are read here, with what stands above.
        let stripped = without(&route, around);
        let route_at = At {
            path: route.path.clone(),
            value: &stripped,
        };
        owner = action::forward(&route_at, &inherited, &mut words);
        deprecated = route.get("cors");
    } else if let Some(at) = fields.take("redirect") {
        owner = action::redirect(&at, &mut words);
    } else if let Some(at) = fields.take("direct_response") {
        owner = action::respond(&at, &mut words);
    }
    words.rests.extend(fields.rests());
    let levels: Vec<At<'_>> = std::iter::once(at.clone()).chain(above.iter().cloned()).collect();
    changes::headers(&levels, &mut words);
    of_filters(&levels, deprecated, around, &mut words);
    let outcome = words.rule(at);
    let changes = if outcome.is_ok() {
        words.changes
    } else {
        Vec::new()
    };
    Read {
        at: at.path.clone(),
        name: described(wanted.as_ref()),
        outcome: outcome.map(|rule| Moved { rule, owner }),
        changes,
    }
}

/// The action without what is read elsewhere, or is without effect here.
fn without(route: &At<'_>, around: &Around<'_>) -> serde_json::Value {
    let mut value = route.value.clone();
    if let Some(map) = value.as_object_mut() {
        map.remove("cors");
        if around.filters.is_empty() {
            map.remove("rate_limits");
        }
    }
    value
}

/// What routes, hosts and the configuration say for filters: the nearest counts.
fn of_filters(levels: &[At<'_>], deprecated: Option<At<'_>>, around: &Around<'_>, words: &mut Words) {
    let mut cors = deprecated;
    for (n, level) in levels.iter().enumerate() {
        for (name, at) in level.get("typed_per_filter_config").iter().flat_map(At::entries) {
            if around.cors.as_deref() == Some(name) {
                cors.get_or_insert(at);
            } else if around.filters.contains(name) {
                words.stay(at.not_expressed());
            }
        }
        if n == 1 {
            cors = cors.or_else(|| level.get("cors"));
        }
    }
    if around.cors.is_none() {
        return; // without the filter it has no effect
    }
    if let Some(at) = cors {
        let value = at.get("policy").unwrap_or(at);
        changes::cors(&value, words);
    }
}

fn described(wanted: Option<&At<'_>>) -> String {
    let Some(at) = wanted else { return String::new() };
    let path = ["prefix", "path", "path_separated_prefix"]
        .iter()
        .find_map(|kind| {
            let text = at.text_of(kind)?;
            Some(format!("{kind}: {text}"))
        });
    let regex = || {
        let regex = at.get("safe_regex")?.text_of("regex")?;
        Some(format!("safe_regex: {regex}"))
    };
    path.or_else(regex).unwrap_or_else(|| "another match".to_owned())
}
