//! What a service of several instances comes to, and which names are rejected.

use super::*;

fn instance(id: &str, port: u16, version: &str, health: Health, protocol: Protocol) -> Instance {
    Instance::from(Facts {
        health,
        version: version.into(),
        policy: Arc::new(Policy {
            protocol: Some(protocol),
            ..Policy::default()
        }),
        ..Facts::new(id, SocketAddr::from(([10, 0, 0, 7], port)))
    })
}

fn record(instances: Vec<Instance>) -> ServiceRecord {
    ServiceRecord {
        instances,
        ..ServiceRecord::default()
    }
}

#[test]
fn two_sources_are_a_union_and_the_first_wins_an_address() {
    let a = record(vec![instance("a", 1, "", Health::Healthy, Protocol::Http1)]);
    let b = record(vec![
        instance("b", 1, "", Health::Unhealthy, Protocol::Http1),
        instance("c", 2, "", Health::Healthy, Protocol::Http1),
    ]);
    let merged = Service::merge(&"orders".into(), &[(0, &a), (0, &b)], None);
    let seen: Vec<_> = merged.instances.iter().map(|i| (&*i.id, i.health)).collect();
    assert_eq!(seen, [("a", Health::Healthy), ("c", Health::Healthy)]);
    assert_eq!(merged.conflicts, []);
}

#[test]
fn all_unhealthy_is_some_unhealthy_and_none_healthy() {
    use Health::{Draining, Healthy, Off, Unhealthy};
    for (healths, expected) in [
        (&[Unhealthy][..], true),
        (&[Unhealthy, Draining, Off], true),
        (&[Unhealthy, Healthy], false),
        (&[Draining, Off], false),
        (&[Off], false),
        (&[], false),
    ] {
        let instances = healths
            .iter()
            .zip(1..)
            .map(|(h, n)| instance("i", n, "", *h, Protocol::Http1));
        let record = record(instances.collect());
        let merged = Service::merge(&"x".into(), &[(0, &record)], None);
        assert_eq!(merged.all_unhealthy(), expected, "{healths:?}");
    }
}

#[test]
fn an_address_of_two_sources_has_the_priority_of_the_stronger() {
    let here = record(vec![instance("a", 1, "", Health::Unhealthy, Protocol::Http1)]);
    let there = record(vec![
        instance("b", 1, "", Health::Healthy, Protocol::Http1),
        instance("c", 2, "", Health::Healthy, Protocol::Http1),
    ]);
    let merged = Service::merge(&"orders".into(), &[(0, &here), (7, &there)], None);
    assert_eq!(merged.instances[0].health, Health::Unhealthy);
    assert_eq!(merged.behind, BTreeMap::from([(merged.instances[1].address, 7)]));
}

#[test]
fn the_version_with_most_serving_instances_wins_the_policy() {
    use Health::{Healthy, Unhealthy};
    let merged = Service::merge(
        &"orders".into(),
        &[(
            0,
            &record(vec![
                instance("1", 1, "old", Healthy, Protocol::Http1),
                instance("2", 2, "old", Healthy, Protocol::Http1),
                instance("3", 3, "new", Healthy, Protocol::Grpc),
                instance("4", 4, "new", Unhealthy, Protocol::Grpc),
                instance("5", 5, "new", Unhealthy, Protocol::Grpc),
            ]),
        )],
        None,
    );
    assert_eq!(merged.protocol(), Protocol::Http1);
    assert_eq!(
        merged.conflicts,
        [Conflict {
            key: Key::Protocol,
            winner: "old".into(),
            losers: vec!["new".into()]
        }]
    );
    assert_eq!(merged.instances.len(), 5, "a disagreement drops nobody");
}

#[test]
fn a_policy_document_is_stronger_than_instances() {
    let mut doc = record(vec![instance("1", 1, "", Health::Healthy, Protocol::Http1)]);
    doc.policy = Some(Policy {
        protocol: Some(Protocol::Http2),
        ..Policy::default()
    });
    assert_eq!(
        Service::merge(&"x".into(), &[(0, &doc)], None).protocol(),
        Protocol::Http2
    );
}

#[test]
fn a_grpc_route_makes_the_protocol_unless_one_is_declared() {
    let service = |protocol, routes: &[&str]| Service {
        policy: Policy {
            protocol,
            routes: (1..)
                .zip(routes.iter().map(|r| crate::model::RouteRule::parse(r).unwrap()))
                .collect(),
            ..Policy::default()
        },
        ..Service::default()
    };
    let both = &["path=/x", "grpc=shop.Orders"][..];
    assert_eq!(service(None, both).protocol(), Protocol::Grpc);
    assert_eq!(service(None, &both[..1]).protocol(), Protocol::Http1);
    assert_eq!(service(Some(Protocol::Http2), both).protocol(), Protocol::Http2);
    assert_eq!(service(Some(Protocol::Http1), both).protocol(), Protocol::Http1);
}

#[test]
fn names_are_checked() {
    let long = "x".repeat(201);
    for name in [
        "",
        "*",
        "a\nb",
        BRIDGE_CLUSTER,
        "xdstp:",
        "xdstp://a/b?c=1",
        "XDSTP:a",
        &long,
    ] {
        assert!(check_name(name).is_err(), "{name}");
    }
    for name in [
        "orders",
        "a b/ü",
        "xds-bridge-2",
        "xdstp",
        "axdstp:",
        "xds:///a",
        &"x".repeat(200),
    ] {
        assert_eq!(check_name(name), Ok(()));
    }
}

#[test]
fn addresses_are_checked() {
    assert_eq!(address("10.0.0.7", 80).unwrap().to_string(), "10.0.0.7:80");
    assert_eq!(address("fd00::7", 80).unwrap(), address("[fd00::7]", 80).unwrap());
    assert_eq!(not_a_socket("unixes:80"), Ok(()));
    for mapped in [
        "::ffff:10.0.0.7",
        "[::FFFF:10.0.0.7]",
        "::ffff:a00:7",
        "0:0:0:0:0:ffff:10.0.0.7",
    ] {
        assert_eq!(address(mapped, 80), address("10.0.0.7", 80), "{mapped}");
    }
    for (host, port, word) in [
        ("db.local", 80, "no host names"),
        ("", 80, "not an IP"),
        ("10.0.0.7", 0, "1 to 65535"),
        ("10.0.0.7", 65_536, "1 to 65535"),
        ("0.0.0.0", 80, "cannot be connected"),
        ("/run/orders.sock", 0, "unix socket"),
        ("unix:/run/orders.sock", 80, "unix socket"),
        ("::ffff:0.0.0.0", 80, "cannot be connected"),
        ("::ffff:224.0.0.1", 80, "cannot be connected"),
    ] {
        let message = address(host, port).unwrap_err();
        assert!(message.contains(word), "{host}:{port} → {message}");
    }
}
