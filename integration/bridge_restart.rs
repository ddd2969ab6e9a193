//! Proof 5: the bridge is stopped (or killed) and started again under load. Not one
//! request fails, and Envoy gets nothing again that did not change.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::load::Load;
use crate::support::registry::{Kind, Registry};
use crate::support::servers::Server;
use crate::support::wait;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(60);

const USERS: [(&str, &str); 2] = [("protocol", "grpc"), ("route", "grpc=shop.Users")];

/// How it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Killed,
}

/// What Envoy counts when it takes in a resource.
async fn taken_in(envoy: &Envoy) -> BTreeMap<String, u64> {
    let names = [
        "cluster_manager.cluster_added",
        "cluster_manager.cluster_modified",
        "cluster_manager.cluster_removed",
        "listener_manager.listener_added",
        "listener_manager.listener_modified",
        "listener_manager.listener_removed",
        "http.*.rds.*.config_reload",
    ];
    let counted = envoy.stats(&names).await;
    assert!(
        counted.len() >= names.len(),
        "Envoy counts under other names: {counted:?}"
    );
    counted
}

async fn restart(kind: Kind, end: End) {
    let registry = Registry::start(kind).await;
    let mut bridge = Bridge::start(&registry.source("registry")).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let (http, grpc) = (Call::http("orders"), Call::grpc("shop.Users"));
    let (one, two) = (Server::http("orders-1").await, Server::http("orders-2").await);
    let user = Server::grpc("users-1", "shop.Users").await;
    let _one = registry.register_for("orders", &one, &[], TTL).await;
    let _user = registry.register_for("users", &user, &USERS, TTL).await;
    client.reaches(&http, &["orders-1"]).await;
    client.reaches(&grpc, &["users-1"]).await;
    bridge.assert_no_nacks().await;

    let load = Load::start(envoy.listener(), &[http.clone(), grpc.clone()], 100, 4);
    load.goes_on(100).await;
    let (before, users) = (taken_in(&envoy).await, envoy.cluster("users").await);
    match end {
        End::Stopped => {
            let status = bridge.terminate().await;
            assert!(status.success(), "after SIGTERM it ended with {status}");
        }
        End::Killed => bridge.kill(),
    }
    load.goes_on(200).await;

    // What changes meanwhile arrives; it is the only thing that does.
    let _two = registry.register_for("orders", &two, &[], TTL).await;
    bridge.restart().await;
    client.reaches(&http, &["orders-1", "orders-2"]).await;
    client.reaches(&grpc, &["users-1"]).await;
    bridge
        .metric_is("xds_bridge_streams", &[], |streams| streams >= 1)
        .await;
    load.goes_on(100).await;
    load.finish().await.assert_clean(400);
    assert_eq!(taken_in(&envoy).await, before, "Envoy took something in again");
    assert_eq!(envoy.cluster("users").await, users, "Envoy got users again");
    // The one resource that changed, and no other.
    let metrics = bridge.metrics().await;
    let sent = |kind| {
        metrics
            .sum("xds_bridge_resources_sent_total", &[("type", kind)])
            .unwrap_or(0)
    };
    let all = ["cds", "eds", "lds", "rds"].map(|kind| (kind, sent(kind)));
    assert_eq!(
        all,
        [("cds", 0), ("eds", 1), ("lds", 0), ("rds", 0)],
        "sent after the restart"
    );
    bridge.assert_no_nacks().await;
}

/// A bridge that comes back while its registry is away knows nothing, and says nothing:
/// Envoy goes on with what it has.
async fn restart_without_registry(kind: Kind) {
    let mut registry = Registry::start(kind).await;
    let mut bridge = Bridge::start(&registry.source("registry")).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let (client, http) = (envoy.client(), Call::http("orders"));
    let (one, two) = (Server::http("orders-1").await, Server::http("orders-2").await);
    let _one = registry.register_for("orders", &one, &[], TTL).await;
    client.reaches(&http, &["orders-1"]).await;

    let load = Load::start(envoy.listener(), std::slice::from_ref(&http), 100, 4);
    registry.kill();
    bridge.kill();
    bridge.restart_unready().await;
    // Envoy comes back, again and again, and finds the port closed.
    let refused = "cluster.xds-bridge.upstream_cx_connect_fail";
    let before = envoy.stat(refused).await;
    wait::until(wait::PATIENCE, "Envoy finds the port closed", async || {
        let refused = envoy.stat(refused).await;
        wait::holds(refused >= before + 2, || format!("{refused} times"))
    })
    .await;
    assert!(
        bridge.text("/readyz").await.is_err(),
        "ready without having heard of its registry"
    );
    load.goes_on(100).await;

    registry.restart().await;
    let _two = registry.register_for("orders", &two, &[], TTL).await;
    client.reaches(&http, &["orders-1", "orders-2"]).await;
    assert!(bridge.text("/readyz").await.is_ok());
    load.goes_on(50).await;
    load.finish().await.assert_clean(150);
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_under_load() {
    restart(Kind::Etcd, End::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load() {
    restart(Kind::Etcd, End::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_under_load_with_consul() {
    restart(Kind::Consul, End::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn started_while_etcd_is_away() {
    restart_without_registry(Kind::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn started_while_consul_is_away() {
    restart_without_registry(Kind::Consul).await;
}
