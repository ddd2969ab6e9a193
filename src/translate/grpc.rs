//! What gRPC's own clients get where they need something else than Envoy.
//!
//! None of them knows a panic threshold: of a service without a healthy instance they call nobody, though it
//! may say that all of its instances are to be called. tonic-xds knows no priorities. Nor does an empty
//! assignment stop each of them: Java and tonic-xds go on calling the instances that are gone, whose addresses
//! may belong to somebody else by then. What does, measured with all five (docs/clients.md): an assignment that
//! drops all calls, which names the reason in the error of Java, the C core and Node; and for the others a
//! listener without a host.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::policy::DropOverload;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use prost::Message as _;

use super::dialled;
use super::endpoints::{assignment, draft, endpoints as base, placeholder};
use crate::model::{Clusters, Health, OnAllUnhealthy, Service};
use crate::xds::{Client, Draft, Kind};

/// A client of gRPC refuses a longer message, unless its program says otherwise; a response holds one
/// resource at least.
const LONGEST_MESSAGE: usize = 4 << 20;

/// Bytes of a response besides one resource: its header, the names, the types.
const AROUND: usize = 2_048;

/// Whom of a service gRPC's own clients are to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callees {
    /// Those that are healthy.
    Healthy,
    /// None is healthy, and all that are there get calls, as Envoy does it by its panic threshold.
    All,
    /// Nobody, because of this.
    Nobody(String),
}

/// Whom gRPC's own clients are to call.
///
/// An instance that drains serves until another one is there: so a restart of the only one loses no call.
#[must_use]
pub fn callees(service: &Service, defaults: &Clusters) -> Callees {
    let any = |health| service.instances.iter().any(|i| i.health == health);
    if any(Health::Healthy) {
        return Callees::Healthy;
    }
    let name = &service.name;
    let declared = service.on_all_unhealthy(defaults.on_all_unhealthy);
    let why = match (any(Health::Unhealthy), any(Health::Draining), declared) {
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

/// What each of gRPC's own clients gets of a service in place of what Envoy gets; `None`: the same.
#[must_use]
pub fn variants(service: &Service, defaults: &Clusters) -> Vec<(Client, Kind, Option<Draft>)> {
    let name = &service.name;
    let endpoints = |assignment| Some(draft(name, &assignment));
    let (drops, tonic, others, listener) = match callees(service, defaults) {
        Callees::Healthy => (
            None,
            nearest(service).map(|near| base(&near, defaults)),
            None,
            None,
        ),
        Callees::All => {
            let all = |service: &Service| endpoints(assignment(service, defaults, |_| HealthStatus::Healthy));
            let near = nearest(service);
            let everyone = all(service);
            (
                everyone.clone(),
                near.as_ref().map_or_else(|| everyone.clone(), all),
                everyone,
                None,
            )
        }
        Callees::Nobody(why) => {
            let stopped = dialled::stopped(name, &why);
            (endpoints(dropping(name, &why)), None, None, Some(stopped))
        }
    };
    vec![
        (Client::GrpcDrops, Kind::Endpoints, drops),
        (Client::Tonic, Kind::Endpoints, tonic),
        (Client::Grpc, Kind::Endpoints, others),
        (Client::Tonic, Kind::Listener, listener.clone()),
        (Client::Grpc, Kind::Listener, listener),
    ]
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

/// What stops clients that drop calls from calling a service which is there, and no longer for gRPC clients.
#[must_use]
pub fn undialled(name: &Arc<str>) -> Draft {
    draft(name, &dropping(name, &format!("{name} is not for gRPC clients")))
}

/// What stops a client of gRPC from using a resource that is gone, or was never there; see [`crate::xds::Gone`].
#[must_use]
pub fn gone(client: Client, kind: Kind, name: &str) -> Option<Vec<u8>> {
    let why = || format!("{name} is not registered, or not for gRPC clients");
    match (client, kind) {
        (Client::Envoy, _) | (_, Kind::Cluster | Kind::Route) => None,
        // Their endpoints stop them ([`undialled`]). Node's process ends when endpoints change behind a listener
        // without its host.
        (Client::GrpcDrops, Kind::Listener) => Some(dialled::dialled(&Arc::from(name)).body),
        (_, Kind::Listener) => Some(dialled::stopped(&Arc::from(name), &why()).body),
        (_, Kind::Endpoints) => Some(dropping(name, &format!("{name} is not registered")).encode_to_vec()),
    }
}

/// An assignment by which all calls are dropped, with this reason in their error. It needs an endpoint that
/// seems healthy: Java takes no notice of one without. Nobody listens on its port, if anybody looks.
fn dropping(name: &str, why: &str) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![placeholder()],
        policy: Some(Policy {
            drop_overloads: vec![DropOverload {
                category: format!("xds-bridge: {why}"),
                drop_percentage: Some(FractionalPercent {
                    numerator: 100,
                    denominator: DenominatorType::Hundred as i32,
                }),
            }],
            ..Policy::default()
        }),
        ..ClusterLoadAssignment::default()
    }
}

/// What is wrong with a resource that gRPC's own clients cannot receive.
#[must_use]
pub fn too_large(draft: &Draft) -> Option<String> {
    let length = draft.body.len() + draft.name.len() + AROUND;
    (length > LONGEST_MESSAGE).then(|| {
        // Rounded, so that the sentence does not change with each instance.
        let mebibytes = length.div_ceil(1 << 20);
        format!(
            "its endpoints take {mebibytes} MiB at the most, and gRPC clients refuse a message above 4 MiB: they go on \
             with what they have. No option of theirs reaches the channel to the bridge (`MaxCallRecvMsgSize`, \
             `grpc.max_receive_message_length`, `maxInboundMessageSize` are for calls): register fewer instances \
             under one name, or let its callers go through Envoy"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use envoy_types::pb::envoy::config::endpoint::v3::LbEndpoint;
    use expect_test::expect;

    use super::*;
    use crate::model::{Instance, Policy as Declared};

    const DEFAULTS: Clusters = Clusters::DEFAULT;

    /// One instance for each letter: healthy, draining, unhealthy, off; a capital stands in priority 1.
    fn service(healths: &str, all_unhealthy: Option<OnAllUnhealthy>) -> Service {
        let mut service = Service {
            name: "orders".into(),
            policy: Declared {
                all_unhealthy,
                ..Declared::default()
            },
            ..Service::default()
        };
        for (letter, port) in healths.chars().zip(1..) {
            let instance = Instance {
                health: match letter.to_ascii_lowercase() {
                    'h' => Health::Healthy,
                    'd' => Health::Draining,
                    'u' => Health::Unhealthy,
                    _ => Health::Off,
                },
                ..Instance::new(port.to_string(), ([127, 0, 0, 1], port).into())
            };
            if letter.is_ascii_uppercase() {
                service.behind.insert(instance.address, 1);
            }
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
                let callees = callees(&service(healths, Some(policy)), &DEFAULTS);
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

    /// Each variant, as `priority sub-zone: status, …`; a drop by its words.
    fn seen(service: &Service) -> String {
        let endpoint = |e: &LbEndpoint| e.health_status().as_str_name().to_lowercase();
        let mut text = String::new();
        for (client, kind, draft) in variants(service, &DEFAULTS) {
            let Some(draft) = draft else { continue };
            if kind == Kind::Listener {
                let _ = writeln!(text, "{client:?} lds");
                continue;
            }
            let read = ClusterLoadAssignment::decode(&*draft.body).unwrap();
            for l in &read.endpoints {
                let all: Vec<String> = l.lb_endpoints.iter().map(endpoint).collect();
                let place = &l.locality.as_ref().unwrap().sub_zone;
                let _ = writeln!(text, "{client:?} {} {place}: {}", l.priority, all.join(", "));
            }
            for drop in read.policy.iter().flat_map(|p| &p.drop_overloads) {
                let percent = drop.drop_percentage.unwrap();
                assert_eq!(
                    (percent.numerator, percent.denominator()),
                    (100, DenominatorType::Hundred)
                );
                let _ = writeln!(text, "{client:?} drops: {}", drop.category);
            }
        }
        text
    }

    #[test]
    fn what_differs_for_grpc_clients() {
        let closed = Some(OnAllUnhealthy::Closed);
        assert_eq!(seen(&service("hdu", None)), "", "nothing, while one is healthy");
        expect![[r#"
            GrpcDrops 0 : healthy, healthy
            Tonic 0 : healthy, healthy
            Grpc 0 : healthy, healthy
        "#]]
        .assert_eq(&seen(&service("du", None)));
        expect![[r#"
            GrpcDrops 0 : healthy
            GrpcDrops drops: xds-bridge: no instance of orders is healthy, and its all-unhealthy is closed
            Tonic lds
            Grpc lds
        "#]]
        .assert_eq(&seen(&service("u", closed)));
        expect![[r#"
            Tonic 0 : healthy
        "#]]
        .assert_eq(&seen(&service("hH", None)));
        expect![[r#"
            Tonic 0 priority-1: healthy, healthy
        "#]]
        .assert_eq(&seen(&service("dHH", None)));
        expect![[r#"
            GrpcDrops 0 : healthy
            GrpcDrops 1 priority-1: healthy
            Tonic 0 : healthy
            Grpc 0 : healthy
            Grpc 1 priority-1: healthy
        "#]]
        .assert_eq(&seen(&service("dU", None)));
    }

    #[test]
    fn what_is_gone_stops_each_client_of_grpc_and_is_nothing_to_envoy() {
        for kind in Kind::ALL {
            assert_eq!(gone(Client::Envoy, kind, "orders"), None);
        }
        for client in Client::GRPC {
            let body = gone(client, Kind::Endpoints, "orders").unwrap();
            let read = ClusterLoadAssignment::decode(&*body).unwrap();
            assert_eq!(read.cluster_name, "orders");
            let healthy = |e: &LbEndpoint| e.health_status() == HealthStatus::Healthy;
            assert!(
                read.endpoints[0].lb_endpoints.iter().all(healthy),
                "Java ignores an assignment without one"
            );
            assert!(gone(client, Kind::Listener, "orders").is_some());
            assert_eq!(
                gone(client, Kind::Cluster, "orders"),
                None,
                "no route leads there any more"
            );
        }
    }

    #[test]
    fn what_grpc_clients_cannot_receive_is_said() {
        let of = |length: usize| Draft {
            kind: Kind::Endpoints,
            name: "orders".into(),
            body: vec![0; length],
            needs: Vec::new(),
            reach: crate::xds::Reach::All,
        };
        assert_eq!(too_large(&of(LONGEST_MESSAGE - 2 * AROUND)), None);
        let said = too_large(&of(LONGEST_MESSAGE)).unwrap();
        assert!(
            said.contains("5 MiB") && said.contains("grpc.max_receive_message_length"),
            "{said}"
        );
        assert_eq!(
            too_large(&of(LONGEST_MESSAGE + 1_000)),
            Some(said),
            "the same sentence, though it grew"
        );
    }
}
