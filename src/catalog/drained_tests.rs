//! Instances that are drained, by registration, node and zone.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::model::change::What;
use crate::model::{Change, Event, ServiceRecord, Status};

fn at(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 80).into()
}

fn instance(id: &str, host: u8, created: u64) -> Instance {
    let mut instance = Instance::new(id, at(host));
    instance.node = format!("n{host}").into();
    instance.zone = if host < 2 { "a".into() } else { "b".into() };
    instance.created = created;
    instance
}

fn catalog(instances: Vec<Instance>) -> Catalog {
    let mut catalog = Catalog::new([("consul".into(), None)]);
    catalog.set_linger(Duration::from_secs(10));
    says(&mut catalog, What::Status(Status::Live));
    delivers(&mut catalog, instances);
    catalog
}

fn says(catalog: &mut Catalog, what: What) -> Touched {
    let event = Event {
        source: "consul".into(),
        what,
    };
    catalog.apply(event, Duration::ZERO)
}

fn delivers(catalog: &mut Catalog, instances: Vec<Instance>) -> Touched {
    let record = ServiceRecord {
        instances,
        ..ServiceRecord::default()
    };
    let services = vec![("orders".into(), Some(record))];
    says(catalog, What::Change(Change::new(services, true)))
}

fn health(catalog: &Catalog) -> Vec<Health> {
    let service = catalog.service(&"orders".into()).unwrap();
    service.instances.iter().map(|i| i.health).collect()
}

fn drained(id: &str, created: u64) -> Drains {
    Drains {
        instances: [("orders".into(), [(id.into(), created)].into())].into(),
        ..Drains::default()
    }
}

use Health::{Draining, Healthy};

#[test]
fn one_that_is_drained_stays_so_until_the_drain_ends() {
    let mut catalog = catalog(vec![instance("a", 1, 5), instance("b", 2, 6)]);
    let touched = catalog.set_drains(drained("a", 5));
    assert_eq!(touched.services, ["orders".into()].into());
    assert_eq!(health(&catalog), [Draining, Healthy]);
    assert!(catalog.set_drains(drained("a", 5)).services.is_empty());
    assert_eq!(catalog.set_drains(Drains::default()).services.len(), 1);
    assert_eq!(health(&catalog), [Healthy, Healthy]);
}

#[test]
fn nodes_are_known_by_name_or_address_and_zones_by_name() {
    let mut catalog = catalog(vec![
        instance("a", 1, 0),
        instance("b", 2, 0),
        instance("c", 3, 0),
    ]);
    for node in ["n1", "10.0.0.1"] {
        catalog.set_drains(Drains {
            nodes: [node.into()].into(),
            ..Drains::default()
        });
        assert_eq!(health(&catalog), [Draining, Healthy, Healthy], "{node}");
    }
    catalog.set_drains(Drains {
        zones: ["b".into()].into(),
        ..Drains::default()
    });
    assert_eq!(health(&catalog), [Healthy, Draining, Draining]);
}

#[test]
fn one_that_registers_again_serves_again() {
    let mut catalog = catalog(vec![instance("a", 1, 5), instance("b", 2, 6)]);
    catalog.set_drains(drained("a", 5));
    assert_eq!(catalog.ended_drains(), BTreeSet::new());
    delivers(&mut catalog, vec![instance("a", 1, 9), instance("b", 2, 6)]);
    assert_eq!(health(&catalog), [Healthy, Healthy]);
    assert_eq!(catalog.ended_drains(), [("orders".into(), "a".into(), 5)].into());
}

#[test]
fn a_drain_ends_with_its_instance_but_not_while_the_registry_is_away() {
    let mut catalog = catalog(vec![instance("a", 1, 5), instance("b", 2, 6)]);
    catalog.set_drains(drained("a", 5));
    assert!(catalog.ended_drains().is_empty());
    delivers(&mut catalog, vec![instance("b", 2, 6)]);
    assert_eq!(health(&catalog), [Draining, Healthy], "it lingers");
    assert_eq!(catalog.ended_drains().len(), 1);
    let away = Status::Away {
        reason: "test".into(),
    };
    says(&mut catalog, What::Status(away));
    assert_eq!(catalog.ended_drains(), BTreeSet::new());
}

#[test]
fn one_that_asks_for_no_traffic_gets_none() {
    let mut off = instance("a", 1, 5);
    off.health = Health::Off;
    let mut catalog = catalog(vec![off, instance("b", 2, 6)]);
    catalog.set_drains(drained("a", 5));
    assert_eq!(health(&catalog), [Health::Off, Healthy]);
}

#[test]
fn who_left_lingers_until_its_time_is_over_also_one_that_drained() {
    let mut catalog = catalog(vec![instance("a", 1, 5), instance("b", 2, 6)]);
    delivers(&mut catalog, vec![instance("b", 2, 6)]);
    assert_eq!(health(&catalog), [Draining, Healthy]);
    assert_eq!(catalog.linger_due(), Some(Duration::from_secs(10)));
    assert_eq!(catalog.end_lingering(Duration::from_secs(10)).services.len(), 1);
    assert_eq!(health(&catalog), [Healthy]);
}

#[test]
fn a_drain_of_an_instance_that_was_never_here_is_not_ours_to_end() {
    let mut catalog = catalog(vec![instance("b", 2, 6)]);
    catalog.set_drains(drained("a", 5));
    assert!(catalog.ended_drains().is_empty());
    delivers(&mut catalog, vec![]);
    assert!(catalog.ended_drains().is_empty());
}
