//! Names of instances, right ones and others.

use std::time::Duration;

use super::*;
use crate::model::change::What;
use crate::model::{Change, Event, ServiceRecord};

fn consul(node: &str, id: &str, host: u8) -> Instance {
    let mut instance = Instance::new(format!("{node}/{id}"), ([10, 0, 0, host], 80).into());
    instance.node = node.into();
    instance.zone = "z1".into();
    instance
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::new([("consul".into(), None)]);
    let record = |instances| {
        Some(ServiceRecord {
            instances,
            ..ServiceRecord::default()
        })
    };
    let services = vec![
        (
            "orders".into(),
            record(vec![
                consul("n1", "orders-1", 1),
                consul("n2", "orders-1", 2),
                consul("n2", "orders-2", 3),
            ]),
        ),
        (
            "orders/n2".into(),
            record(vec![Instance::new("orders-9", ([10, 0, 0, 9], 80).into())]),
        ),
        (
            "odd".into(),
            Some(ServiceRecord {
                issues: vec![Issue::rejected(
                    "/services/odd/instances/o-1",
                    "the port 70000 is none",
                )],
                ..ServiceRecord::default()
            }),
        ),
        (
            "single".into(),
            record(vec![Instance::new("a/b", ([10, 0, 0, 1], 81).into())]),
        ),
    ];
    let event = Event {
        source: "consul".into(),
        what: What::Change(Change::new(services, true)),
    };
    catalog.apply(event, Duration::ZERO);
    catalog
}

fn ids(target: &Target) -> Result<Vec<String>, String> {
    let found = catalog().find(target).map_err(|error| error.to_string())?;
    let name = |found: &Found| format!("{}/{}", found.service, found.id);
    Ok(found.iter().map(name).collect())
}

fn named(name: &str) -> Result<Vec<String>, String> {
    ids(&Target::Named(name.to_owned()))
}

#[test]
fn an_instance_is_known_by_its_id_with_or_without_its_node() {
    assert_eq!(named("orders/orders-2").unwrap(), ["orders/n2/orders-2"]);
    assert_eq!(named("orders/n2/orders-2").unwrap(), ["orders/n2/orders-2"]);
    assert_eq!(named("orders/n1/orders-1").unwrap(), ["orders/n1/orders-1"]);
    assert_eq!(named("single/a/b").unwrap(), ["single/a/b"]);
    assert_eq!(named("orders/n2/orders-9").unwrap(), ["orders/n2/orders-9"]);
}

#[test]
fn what_is_not_there_or_not_clear_is_an_error_that_says_what_there_is() {
    for (name, says) in [
        ("orders/orders-1", "may be orders/n1/orders-1, orders/n2/orders-1"),
        (
            "orders/orders-7",
            "has no instance `orders-7`; it has n1/orders-1",
        ),
        ("nobody/x", "no service is called `nobody`"),
        ("orders", "write SERVICE/ID"),
        ("/x", "write SERVICE/ID"),
        ("orders/", "write SERVICE/ID"),
    ] {
        let error = named(name).unwrap_err();
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[test]
fn two_parts_are_taken_as_they_are() {
    let target = |service: &str, id: &str| Target::Instance {
        service: service.to_owned(),
        id: id.to_owned(),
    };
    assert_eq!(
        ids(&target("orders/n2", "orders-9")).unwrap(),
        ["orders/n2/orders-9"]
    );
    assert!(ids(&target("orders", "n2/orders-9")).is_err());
}

#[test]
fn a_node_and_a_zone_are_all_that_is_there() {
    let n2 = ids(&Target::Node("n2".to_owned())).unwrap();
    assert_eq!(n2, ["orders/n2/orders-1", "orders/n2/orders-2"]);
    let by_address = ids(&Target::Node("10.0.0.1".to_owned())).unwrap();
    assert_eq!(by_address, ["orders/n1/orders-1", "single/a/b"]);
    assert_eq!(ids(&Target::Zone("z1".to_owned())).unwrap().len(), 3);
    assert!(
        ids(&Target::Zone(String::new())).is_err(),
        "not those without a zone"
    );
    assert!(
        ids(&Target::Node("n9".to_owned()))
            .unwrap_err()
            .contains("no instance runs")
    );
}

#[test]
fn the_last_ones_that_serve_are_marked() {
    let last = |target| {
        let found = catalog().find(&target).unwrap();
        found.iter().map(|found| found.last).collect::<Vec<_>>()
    };
    assert_eq!(last(Target::Node("n2".to_owned())), [false, false]);
    assert_eq!(last(Target::Zone("z1".to_owned())), [true, true, true]);
    assert_eq!(last(Target::Named("single/a/b".to_owned())), [true]);
}

#[test]
fn what_is_refused_is_not_what_is_not_there() {
    assert_eq!(
        named("odd/o-1").unwrap_err(),
        "`odd/o-1` is not served: its entry `/services/odd/instances/o-1` is refused: the port 70000 is none"
    );
    assert_eq!(named("odd/1").unwrap_err(), "no service is called `odd`");
}
