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

use super::api_listener;
use super::endpoints::{assignment, draft, endpoints as base, placeholder};
use super::near::near;
use crate::model::{LocalityRule, OnAllUnhealthy, Service};
use crate::plan::Callees;
use crate::xds::{Client, Draft, Kind};

/// A client of gRPC refuses a longer message, unless its program says otherwise; a response holds one
/// resource at least.
const LONGEST_MESSAGE: usize = 4 << 20;

/// Bytes of a response besides one resource: its header, the names, the types.
const AROUND: usize = 2_048;

/// The endpoints of a service for clients of gRPC that get others than Envoy.
#[must_use]
pub fn endpoints(service: &Arc<Service>, callees: &Callees, locality: LocalityRule) -> Draft {
    // Whom they call has been decided: nobody is left out.
    let rule = OnAllUnhealthy::Open;
    match callees {
        Callees::Healthy => Draft {
            local: near(service, rule, locality, false),
            ..base(service, rule)
        },
        Callees::All => {
            let all = assignment(service, rule, |_| HealthStatus::Healthy);
            Draft {
                local: near(service, rule, locality, true),
                ..draft(&service.name, &all)
            }
        }
        Callees::Nobody(why) => draft(&service.name, &dropping(&service.name, why)),
    }
}

/// What stops a client of gRPC from using a resource that is gone, or was never there; see [`crate::xds::Gone`].
#[must_use]
pub fn gone(client: Client, kind: Kind, name: &str) -> Option<Vec<u8>> {
    let why = || format!("{name} is not registered, or not for gRPC clients");
    match (client, kind) {
        (Client::Envoy, _) | (_, Kind::Cluster | Kind::Route | Kind::Secret) => None,
        // Their endpoints stop them ([`crate::plan::callees`]). Node's process ends when endpoints change behind a listener
        // without its host.
        (Client::GrpcDrops, Kind::Listener) => Some(api_listener::api_listener(&Arc::from(name), None).body),
        (_, Kind::Listener) => Some(api_listener::stopped(&Arc::from(name), None, &why()).body),
        (_, Kind::Endpoints) => Some(dropping(name, &format!("{name} is not registered")).encode_to_vec()),
    }
}

/// Why a client of gRPC finds no resource of this name; the C core puts it into the error of the call.
#[must_use]
pub fn missing(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Listener => format!(
            "xds-bridge: no service `{name}` for gRPC clients: it is not registered, or not with protocol grpc, grpcs, \
             http2 or https2, or with expose = none, proxy-protocol or a CA that bridge.toml does not have"
        ),
        Kind::Cluster | Kind::Endpoints => format!("xds-bridge: no service `{name}` is registered"),
        Kind::Route => format!("xds-bridge: no listener or exposure `{name}` in bridge.toml"),
        Kind::Secret => format!("xds-bridge: no [tls.{name}] in bridge.toml for this client"),
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
            "its endpoints take {mebibytes} MiB at most, and gRPC clients refuse a message above 4 MiB: they go on \
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
    use crate::model::{Clusters, Effective, Facts, Health, Instance, Policy as Declared};
    use crate::plan::Planned;
    use crate::plan::callees::variants;

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
            let instance = Instance::from(Facts {
                health: match letter.to_ascii_lowercase() {
                    'h' => Health::Healthy,
                    'd' => Health::Draining,
                    'u' => Health::Unhealthy,
                    _ => Health::Off,
                },
                ..Facts::new(port.to_string(), ([127, 0, 0, 1], port).into())
            });
            if letter.is_ascii_uppercase() {
                service.behind.insert(instance.address, 1);
            }
            service.instances.push(instance);
        }
        service
    }

    /// Each variant, as `priority sub-zone: status, …`; a drop by its words.
    fn seen(service: &Service) -> String {
        let endpoint = |e: &LbEndpoint| e.health_status().as_str_name().to_lowercase();
        let mut text = String::new();
        let rule = Effective::of(service, &Clusters::DEFAULT).cluster.all_unhealthy;
        for planned in variants(&Arc::new(service.clone()), None, rule, LocalityRule::Off) {
            let (client, draft) = match planned {
                Planned::EndpointsFor(client, service, callees, _) => {
                    (client, endpoints(&service, &callees, LocalityRule::Off))
                }
                planned => {
                    let _ = writeln!(text, "{:?} lds", planned.key().client);
                    continue;
                }
            };
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
            local: None,
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
