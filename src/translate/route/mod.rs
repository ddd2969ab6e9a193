//! A listener's route configuration: the claims on its exposure that count, as virtual hosts.

mod action;
mod changes;
mod matching;

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};
use prost::Message as _;

use self::action::{action, retry_policy};
use self::changes::{Changes, cors};
use self::matching::matching;
use crate::plan::Claim;
use crate::xds::{Draft, Kind, Reach};

/// The field of `RouteConfiguration` that holds its hosts; prost knows it by the type only.
const VIRTUAL_HOSTS: u32 = 2;

/// The hosts of a route configuration, each encoded once.
#[derive(Debug, Default)]
pub struct Hosts {
    hosts: BTreeMap<Arc<str>, Encoded>,
    /// Clusters that hosts send requests to, with the number of these hosts.
    clusters: BTreeMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Encoded {
    /// With its tag and length, as it stands in the configuration.
    field: Box<[u8]>,
    /// No cluster twice.
    clusters: Box<[Arc<str>]>,
}

impl Hosts {
    /// The claims of a host that count, as [`crate::plan::owners::decide`] leaves them. None: it is gone.
    pub fn set(&mut self, host: &Arc<str>, claims: &[Claim]) {
        let old = if claims.is_empty() {
            self.hosts.remove(host)
        } else {
            let message = virtual_host(host, claims.iter());
            let mut field = Vec::with_capacity(message.encoded_len() + 8);
            prost::encoding::message::encode(VIRTUAL_HOSTS, &message, &mut field);
            let mut clusters: Vec<Arc<str>> = claims.iter().flat_map(Claim::clusters).collect();
            clusters.sort_unstable();
            clusters.dedup();
            for cluster in &clusters {
                *self.clusters.entry(cluster.clone()).or_default() += 1;
            }
            let (field, clusters) = (field.into(), clusters.into());
            self.hosts.insert(host.clone(), Encoded { field, clusters })
        };
        for cluster in old.iter().flat_map(|old| &old.clusters) {
            if let Some(hosts) = self.clusters.get_mut(cluster) {
                *hosts -= 1;
                if *hosts == 0 {
                    self.clusters.remove(cluster);
                }
            }
        }
    }

    /// The route configuration of this name with all of them; `http3`: each answer says that it is served at this port,
    /// too. The same bytes as if it were encoded as a whole.
    #[must_use]
    pub fn draft(&self, name: &Arc<str>, reach: Reach, http3: Option<u16>) -> Draft {
        let before = RouteConfiguration {
            name: name.to_string(),
            ..RouteConfiguration::default()
        };
        let mut body = before.encode_to_vec();
        body.reserve(self.hosts.values().map(|host| host.field.len()).sum::<usize>() + 16);
        for host in self.hosts.values() {
            body.extend_from_slice(&host.field);
        }
        let after = RouteConfiguration {
            response_headers_to_add: http3.map(changes::served_by_http3).into_iter().collect(),
            ..without_hosts("")
        };
        body.extend(after.encode_to_vec());
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
    let hosts = hosts.into_iter();
    RouteConfiguration {
        virtual_hosts: hosts.map(|(host, claims)| virtual_host(host, claims)).collect(),
        ..without_hosts(name)
    }
}

fn without_hosts(name: &str) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        // `Host: orders:10001` is the host `orders`.
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    }
}

fn virtual_host<'a>(host: &str, claims: impl IntoIterator<Item = &'a Claim>) -> VirtualHost {
    let mut claims = claims.into_iter().peekable();
    let retries = claims.peek().map_or(0, |claim| claim.action.retries);
    VirtualHost {
        name: host.to_owned(),
        domains: vec![host.to_owned()],
        routes: claims.map(|claim| one(claim, retries)).collect(),
        retry_policy: (retries > 0).then(|| retry_policy(retries, None, None)),
        ..VirtualHost::default()
    }
}

/// `retries`: those of the virtual host.
fn one(claim: &Claim, retries: u32) -> Route {
    let changes = Changes::of(claim.action.extras.as_deref());
    Route {
        r#match: Some(matching(claim)),
        action: Some(action(claim, retries)),
        request_headers_to_add: changes.request.added,
        request_headers_to_remove: changes.request.removed,
        response_headers_to_add: changes.response.added,
        response_headers_to_remove: changes.response.removed,
        typed_per_filter_config: cors(claim.action.extras.as_deref()),
        ..Route::default()
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
                hosts.set(&host.into(), &here);
            }
            let draft = hosts.draft(&name, Reach::All, None);
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
