//! The policy documents of services, and the sections of what no registry knows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::External;
use super::assemble::{Route, Work};
use super::print::file_name;
use super::table::toml_key;
use super::upstream::Place;
use crate::model::Target;
use crate::model::keys::MAX_ROUTES;
use crate::model::route::shares::Part;
use crate::text::show_duration;

/// What holds where a listener says nothing.
const STREAM_IDLE: &str = "300s";

impl Work<'_> {
    /// The documents and the sections of bridge.toml.
    pub(super) fn documents(
        &mut self,
        moved: &BTreeSet<String>,
    ) -> (
        BTreeMap<String, BTreeMap<String, String>>,
        BTreeMap<String, External>,
    ) {
        let (mut documents, mut externals) = (BTreeMap::new(), BTreeMap::new());
        let mut declared = std::mem::take(&mut self.declared);
        let of_service: BTreeMap<&str, (&String, _)> = self
            .upstreams
            .all
            .iter()
            .map(|(name, upstream)| (upstream.service.as_str(), (name, upstream)))
            .collect();
        let names: BTreeSet<String> = declared
            .keys()
            .cloned()
            .chain(of_service.keys().map(|name| (*name).to_owned()))
            .collect();
        for name in names {
            let mut routes = declared.remove(&name).unwrap_or_default();
            let of_cluster = of_service.get(name.as_str());
            let mut keys = of_cluster.map_or_else(BTreeMap::new, |(_, u)| u.keys.clone());
            if keys.get("protocol").is_some_and(|protocol| protocol == "http1") {
                keys.remove("protocol");
            }
            let cluster_moves = of_cluster.is_none_or(|(cluster, _)| moved.contains(*cluster));
            if !cluster_moves {
                // Settings of a cluster that stays would only seem to count.
                keys.retain(|key, _| matches!(key.as_str(), "protocol"));
            }
            let registered = of_cluster.is_some_and(|(_, u)| u.place == Place::Registry);
            let mut more = 1;
            while routes.len() > MAX_ROUTES {
                more += 1;
                let rest = routes.split_off(MAX_ROUTES);
                let name_of_rest = format!("{name}-routes-{more}");
                let mut rest: Vec<Route> = rest.into_iter().map(|route| split_to(route, &name)).collect();
                let after = if rest.len() > MAX_ROUTES {
                    rest.split_off(MAX_ROUTES)
                } else {
                    Vec::new()
                };
                let protocol = keys.get_key_value("protocol");
                let mut keys_of_rest: BTreeMap<String, String> = protocol
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .into_iter()
                    .collect();
                self.keys(
                    &rest,
                    &mut keys_of_rest,
                    &format!("bridge.toml [external.{}]", toml_key(&name_of_rest)),
                );
                externals.insert(
                    name_of_rest,
                    External {
                        keys: keys_of_rest,
                        ..External::default()
                    },
                );
                if after.is_empty() {
                    break;
                }
                routes.extend(after);
            }
            let document = format!("policies/{}", file_name(&name));
            let section = format!("bridge.toml [external.{}]", toml_key(&name));
            self.keys(&routes, &mut keys, if registered { &document } else { &section });
            if registered {
                if !keys.is_empty() {
                    documents.insert(name, keys);
                }
                continue;
            }
            let (addresses, dns) = match of_cluster.map(|(_, upstream)| &upstream.place) {
                Some(Place::Outside { dns, addresses }) if cluster_moves => (addresses.clone(), *dns),
                _ => (Vec::new(), None),
            };
            if !addresses.is_empty() || !routes.is_empty() {
                externals.insert(name, External { addresses, dns, keys });
            }
        }
        (documents, externals)
    }
    /// The keys `route`, `route-2`, …, and what holds for most of them; `place`: where they are written.
    pub(super) fn keys(&mut self, routes: &[Route], keys: &mut BTreeMap<String, String>, place: &str) {
        if routes.is_empty() {
            return;
        }
        let expose = common(routes.iter().map(|route| {
            let names: Vec<&str> = route.exposures.iter().map(String::as_str).collect();
            names.join(",")
        }));
        let timeout = common(
            routes
                .iter()
                .filter_map(|route| route.rule.timeout.map(show_duration)),
        );
        let grpc = keys
            .get("protocol")
            .is_some_and(|protocol| protocol.starts_with("grpc"));
        for (n, route) in (1..).zip(routes) {
            let mut rule = route.rule.clone();
            let names: Vec<&str> = route.exposures.iter().map(String::as_str).collect();
            if names.join(",") != expose {
                rule.expose = route.exposures.iter().cloned().collect();
            }
            if rule.timeout.map(show_duration).as_ref() == Some(&timeout) {
                rule.timeout = None;
            }
            // As listeners say it, unless the service is of gRPC.
            if !grpc
                && !rule.matcher.is_of_connections()
                && rule.stream_idle_timeout.map(show_duration).as_deref() == Some(STREAM_IDLE)
            {
                rule.stream_idle_timeout = None;
            }
            let key = if n == 1 {
                "route".to_owned()
            } else {
                format!("route-{n}")
            };
            for at in &route.at {
                self.places
                    .entry(at.clone())
                    .or_insert_with(|| format!("{place} {key}"));
            }
            keys.insert(key, rule.to_string());
        }
        keys.insert("expose".to_owned(), expose);
        if !timeout.is_empty() && timeout != "0s" {
            keys.insert("timeout".to_owned(), timeout);
        }
    }
}

/// A route that another name declares for a service.
fn split_to(mut route: Route, service: &str) -> Route {
    if route.rule.extras.target == Target::Itself {
        route.rule.extras.target = Target::Split(vec![Part {
            service: service.to_owned(),
            weight: 1,
        }]);
    }
    route
}

/// The value that most have; of several the first by name.
fn common(values: impl Iterator<Item = String>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts
        .into_iter()
        .max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0)));
    most.map_or_else(String::new, |(value, _)| value)
}
