//! The bridge starts while its registry is away: what was known last is served at
//! once, shown as such, and gives way to what the registry says when it is back.

use std::time::Duration;

use etcd_client::{Txn, TxnOp};
use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::etcd::{Etcd, instance_key};
use crate::support::servers::Server;
use crate::support::wait;

const TTL: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_the_registry_serves_what_was_known() {
    let mut etcd = Etcd::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n\n[cache]\nfolder = \"{}\"\n",
        etcd.url(),
        folder.path().display()
    );
    let mut bridge = Bridge::start(&source).await;
    let (one, two) = (Server::http("orders-1").await, Server::http("orders-2").await);
    let orders = Call::http("orders");
    let _one = etcd.register("orders", &one, &[], TTL).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&orders, &["orders-1"]).await;
    let file = folder.path().join("registry.cache");
    wait::until(wait::PATIENCE, "the state is on disk", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        wait::holds(text.contains("orders-1"), || text)
    })
    .await;

    // Both go; only the bridge comes back, and an Envoy that knows nothing yet.
    etcd.kill();
    bridge.kill();
    bridge.restart().await;
    let stale = "xds_bridge_source_stale_seconds";
    bridge
        .metric_is(stale, &[("source", "registry")], |age| age > 0)
        .await;
    let ready = bridge.text("/readyz").await.expect("an answer");
    assert!(
        ready.contains("registry (etcd): away for ") && ready.contains("its last known state is served, "),
        "{ready}"
    );
    let older = bridge.metrics().await.sum(stale, &[]).expect("an age") + 2;
    bridge
        .metric_is(stale, &[("source", "registry")], |age| age >= older)
        .await;
    let newcomer = bridge.envoy(Step::Listeners, &[]).await;
    newcomer.client().reaches(&orders, &["orders-1"]).await;
    envoy.client().reaches(&orders, &["orders-1"]).await;

    // The registry is back, and what it says counts.
    etcd.restart().await;
    let _two = etcd.register("orders", &two, &[], TTL).await;
    newcomer
        .client()
        .reaches(&orders, &["orders-1", "orders-2"])
        .await;
    bridge
        .metric_is(stale, &[("source", "registry")], |age| age == 0)
        .await;
    bridge.assert_no_nacks().await;

    // A damaged file is refused by name, and nothing is served instead of it.
    etcd.kill();
    bridge.kill();
    std::fs::write(&file, "{}\n").expect("a damaged file");
    bridge.restart_unready().await;
    wait::until(wait::PATIENCE, "the log names the damaged file", async || {
        let log = bridge.log();
        wait::holds(
            log.contains("the last known state is not used") && log.contains("damaged"),
            || log,
        )
    })
    .await;
}

/// A full disk as everybody can have one: a write beyond the limit fails, as on a file system without room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_reported_and_survived() {
    let etcd = Etcd::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\nmax_removal = \"100%\"\n\n[cache]\nfolder = \"{}\"\n",
        etcd.url(),
        folder.path().display()
    );
    // 64 blocks: 32 KiB or 64 KiB. What goes beyond raises SIGXFSZ, which must not end the bridge.
    let bridge = Bridge::start_after("ulimit -f 64", &source).await;
    let server = Server::http("orders-1").await;
    let _lease = etcd.register("orders", &server, &[], TTL).await;
    let file = folder.path().join("registry.cache");
    let saved = || std::fs::read_to_string(&file).unwrap_or_default();
    let holds = async |what: &str, wanted: &dyn Fn(&str) -> bool| {
        wait::until(wait::PATIENCE, what, async || {
            wait::holds(wanted(&saved()), saved)
        })
        .await;
    };
    holds("the first state is on disk", &|text| text.contains("orders-1")).await;

    let padding = "x".repeat(120);
    let put = |n: u16| {
        let value = json!({ "address": "127.0.0.9", "port": 1000 + n, "version": padding, "zone": padding, "state": "drain" });
        let id = format!("{n}-{padding}");
        TxnOp::put(instance_key("ballast", &id), value.to_string(), None)
    };
    let mut keys = etcd.client().await;
    let all: Vec<TxnOp> = (0..120).map(put).collect();
    keys.txn(Txn::new().and_then(all)).await.expect("etcd writes");
    let failures = "xds_bridge_cache_write_failures_total";
    bridge.metric_is(failures, &[], |n| n > 0).await;
    let log = bridge.log();
    assert!(
        log.contains("the last known state cannot be written") && log.contains("registry.cache"),
        "{log}"
    );
    assert!(saved().contains("orders-1"), "the file of before is whole");
    let entries = std::fs::read_dir(folder.path()).expect("the folder");
    let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        ["decisions", "events.jsonl", "registry.cache"],
        "no file of a write that failed is left"
    );
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["orders-1"]).await;

    // There is room again.
    let gone = etcd_client::DeleteOptions::new().with_prefix();
    keys.delete("/services/ballast/", Some(gone))
        .await
        .expect("etcd deletes");
    let two = Server::http("orders-2").await;
    let _two = etcd.register("orders", &two, &[], TTL).await;
    holds("it is written again", &|text| {
        text.contains("orders-2") && !text.contains("ballast")
    })
    .await;
    wait::until(wait::PATIENCE, "the log says so", async || {
        let log = bridge.log();
        wait::holds(log.contains("the last known state is written again"), || log)
    })
    .await;
}
