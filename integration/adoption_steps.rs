//! Proof 1: an Envoy started from our bootstrap follows servers that only registered
//! themselves, in etcd and in Consul, at each of the three steps of adoption.

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::load::Load;
use crate::support::registry::{Kind, Registered, Registry};
use crate::support::servers::Server;
use crate::support::wait;

/// What a gRPC server declares, and what stands in Envoy's file at the first step.
const USERS: [(&str, &str); 2] = [("protocol", "grpc"), ("route", "grpc=shop.Users")];
const SERVICES: [&str; 2] = ["orders", "users:grpc:grpc=shop.Users"];

/// The two variants of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Delta,
    Sotw,
}

pub(crate) async fn adopt(kind: Kind, step: Step, variant: Variant) {
    let registry = Registry::start(kind).await;
    let bridge = Bridge::start(&(registry.source("registry") + "[drain]\nlinger = \"1s\"\n")).await;
    let envoy = match variant {
        Variant::Delta => bridge.envoy(step, &SERVICES).await,
        Variant::Sotw => bridge.envoy_sotw(step, &SERVICES).await,
    };
    let client = envoy.client();
    let (http, grpc) = (Call::http("orders"), Call::grpc("shop.Users"));
    // At the first step the routes stand in Envoy's file, afterwards they come with the services.
    let unknown = match step {
        Step::Endpoints => NOBODY,
        Step::Clusters | Step::Listeners => ("http 404", "grpc Unimplemented"),
    };
    client.is_refused(&http, unknown.0).await;
    client.is_refused(&grpc, unknown.1).await;

    // Two servers of each service register themselves.
    let (mut orders, mut users) = (Vec::new(), Vec::new());
    for n in 1..=2 {
        orders.push(order(&registry, n).await);
        users.push(user(&registry, n).await);
    }
    client.reaches(&http, &["orders-1", "orders-2"]).await;
    client.reaches(&grpc, &["users-1", "users-2"]).await;

    // From here to the end of the illness not one request fails.
    let load = Load::start(envoy.listener(), &[http.clone(), grpc.clone()], 40, 2);
    orders.push(order(&registry, 3).await);
    users.push(user(&registry, 3).await);
    client.reaches(&http, &["orders-1", "orders-2", "orders-3"]).await;
    client.reaches(&grpc, &["users-1", "users-2", "users-3"]).await;

    // A lease runs out, a check fails: that one is out of traffic.
    orders[1].1.fall_ill(&orders[1].0);
    users[1].1.fall_ill(&users[1].0);
    client.reaches(&http, &["orders-1", "orders-3"]).await;
    client.reaches(&grpc, &["users-1", "users-3"]).await;
    load.finish().await.assert_clean(80);

    // A service removed is gone, and nothing else is touched. Who left users by its lease lingers there for a moment.
    no_longer_drains(&envoy, "users").await;
    let (load, before) = (
        Load::start(envoy.listener(), std::slice::from_ref(&grpc), 40, 2),
        envoy.cluster("users").await,
    );
    let servers = leave(&envoy, "orders", orders).await;
    client.is_refused(&http, NOBODY.0).await;
    load.goes_on(20).await;
    load.finish().await.assert_clean(20);
    assert_eq!(
        envoy.cluster("users").await,
        before,
        "the removal of orders touched users"
    );

    // And it comes back.
    let again = registry.register("orders", &servers[0], &[]).await;
    client.reaches(&http, &["orders-1"]).await;
    assert_eq!(
        envoy.cluster("users").await,
        before,
        "the return of orders touched users"
    );
    leave(&envoy, "users", users).await;
    client.is_refused(&grpc, NOBODY.1).await;
    client.reaches(&http, &["orders-1"]).await;
    again.remove().await;
    bridge.assert_no_nacks().await;
}

/// Waits until nobody drains in a cluster.
async fn no_longer_drains(envoy: &Envoy, cluster: &str) {
    let what = format!("nobody drains in {cluster}");
    wait::until(wait::PATIENCE, &what, async || {
        let hosts = envoy.hosts(cluster).await;
        wait::holds(hosts.values().all(|health| health != "DRAINING"), || {
            format!("{hosts:?}")
        })
    })
    .await;
}

async fn order(registry: &Registry, n: u32) -> (Server, Registered) {
    let server = Server::http(&format!("orders-{n}")).await;
    let registered = registry.register("orders", &server, &[]).await;
    (server, registered)
}

async fn user(registry: &Registry, n: u32) -> (Server, Registered) {
    let server = Server::grpc(&format!("users-{n}"), "shop.Users").await;
    let registered = registry.register("users", &server, &USERS).await;
    (server, registered)
}

/// All instances leave in order, one after the other: several that leave at once, and whose servers run on, are withheld.
async fn leave(envoy: &Envoy, cluster: &str, instances: Vec<(Server, Registered)>) -> Vec<Server> {
    let mut servers = Vec::new();
    for (server, registered) in instances {
        registered.remove().await;
        let (what, address) = (format!("{} has left", server.id), server.address.to_string());
        wait::until(wait::PATIENCE, &what, async || {
            let hosts = envoy.hosts(cluster).await;
            let health = hosts.get(&address);
            wait::holds(health.is_none_or(|health| health == "DRAINING"), || {
                format!("{hosts:?}")
            })
        })
        .await;
        servers.push(server);
    }
    servers
}

/// How a service without instances is refused, by host and by gRPC: its route stays.
const NOBODY: (&str, &str) = ("http 503", "grpc Unavailable");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_endpoints_only() {
    adopt(Kind::Etcd, Step::Endpoints, Variant::Delta).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_static_listeners() {
    adopt(Kind::Etcd, Step::Clusters, Variant::Delta).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_everything() {
    adopt(Kind::Etcd, Step::Listeners, Variant::Delta).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_endpoints_only() {
    adopt(Kind::Consul, Step::Endpoints, Variant::Delta).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_static_listeners() {
    adopt(Kind::Consul, Step::Clusters, Variant::Delta).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_everything() {
    adopt(Kind::Consul, Step::Listeners, Variant::Delta).await;
}
