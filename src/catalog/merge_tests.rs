//! What a service of several instances comes to.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;
use crate::model::{Conflict, Facts, Health, Instance, Key, Protocol};

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
