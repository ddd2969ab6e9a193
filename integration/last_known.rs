//! The bridge starts while its registry is away: what was known last is served at
//! once, shown as such, and gives way to what the registry says when it is back.

use std::time::Duration;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::etcd::Etcd;
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
