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
        rows.extend((0..host.routes.len()).take(room).filter_map(|at| row(&host, at)));
    }
    (rows, all)
}

/// The routes of a route configuration that no request reaches; at most `most`, and how many there are.
#[must_use]
pub fn shadowed(body: Bytes, most: usize) -> (Vec<RouteRow>, usize) {
    let (mut rows, mut all) = (Vec::new(), 0);
    for host in decoded(body, "") {
        for at in 0..host.routes.len() {
            if shadow::by(&host.routes, at).is_some() {
                all += 1;
                if rows.len() < most {
                    rows.extend(row(&host, at));
                }
            }
        }
    }
    (rows, all)
}

fn decoded(body: Bytes, part: &str) -> impl Iterator<Item = VirtualHost> {
    let named = hosts::named(body, part).into_iter();
    named.filter_map(|encoded| VirtualHost::decode(encoded).ok())
}

fn row(host: &VirtualHost, at: usize) -> Option<RouteRow> {
    let route = host.routes.get(at)?;
    let words = |route: &Route| in_words(&route.r#match.clone().unwrap_or_default());
    let shadow = shadow::by(&host.routes, at);
    Some(RouteRow {
        host: host.domains.join(", "),
        requests: words(route),
        to: Outcome::of_route(route),
        shadowed_by: shadow.map(|earlier| format!("{} ({})", words(earlier), Outcome::of_route(earlier))),
    })
}
