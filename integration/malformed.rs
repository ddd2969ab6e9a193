//! Proof 3: a malformed entry is reported by its name, in the log and in the metrics, and
//! costs nobody else anything.

use std::time::Duration;

use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::{Check, Consul};
use crate::support::etcd::{self, Etcd};
use crate::support::servers::Server;
use crate::support::wait;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(60);

/// Waits until exactly these entries of the source are reported as rejected.
async fn rejected(bridge: &Bridge, names: &[&str]) {
    let name = "xds_bridge_source_entries_rejected";
    let wanted = i64::try_from(names.len()).expect("a few");
    bridge
        .metric_is(name, &[("source", "registry")], |n| n == wanted)
        .await;
    for entry in names {
        reported(bridge, entry, "rejected").await;
    }
}

/// Waits until an entry is named in the metrics and in the log.
async fn reported(bridge: &Bridge, entry: &str, severity: &str) {
    let labels = [("source", "registry"), ("entry", entry), ("severity", severity)];
    bridge
        .metric_is("xds_bridge_entry_issue", &labels, |n| n == 1)
        .await;
    wait::until(wait::PATIENCE, &format!("the log names {entry}"), async || {
        let log = bridge.log();
        wait::holds(log.lines().any(|line| line.contains(entry)), || {
            format!("{} bytes", log.len())
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_entries() {
    let etcd = Etcd::start().await;
    // Two are wrong from the start (the first read), the others come later (the watch).
    let key = |id: &str| etcd::instance_key("orders", id);
    let (broken, port, host, huge) = (key("broken"), key("port-0"), key("hostname"), key("huge"));
    let ghost = etcd::instance_key("ghosts", "only");
    etcd.put(&broken, r#"{"address": "127.0.0.1", "po"#).await;
    etcd.put(&port, json!({"address": "127.0.0.1", "port": 0}).to_string())
        .await;

    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n",
        etcd.url()
    );
    let bridge = Bridge::start(&source).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let orders = Call::http("orders");
    let (one, two) = (Server::http("orders-1").await, Server::http("orders-2").await);
    let _one = etcd.register("orders", &one, &[], TTL).await;
    client.reaches(&orders, &["orders-1"]).await;
    rejected(&bridge, &[&broken, &port]).await;

    let filler = "x".repeat(1 << 20);
    etcd.put(&host, json!({"address": "db.example", "port": 80}).to_string())
        .await;
    etcd.put(&huge, json!({"address": "127.0.0.1", "zone": filler}).to_string())
        .await;
    etcd.put(&ghost, "not even an object").await;
    rejected(&bridge, &[&broken, &port, &host, &huge, &ghost]).await;
    assert!(bridge.log().len() < 200_000, "the log holds whole values");

    // All others are served, also those that come now; who has only bad entries is nobody.
    let _two = etcd.register("orders", &two, &[], TTL).await;
    client.reaches(&orders, &["orders-1", "orders-2"]).await;
    envoy.has_hosts("orders", &[one.address, two.address]).await;
    client.is_refused(&Call::http("ghosts"), "http 404").await;

    // Mended or deleted, an entry is reported no more.
    let mended = Server::http("orders-3").await;
    etcd.put(&broken, etcd::facts(&mended, &[]).to_string()).await;
    etcd.delete(&huge).await;
    client
        .reaches(&orders, &["orders-1", "orders-2", "orders-3"])
        .await;
    rejected(&bridge, &[&port, &host, &ghost]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_entries() {
    let consul = Consul::start().await;
    let source = format!(
        "[sources.registry]\nkind = \"consul\"\naddress = \"{}\"\n",
        consul.url()
    );
    // An id is unique on its node only: an entry's name is both.
    let name = |id: &str| format!("{id}@node-of-{id}");
    let (port, host, ghost) = (
        name("orders-port-0"),
        name("orders-hostname"),
        name("ghosts-only"),
    );
    consul.catalog("orders", "orders-port-0", "127.0.0.1", 0).await;
    // More than one answer may hold lies beside the policy documents, and does not keep the source from starting.
    let junk = "x".repeat(500 << 10);
    for n in 0..70 {
        consul.kv(&format!("xds/junk/{n}"), &junk).await;
    }
    let bridge = Bridge::start(&source).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let orders = Call::http("orders");
    let (one, two) = (Server::http("orders-1").await, Server::http("orders-2").await);
    let _one = consul.register("orders", &one, &[], Check::None).await;
    client.reaches(&orders, &["orders-1"]).await;
    rejected(&bridge, &[&port]).await;

    consul
        .catalog("orders", "orders-hostname", "db.example", 80)
        .await;
    consul.catalog("ghosts", "ghosts-only", "ghost.example", 80).await;
    rejected(&bridge, &[&port, &host, &ghost]).await;

    // Documents: broken JSON, and about as much as Consul takes.
    consul.kv("xds/orders/policy", "{\"route\": ").await;
    consul
        .kv(
            "xds/ghosts/policy",
            &format!("{{\"route\": \"{}\"}}", "x".repeat(500 << 10)),
        )
        .await;
    reported(&bridge, "xds/orders/policy", "warning").await;
    reported(&bridge, "xds/ghosts/policy", "warning").await;
    assert!(bridge.log().len() < 200_000, "the log holds whole values");

    // An entry without a check or an agent is as good as any: `two` is only in the catalog.
    consul
        .catalog("orders", "orders-2", "127.0.0.1", two.address.port())
        .await;
    client.reaches(&orders, &["orders-1", "orders-2"]).await;
    envoy.has_hosts("orders", &[one.address, two.address]).await;
    client.is_refused(&Call::http("ghosts"), "http 404").await;

    consul.catalog_remove("orders-hostname").await;
    rejected(&bridge, &[&port, &ghost]).await;
    client.reaches(&orders, &["orders-1", "orders-2"]).await;
    bridge.assert_no_nacks().await;
}
