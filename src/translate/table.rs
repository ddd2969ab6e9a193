//! Who may have which requests: what services claim on exposures, checked against
//! what the operator allows. Otherwise whoever may register could take over `/`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::model::declaration::Expose;
use crate::model::route::is_host;
use crate::model::{Exposure, GrpcMethod, Issue, Matcher, Protocol, RouteRule, Service};

/// One service's wish for some requests on one exposure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Where.
    pub exposure: Arc<str>,
    /// Virtual host: a host, `*.example.com` or `*`; lower case.
    pub host: String,
    /// Which requests of the host.
    pub matcher: Matcher,
    /// Headers that must match.
    pub headers: Vec<(String, String)>,
    /// The cluster that gets them.
    pub cluster: Arc<str>,
    /// A gRPC service: no response timeout of Envoy's own.
    pub grpc: bool,
    /// Declared response timeout.
    pub timeout: Option<Duration>,
    /// Whose host it is: of equal claims the nearest is kept.
    pub kin: Kin,
}

/// How a host is related to the service that claims it. Otherwise whoever registers a lesser
/// name could take over the host of a service by naming it, or by its name in capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kin {
    /// The operator gives it to services of this name.
    Own,
    /// The same, but for the case of letters.
    Namesake,
    /// It is claimed by name only.
    Other,
}

/// What a service claims, and what of its wishes was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Allowed.
    pub claims: Vec<Claim>,
    /// Refused, with the reason.
    pub issues: Vec<Issue>,
}

/// All that a service claims, on all exposures.
#[must_use]
pub fn claims(service: &Service, exposures: &BTreeMap<Arc<str>, Exposure>) -> Claimed {
    let mut claimed = Claimed::default();
    if service.policy.expose == Some(Expose::Nothing) || service.protocol() == Protocol::Tcp {
        return claimed;
    }
    let internal: Vec<String> = vec!["internal".to_owned()];
    let named = match &service.policy.expose {
        Some(Expose::On(names)) => names,
        _ => &internal,
    };
    for name in named {
        match exposures.get_key_value(name.as_str()) {
            Some((name, exposure)) => declared(service, name, exposure, &mut claimed),
            None => {
                let known = exposures.keys().map(|k| &**k).collect::<Vec<_>>().join(", ");
                let reason = format!("expose: `{name}` is not an exposure here (there are: {known})");
                claimed.issues.push(Issue::warning(&*service.name, reason));
            }
        }
    }
    // By its own name, wherever the operator wants that; being exposed at the edge
    // does not take a service away from its callers inside.
    for (name, exposure) in exposures {
        let hosts: BTreeSet<String> = exposure
            .service_hosts
            .iter()
            .map(|h| h.replace("{service}", &service.name))
            .collect();
        for host in hosts.into_iter().filter(|h| is_host(h)) {
            let rule = RouteRule {
                host: Some(host.to_ascii_lowercase()),
                matcher: Matcher::Prefix("/".to_owned()),
                headers: Vec::new(),
                timeout: None,
            };
            let host = host.to_ascii_lowercase();
            claimed.claims.push(claim(service, name, exposure, host, &rule));
        }
    }
    claimed.claims.sort();
    claimed.claims.dedup();
    claimed
}

fn declared(service: &Service, name: &Arc<str>, exposure: &Exposure, claimed: &mut Claimed) {
    for rule in service.policy.routes.values() {
        match hosts_of(rule, exposure).and_then(|hosts| allowed(service, rule, exposure).map(|()| hosts)) {
            Ok(hosts) => claimed.claims.extend(
                hosts
                    .into_iter()
                    .map(|host| claim(service, name, exposure, host, rule)),
            ),
            Err(why) => {
                let reason = format!("route: {why} on exposure `{name}`; this route is left out");
                claimed.issues.push(Issue::warning(&*service.name, reason));
            }
        }
    }
}

fn claim(service: &Service, name: &Arc<str>, exposure: &Exposure, host: String, rule: &RouteRule) -> Claim {
    Claim {
        exposure: name.clone(),
        kin: kin(service, exposure, &host),
        host,
        matcher: rule.matcher.clone(),
        headers: rule.headers.clone(),
        cluster: service.name.clone(),
        grpc: service.protocol() == Protocol::Grpc || matches!(rule.matcher, Matcher::Grpc(_)),
        timeout: rule.timeout,
    }
}

fn kin(service: &Service, exposure: &Exposure, host: &str) -> Kin {
    let own = |pattern: &String| match pattern.replace("{service}", &service.name) {
        own if own == host => Some(Kin::Own),
        own if own.eq_ignore_ascii_case(host) => Some(Kin::Namesake),
        _ => None,
    };
    let nearest = exposure.service_hosts.iter().filter_map(own).min();
    nearest.unwrap_or(Kin::Other)
}

/// The hosts a route stands under: its own, if it may claim that, or all of the exposure.
fn hosts_of(rule: &RouteRule, exposure: &Exposure) -> Result<Vec<String>, String> {
    let Some(host) = &rule.host else {
        return Ok(exposure.hosts.clone());
    };
    let fits = |pattern: &String| match pattern.strip_prefix('*') {
        Some(suffix) => suffix.is_empty() || (host.ends_with(suffix) && host.len() > suffix.len()),
        None => pattern == host,
    };
    if exposure.hosts.iter().any(fits) {
        return Ok(vec![host.clone()]);
    }
    Err(format!("host `{host}` may not be claimed"))
}

fn allowed(service: &Service, rule: &RouteRule, exposure: &Exposure) -> Result<(), String> {
    match &rule.matcher {
        Matcher::Prefix(path) => {
            let fits = |p: &String| path.starts_with(&p.replace("{service}", &service.name));
            let ok = exposure.paths.iter().any(fits);
            ok.then_some(())
                .ok_or_else(|| format!("path `{path}` may not be claimed"))
        }
        Matcher::Grpc(GrpcMethod { service: grpc, .. }) => {
            let fits = |p: &String| match p.strip_suffix('*') {
                Some(prefix) => grpc.starts_with(prefix),
                None => p == grpc,
            };
            let ok = exposure.grpc.iter().any(fits);
            ok.then_some(())
                .ok_or_else(|| format!("gRPC service `{grpc}` may not be claimed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::route::Action;
    use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;

    use super::*;
    use crate::model::Policy;

    fn service(expose: Option<Expose>, routes: &[&str]) -> Service {
        let routes = (1..)
            .zip(routes.iter().map(|r| RouteRule::parse(r).unwrap()))
            .collect();
        Service {
            name: "Orders".into(),
            policy: Policy {
                expose,
                routes,
                ..Policy::default()
            },
            ..Service::default()
        }
    }

    fn exposures() -> BTreeMap<Arc<str>, Exposure> {
        let edge = Exposure {
            hosts: vec!["api.example.com".into(), "*.shop.example".into()],
            paths: vec!["/{service}/".into()],
            grpc: vec!["shop.*".into()],
            service_hosts: Vec::new(),
        };
        BTreeMap::from([("internal".into(), Exposure::internal()), ("edge".into(), edge)])
    }

    fn seen(claimed: &Claimed) -> Vec<String> {
        let one = |c: &Claim| format!("{} {} {:?}", c.exposure, c.host, c.matcher);
        claimed.claims.iter().map(one).collect()
    }

    #[test]
    fn nothing_declared_is_reachable_by_name_inside() {
        let claimed = claims(&service(None, &[]), &exposures());
        assert_eq!(seen(&claimed), [r#"internal orders Prefix("/")"#]);
    }

    #[test]
    fn only_what_the_operator_allows_can_be_claimed() {
        let edge = Some(Expose::On(vec!["edge".into()]));
        for (route, word) in [
            ("host=evil.example path=/Orders/", "host `evil.example`"),
            ("host=shop.example path=/Orders/", "host `shop.example`"),
            ("path=/", "path `/`"),
            ("grpc=bank.Accounts", "gRPC service `bank.Accounts`"),
        ] {
            let claimed = claims(&service(edge.clone(), &[route]), &exposures());
            assert_eq!(claimed.claims.len(), 1, "{route}: only the name inside is left");
            assert!(
                claimed.issues[0].reason.contains(word),
                "{route} → {:?}",
                claimed.issues
            );
        }
        let good = claims(
            &service(edge, &["path=/Orders/", "host=a.shop.example grpc=shop.Orders"]),
            &exposures(),
        );
        assert_eq!(good.issues, []);
        assert_eq!(good.claims.len(), 4, "{:?}", seen(&good));
    }

    #[test]
    fn an_unknown_exposure_and_none() {
        let claimed = claims(
            &service(Some(Expose::On(vec!["egde".into()])), &["path=/"]),
            &exposures(),
        );
        assert!(
            claimed.issues[0].reason.contains("there are: edge, internal"),
            "{:?}",
            claimed.issues
        );
        assert_eq!(
            claims(&service(Some(Expose::Nothing), &["path=/"]), &exposures()),
            Claimed::default()
        );
    }

    /// Cluster and timeout of the route of `/` on a host inside.
    fn keeps(host: &str, services: &[(&str, &[&str])]) -> (String, Option<i64>) {
        let all: Vec<Claim> = services
            .iter()
            .flat_map(|(name, routes)| {
                let mut service = service(None, routes);
                service.name = (*name).into();
                claims(&service, &exposures()).claims
            })
            .filter(|claim| &*claim.exposure == "internal")
            .collect();
        let clusters = crate::model::Clusters {
            connect_timeout: Duration::from_secs(1),
            on_all_unhealthy: crate::model::OnAllUnhealthy::Open,
            retries: 0,
        };
        let (message, _) =
            crate::translate::route::message("internal", &all.iter().collect::<Vec<_>>(), &clusters);
        let host = message
            .virtual_hosts
            .into_iter()
            .find(|h| h.name == host)
            .unwrap();
        let Some(Action::Route(action)) = host.routes[0].action.clone() else {
            panic!("no route")
        };
        let Some(ClusterSpecifier::Cluster(cluster)) = action.cluster_specifier else {
            panic!("no cluster")
        };
        (cluster, action.timeout.map(|t| t.seconds))
    }

    #[test]
    fn nobody_takes_over_the_host_of_another_service() {
        let orders: (&str, &[&str]) = ("orders", &[]);
        assert_eq!(keeps("orders", &[("ORDERS", &[]), orders]).0, "orders");
        let thief: (&str, &[&str]) = ("a", &["host=orders path=/"]);
        assert_eq!(keeps("orders", &[thief, orders]).0, "orders");
        assert_eq!(keeps("orders", &[thief, ("ORDERS", &[])]).0, "ORDERS");
        assert_eq!(keeps("orders", &[thief, ("b", &["host=orders"])]).0, "a");
    }

    #[test]
    fn a_timeout_declared_for_the_own_host_counts() {
        assert_eq!(
            keeps("orders", &[("orders", &["host=orders timeout=2s"])]),
            ("orders".to_owned(), Some(2))
        );
    }
}
