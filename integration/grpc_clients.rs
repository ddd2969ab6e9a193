//! gRPC's own xDS clients dial `xds:///orders`: they find a service that appears, follow
//! its instances, and outlive a restart of the bridge without a failed call. What one of
//! them cannot do stands in docs/clients.md, and in its test.

use std::time::Duration;

use crate::support::bridge::Bridge;
use crate::support::grpc::{Caller, Language};
use crate::support::registry::{Kind, Registry};
use crate::support::servers::Server;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(60);

const ORDERS: [(&str, &str); 1] = [("protocol", "grpc")];
const LEAVING: [(&str, &str); 2] = [("protocol", "grpc"), ("state", "drain")];

/// A client gives up a call after 20 s: of a service that has gone it hears before.
const TOLD_AT_ONCE: Duration = Duration::from_secs(10);

async fn follow(language: Language) {
    let registry = Registry::start(Kind::Etcd).await;
    let mut bridge = Bridge::start(&registry.source("registry")).await;
    let mut bootstrap = bridge.grpc_bootstrap("client-1");
    if language == Language::Rust {
        // This alpha takes an address without a scheme for a wrong one when credentials are insecure.
        bootstrap = bootstrap.replace("\"server_uri\": \"", "\"server_uri\": \"http://");
    }
    let client = Caller::start(language, &bootstrap, "xds:///orders", "/shop.Orders/Get");

    // Nobody is there yet: the first call waits, and is answered when somebody comes.
    bridge
        .metric_is("xds_bridge_streams", &[], |streams| streams == 1)
        .await;
    let mut servers = Vec::new();
    for name in ["orders-1", "orders-2", "orders-3"] {
        servers.push(Server::grpc(name, "shop.Orders").await);
    }
    let [one, two, three] = &servers[..] else {
        unreachable!("three servers")
    };
    let register = async |server| registry.register_for("orders", server, &ORDERS, TTL).await;
    let (first, second) = (register(one).await, register(two).await);
    client.reaches(&["orders-1", "orders-2"]).await;

    // No call fails. One instance more, then one less: it drains, then it is gone.
    let third = register(three).await;
    client.reaches(&["orders-1", "orders-2", "orders-3"]).await;
    let leaving = registry.register_for("orders", two, &LEAVING, TTL).await;
    client.reaches(&["orders-1", "orders-3"]).await;
    leaving.remove().await;
    second.remove().await;
    client.assert_clean();

    // Without the bridge it goes on, and hears of what changed meanwhile.
    bridge.kill();
    client.goes_on(50).await;
    let second = register(two).await;
    bridge.restart().await;
    client.reaches(&["orders-1", "orders-2", "orders-3"]).await;
    client.assert_clean();

    // The last instances go, which is said at once (their servers live on), and the service comes back.
    for registered in [first, second, third] {
        registered.remove().await;
    }
    bridge
        .metric_is("xds_bridge_services", &[], |services| services == 0)
        .await;
    let why = client.fails(TOLD_AT_ONCE).await;
    let code = if language == Language::Rust {
        "UNKNOWN"
    } else {
        "UNAVAILABLE"
    };
    assert!(why.to_ascii_uppercase().starts_with(code), "{why}");
    assert!(why.contains("orders"), "the service is not named: {why}");
    let _one = register(one).await;
    client.reaches(&["orders-1"]).await;
    let log = bridge.log();
    let connected = log.lines().find(|line| line.contains("client connected"));
    assert!(connected.is_some_and(|line| line.contains("client-1")), "{log}");
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python() {
    follow(Language::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node() {
    follow(Language::Node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust() {
    follow(Language::Rust).await;
}
