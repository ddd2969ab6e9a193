//! The Consul source and the data of a real server: addresses of each shape, names of any, weights,
//! maintenance, and what is selected of it.

use serde_json::{Value, json};
use xds_bridge::config::{ConsulSelection, ConsulSource};
use xds_bridge::model::Health;

use crate::support::agent::{Agent, Watched};
use crate::support::consul_version;

fn selected(agent: &Agent, selection: ConsulSelection) -> Watched {
    Watched::start(&ConsulSource {
        selection,
        ..ConsulSource::new(agent.address())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_follow_the_preferred_one() {
    let agent = Agent::start(|_, _| json!({})).await;
    let lan_and_wan = json!({ "lan": "10.9.0.2", "wan": "192.0.2.9" });
    for (port, more) in [
        (1, json!({ "Service": { "Address": "10.1.0.1" } })),
        (2, json!({})),
        (3, json!({ "TaggedAddresses": lan_and_wan })),
        (
            4,
            json!({ "TaggedAddresses": lan_and_wan, "Service": { "Address": "10.1.0.4", "TaggedAddresses": {
            "lan": { "Address": "10.1.0.40", "Port": 44 }, "wan": { "Address": "192.0.2.4", "Port": 0 },
            "vpn": { "Address": "fd00::4", "Port": 4 } } } }),
        ),
        (5, json!({ "Service": { "Address": "fd00::5" } })),
        (6, json!({ "Service": { "Address": "db.example" } })),
        (7, json!({ "Service": { "Address": "10.1.0.7", "Port": 0 } })),
        (8, json!({ "Address": "node.example" })),
    ] {
        agent.enter("shapes", port, more).await;
    }
    let mut lan = Watched::start(&ConsulSource::new(agent.address()));
    lan.until_live().await;
    assert_eq!(
        lan.addresses("shapes"),
        [
            "10.1.0.1:1",
            "10.9.0.1:2",
            "10.9.0.2:3",
            "10.1.0.40:44",
            "[fd00::5]:5"
        ]
    );
    let issues = lan.issues();
    assert_eq!(issues.len(), 3, "{issues:?}");
    for (issue, (entry, word)) in issues.iter().zip([
        ("shapes-6@n6: ", "no host names"),
        ("shapes-7@n7: ", "1 to 65535"),
        ("shapes-8@n8: ", "no host names"),
    ]) {
        assert!(issue.starts_with(entry) && issue.contains(word), "{issue}");
    }
    for (preferred, address) in [
        ("wan", "192.0.2.4:4"),
        ("vpn", "[fd00::4]:4"),
        ("x", "10.1.0.4:4"),
    ] {
        let mut watched = selected(
            &agent,
            ConsulSelection {
                preferred_address: preferred.to_owned(),
                ..ConsulSelection::default()
            },
        );
        watched.until_live().await;
        assert_eq!(watched.addresses("shapes")[3], address, "{preferred}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_weights_maintenance_and_null_are_as_registered() {
    let agent = Agent::start(|_, _| json!({})).await;
    let names = [
        "with space",
        "a/b",
        "bestellung-ü",
        "日本",
        "a%2Fb",
        "q?x=1&y#z",
        "tail/",
        "a+b",
    ];
    for (port, name) in (1..).zip(names) {
        agent.enter(name, port, json!({})).await;
    }
    let check = |id: &str, service: Option<&str>, status: &str| json!({ "CheckID": id, "Name": id, "Status": status, "ServiceID": service });
    let warned = |weights: Value| json!({ "Service": { "Weights": weights }, "Checks": [check("w", Some("orders-20"), "warning")] });
    agent
        .enter("orders", 20, warned(json!({ "Passing": 9, "Warning": 0 })))
        .await;
    let (service, node) = (
        json!({ "Checks": [check("_service_maintenance:orders-21", Some("orders-21"), "critical")] }),
        json!({ "Checks": [check("_node_maintenance", None, "critical")] }),
    );
    agent.enter("orders", 21, service).await;
    agent.enter("orders", 22, node).await;
    let null = json!({ "Service": { "Tags": null, "Meta": null, "TaggedAddresses": null, "Weights": null } });
    agent.enter("orders", 23, null).await;

    let mut watched = Watched::start(&ConsulSource::new(agent.address()));
    watched.until_live().await;
    assert_eq!(watched.issues(), [""; 0]);
    for (port, name) in (1..).zip(names) {
        assert_eq!(watched.addresses(name), [format!("10.9.0.1:{port}")], "{name}");
    }
    let facts = |watched: &Watched| -> Vec<(u16, Health, u32)> {
        let instances = watched.instances("orders");
        instances
            .iter()
            .map(|i| (i.address.port(), i.health, i.weight))
            .collect()
    };
    let (healthy, draining) = (Health::Healthy, Health::Draining);
    let [off, at21, at22, at23] = facts(&watched)[..] else {
        panic!("{:?}", facts(&watched))
    };
    assert_eq!((off.0, off.1), (20, Health::Off));
    assert_eq!(
        [at21, at22, at23],
        [(21, draining, 1), (22, draining, 1), (23, healthy, 1)]
    );
    // And what changes afterwards, of any name.
    for (port, name) in (1..).zip(names) {
        agent
            .enter(name, port, json!({ "Service": { "Address": "10.1.0.9" } }))
            .await;
        watched.until_served(name, &[&format!("10.1.0.9:{port}")]).await;
    }
    let weights = json!({ "Passing": 9, "Warning": 3 });
    agent.enter("orders", 20, warned(weights)).await;
    watched
        .until("weight 3", |w| facts(w)[0] == (20, healthy, 3))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_selected_is_served_and_nothing_else() {
    let agent = Agent::start(|_, _| json!({})).await;
    let tagged = |tags: &[&str], env: &str| json!({ "Service": { "Tags": tags, "Meta": { "env": env } } });
    let proxy = json!({ "Service": { "Kind": "connect-proxy",
        "Proxy": { "DestinationServiceName": "shop-a" }, "Tags": ["prod"], "Meta": { "env": "eu" } } });
    agent.enter("shop-a", 1, tagged(&["x", "prod"], "eu")).await;
    agent.enter("shop-a", 2, tagged(&["prod"], "us")).await;
    agent.enter("shop-a", 3, tagged(&["canary"], "eu")).await;
    agent.enter("shop-a-proxy", 4, proxy).await;
    agent.enter("shop-test", 5, tagged(&["prod"], "eu")).await;
    agent.enter("orders", 6, tagged(&["prod"], "eu")).await;
    agent.enter("shop-b", 7, tagged(&["canary"], "eu")).await;
    let list = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
    let shop = ConsulSelection {
        services: list(&["shop-*"]),
        ignore_services: list(&["*-test"]),
        tags: list(&["prod"]),
        meta: vec![("env".to_owned(), "eu".to_owned())],
        ..ConsulSelection::default()
    };
    let mut watched = selected(&agent, shop.clone());
    watched.until_live().await;
    assert_eq!(watched.addresses("shop-a"), ["10.9.0.1:1"]);
    for name in ["shop-a-proxy", "shop-test", "orders", "shop-b"] {
        assert!(watched.addresses(name).is_empty(), "{name}");
    }
    assert_eq!(watched.issues(), [""; 0]);
    // A tag more, a tag less.
    agent.enter("shop-b", 7, tagged(&["canary", "prod"], "eu")).await;
    watched.until_served("shop-b", &["10.9.0.1:7"]).await;
    agent.enter("shop-a", 1, tagged(&["x"], "eu")).await;
    watched.until_served("shop-a", &[]).await;

    let mut proxies = selected(
        &agent,
        ConsulSelection {
            kinds: vec!["connect-proxy"],
            ..shop
        },
    );
    proxies.until_live().await;
    assert_eq!(proxies.addresses("shop-a-proxy"), ["10.9.0.1:4"]);
    assert!(proxies.addresses("shop-b").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_a_unix_socket_is_named() {
    if consul_version::lacks("services on a unix socket (SocketPath)", (1, 10)) {
        return;
    }
    let agent = Agent::start(|_, _| json!({})).await;
    let alone = json!({ "Node": "n1", "Address": "10.9.0.1",
        "Service": { "ID": "orders-1", "Service": "orders", "SocketPath": "/run/orders.sock" } });
    agent.send("PUT", "/v1/catalog/register", &alone).await;
    agent
        .enter(
            "orders",
            2,
            json!({ "Service": { "SocketPath": "/run/orders.sock" } }),
        )
        .await;
    let mut watched = Watched::start(&ConsulSource::new(agent.address()));
    watched.until_live().await;
    assert_eq!(watched.addresses("orders"), ["10.9.0.1:2"]);
    let issues = watched.issues();
    assert_eq!(issues.len(), 1, "{issues:?}");
    assert!(
        issues[0].starts_with("orders-1@n1: ") && issues[0].contains("unix socket"),
        "{issues:?}"
    );
}
