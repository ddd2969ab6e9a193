//! The routes of a configuration in the order in which they are tried, in words. Pure.

use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3::{Route, VirtualHost};
use prost::Message as _;
use serde::Serialize;

use super::matching::in_words;
use super::outcome::Outcome;
use super::{hosts, shadow};

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteRow {
    /// The virtual host.
    pub host: String,
    /// Which requests, in the words of a declaration.
    pub requests: String,
    /// The clusters, or what else becomes of them.
    pub to: String,
    /// The earlier route that takes all of these requests, so that none reaches this one.
    pub shadowed_by: Option<String>,
}

/// All routes of an encoded route configuration, or those of hosts with `part` in their name; at most `most`, and how many
/// there are.
#[must_use]
pub fn table(body: Bytes, part: &str, most: usize) -> (Vec<RouteRow>, usize) {
    let (mut rows, mut all) = (Vec::new(), 0);
    for host in decoded(body, part) {
        all += host.routes.len();
        let room = most - rows.len();
        let shown = host.routes.iter().enumerate().take(room);
        rows.extend(shown.map(|(at, route)| row(&host, route, shadow::by(&host.routes, at))));
    }
    (rows, all)
}

/// The routes of a route configuration that no request reaches; at most `most`, and how many there are.
#[must_use]
pub fn shadowed(body: Bytes, most: usize) -> (Vec<RouteRow>, usize) {
    let (mut rows, mut all) = (Vec::new(), 0);
    for host in decoded(body, "") {
        for (at, route) in host.routes.iter().enumerate() {
            let Some(earlier) = shadow::by(&host.routes, at) else {
                continue;
            };
            all += 1;
            if rows.len() < most {
                rows.push(row(&host, route, Some(earlier)));
            }
        }
    }
    (rows, all)
}

fn decoded(body: Bytes, part: &str) -> impl Iterator<Item = VirtualHost> {
    let named = hosts::named(body, part).into_iter();
    named.filter_map(|encoded| VirtualHost::decode(encoded).ok())
}

/// `earlier`: the route that takes all requests of this one.
fn row(host: &VirtualHost, route: &Route, earlier: Option<&Route>) -> RouteRow {
    let words = |route: &Route| in_words(&route.r#match.clone().unwrap_or_default());
    RouteRow {
        host: host.domains.join(", "),
        requests: words(route),
        to: Outcome::of_route(route),
        shadowed_by: earlier.map(|earlier| format!("{} ({})", words(earlier), Outcome::of_route(earlier))),
    }
}
