//! The Consul source and a real Consul: each kind of change gives exactly its own difference, nothing
//! that comes and goes is missed, and services beyond the agent's connections are followed too.

mod multiplexed;
mod streaming;
mod support;

use std::time::Duration;

use serde_json::{Value, json};

use self::support::Watched;
use crate::support::consul::Consul;
use xds_bridge::model::{Health, Status};

/// An instance of the catalog, without an agent.
fn entry(service: &str, number: usize, port: usize) -> Value {
    json!({
        "Node": format!("node-{number}"), "Address": format!("10.1.0.{}", 1 + number),
        "Service": { "ID": format!("{service}-{number}"), "Service": service, "Port": port },
    })
}

/// The same with a check in this state.
fn checked(service: &str, number: usize, port: usize, status: &str, output: &str) -> Value {
    let mut entry = entry(service, number, port);
    let id = format!("{service}-{number}");
    entry["Check"] = json!({
        "Node": format!("node-{number}"), "CheckID": format!("check-{id}"), "Name": "c", "ServiceID": id,
        "Status": status, "Output": output,
    });
    entry
}

async fn register(consul: &Consul, entry: &Value) {
    consul.insist("/v1/catalog/register", entry).await;
}

async fn deregister(consul: &Consul, service: &str, number: usize) {
    let body = json!({ "Node": format!("node-{number}"), "ServiceID": format!("{service}-{number}") });
    consul.insist("/v1/catalog/deregister", &body).await;
}

/// Each row of the table: what is done, and which services it changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_of_the_catalog_is_one_exact_change() {
    let consul = Consul::start().await;
    register(&consul, &checked("x", 0, 80, "passing", "")).await;
    register(&consul, &checked("y", 0, 80, "passing", "")).await;
    register(&consul, &entry("z", 1, 80)).await;
    let mut hub = Watched::start(&consul);
    hub.until("live", |hub| hub.status == Status::Live).await;
    hub.changed.clear();

    let of_x = |what: fn(&mut Value)| {
        let mut entry = entry("x", 0, 80);
        what(&mut entry["Service"]);
        entry
    };
    let node = |address: &str| json!({ "Node": "node-0", "Address": address });
    let rows: [(&str, Value, &[&str]); 12] = [
        ("critical", checked("x", 0, 80, "critical", ""), &["x"]),
        ("output only", checked("x", 0, 80, "critical", "still so"), &[]),
        ("passing", checked("x", 0, 80, "passing", ""), &["x"]),
        ("the same again", checked("x", 0, 80, "passing", ""), &[]),
        (
            "a tag of ours",
            of_x(|s| s["Tags"] = json!(["xds.version=2"])),
            &["x"],
        ),
        (
            "meta of ours",
            of_x(|s| s["Meta"] = json!({ "xds-version": "3" })),
            &["x"],
        ),
        ("a tag of others", of_x(|s| s["Tags"] = json!(["blue"])), &["x"]),
        (
            "weights",
            of_x(|s| s["Weights"] = json!({ "Passing": 7, "Warning": 1 })),
            &["x"],
        ),
        ("an instance without a check", entry("x", 2, 80), &["x"]),
        ("the node's address", node("10.1.0.99"), &["x", "y"]),
        ("a new service", entry("w", 1, 80), &["w"]),
        (
            "the check of the node",
            {
                let check = json!({ "Node": "node-1", "CheckID": "n", "Name": "n", "Status": "critical" });
                json!({ "Node": "node-1", "Address": "10.1.0.2", "Check": check })
            },
            &["w", "z"],
        ),
    ];
    for (number, (what, body, services)) in rows.into_iter().enumerate() {
        register(&consul, &body).await;
        // Its watch would have been woken before that of a service that is registered after.
        let sentinel = format!("sentinel-{number}");
        hub.until(what, |hub| {
            services.iter().all(|name| hub.changed.contains_key(*name))
        })
        .await;
        register(&consul, &entry(&sentinel, 3, 80)).await;
        hub.until(what, |hub| hub.instances(&sentinel) == 1).await;
        hub.changed.remove(&sentinel);
        let named: Vec<&str> = hub.changed.keys().map(String::as_str).collect();
        assert_eq!(named, services, "{what}");
        assert!(
            hub.changed.values().all(|times| *times == 1),
            "{what}: {:?}",
            hub.changed
        );
        hub.changed.clear();
    }
    let z = hub.service("z").unwrap();
    assert_eq!(z.instances[0].health, Health::Unhealthy);
    assert_eq!(hub.statuses, [Status::Live]);
    hub.assert_as(&consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_and_goes_ends_as_it_is() {
    let consul = Consul::start().await;
    register(&consul, &entry("a", 0, 80)).await;
    register(&consul, &entry("b", 0, 80)).await;
    let mut hub = Watched::start(&consul);
    hub.until("live", |hub| hub.status == Status::Live).await;
    for flap in 1..=100 {
        deregister(&consul, "a", 0).await;
        if flap % 10 == 0 {
            hub.until("gone", |hub| hub.instances("a") == 0).await;
        }
        register(&consul, &entry("a", 0, 80 + flap)).await;
        if flap % 7 == 0 {
            hub.until("back", |hub| {
                hub.ports("a") == [80 + u16::try_from(flap).unwrap()]
            })
            .await;
        }
    }
    hub.until("the last one", |hub| hub.ports("a") == [180]).await;
    assert_eq!(hub.ports("b"), [80]);
    assert_eq!(hub.statuses, [Status::Live]);
    hub.assert_as(&consul).await;
}

/// 150 of them are watched, and the agent allows 200 connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_services_than_connections_miss_nothing() {
    const SERVICES: usize = 260;
    let consul = Consul::start().await;
    let name = |n: usize| format!("s{n:03}");
    let plain = |n: usize, port: usize| match n % 2 {
        0 => entry(&name(n), n % 50, port),
        _ => checked(&name(n), n % 50, port, "passing", ""),
    };
    for n in 0..SERVICES {
        register(&consul, &plain(n, 80)).await;
    }
    let mut hub = Watched::start(&consul);
    hub.until("live", |hub| hub.status == Status::Live).await;
    hub.until("swept", |hub| hub.swept == SERVICES - 150).await;
    hub.until("why", |hub| {
        hub.note.as_deref().is_some_and(|note| note.contains("https"))
    })
    .await;
    let all = |hub: &Watched, wanted: &dyn Fn(usize, &Watched) -> bool| (0..SERVICES).all(|n| wanted(n, hub));

    for n in 0..SERVICES {
        register(&consul, &plain(n, 81)).await;
    }
    hub.until("all ports", |hub| all(hub, &|n, hub| hub.ports(&name(n)) == [81]))
        .await;
    // What moves the index of the checks only.
    for n in (1..SERVICES).step_by(2) {
        register(&consul, &checked(&name(n), n % 50, 81, "critical", "")).await;
    }
    let ill = |hub: &Watched, n: usize| {
        let service = hub.service(&name(n)).unwrap();
        (service.instances[0].health == Health::Unhealthy) == (n % 2 == 1)
    };
    hub.until("all checks", |hub| all(hub, &|n, hub| ill(hub, n)))
        .await;
    // What moves the index of the nodes only.
    for node in 0..50 {
        let body = json!({ "Node": format!("node-{node}"), "Address": format!("10.2.0.{}", 1 + node) });
        consul.put("/v1/catalog/register", &body).await;
    }
    let moved = |hub: &Watched, n: usize| {
        let address = hub.service(&name(n)).unwrap().instances[0].address.to_string();
        address.starts_with(&format!("10.2.0.{}:", 1 + n % 50))
    };
    hub.until("all nodes", |hub| all(hub, &|n, hub| moved(hub, n)))
        .await;
    // The last instance of each, with a check and without; some are back before anybody looked.
    for n in 0..SERVICES {
        deregister(&consul, &name(n), n % 50).await;
        if n % 3 == 0 {
            register(&consul, &plain(n, 82)).await;
        }
    }
    let ends = |hub: &Watched, n: usize| match n % 3 {
        0 => hub.ports(&name(n)) == [82],
        _ => hub.service(&name(n)).is_none(),
    };
    hub.until("two of three gone", |hub| all(hub, &|n, hub| ends(hub, n)))
        .await;
    assert_eq!((hub.missed, &hub.statuses[..]), (0, &[Status::Live][..]));
    hub.assert_as(&consul).await;
}

/// Other programs on this host have most of the agent's connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_others_hold_are_no_outage() {
    const SERVICES: usize = 120;
    let consul = Consul::start().await;
    for n in 0..SERVICES {
        register(&consul, &entry(&format!("s{n:03}"), n % 50, 80)).await;
    }
    let mut others = Vec::new();
    for _ in 0..130 {
        others.push(support::hold(&consul).await);
    }
    let mut hub = Watched::start(&consul);
    hub.until("live", |hub| hub.status == Status::Live).await;
    hub.until("some are swept", |hub| hub.swept >= 40).await;
    others.truncate(120); // room for the writer
    for port in 81..84 {
        for n in 0..SERVICES {
            register(&consul, &entry(&format!("s{n:03}"), n % 50, port)).await;
        }
        let wanted = u16::try_from(port).unwrap();
        let all = |hub: &Watched| (0..SERVICES).all(|n| hub.ports(&format!("s{n:03}")) == [wanted]);
        hub.until("all changed", all).await;
    }
    assert_eq!(hub.statuses, [Status::Live]);
    hub.assert_as(&consul).await;
    drop(others);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_operations_and_restarts_end_as_consul_says() {
    let mut consul = Consul::start().await;
    let mut seed = 0x5eed_u64;
    // xorshift: the same operations each time.
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    register(&consul, &entry("s0", 0, 80)).await;
    let mut hub = Watched::start(&consul);
    hub.until("live", |hub| hub.status == Status::Live).await;
    for round in 0..4 {
        for _ in 0..250 {
            let (service, number, port) = (format!("s{}", random(30)), random(6), 80 + random(50));
            match random(10) {
                0..4 => register(&consul, &entry(&service, number, port)).await,
                4..7 => {
                    let status = ["passing", "warning", "critical"][random(3)];
                    register(&consul, &checked(&service, number, port, status, "")).await;
                }
                7 => {
                    let body = json!({ "Node": format!("node-{number}") });
                    consul.put("/v1/catalog/deregister", &body).await;
                }
                _ => deregister(&consul, &service, number).await,
            }
        }
        if round < 3 {
            consul.kill();
            hub.until("away", |hub| matches!(hub.status, Status::Away { .. }))
                .await;
            let before = hub.changed.len();
            consul.restart().await;
            hub.until("live again", |hub| hub.status == Status::Live).await;
            assert!(hub.changed.len() >= before);
        }
    }
    register(&consul, &entry("sentinel", 0, 80)).await;
    hub.until("the sentinel", |hub| hub.instances("sentinel") == 1)
        .await;
    let within = Duration::from_secs(20);
    hub.settles_as(&consul, within).await;
    assert_eq!(hub.missed, 0);
}
