//! Two datacenters joined over the WAN, read by two sources through one agent: one of them goes away, and
//! what it had is served on.

use serde_json::json;
use xds_bridge::config::ConsulSource;
use xds_bridge::model::Status;

use crate::support::agent::{Agent, Watched};

fn source(agent: &Agent, datacenter: &str) -> Watched {
    Watched::start(&ConsulSource {
        datacenter: Some(datacenter.to_owned()),
        ..ConsulSource::new(agent.address())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datacenter_that_is_away_keeps_its_services() {
    // Gossip as on a local network: who has died is noticed within a second or two.
    let near = Agent::start(|_, ports| {
        json!({ "datacenter": "near", "ports": { "serf_wan": ports.wan },
            "gossip_wan": { "probe_interval": "200ms", "probe_timeout": "100ms", "suspicion_mult": 2 } })
    })
    .await;
    let wan = format!("127.0.0.1:{}", near.ports.wan);
    let mut far = Agent::start(|_, ports| {
        json!({ "datacenter": "far", "ports": { "serf_wan": ports.wan }, "retry_join_wan": [wan.as_str()],
            "retry_interval_wan": "1s" })
    })
    .await;
    near.says("/v1/catalog/services?consistent&dc=far", "consul")
        .await;
    near.enter("orders", 1, json!({})).await;
    far.enter("orders", 2, json!({})).await;
    far.enter("users", 3, json!({})).await;
    far.send("PUT", "/v1/kv/xds/users/policy", &json!({ "protocol": "grpc" }))
        .await;

    let (mut here, mut there) = (source(&near, "near"), source(&near, "far"));
    here.until_live().await;
    there.until_live().await;
    assert_eq!(here.addresses("orders"), ["10.9.0.1:1"]);
    assert_eq!(there.addresses("orders"), ["10.9.0.1:2"]);
    assert_eq!(there.protocol("users"), "grpc");
    assert_eq!(&*there.instances("users")[0].zone, "far");
    let mut nowhere = source(&near, "nowhere");
    nowhere.until_away("No path to datacenter").await;

    far.kill();
    there
        .until("away", |w| w.statuses.last() != Some(&Status::Live))
        .await;
    near.enter("orders", 4, json!({})).await;
    here.until_served("orders", &["10.9.0.1:1", "10.9.0.1:4"]).await;
    assert_eq!(
        here.statuses,
        [Status::Live],
        "its agent and its datacenter are well"
    );
    assert_eq!(there.addresses("orders"), ["10.9.0.1:2"]);

    far.restart().await;
    near.says("/v1/catalog/services?consistent&dc=far", "users").await;
    there.until_live().await;
    far.enter("users", 5, json!({})).await;
    there.until_served("users", &["10.9.0.1:3", "10.9.0.1:5"]).await;
    assert_eq!((here.lost.len(), there.lost.len()), (0, 0));
}
