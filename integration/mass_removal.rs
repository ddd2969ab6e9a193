//! A registry that suddenly knows much less does not empty Envoy: what it takes away
//! is withheld, let go by the operator's word, or believed after the hold time.

use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::etcd::{Etcd, instance_key};
use crate::support::servers::Server;
use crate::support::wait;

const WITHHELD: &str = "xds_bridge_source_withheld_instances";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_registry_is_withheld_until_it_is_accepted() {
    let etcd = Etcd::start().await;
    let sources = |hold: &str| {
        format!(
            "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\nmax_removal_hold = \"{hold}\"\n\
             guard_probe = false\n",
            etcd.url()
        )
    };
    let server = Server::http("orders-1").await;
    // One real server; the others are addresses of the same kind, which nobody calls.
    let fill = async || {
        let (host, port) = (server.address.ip().to_string(), server.address.port());
        etcd.put(
            &instance_key("orders", "orders-1"),
            json!({ "address": host, "port": port }).to_string(),
        )
        .await;
        for n in 0..20_u16 {
            let value = json!({ "address": "127.0.0.9", "port": 1000 + n, "state": "drain" });
            etcd.put(&instance_key("ballast", &n.to_string()), value.to_string())
                .await;
        }
    };
    fill().await;
    let bridge = Bridge::start(&sources("1h")).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let orders = Call::http("orders");
    client.reaches(&orders, &["orders-1"]).await;

    let mut keys = etcd.client().await;
    let all = etcd_client::DeleteOptions::new().with_prefix();
    keys.delete("/services/", Some(all.clone()))
        .await
        .expect("etcd deletes");
    bridge
        .metric_is(WITHHELD, &[("source", "registry")], |n| n == 21)
        .await;
    client.reaches(&orders, &["orders-1"]).await;
    let ready = bridge.text("/readyz").await.expect("an answer");
    assert!(
        ready.contains("registry (etcd): reachable and empty; 21 removed instances withheld, believed in 3"),
        "{ready}"
    );
    let state = |state| [("source", "registry"), ("state", state)];
    bridge
        .metric_is("xds_bridge_source_state", &state("empty"), |n| n == 1)
        .await;
    bridge
        .metric_is("xds_bridge_source_state", &state("live"), |n| n == 0)
        .await;
    let told: serde_json::Value =
        serde_json::from_str(&bridge.text("/sources").await.expect("an answer")).expect("JSON");
    let source = &told["sources"][0];
    assert_eq!(source["state"], "empty", "{told:#}");
    assert_eq!(source["withheld"]["services"], 2, "{told:#}");
    assert_eq!(source["withheld"]["first"][0]["service"], "ballast", "{told:#}");
    assert_eq!(source["withheld"]["first"][0]["instances"], 20, "{told:#}");

    // It comes back: nothing is withheld, and nothing has changed for anybody.
    fill().await;
    bridge
        .metric_is(WITHHELD, &[("source", "registry")], |n| n == 0)
        .await;
    client.reaches(&orders, &["orders-1"]).await;

    // It goes for good, and the operator says so.
    keys.delete("/services/", Some(all.clone()))
        .await
        .expect("etcd deletes");
    bridge
        .metric_is(WITHHELD, &[("source", "registry")], |n| n == 21)
        .await;
    let wrong = bridge.accept("registri");
    assert!(
        !wrong.status.success() && wrong.stderr.contains("no source is called `registri`"),
        "{}",
        wrong.stderr
    );
    let right = bridge.accept("registry");
    assert!(
        right.stdout.contains("21 withheld instances let go"),
        "{} {}",
        right.stdout,
        right.stderr
    );
    client.is_refused(&orders, "http 503").await;
    bridge
        .metric_is(WITHHELD, &[("source", "registry")], |n| n == 0)
        .await;

    // Another bridge believes it by itself, after its hold time.
    fill().await;
    client.reaches(&orders, &["orders-1"]).await;
    let impatient = Bridge::start(&sources("1s")).await;
    impatient
        .metric_is("xds_bridge_source_instances", &[("source", "registry")], |n| {
            n == 21
        })
        .await;
    keys.delete("/services/", Some(all)).await.expect("etcd deletes");
    impatient
        .metric_is("xds_bridge_source_instances", &[("source", "registry")], |n| {
            n == 0
        })
        .await;
    let log = impatient.log();
    let (asked, listed) = (log.find("its registry is asked again"), log.rfind("listed etcd"));
    let believed = log.find("removals withheld until now are believed");
    assert!(asked.is_some() && asked < listed && listed < believed, "{log}");
    client.reaches(&orders, &["orders-1"]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_wiped_while_the_bridge_was_away_is_withheld_too() {
    let etcd = Etcd::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\nmax_removal_hold = \"1h\"\n\
         guard_probe = false\n\n[cache]\nfolder = \"{}\"\n",
        etcd.url(),
        folder.path().display()
    );
    let mut bridge = Bridge::start(&source).await;
    for n in 0..20_u16 {
        let value = json!({ "address": "127.0.0.9", "port": 1000 + n });
        etcd.put(&instance_key("ballast", &n.to_string()), value.to_string())
            .await;
    }
    let file = folder.path().join("registry.cache");
    wait::until(wait::PATIENCE, "all of it is on disk", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        wait::holds(
            (0..20).all(|n| text.contains(&format!("127.0.0.9:{}\"", 1000 + n))),
            || text,
        )
    })
    .await;
    bridge.kill();
    let mut keys = etcd.client().await;
    let all = etcd_client::DeleteOptions::new().with_prefix();
    keys.delete("/services/", Some(all)).await.expect("etcd deletes");
    bridge.restart().await;
    bridge
        .metric_is(WITHHELD, &[("source", "registry")], |n| n == 20)
        .await;
    bridge
        .metric_is("xds_bridge_source_instances", &[("source", "registry")], |n| {
            n == 20
        })
        .await;
}
