//! Whom of a service gRPC's own clients are to call, and which of them need a resource of their own for it. Pure.
//!
//! None of them knows a panic threshold: of a service without a healthy instance they call nobody, though it may say
//! that all of its instances are to be called. tonic-xds knows no priorities either. What each is sent instead was
//! measured with all five: docs/clients.md, and [`crate::translate::grpc`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::step::{Callees, Planned};
use super::versions::Split;
use crate::model::{
    ClusterSettings, Effective, Expose, Health, LocalityRule, OnAllUnhealthy, Protocol, Service,
};
use crate::xds::Client;

/// Whom gRPC's own clients are to call.
///
/// An instance that drains serves until another one is there: so a restart of the only one loses no call.
#[must_use]
pub fn callees(service: &Service, on_all_unhealthy: OnAllUnhealthy) -> Callees {
    let any = |health| service.instances.iter().any(|i| i.health == health);
    if any(Health::Healthy) {
        return Callees::Healthy;
    }
    let name = &service.name;
    let why = match (any(Health::Unhealthy), any(Health::Draining), on_all_unhealthy) {
        (false, false, _) if service.instances.is_empty() => format!("{name} has no instances"),
        (false, false, _) => format!("all instances of {name} are off"),
        (true, _, OnAllUnhealthy::Open) | (false, true, OnAllUnhealthy::Open | OnAllUnhealthy::Drop) => {
            return Callees::All;
        }
        (true, _, OnAllUnhealthy::Closed) => {
            format!("no instance of {name} is healthy, and its all-unhealthy is closed")
        }
        (true, _, OnAllUnhealthy::Drop) => {
            format!("no instance of {name} is healthy, and its all-unhealthy is drop")
        }
        (false, true, OnAllUnhealthy::Closed) => {
            format!("all instances of {name} are draining, and its all-unhealthy is closed")
        }
    };
    Callees::Nobody(why)
}

/// Whether gRPC clients may dial a service by its name: it speaks HTTP/2, does not declare `expose = none`, needs no
/// PROXY protocol, which they neither speak nor accept in a cluster, and names a CA of the operator if its servers speak
/// TLS. `secrets`: names of `[tls.NAME]` with a CA.
#[must_use]
pub fn has_api_listener(effective: &Effective, secrets: &BTreeMap<Arc<str>, bool>) -> bool {
    let keys = &effective.cluster.declared;
    let ca = keys.tls.as_ref().and_then(|tls| tls.name.as_ref());
    matches!(effective.cluster.protocol, Protocol::Grpc | Protocol::Http2)
        && effective.expose != Expose::Nothing
        && keys.proxy_protocol.is_none()
        && ca.is_none_or(|name| secrets.contains_key(name))
}

/// The cluster of a service whose servers speak TLS, as gRPC's own clients get it: certificates of Envoy's cluster come
/// by SDS, which each of them refuses.
pub(super) fn clusters(name: &Arc<str>, settings: &ClusterSettings) -> Vec<Planned> {
    if settings.declared.tls.is_none() {
        return Vec::new();
    }
    let of = |client| Planned::ClusterFor(client, name.clone(), settings.clone());
    Client::GRPC.map(of).into()
}

/// What some of gRPC's own clients get of a service in place of what Envoy gets.
#[must_use]
pub fn variants(
    service: &Arc<Service>,
    split: Option<&Arc<Split>>,
    on_all_unhealthy: OnAllUnhealthy,
    locality: LocalityRule,
) -> Vec<Planned> {
    let near = || nearest(service).map(Arc::new);
    match callees(service, on_all_unhealthy) {
        Callees::Healthy => near()
            .map(|near| Planned::EndpointsFor(Client::Tonic, near, Callees::Healthy, locality))
            .into_iter()
            .collect(),
        Callees::All => {
            let near = near().unwrap_or_else(|| service.clone());
            let all = |client, service| Planned::EndpointsFor(client, service, Callees::All, locality);
            vec![
                all(Client::GrpcDrops, service.clone()),
                all(Client::Tonic, near),
                all(Client::Grpc, service.clone()),
            ]
        }
        Callees::Nobody(why) => {
            let stopped =
                |client| Planned::Stopped(client, service.name.clone(), split.cloned(), why.clone());
            vec![
                nobody(service, why.clone()),
                stopped(Client::Tonic),
                stopped(Client::Grpc),
            ]
        }
    }
}

/// The same of the cluster of one version, which nobody dials by its name.
pub(super) fn variants_of_version(
    version: &Arc<Service>,
    on_all_unhealthy: OnAllUnhealthy,
    locality: LocalityRule,
) -> Vec<Planned> {
    let mut planned = variants(version, None, on_all_unhealthy, locality);
    planned.retain(|planned| !matches!(planned, Planned::Stopped(..)));
    planned
}

/// What stops clients that drop calls from calling a service which is there, and no longer for gRPC clients.
pub(super) fn stopped(service: &Arc<Service>, settings: &ClusterSettings) -> Vec<Planned> {
    let why = format!("{} is not for gRPC clients", service.name);
    let mut planned = clusters(&service.name, settings);
    planned.push(nobody(service, why));
    planned
}

fn nobody(service: &Arc<Service>, why: String) -> Planned {
    let callees = Callees::Nobody(why);
    Planned::EndpointsFor(Client::GrpcDrops, service.clone(), callees, LocalityRule::Off)
}

/// Only the instances of the first priority that takes calls, for clients that know no priorities and would
/// share calls out among all of them; `None`: there is one priority.
fn nearest(service: &Service) -> Option<Service> {
    let there = || service.instances.iter().filter(|i| i.health != Health::Off);
    let first = there()
        .filter(|i| i.health == Health::Healthy)
        .map(|i| service.rank(i))
        .min()
        .or_else(|| there().map(|i| service.rank(i)).min())?;
    if there().all(|i| service.rank(i) == first) {
        return None;
    }
    let mut near = service.clone();
    near.instances.retain(|i| service.rank(i) == first);
    Some(near)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::expect;

    use super::*;
    use crate::model::cluster::{ProxyProtocol, Tls};
    use crate::model::{Clusters, Facts, Instance, Policy};

    /// One instance for each letter: healthy, draining, unhealthy, off.
    fn service(healths: &str) -> Service {
        let mut service = Service {
            name: "orders".into(),
            ..Service::default()
        };
        for (letter, port) in healths.chars().zip(1..) {
            let instance = Instance::from(Facts {
                health: match letter {
                    'h' => Health::Healthy,
                    'd' => Health::Draining,
                    'u' => Health::Unhealthy,
                    _ => Health::Off,
                },
                ..Facts::new(port.to_string(), ([127, 0, 0, 1], port).into())
            });
            service.instances.push(instance);
        }
        service
    }

    #[test]
    fn who_is_called_when_nobody_is_healthy() {
        use OnAllUnhealthy::{Closed, Drop, Open};
        let mut seen = String::new();
        for healths in ["h", "hdu", "d", "do", "du", "u", "o", ""] {
            for policy in [Open, Closed, Drop] {
                let callees = callees(&service(healths), policy);
                let _ = writeln!(seen, "{healths:>3} {policy:?}: {callees:?}");
            }
        }
        expect![[r#"
              h Open: Healthy
              h Closed: Healthy
              h Drop: Healthy
            hdu Open: Healthy
            hdu Closed: Healthy
            hdu Drop: Healthy
              d Open: All
              d Closed: Nobody("all instances of orders are draining, and its all-unhealthy is closed")
              d Drop: All
             do Open: All
             do Closed: Nobody("all instances of orders are draining, and its all-unhealthy is closed")
             do Drop: All
             du Open: All
             du Closed: Nobody("no instance of orders is healthy, and its all-unhealthy is closed")
             du Drop: Nobody("no instance of orders is healthy, and its all-unhealthy is drop")
              u Open: All
              u Closed: Nobody("no instance of orders is healthy, and its all-unhealthy is closed")
              u Drop: Nobody("no instance of orders is healthy, and its all-unhealthy is drop")
              o Open: Nobody("all instances of orders are off")
              o Closed: Nobody("all instances of orders are off")
              o Drop: Nobody("all instances of orders are off")
                Open: Nobody("orders has no instances")
                Closed: Nobody("orders has no instances")
                Drop: Nobody("orders has no instances")
        "#]]
        .assert_eq(&seen);
    }

    fn speaking(protocol: Option<Protocol>, expose: Option<Expose>) -> Service {
        Service {
            name: "orders".into(),
            policy: Policy {
                protocol,
                expose,
                ..Policy::default()
            },
            ..Service::default()
        }
    }

    #[test]
    fn what_speaks_http2_and_wants_callers_has_an_api_listener() {
        let cases = [
            (Some(Protocol::Grpc), None, true),
            (Some(Protocol::Http2), None, true),
            (Some(Protocol::Grpc), Some(Expose::On(vec!["edge".into()])), true),
            (Some(Protocol::Grpc), Some(Expose::Nothing), false),
            (Some(Protocol::Http1), None, false),
            (Some(Protocol::Tcp), None, false),
            (None, None, false),
        ];
        for (protocol, expose, wanted) in cases {
            let service = speaking(protocol, expose);
            let effective = Effective::of(&service, &Clusters::DEFAULT);
            let secrets = &Clusters::DEFAULT.secrets;
            assert_eq!(
                has_api_listener(&effective, secrets),
                wanted,
                "{:?}",
                service.policy
            );
        }
        let mut service = speaking(Some(Protocol::Http2), None);
        service.policy.cluster.proxy_protocol = Some(ProxyProtocol::V2);
        let effective = Effective::of(&service, &Clusters::DEFAULT);
        assert!(!has_api_listener(&effective, &Clusters::DEFAULT.secrets));
    }

    #[test]
    fn a_service_by_tls_has_one_if_the_operator_has_its_ca() {
        let secrets = BTreeMap::from([("shop".into(), false)]);
        let judged = |protocol, name: Option<&str>| {
            let mut service = speaking(Some(protocol), None);
            service.policy.cluster.tls = name.map(|name| Arc::new(Tls::parse(name).unwrap()));
            let effective = Effective::of(&service, &Clusters::DEFAULT);
            let own = clusters(&service.name, &effective.cluster).len();
            (has_api_listener(&effective, &secrets), own)
        };
        for protocol in [Protocol::Grpc, Protocol::Grpcs, Protocol::Https2] {
            assert_eq!(judged(protocol, Some("shop")), (true, 3), "{protocol:?}");
            assert_eq!(judged(protocol, Some("system")), (true, 3), "{protocol:?}");
            assert!(!judged(protocol, Some("nowhere")).0, "{protocol:?}");
        }
        assert_eq!(judged(Protocol::Grpcs, None), (true, 3), "it trusts the system");
        assert_eq!(
            judged(Protocol::Grpc, None),
            (true, 0),
            "Envoy's cluster is theirs"
        );
        assert!(!judged(Protocol::Https, Some("shop")).0, "it speaks HTTP/1");
        let mut service = speaking(Some(Protocol::Grpc), None);
        service.policy.cluster.tls = Some(Arc::new(Tls::unreadable()));
        let effective = Effective::of(&service, &Clusters::DEFAULT);
        assert!(!has_api_listener(&effective, &secrets));
    }
}
