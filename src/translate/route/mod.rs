//! A listener's route configuration: the claims on its exposure that count, as virtual hosts.

mod action;
mod changes;
mod cut;
mod host;
mod mark;
mod matching;
mod versions;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use prost::Message as _;

use self::cut::{Cut, Encoded};
use self::host::{field, head, is_guarded, refused, tail, virtual_host, without_hosts};
pub(super) use self::versions::weighted;
use crate::plan::Claim;
use crate::xds::{Audience, Draft, Kind, Local, Reach};

/// The hosts of a route configuration, each encoded once.
#[derive(Debug, Default)]
pub struct Hosts {
    by_name: BTreeMap<Arc<str>, Arc<Encoded>>,
    /// Clusters that hosts send requests to, with the number of these hosts.
    clusters: BTreeMap<Arc<str>, usize>,
    /// Who sees what has changed since the last cut was made.
    concerned: Vec<Arc<Audience>>,
}

impl Hosts {
    /// The claims of a host that count, as [`crate::plan::owners::decide`] leaves them. None: it is gone.
    /// `audiences`: who sees which service, where fleets have views.
    pub fn set(
        &mut self,
        host: &Arc<str>,
        claims: &[Claim],
        audiences: Option<&BTreeMap<Arc<str>, Arc<Audience>>>,
    ) {
        let old = if claims.is_empty() {
            self.by_name.remove(host)
        } else {
            let closed = claims.iter().any(is_guarded).then(|| {
                let closed: Vec<Claim> = claims.iter().map(refused).collect();
                field(host, &closed)
            });
            let mut clusters: Vec<Arc<str>> = claims.iter().flat_map(Claim::clusters).collect();
            clusters.sort_unstable();
            clusters.dedup();
            for cluster in &clusters {
                *self.clusters.entry(cluster.clone()).or_default() += 1;
            }
            let of = |claim: &Claim| {
                let audience = audiences.and_then(|all| all.get(&claim.cluster)).cloned();
                (claim.clone(), audience.unwrap_or_default())
            };
            let parts: Box<[_]> = claims.iter().filter(|_| audiences.is_some()).map(of).collect();
            self.concerned
                .extend(parts.iter().map(|(_, audience)| audience.clone()));
            let encoded = Encoded {
                field: field(host, claims),
                closed,
                clusters: clusters.into(),
                parts,
            };
            self.by_name.insert(host.clone(), Arc::new(encoded))
        };
        let parts = old.iter().flat_map(|old| &old.parts);
        self.concerned.extend(parts.map(|(_, audience)| audience.clone()));
        for cluster in old.iter().flat_map(|old| &old.clusters) {
            if let Some(hosts) = self.clusters.get_mut(cluster) {
                *hosts -= 1;
                if *hosts == 0 {
                    self.clusters.remove(cluster);
                }
            }
        }
    }

    /// How the parts of such a configuration are made that fleets with a view see.
    #[must_use]
    pub fn cut(&self, draft: &Draft, http3: Option<u16>, closed: bool) -> Arc<dyn Local> {
        let by_name = self.by_name.clone();
        Arc::new(Cut::new(draft, (http3, closed), by_name, &self.concerned))
    }

    /// What changes from here on is another cut.
    pub fn cut_is_made(&mut self) {
        self.concerned = Vec::new();
    }

    /// The route configuration of this name with all of them; `http3`: each answer says that it is served at this port,
    /// too. The same bytes as if it were encoded as a whole.
    /// `closed`: for listeners whose filters nobody knows, with 403 in place of each route that needs one. Envoy takes
    /// what a route says to a filter that is not there, and lets requests pass.
    #[must_use]
    pub fn draft(&self, name: &Arc<str>, reach: Reach, http3: Option<u16>, closed: bool) -> Draft {
        let fields = || self.by_name.values().map(|host| host.of(closed));
        let mut body = head(name, fields().map(<[u8]>::len).sum());
        for field in fields() {
            body.extend_from_slice(field);
        }
        body.extend(tail(http3));
        Draft {
            kind: Kind::Route,
            name: name.clone(),
            body,
            needs: self.clusters.keys().cloned().collect(),
            reach,
            local: None,
        }
    }
}

/// A route configuration of these claims as a message, for static resources.
#[must_use]
pub fn message(name: &str, claims: &[&Claim]) -> RouteConfiguration {
    let mut hosts: BTreeMap<&str, Vec<&Claim>> = BTreeMap::new();
    for claim in claims {
        hosts.entry(&claim.host).or_default().push(claim);
    }
    let whole = without_hosts(name);
    let hosts = hosts.into_iter().map(|(host, claims)| {
        let host = virtual_host(host, claims).encode_to_vec();
        // Of the same fields.
        envoy_types::pb::envoy::config::route::v3::VirtualHost::decode(&*host).unwrap_or_default()
    });
    RouteConfiguration {
        virtual_hosts: hosts.collect(),
        ..whole
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use envoy_types::pb::envoy::config::route::v3::RetryPolicy;
    use envoy_types::pb::envoy::config::route::v3::route::Action;

    use super::*;
    use crate::model::{Clusters, Effective, Exposure, Policy, RouteRule, Service};
    use crate::plan::claims;
    use crate::plan::owners::{Contest, decide};

    fn claimed(name: &str, route: &str) -> Vec<Claim> {
        let routes = [(1, RouteRule::parse(route).unwrap())].into();
        let service = Service {
            name: name.into(),
            policy: Policy {
                routes,
                ..Policy::default()
            },
            ..Service::default()
        };
        let effective = Effective::of(&service, &Clusters::DEFAULT);
        claims(
            &service,
            &effective,
            &[("internal".into(), Exposure::internal())].into(),
        )
        .claims
    }

    #[test]
    fn hosts_that_are_encoded_one_by_one_are_the_bytes_of_the_whole() {
        let name = Arc::from("internal");
        let all: Vec<Claim> = [
            ("web", "path=/"),
            ("api", "path=/api"),
            ("a", "grpc=shop.A"),
            ("b", "path=/b"),
        ]
        .into_iter()
        .flat_map(|(name, route)| claimed(name, route))
        .collect();
        let mut hosts = Hosts::default();
        for gone in ["", "b", "api", "web", "a"] {
            let claims: Vec<&Claim> = all.iter().filter(|claim| *claim.cluster >= *gone).collect();
            let claims = if gone == "web" { Vec::new() } else { claims };
            let decided = decide(&claims, &Contest::FRESH).claims;
            let every: BTreeSet<&str> = all.iter().map(|claim| &*claim.host).collect();
            for host in every {
                let here = decided.iter().filter(|claim| claim.host == host);
                let here: Vec<Claim> = here.map(|claim| (*claim).clone()).collect();
                hosts.set(&host.into(), &here, None);
            }
            let draft = hosts.draft(&name, Reach::All, None, false);
            assert_eq!(draft.body, message(&name, &decided).encode_to_vec());
            let wanted: BTreeSet<Arc<str>> = decided.iter().map(|claim| claim.cluster.clone()).collect();
            assert_eq!(draft.needs, wanted.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_route_with_other_retries_than_its_host_has_a_policy_of_its_own() {
        let mut claims = [claimed("a", "host=x path=/a"), claimed("b", "host=x path=/b")].concat();
        claims.retain(|claim| claim.host == "x");
        claims[1].action.retries = 0;
        let message = message("internal", &claims.iter().collect::<Vec<_>>());
        let host = &message.virtual_hosts[0];
        let retries = |policy: &RetryPolicy| policy.num_retries.map(|number| number.value);
        let of_routes = host.routes.iter().map(|route| match &route.action {
            Some(Action::Route(action)) => action.retry_policy.as_ref().map(retries),
            other => panic!("{other:?}"),
        });
        assert_eq!(host.retry_policy.as_ref().map(retries), Some(Some(4)));
        assert_eq!(of_routes.collect::<Vec<_>>(), [None, Some(Some(0))]);
    }
}
