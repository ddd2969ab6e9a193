//! How instances become localities, and that what is encoded at once is what the messages are.

use expect_test::expect;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::model::{Clusters, Effective, Facts, MAX_WEIGHT, Policy};

fn instance(port: u16, zone: &str, weight: u32, health: Health) -> Instance {
    Instance::from(Facts {
        health,
        weight,
        zone: zone.into(),
        ..Facts::new(port.to_string(), ([127, 0, 0, 1], port).into())
    })
}

const DEFAULTS: Clusters = Clusters::DEFAULT;

fn assignment(instances: Vec<Instance>) -> ClusterLoadAssignment {
    of(&Service {
        name: "orders".into(),
        instances,
        ..Service::default()
    })
}

fn when_unhealthy(service: &Service) -> OnAllUnhealthy {
    Effective::of(service, &DEFAULTS).cluster.all_unhealthy
}

fn of(service: &Service) -> ClusterLoadAssignment {
    ClusterLoadAssignment::decode(&*endpoints(service, when_unhealthy(service)).body).unwrap()
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
            let Some(AddressKind::SocketAddress(socket)) = endpoint.address.clone().unwrap().address else {
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

fn any_instance() -> impl Strategy<Value = (SocketAddr, Facts)> {
    let four = any::<[u8; 4]>().prop_map(std::net::IpAddr::from);
    let six =
        prop_oneof![any::<[u8; 16]>(), Just([0; 16]), Just([0xff; 16])].prop_map(std::net::IpAddr::from);
    let zone = prop_oneof!["", "a", "b", "[a-z]{127,300}"];
    let weight = prop_oneof![Just(0), 0..300_u32, Just(MAX_WEIGHT)];
    let health = prop_oneof![
        Just(Health::Healthy),
        Just(Health::Draining),
        Just(Health::Unhealthy),
        Just(Health::Off)
    ];
    (
        prop_oneof![four, six],
        prop_oneof![Just(0), any::<u16>()],
        zone,
        weight,
        health,
    )
        .prop_map(|(ip, port, zone, weight, health)| {
            let address = SocketAddr::new(ip, port);
            let facts = Facts {
                health,
                weight,
                zone: zone.into(),
                ..Facts::new("1", address)
            };
            (address, facts)
        })
}

/// With spare and withheld instances among its instances.
fn any_service() -> impl Strategy<Value = Service> {
    let instance = (any_instance(), 0..4_u32, any::<bool>());
    let policy = prop_oneof![Just(None), Just(Some(OnAllUnhealthy::Drop))];
    let parts = ("[a-z]{0,200}", vec(instance, 0..30), policy, any::<bool>());
    parts.prop_map(|(name, instances, all_unhealthy, addressed)| {
        let mut service = Service {
            name: name.into(),
            policy: Policy {
                all_unhealthy,
                ..Policy::default()
            },
            addressed,
            ..Service::default()
        };
        for ((address, facts), priority, unsure) in instances {
            service
                .behind
                .extend((priority > 0).then_some((address, priority)));
            service.unsure.extend(unsure.then_some(address));
            service.instances.push(facts.into());
        }
        service
    })
}

proptest! {
    #[test]
    fn what_is_encoded_at_once_is_what_the_messages_are(service in any_service()) {
        let messages = super::assignment(&service, when_unhealthy(&service), reported).encode_to_vec();
        prop_assert_eq!(endpoints(&service, when_unhealthy(&service)).body, messages);
    }
}

#[test]
fn weights_beyond_32_bits_are_encoded_at_once_as_well() {
    let heavy = |port| instance(port, "a", MAX_WEIGHT, Health::Healthy);
    let service = Service {
        instances: (0..34_000).map(heavy).collect(),
        ..Service::default()
    };
    let messages = super::assignment(&service, when_unhealthy(&service), reported).encode_to_vec();
    assert!(endpoints(&service, when_unhealthy(&service)).body == messages);
}
