//! Two clusters of Consul and a peering between them: what the other one exports comes, changes and leaves, the
//! last instance too; a peer that is away and a peering that was deleted take nothing away, and are named.

use serde_json::json;
use xds_bridge::config::{ConsulSelection, ConsulSource};
use xds_bridge::model::Status;

use crate::support::agent::{Agent, Watched};
use crate::support::consul_version;

async fn cluster(name: &'static str) -> Agent {
    Agent::start(|_, _| {
        json!({ "node_name": name, "datacenter": name, "peering": { "enabled": true },
            "connect": { "enabled": true } })
    })
    .await
}

/// The services of `west` are exported to `east`, which calls it by this name.
async fn join(east: &Agent, west: &Agent) {
    let export = |name: &str| json!({ "Name": name, "Consumers": [{ "Peer": "east" }] });
    let exported = json!({ "Kind": "exported-services", "Name": "default",
        "Services": [export("orders"), export("users")] });
    west.send("PUT", "/v1/config", &exported).await;
    let token = west
        .send("POST", "/v1/peering/token", &json!({ "PeerName": "east" }))
        .await;
    let token = json!({ "PeerName": "west", "PeeringToken": token["PeeringToken"] });
    east.send("POST", "/v1/peering/establish", &token).await;
    east.says("/v1/peering/west", "ACTIVE").await;
}

fn of_west(east: &Agent) -> Watched {
    Watched::start(&ConsulSource {
        peer: Some("west".to_owned()),
        selection: ConsulSelection {
            services: vec!["orders".to_owned(), "users".to_owned()],
            ..ConsulSelection::default()
        },
        ..ConsulSource::new(east.address())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_exports_comes_changes_and_leaves() {
    if consul_version::lacks("cluster peering", (1, 14)) {
        return;
    }
    let (east, mut west) = tokio::join!(cluster("east"), cluster("west"));
    west.enter("orders", 1, json!({})).await;
    west.enter("users", 3, json!({})).await;
    east.enter("orders", 9, json!({})).await; // one of its own
    join(&east, &west).await;
    let mut watched = of_west(&east);
    watched.until_live().await;
    watched.until_served("orders", &["10.9.0.1:1"]).await;
    watched.until_served("users", &["10.9.0.1:3"]).await;

    west.enter("orders", 2, json!({})).await;
    watched
        .until_served("orders", &["10.9.0.1:1", "10.9.0.1:2"])
        .await;
    let weights = json!({ "Service": { "Weights": { "Passing": 7, "Warning": 1 } } });
    west.enter("orders", 2, weights).await;
    watched
        .until("a weight", |w| {
            w.instances("orders").last().is_some_and(|i| i.weight == 7)
        })
        .await;
    west.leave("orders", 1).await;
    watched.until_served("orders", &["10.9.0.1:2"]).await;
    assert_eq!(watched.lost, ["orders"]);
    // The last one, which no list of names tells. The peering must have lived for a heartbeat of 15 s.
    west.leave("orders", 2).await;
    watched.until_served("orders", &[]).await;
    west.enter("orders", 4, json!({})).await;
    watched.until_served("orders", &["10.9.0.1:4"]).await;
    watched
        .until("no issue", |w| w.issues().is_empty() && w.note.is_none())
        .await;
    watched.lost.clear();

    west.kill();
    watched
        .until("the peer is named", |w| {
            w.note
                .as_ref()
                .is_some_and(|note| note.contains("peering `west` is not active"))
        })
        .await;
    west.restart().await;
    watched.until("nothing to say", |w| w.note.is_none()).await;
    west.enter("users", 5, json!({})).await;
    watched.until_served("users", &["10.9.0.1:3", "10.9.0.1:5"]).await;

    // Deleted here, or there: Consul throws away what it had of the peer, and answers `[]`.
    for at in [&east, &west] {
        let name = if std::ptr::eq(at, &raw const east) {
            "west"
        } else {
            "east"
        };
        at.send("DELETE", &format!("/v1/peering/{name}"), &json!({}))
            .await;
        watched
            .until("both are named", |w| {
                let all = w.issues();
                let named = |name: &str| {
                    all.iter()
                        .any(|i| i.starts_with(name) && i.contains("peering `west`"))
                };
                named("orders: ") && named("users: ")
            })
            .await;
        east.says("/v1/health/service/orders?peer=west", "[]").await;
        assert_eq!(watched.addresses("orders"), ["10.9.0.1:4"]);
        assert_eq!(watched.addresses("users"), ["10.9.0.1:3", "10.9.0.1:5"]);
        // Established again under the same name: active at once, and empty for a moment.
        for (at, name) in [(&east, "west"), (&west, "east")] {
            at.ask("DELETE", &format!("/v1/peering/{name}")).await;
            at.says("/v1/peerings", "[]").await;
        }
        join(&east, &west).await;
        watched
            .until("no issue", |w| w.issues().is_empty() && w.note.is_none())
            .await;
    }
    west.enter("users", 6, json!({})).await;
    watched
        .until("three users", |w| w.addresses("users").len() == 3)
        .await;
    assert_eq!(watched.lost, [""; 0]);
    assert_eq!(
        watched.statuses,
        [Status::Live],
        "the own cluster was well all the time"
    );
}

/// What a peer exports takes other rights than what the own cluster has, and the peering one more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peering_that_the_token_may_not_read_is_named_and_holds_the_last_instance() {
    if consul_version::lacks("cluster peering", (1, 14)) {
        return;
    }
    let mut acl = json!({ "acl": { "enabled": true, "default_policy": "allow",
        "tokens": { "initial_management": crate::support::agent::MASTER,
            "agent": crate::support::agent::MASTER } } });
    acl["node_name"] = json!("east");
    acl["datacenter"] = json!("east");
    acl["peering"] = json!({ "enabled": true });
    acl["connect"] = json!({ "enabled": true });
    let east = Agent::start(|_, _| acl.clone());
    let (east, west) = tokio::join!(east, cluster("west"));
    west.enter("orders", 1, json!({})).await;
    join(&east, &west).await;
    let rules = "service_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }";
    let policy = json!({ "Name": "p", "Rules": format!("{rules} peering = \"deny\"") });
    let policy = east.send("PUT", "/v1/acl/policy", &policy).await;
    let token = json!({ "Policies": [{ "ID": policy["ID"] }] });
    let token = east.send("PUT", "/v1/acl/token", &token).await;
    let file = east.dir.path().join("token");
    std::fs::write(&file, token["SecretID"].as_str().expect("a text")).expect("a token file");
    let mut watched = Watched::start(&ConsulSource {
        token_file: Some(file),
        peer: Some("west".to_owned()),
        selection: ConsulSelection {
            services: vec!["orders".to_owned()],
            ..ConsulSelection::default()
        },
        ..ConsulSource::new(east.address())
    });
    watched.until_live().await;
    watched.until_served("orders", &["10.9.0.1:1"]).await;
    watched
        .until("the right is named", |w| {
            w.note.as_ref().is_some_and(|n| n.contains("peering:read"))
        })
        .await;
    west.leave("orders", 1).await;
    watched
        .until("orders is named", |w| {
            w.issues().iter().any(|i| i.contains("peering:read"))
        })
        .await;
    assert_eq!(watched.addresses("orders"), ["10.9.0.1:1"]);
    let policy = json!({ "ID": policy["ID"], "Name": "p", "Rules": format!("{rules} peering = \"read\"") });
    let path = format!("/v1/acl/policy/{}", policy["ID"].as_str().expect("a text"));
    east.send("PUT", &path, &policy).await;
    watched.until_served("orders", &[]).await;
    watched
        .until("nothing to say", |w| w.issues().is_empty() && w.note.is_none())
        .await;
    assert_eq!(watched.statuses, [Status::Live]);
}
