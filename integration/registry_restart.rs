//! Proof 4: the registry is killed and started again under load. Not one request fails,
//! and what changes afterwards arrives.

use std::time::Duration;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::load::Load;
use crate::support::registry::{Kind, Registry};
use crate::support::servers::Server;

/// Longer than a restart takes: nobody's lease runs out by it.
const TTL: Duration = Duration::from_secs(30);

const USERS: [(&str, &str); 2] = [("protocol", "grpc"), ("route", "grpc=shop.Users")];

async fn restart(kind: Kind) {
    let mut registry = Registry::start(kind).await;
    let bridge = Bridge::start(&registry.source("registry")).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let (http, grpc) = (Call::http("orders"), Call::grpc("shop.Users"));
    let orders = [Server::http("orders-1").await, Server::http("orders-2").await];
    let users = [
        Server::grpc("users-1", "shop.Users").await,
        Server::grpc("users-2", "shop.Users").await,
    ];
    let mut registered = Vec::new();
    for server in &orders {
        registered.push(registry.register_for("orders", server, &[], TTL).await);
    }
    for server in &users {
        registered.push(registry.register_for("users", server, &USERS, TTL).await);
    }
    client.reaches(&http, &["orders-1", "orders-2"]).await;
    client.reaches(&grpc, &["users-1", "users-2"]).await;

    let load = Load::start(envoy.listener(), &[http.clone(), grpc.clone()], 100, 4);
    load.goes_on(100).await;
    registry.kill();
    bridge
        .metric_is("xds_bridge_source_up", &[("source", "registry")], |up| up == 0)
        .await;
    load.goes_on(300).await;

    // The very first writes after the restart arrive, long before anything settles.
    registry.restart().await;
    let third = Server::http("orders-3").await;
    let _third = registry.register_for("orders", &third, &[], TTL).await;
    registered.remove(0).remove().await;
    client.reaches(&http, &["orders-2", "orders-3"]).await;
    client.reaches(&grpc, &["users-1", "users-2"]).await;
    bridge
        .metric_is("xds_bridge_source_up", &[("source", "registry")], |up| up == 1)
        .await;
    load.goes_on(100).await;
    load.finish().await.assert_clean(500);
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_killed_under_load() {
    restart(Kind::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_is_killed_under_load() {
    restart(Kind::Consul).await;
}
