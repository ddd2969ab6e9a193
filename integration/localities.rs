//! Clients that say where they are: the servers of their zone come first, then those of their region, then the others.

use std::time::Duration;

use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::{Check, Consul};
use crate::support::envoy::Envoy;
use crate::support::servers::Server;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(600);

async fn tell(consul: &Consul, word: &str, id: &str) {
    let path = format!("/v1/agent/check/{word}/service:{id}");
    consul.put(&path, &json!(null)).await;
}

/// An Envoy of this place.
async fn envoy_in(bridge: &Bridge, region: &str, zone: &str) -> Envoy {
    let flags = ["--region", region, "--zone", zone];
    Envoy::start(bridge.listener, async |admin| {
        bridge.bootstrap_with(Step::Listeners, admin, &flags)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_calls_its_zone_then_its_region_then_the_rest() {
    let consul = Consul::start().await;
    let bridge = Bridge::start(&format!(
        "{}\n[clusters]\nlocality = \"prefer\"\n",
        consul.section()
    ))
    .await;
    let places = [
        ("near-1", "eu", "a"),
        ("near-2", "eu", "a"),
        ("region", "eu", "b"),
        ("far", "us", "a"),
    ];
    let mut all = Vec::new();
    for (id, region, zone) in places {
        let server = Server::http(id).await;
        let keys = [("region", region), ("zone", zone)];
        let registered = consul.register("orders", &server, &keys, Check::Ttl(TTL)).await;
        registered.fall_silent();
        all.push((server, registered));
    }
    let orders = Call::http("orders");
    {
        let plain = bridge.envoy(Step::Listeners, &[]).await;
        let everybody = ["near-1", "near-2", "region", "far"];
        plain.client().reaches(&orders, &everybody).await;
    }
    let envoy = envoy_in(&bridge, "eu", "a").await;
    let client = envoy.client();
    client.reaches(&orders, &["near-1", "near-2"]).await;

    // Half of the zone is left: 70 % there, the rest in the region.
    tell(&consul, "fail", "near-1").await;
    client.reaches(&orders, &["near-2", "region"]).await;
    tell(&consul, "fail", "near-2").await;
    client.reaches(&orders, &["region"]).await;
    tell(&consul, "fail", "region").await;
    client.reaches(&orders, &["far"]).await;
    for id in ["near-1", "near-2", "region"] {
        tell(&consul, "pass", id).await;
    }
    client.reaches(&orders, &["near-1", "near-2"]).await;

    // Gone is as good as failing.
    let (_far, _region) = (all.pop(), all.pop());
    for (_, registered) in all {
        registered.remove().await;
    }
    client.reaches(&orders, &["region"]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_says_itself_whether_near_servers_come_first() {
    let consul = Consul::start().await;
    let bridge = Bridge::start(&consul.section()).await;
    let envoy = envoy_in(&bridge, "eu", "a").await;
    let client = envoy.client();
    let mut all = Vec::new();
    for (service, rule) in [("patient", "prefer:50"), ("anywhere", "off")] {
        for (place, zone, check) in [
            ("near", "a", Check::Ttl(TTL)),
            ("too", "a", Check::Ttl(TTL)),
            ("far", "b", Check::None),
        ] {
            let id = format!("{service}-{place}");
            let server = Server::http(&id).await;
            let keys = [("zone", zone), ("locality", rule)];
            let registered = consul.register(service, &server, &keys, check).await;
            registered.fall_silent();
            all.push((server, registered));
        }
    }
    let anywhere = ["anywhere-near", "anywhere-too", "anywhere-far"];
    client.reaches(&Call::http("anywhere"), &anywhere).await;
    let patient = Call::http("patient");
    client.reaches(&patient, &["patient-near", "patient-too"]).await;
    // Half is enough for this one.
    tell(&consul, "fail", "patient-too").await;
    client.reaches(&patient, &["patient-near"]).await;
    tell(&consul, "fail", "patient-near").await;
    client.reaches(&patient, &["patient-far"]).await;
    bridge.assert_no_nacks().await;
}
