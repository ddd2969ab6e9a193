//! The routes of a configuration in the order in which they are tried, in words. Pure.

use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use prost::Message as _;
use serde::Serialize;

use super::hosts;
use super::matching::in_words;
use super::outcome::Outcome;

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteRow {
    /// The virtual host.
    pub host: String,
    /// Which requests, in the words of a declaration.
    pub requests: String,
    /// The clusters, or what else becomes of them.
    pub to: String,
}

/// All routes of an encoded route configuration, or those of hosts with `part` in their name; at most `most`, and how many
/// there are.
#[must_use]
pub fn table(body: Bytes, part: &str, most: usize) -> (Vec<RouteRow>, usize) {
    let (mut rows, mut all) = (Vec::new(), 0);
    for encoded in hosts::named(body, part) {
        let Ok(host) = VirtualHost::decode(encoded) else {
            continue;
        };
        for route in &host.routes {
            all += 1;
            if rows.len() < most {
                rows.push(RouteRow {
                    host: host.domains.join(", "),
                    requests: in_words(&route.r#match.clone().unwrap_or_default()),
                    to: Outcome::of_route(route),
                });
            }
        }
    }
    (rows, all)
}
