//! Fleets that see a part of the services: what they get, and that changes elsewhere send them nothing.

use std::time::Duration;

use serde_json::Value;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::etcd::Etcd;
use crate::support::servers::Server;
use crate::support::wait;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(600);

/// Envoys of the tests are of the fleet `proof`; this one is of another.
async fn envoy_of(bridge: &Bridge, fleet: &str) -> Envoy {
    Envoy::start(bridge.listener, async |admin| {
        let text = bridge.bootstrap(Step::Listeners, admin, &[]);
        let own = format!("cluster: {fleet}");
        let named = text.replace("cluster: proof", &own);
        assert_ne!(text, named, "the bootstrap names its fleet in another way");
        named
    })
    .await
}

/// The hosts of the routes that an Envoy has.
async fn hosts(envoy: &Envoy) -> Vec<String> {
    let dump = envoy.json("/config_dump?resource=dynamic_route_configs").await;
    let mut hosts: Vec<String> = Vec::new();
    collect(&dump, &mut hosts);
    hosts.sort();
    hosts
}

fn collect(value: &Value, hosts: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(domains) = fields.get("domains").and_then(Value::as_array) {
                hosts.extend(domains.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            fields.values().for_each(|value| collect(value, hosts));
        }
        Value::Array(all) => all.iter().for_each(|value| collect(value, hosts)),
        _ => {}
    }
}

/// Waits until an Envoy has clusters and routes of these services, and of no others of `all`.
async fn sees(envoy: &Envoy, wanted: &[&str], all: &[&str]) {
    let what = format!("Envoy sees {wanted:?} and no others");
    wait::until(wait::PATIENCE, &what, async || {
        let clusters = envoy.text("/clusters").await;
        let has = |name: &&&str| clusters.contains(&format!("{name}::"));
        let found: Vec<&str> = all.iter().filter(has).copied().collect();
        let hosts = hosts(envoy).await;
        wait::holds(found == wanted && hosts == wanted, || {
            format!("{found:?}, hosts {hosts:?}")
        })
    })
    .await;
}

/// How many discovery responses an Envoy has got.
async fn updates(envoy: &Envoy) -> u64 {
    let all = envoy
        .stats(&["*.update_attempt", "*.update_success", "*.update_rejected"])
        .await;
    all.values().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_fleets_see_different_services_and_changes_elsewhere_send_nothing() {
    let etcd = Etcd::start().await;
    let bridge = Bridge::start(&format!(
        "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n\n\
         [fleets.\"*\"]\nneeds = true\n\n[fleets.edge]\nservices = [\"web-*\", \"orders\"]\n",
        etcd.url()
    ))
    .await;
    let all = ["orders", "shadow", "stock", "web-1"];
    let mut registered = Vec::new();
    let mut servers = Vec::new();
    for (name, keys) in [
        ("orders", &[("needs", "stock")][..]),
        ("shadow", &[]),
        ("stock", &[]),
        ("web-1", &[("route", "host=web-1 path=/ mirror=shadow:1%")]),
    ] {
        let server = Server::http(name).await;
        registered.push(etcd.register(name, &server, keys, TTL).await);
        servers.push(server);
    }
    bridge.metric_is("xds_bridge_services", &[], |n| n == 4).await;
    {
        let sidecar = envoy_of(&bridge, "orders").await;
        sees(&sidecar, &["orders", "stock"], &all).await;
        let client = sidecar.client();
        client.reaches(&Call::http("stock"), &["stock"]).await;
        client.is_refused(&Call::http("web-1"), "http 404").await;

        // New instances and services outside of the view: it is sent nothing, while others have them.
        let before = updates(&sidecar).await;
        let second = Server::http("web-1b").await;
        let route = [("route", "host=web-1 path=/ mirror=shadow:1%")];
        let _second = etcd.register("web-1", &second, &route, TTL).await;
        let third = Server::http("web-2").await;
        let _third = etcd.register("web-2", &third, &[], TTL).await;
        bridge.metric_is("xds_bridge_services", &[], |n| n == 5).await;
        // The bridge reads etcd in order: what is inside of the view comes after the others.
        let beside = Server::http("stock-2").await;
        let _beside = etcd.register("stock", &beside, &[], TTL).await;
        client.reaches(&Call::http("stock"), &["stock", "stock-2"]).await;
        let stock = sidecar.stat("cluster.stock.update_success").await;
        assert_eq!(stock, 2, "its endpoints, twice");
        assert_eq!(
            updates(&sidecar).await,
            before + 2,
            "one attempt, one success: no other type was sent"
        );

        // A service that it needs from now on.
        let needs = [("needs", "stock,web-1")];
        let _again = etcd.register("orders", &servers[0], &needs, TTL).await;
        sees(&sidecar, &["orders", "shadow", "stock", "web-1"], &all).await;
        client.reaches(&Call::http("web-1"), &["web-1", "web-1b"]).await;
    }
    let edge = envoy_of(&bridge, "edge").await;
    let all = ["orders", "shadow", "stock", "web-1", "web-2"];
    sees(&edge, &["orders", "shadow", "web-1", "web-2"], &all).await;
    edge.client().reaches(&Call::http("orders"), &["orders"]).await;
    bridge.assert_no_nacks().await;
}
