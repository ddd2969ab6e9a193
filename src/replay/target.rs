//! Clusters and their endpoints, and whether a request to them reaches a server. Pure.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Locality};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, SchemeRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::{RedirectAction, Route};
use prost::Message as _;

use super::outcome::{End, Ending, Outcome, Target};
use super::{Kind, Request, Served};

/// Maximum of endpoints shown of a cluster.
const SHOWN: usize = 100;

/// What becomes of a request on the route that takes it.
pub(super) fn outcome(route: &Route, request: &Request, served: &dyn Served) -> Ending {
    match &route.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => of_clusters(&[(name.clone(), 1)], served),
            Some(ClusterSpecifier::WeightedClusters(all)) => {
                let weight = |weight: &Option<_>| {
                    let weight: &Option<envoy_types::pb::google::protobuf::UInt32Value> = weight;
                    weight.as_ref().map_or(0, |weight| weight.value)
                };
                let all = all.clusters.iter();
                let all: Vec<(String, u32)> = all.map(|c| (c.name.clone(), weight(&c.weight))).collect();
                of_clusters(&all, served)
            }
            _ => Ending::fails("its cluster is chosen in a way that is not known here".to_owned()),
        },
        Some(Action::Redirect(to)) => {
            let to = redirected(to, request);
            Ending {
                works: true,
                why: format!("the client is redirected to {to}"),
                outcome: Outcome::Redirect(to),
            }
        }
        Some(Action::DirectResponse(answer)) => Ending {
            works: answer.status < 400,
            why: format!("the route itself answers {}", answer.status),
            outcome: Outcome::Respond(answer.status),
        },
        _ => Ending::fails("what the route does is not known here".to_owned()),
    }
}

/// Where a client is sent to, as far as it does not depend on a replaced path.
fn redirected(to: &RedirectAction, request: &Request) -> String {
    let scheme = match &to.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => scheme.as_str(),
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https",
        _ if request.tls => "https",
        _ => "http",
    };
    let host = if to.host_redirect.is_empty() {
        &request.host
    } else {
        &to.host_redirect
    };
    let port = match to.port_redirect {
        0 => String::new(),
        port => format!(":{port}"),
    };
    let path = match &to.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) => path.clone(),
        Some(_) => "/… (its path is rewritten)".to_owned(),
        None => request.path.clone(),
    };
    format!("{scheme}://{host}{port}{path}")
}

/// What becomes of a request to one of these clusters with their weights.
pub(super) fn of_clusters(clusters: &[(String, u32)], served: &dyn Served) -> Ending {
    let total: u64 = clusters.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let targets: Vec<Target> = clusters
        .iter()
        .map(|(name, weight)| Target {
            #[expect(clippy::cast_precision_loss, reason = "a share for people")]
            share: if total == 0 {
                0.0
            } else {
                f64::from(*weight) / total as f64
            },
            ..target(name, served)
        })
        .collect();
    let taking: Vec<&Target> = targets.iter().filter(|target| target.share > 0.0).collect();
    let failing: Vec<&&Target> = taking.iter().filter(|target| !target.fails.is_empty()).collect();
    let why = match (&taking[..], &failing[..]) {
        ([], _) => "503: no cluster of the route has a weight".to_owned(),
        (_, []) => {
            let names = taking.iter().map(|target| in_words(target, taking.len() > 1));
            format!("it goes to {}", names.collect::<Vec<_>>().join(" and "))
        }
        (_, failing) => {
            let names = failing.iter().map(|target| match targets.len() {
                1 => target.fails.clone(),
                _ => format!("{} (for {} of the requests)", target.fails, percent(target.share)),
            });
            format!("503: {}", names.collect::<Vec<_>>().join("; "))
        }
    };
    Ending {
        works: !taking.is_empty() && failing.is_empty(),
        why,
        outcome: Outcome::Clusters(targets),
    }
}

fn in_words(target: &Target, several: bool) -> String {
    let taking = target
        .endpoints
        .iter()
        .filter(|end| end.health == "healthy")
        .count();
    let servers = match (target.elsewhere, target.endpoints.len()) {
        (true, _) => "servers that are not of a registry".to_owned(),
        (false, all) => format!("{taking} healthy of {all} endpoints"),
    };
    let share = if several {
        format!("{} ", percent(target.share))
    } else {
        String::new()
    };
    format!("{share}`{}` ({servers})", target.cluster)
}

fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn target(name: &str, served: &dyn Served) -> Target {
    let mut target = Target {
        cluster: name.to_owned(),
        ..Target::default()
    };
    let cluster = served
        .body(Kind::Cluster, name)
        .and_then(|body| Cluster::decode(body).ok());
    let Some(cluster) = cluster else {
        target.fails = format!("this client gets no cluster `{name}`");
        return target;
    };
    target.known = true;
    let by_eds = matches!(
        cluster.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(kind)) if kind == DiscoveryType::Eds as i32
    );
    let assignment = if by_eds {
        let eds = cluster.eds_cluster_config.as_ref();
        let eds = eds.map_or("", |eds| eds.service_name.as_str());
        let body = served.body(Kind::Endpoints, if eds.is_empty() { name } else { eds });
        body.and_then(|body| ClusterLoadAssignment::decode(body).ok())
    } else {
        target.elsewhere = true;
        cluster.load_assignment.clone()
    };
    let Some(assignment) = assignment else {
        if by_eds {
            target.fails = format!("this client gets no endpoints of `{name}`");
        }
        return target;
    };
    let mut healthy = 0;
    let mut all = 0;
    let mut shown = Vec::new();
    for group in &assignment.endpoints {
        let locality = group.locality.as_ref().map(locality).unwrap_or_default();
        for end in &group.lb_endpoints {
            let health = health(end);
            healthy += usize::from(health == "healthy");
            all += 1;
            shown.push(End {
                address: address(end),
                health,
                weight: end
                    .load_balancing_weight
                    .as_ref()
                    .map_or(1, |weight| weight.value),
                priority: group.priority,
                locality: locality.clone(),
            });
        }
    }
    shown.sort_by(|a, b| {
        (a.priority, a.health != "healthy", &a.address).cmp(&(b.priority, b.health != "healthy", &b.address))
    });
    shown.truncate(SHOWN);
    target.endpoints = shown;
    if target.elsewhere {
        return target;
    }
    let panic = cluster
        .common_lb_config
        .as_ref()
        .and_then(|config| config.healthy_panic_threshold.as_ref())
        .is_none_or(|threshold| threshold.value > 0.0);
    if all == 0 {
        target.fails = format!("`{name}` has no endpoint");
    } else if healthy == 0 && !panic {
        target.fails = format!("none of the {all} endpoints of `{name}` is healthy");
    }
    target
}

fn locality(of: &Locality) -> String {
    let parts = [&of.region, &of.zone, &of.sub_zone];
    let parts: Vec<&str> = parts.into_iter().map(String::as_str).collect();
    parts.join("/").trim_matches('/').to_owned()
}

fn health(end: &LbEndpoint) -> &'static str {
    match HealthStatus::try_from(end.health_status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => "healthy",
        Ok(HealthStatus::Draining) => "draining",
        Ok(HealthStatus::Degraded) => "degraded",
        _ => "unhealthy",
    }
}

fn address(end: &LbEndpoint) -> String {
    let Some(HostIdentifier::Endpoint(endpoint)) = &end.host_identifier else {
        return String::new();
    };
    let address = endpoint
        .address
        .as_ref()
        .and_then(|address| address.address.as_ref());
    match address {
        Some(AddressKind::SocketAddress(socket)) => {
            let port = match socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => port,
                _ => 0,
            };
            if socket.address.contains(':') {
                format!("[{}]:{port}", socket.address)
            } else {
                format!("{}:{port}", socket.address)
            }
        }
        Some(AddressKind::EnvoyInternalAddress(_)) => "inside of Envoy".to_owned(),
        _ => String::new(),
    }
}
