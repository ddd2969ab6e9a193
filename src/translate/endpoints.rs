//! A service's endpoints: one locality per zone and priority, health as the registry says. Withheld instances
//! that may be dead have the last priority.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, HealthStatus, Locality, SocketAddress};
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy as Spilling;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::google::protobuf::UInt32Value;
use prost::Message as _;

use crate::model::{Health, Instance, OnAllUnhealthy, Service};
use crate::xds::{Draft, Kind, Reach};

/// The assignment of a service's cluster; without instances it is empty, never missing.
#[must_use]
pub fn endpoints(service: &Service, on_all_unhealthy: OnAllUnhealthy) -> Draft {
    let reported = |instance: &Instance| match instance.health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Draining => HealthStatus::Draining,
        Health::Unhealthy | Health::Off => HealthStatus::Unhealthy,
    };
    draft(&service.name, &assignment(service, on_all_unhealthy, reported))
}

/// The instances that are not off, each with its status. One that was never set would not be equal to
/// `HEALTHY` where a client compares them, so each is.
pub(super) fn assignment(
    service: &Service,
    on_all_unhealthy: OnAllUnhealthy,
    status: impl Fn(&Instance) -> HealthStatus,
) -> ClusterLoadAssignment {
    let mut localities: BTreeMap<((bool, u32), &str), Vec<&Instance>> = BTreeMap::new();
    let dropped = service.all_unhealthy() && on_all_unhealthy == OnAllUnhealthy::Drop;
    let sent = |i: &&Instance| i.health != Health::Off && !dropped;
    for instance in service.instances.iter().filter(sent) {
        localities
            .entry((service.rank(instance), &instance.zone))
            .or_default()
            .push(instance);
    }
    // Clients refuse an assignment whose priorities have gaps or do not begin at 0.
    let used: BTreeSet<(bool, u32)> = localities.keys().map(|(rank, _)| *rank).collect();
    let policy = spilling_nothing(&used);
    let priorities: BTreeMap<(bool, u32), u32> = used.into_iter().zip(0..).collect();
    let scale = Scale::of(&service.instances);
    ClusterLoadAssignment {
        cluster_name: service.name.to_string(),
        endpoints: localities
            .into_iter()
            .map(|((rank, zone), instances)| LocalityLbEndpoints {
                locality: Some(place(zone, rank)),
                priority: priorities.get(&rank).copied().unwrap_or(0),
                ..locality(&instances, scale, &status)
            })
            .collect(),
        policy,
        ..ClusterLoadAssignment::default()
    }
}

/// Envoy sends a part of the requests to the next priority when less than 72 % (1 / 1.4) of the first one are
/// healthy. Not to instances that may be dead: while those come next, one healthy instance is enough.
fn spilling_nothing(used: &BTreeSet<(bool, u32)>) -> Option<Spilling> {
    let sure = used.iter().filter(|(unsure, _)| !unsure).count();
    (sure == 1 && used.len() > 1).then(|| Spilling {
        overprovisioning_factor: Some(UInt32Value { value: ONE_IS_ENOUGH }),
        ..Spilling::default()
    })
}

/// In percent: one healthy instance of a million.
const ONE_IS_ENOUGH: u32 = 100_000_000;

/// The resource of an assignment.
pub(super) fn draft(name: &Arc<str>, assignment: &ClusterLoadAssignment) -> Draft {
    Draft {
        kind: Kind::Endpoints,
        name: name.clone(),
        body: assignment.encode_to_vec(),
        needs: Vec::new(),
        reach: Reach::All,
    }
}

/// Where instances stand. Those of a source behind others have a sub-zone of their own, by the priority that
/// the source declares: gRPC's Java client keeps one entry of equal localities, whatever their priorities, and
/// would send all calls to the spare. So have those that may be dead. It does not depend on what else is there: a locality that changes its
/// name would be another one, with new connections.
fn place(zone: &str, (unsure, priority): (bool, u32)) -> Locality {
    Locality {
        zone: zone.to_owned(),
        sub_zone: match (unsure, priority) {
            (false, 0) => String::new(),
            (false, priority) => format!("priority-{priority}"),
            (true, 0) => "withheld".to_owned(),
            (true, priority) => format!("withheld-{priority}"),
        },
        ..Locality::default()
    }
}

/// A locality with one endpoint that seems healthy, and where nobody listens.
pub(super) fn placeholder() -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        locality: Some(Locality::default()),
        lb_endpoints: vec![lb_endpoint(
            SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            1,
            HealthStatus::Healthy,
        )],
        load_balancing_weight: Some(UInt32Value { value: 1 }),
        ..LocalityLbEndpoints::default()
    }
}

/// Envoy refuses a whole assignment in which the weights of a locality, or of all localities, have a sum
/// beyond 32 bits: one service of ten thousands of heavy instances. Its weights are made smaller then, each
/// by the same factor.
#[derive(Clone, Copy)]
struct Scale {
    /// What the sum may be, after rounding up to 1.
    room: u64,
    /// What the sum is; at most `room`: nothing is scaled.
    total: u64,
}

impl Scale {
    fn of(instances: &[Instance]) -> Self {
        let total = instances.iter().map(|i| u64::from(i.weight.max(1))).sum();
        let most = u64::from(u32::MAX);
        let room = if total > most {
            most.saturating_sub(instances.len() as u64)
        } else {
            total
        };
        Self { room, total }
    }

    fn weight(self, instance: &Instance) -> u32 {
        let weight = u64::from(instance.weight);
        let scaled = u128::from(weight) * u128::from(self.room) / u128::from(self.total.max(1));
        u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
    }
}

/// gRPC clients silently drop a locality without a weight, and share calls out among localities by it:
/// it is the sum over the instances that take calls, so that each gets its part wherever it stands.
fn locality(
    instances: &[&Instance],
    scale: Scale,
    status: impl Fn(&Instance) -> HealthStatus,
) -> LocalityLbEndpoints {
    let weight = instances
        .iter()
        .filter(|i| status(i) == HealthStatus::Healthy)
        .fold(0_u32, |sum, i| sum.saturating_add(scale.weight(i)));
    LocalityLbEndpoints {
        lb_endpoints: instances
            .iter()
            .map(|i| lb_endpoint(i.address, scale.weight(i), status(i)))
            .collect(),
        load_balancing_weight: Some(UInt32Value { value: weight.max(1) }),
        ..LocalityLbEndpoints::default()
    }
}

fn lb_endpoint(address: SocketAddr, weight: u32, health: HealthStatus) -> LbEndpoint {
    LbEndpoint {
        health_status: health as i32,
        load_balancing_weight: Some(UInt32Value { value: weight }),
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(socket(address)),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    }
}

/// An address as Envoy takes it.
#[must_use]
pub fn socket(address: SocketAddr) -> Address {
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..SocketAddress::default()
        })),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::{Clusters, Effective, Policy};

    fn instance(port: u16, zone: &str, weight: u32, health: Health) -> Instance {
        Instance {
            health,
            weight,
            zone: zone.into(),
            ..Instance::new(port.to_string(), ([127, 0, 0, 1], port).into())
        }
    }

    const DEFAULTS: Clusters = Clusters::DEFAULT;

    fn assignment(instances: Vec<Instance>) -> ClusterLoadAssignment {
        of(&Service {
            name: "orders".into(),
            instances,
            ..Service::default()
        })
    }

    fn of(service: &Service) -> ClusterLoadAssignment {
        ClusterLoadAssignment::decode(
            &*endpoints(service, Effective::of(service, &DEFAULTS).cluster.all_unhealthy).body,
        )
        .unwrap()
    }

    /// `priority zone weight: port health, …` a line.
    fn text(assignment: &ClusterLoadAssignment) -> String {
        let line = |l: &LocalityLbEndpoints| {
            let zone = &l.locality.as_ref().unwrap().zone;
            let weight = l.load_balancing_weight.unwrap().value;
            let one = |e: &LbEndpoint| {
                let Some(HostIdentifier::Endpoint(endpoint)) = &e.host_identifier else {
                    panic!("no address")
                };
                let Some(AddressKind::SocketAddress(socket)) = endpoint.address.clone().unwrap().address
                else {
                    panic!("no socket")
                };
                let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
                    panic!("no port")
                };
                format!("{port} {}", e.health_status().as_str_name().to_lowercase())
            };
            let all: Vec<String> = l.lb_endpoints.iter().map(one).collect();
            let sub_zone = match &*l.locality.as_ref().unwrap().sub_zone {
                "" => String::new(),
                sub_zone => format!("/{sub_zone}"),
            };
            format!("{} {zone}{sub_zone} {weight}: {}\n", l.priority, all.join(", "))
        };
        let lines: Vec<String> = assignment.endpoints.iter().map(line).collect();
        lines.concat()
    }

    #[test]
    fn what_is_all_unhealthy_is_dropped_only_when_that_is_asked_for() {
        use Health::{Draining, Healthy, Unhealthy};
        let sick = |policy, instances| {
            let policy = Policy {
                all_unhealthy: policy,
                ..Policy::default()
            };
            text(&of(&Service {
                instances,
                policy,
                ..Service::default()
            }))
        };
        let all = || vec![instance(1, "a", 1, Unhealthy), instance(2, "a", 1, Draining)];
        let kept = expect!["0 a 1: 1 unhealthy, 2 draining\n"];
        for policy in [None, Some(OnAllUnhealthy::Open), Some(OnAllUnhealthy::Closed)] {
            kept.assert_eq(&sick(policy, all()));
        }
        let drop = Some(OnAllUnhealthy::Drop);
        assert_eq!(
            sick(drop, all()),
            "",
            "also what drains: it is not there to take over"
        );
        let one_left = vec![instance(1, "a", 1, Unhealthy), instance(2, "a", 1, Healthy)];
        expect!["0 a 1: 1 unhealthy, 2 healthy\n"].assert_eq(&sick(drop, one_left));
        expect!["0 a 1: 2 draining\n"].assert_eq(&sick(drop, vec![instance(2, "a", 1, Draining)]));
    }

    #[test]
    fn priorities_have_no_gaps_and_begin_at_0() {
        let of = |instances: Vec<Instance>, behind: &[(usize, u32)]| {
            let behind = behind.iter().map(|(n, p)| (instances[*n].address, *p)).collect();
            text(&of(&Service {
                instances,
                behind,
                ..Service::default()
            }))
        };
        let healthy = |port, zone| instance(port, zone, 5, Health::Healthy);
        let three = || vec![healthy(1, "a"), healthy(2, "b"), healthy(3, "a"), healthy(4, "a")];
        expect![[r#"
            0 b 5: 2 healthy
            1 a/priority-3 5: 1 healthy
            2 a/priority-9 10: 3 healthy, 4 healthy
        "#]]
        .assert_eq(&of(three(), &[(0, 3), (2, 9), (3, 9)]));
        expect![[r#"
            0 a/priority-1 5: 1 healthy
        "#]]
        .assert_eq(&of(vec![healthy(1, "a")], &[(0, 1)]));
        let off = vec![instance(1, "a", 0, Health::Off), healthy(2, "a")];
        expect![[r#"
            0 a/priority-2 5: 2 healthy
        "#]]
        .assert_eq(&of(off, &[(1, 2)]));
    }

    #[test]
    fn what_may_be_dead_stands_behind_everything_else() {
        let of = |behind: &[(u16, u32)], unsure: &[u16]| {
            let healthy = |port| instance(port, "a", 5, Health::Healthy);
            let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
            let assignment = of(&Service {
                instances: (1..5).map(healthy).collect(),
                behind: behind.iter().map(|(port, p)| (address(*port), *p)).collect(),
                unsure: unsure.iter().map(|port| address(*port)).collect(),
                ..Service::default()
            });
            let factor = assignment.policy.as_ref().and_then(|p| p.overprovisioning_factor);
            let factor = factor.map_or_else(String::new, |f| {
                format!("one healthy of {} is enough\n", f.value / 100)
            });
            text(&assignment) + &factor
        };
        expect![[r#"
            0 a 10: 1 healthy, 2 healthy
            1 a/withheld 10: 3 healthy, 4 healthy
            one healthy of 1000000 is enough
        "#]]
        .assert_eq(&of(&[], &[3, 4]));
        // A spare source takes over, and Envoy spills to it as ever.
        expect![[r#"
            0 a 5: 1 healthy
            1 a/priority-2 5: 4 healthy
            2 a/withheld 5: 2 healthy
            3 a/withheld-2 5: 3 healthy
        "#]]
        .assert_eq(&of(&[(3, 2), (4, 2)], &[2, 3]));
        assert_eq!(
            of(&[], &[]),
            "0 a 20: 1 healthy, 2 healthy, 3 healthy, 4 healthy\n"
        );
    }

    /// Section 8 of the protocol notes: what a gRPC client demands of endpoints.
    #[test]
    fn localities_are_what_grpc_clients_demand() {
        let assignment = assignment(vec![
            instance(1, "", 0, Health::Draining),
            instance(2, "b", 10, Health::Healthy),
            instance(3, "b", 10, Health::Healthy),
            instance(4, "c", 10, Health::Healthy),
            instance(5, "c", 10, Health::Unhealthy),
        ]);
        let seen: Vec<(&str, u32)> = assignment
            .endpoints
            .iter()
            .map(|l| {
                let locality = l.locality.as_ref().expect("a locality is required");
                let weight = l.load_balancing_weight.expect("dropped without a weight");
                assert_eq!(l.priority, 0, "priorities are contiguous");
                for endpoint in &l.lb_endpoints {
                    assert_ne!(
                        endpoint.health_status(),
                        HealthStatus::Unknown,
                        "an explicit status"
                    );
                    assert!(endpoint.load_balancing_weight.expect("a weight").value >= 1);
                }
                (&*locality.zone, weight.value)
            })
            .collect();
        assert_eq!(
            seen,
            [("", 1), ("b", 20), ("c", 10)],
            "by the instances that take calls, never 0"
        );
    }

    #[test]
    fn the_sum_of_weights_never_exceeds_32_bits() {
        let heavy = |n: u16, weight| {
            let zone = if n.is_multiple_of(3) { "a" } else { "b" };
            let health = if n.is_multiple_of(2) {
                Health::Healthy
            } else {
                Health::Draining
            };
            instance(n + 1, zone, weight, health)
        };
        let of = |a: &ClusterLoadAssignment| -> Vec<u32> {
            let all = a.endpoints.iter().flat_map(|l| &l.lb_endpoints);
            all.map(|e| e.load_balancing_weight.unwrap().value).collect()
        };
        let light = assignment((0..30_000).map(|n| heavy(n, 128_000)).collect());
        assert!(
            of(&light).iter().all(|w| *w == 128_000),
            "as declared while it fits"
        );
        let many: Vec<_> = (0..50_000)
            .map(|n| heavy(n, if n.is_multiple_of(10) { 1 } else { 256_000 }))
            .collect();
        let heavy = assignment(many);
        let weights = of(&heavy);
        let sum: u64 = weights.iter().copied().map(u64::from).sum();
        assert!(
            u32::try_from(sum).is_ok() && sum > u64::from(u32::MAX) - 200_000,
            "{sum}"
        );
        assert_eq!(weights.iter().min(), Some(&1));
        let localities = heavy
            .endpoints
            .iter()
            .map(|l| u64::from(l.load_balancing_weight.unwrap().value));
        assert!(u32::try_from(localities.sum::<u64>()).is_ok());
    }
}
