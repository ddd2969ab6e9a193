//! Whom of a service gRPC's own clients are to call, and which of them need a resource of their own for it. Pure.
//!
//! None of them knows a panic threshold: of a service without a healthy instance they call nobody, though it may say
//! that all of its instances are to be called. tonic-xds knows no priorities either. What each is sent instead was
//! measured with all five: docs/clients.md, and [`crate::translate::grpc`].

use std::sync::Arc;

use super::step::{Callees, Planned};
use crate::model::{Effective, Expose, Health, LocalityRule, OnAllUnhealthy, Protocol, Service};
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

/// Whether gRPC clients may dial a service by its name: it speaks HTTP/2, does not declare `expose = none`, and needs no
/// PROXY protocol, which they neither speak nor accept in a cluster.
#[must_use]
pub fn has_api_listener(effective: &Effective) -> bool {
    matches!(effective.cluster.protocol, Protocol::Grpc | Protocol::Http2)
        && effective.expose != Expose::Nothing
        && effective.cluster.declared.proxy_protocol.is_none()
        && effective.cluster.declared.tls.is_none()
}

/// What some of gRPC's own clients get of a service in place of what Envoy gets.
#[must_use]
pub fn variants(
    service: &Arc<Service>,
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
            let stopped = |client| Planned::Stopped(client, service.name.clone(), why.clone());
            vec![
                nobody(service, why.clone()),
                stopped(Client::Tonic),
                stopped(Client::Grpc),
            ]
        }
    }
}

/// What stops clients that drop calls from calling a service which is there, and no longer for gRPC clients.
pub(super) fn stopped(service: &Arc<Service>) -> Planned {
    let why = format!("{} is not for gRPC clients", service.name);
    nobody(service, why)
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
    use crate::model::cluster::ProxyProtocol;
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
            assert_eq!(has_api_listener(&effective), wanted, "{:?}", service.policy);
        }
        // Certificates come to Envoys by SDS, which gRPC's own clients do not know.
        for protocol in [Protocol::Grpcs, Protocol::Https2] {
            let service = speaking(Some(protocol), None);
            assert!(!has_api_listener(&Effective::of(&service, &Clusters::DEFAULT)));
        }
        let mut service = speaking(Some(Protocol::Grpc), None);
        service.policy.cluster.tls = Some(Arc::default());
        assert!(!has_api_listener(&Effective::of(&service, &Clusters::DEFAULT)));
        let mut service = speaking(Some(Protocol::Http2), None);
        service.policy.cluster.proxy_protocol = Some(ProxyProtocol::V2);
        assert!(!has_api_listener(&Effective::of(&service, &Clusters::DEFAULT)));
    }
}
