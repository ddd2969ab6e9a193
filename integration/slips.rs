//! A slip in a declaration that worked costs nobody a request: the last good value of each key stays in force
//! while its instance lives, also over a restart of the bridge; an instance that declares nothing takes
//! nothing away.

use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::Consul;
use crate::support::etcd::{Etcd, facts, instance_key};
use crate::support::servers::Server;
use crate::support::wait;

const KEPT: &str = "xds_bridge_source_last_good_values";
const REGISTRY: [(&str, &str); 1] = [("source", "registry")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_etcd_over_a_restart() {
    let etcd = Etcd::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n\n[cache]\nfolder = \"{}\"\n",
        etcd.url(),
        folder.path().display()
    );
    let mut bridge = Bridge::start(&source).await;
    let (one, two) = (Server::http("shop-1").await, Server::http("shop-2").await);
    let key = instance_key("shop", "shop-1");
    let declare = async |route: &str, state: &str| {
        let facts = facts(&one, &[("route", route), ("state", state)]);
        etcd.put(&key, facts.to_string()).await;
    };
    declare("host=shop.example", "up").await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let (client, shop) = (envoy.client(), Call::http("shop.example"));
    client.reaches(&shop, &["shop-1"]).await;

    for slip in [
        "host=shop.example timeout=5",
        "host=shop.example:443",
        "host=shop.example when=noon",
    ] {
        declare(slip, "pu").await;
        bridge.metric_is(KEPT, &REGISTRY, |kept| kept == 2).await;
        client.reaches(&shop, &["shop-1"]).await;
        declare("host=shop.example", "up").await;
        bridge.metric_is(KEPT, &REGISTRY, |kept| kept == 0).await;
    }

    // A word of a later version that moves no request elsewhere is a warning, and the route counts.
    declare("host=new.example tracing=off", "up").await;
    client.reaches(&Call::http("new.example"), &["shop-1"]).await;
    declare("host=shop.example", "up").await;
    client.reaches(&shop, &["shop-1"]).await;

    // Who declares nothing has no opinion; with one that has made a slip neither takes the route away.
    etcd.put(&instance_key("shop", "shop-2"), facts(&two, &[]).to_string())
        .await;
    client.reaches(&shop, &["shop-1", "shop-2"]).await;
    declare("host=shop.example path=orders", "up").await;
    bridge.metric_is(KEPT, &REGISTRY, |kept| kept == 1).await;
    client.reaches(&shop, &["shop-1", "shop-2"]).await;

    // A restarted bridge takes the last good value from its last known state.
    let file = folder.path().join("registry.cache");
    wait::until(wait::PATIENCE, "the state is on disk", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        wait::holds(text.contains("shop.example") && text.contains("shop-2"), || text)
    })
    .await;
    bridge.kill_and_restart().await;
    bridge.metric_is(KEPT, &REGISTRY, |kept| kept == 1).await;
    let sources = bridge.text("/sources").await.expect("an answer");
    let wanted = json!({"service": "shop", "instance": "shop-1", "key": "route"});
    let seen: serde_json::Value = serde_json::from_str(&sources).expect("JSON");
    assert_eq!(
        seen["sources"][0]["last_good_values"]["first"][0], wanted,
        "{sources}"
    );
    let newcomer = bridge.envoy(Step::Listeners, &[]).await;
    newcomer.client().reaches(&shop, &["shop-1", "shop-2"]).await;

    // What is taken out on purpose is gone.
    etcd.put(&key, facts(&one, &[]).to_string()).await;
    newcomer.client().is_refused(&shop, "http 404").await;
    bridge.metric_is(KEPT, &REGISTRY, |kept| kept == 0).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_consul() {
    let consul = Consul::start().await;
    let source = format!(
        "[exposures.edge]\nhosts = [\"shop.example\"]\n{}",
        consul.section()
    );
    let bridge = Bridge::start(&source).await;
    let one = Server::http("shop-1").await;
    let register = async |meta: serde_json::Value, tags: serde_json::Value| {
        let entry = json!({
            "Name": "shop", "ID": "shop-1", "Address": "127.0.0.1", "Port": one.address.port(),
            "Meta": meta, "Tags": tags,
        });
        consul.put("/v1/agent/service/register", &entry).await;
    };
    let good = json!({"xds-route": "host=shop.example", "xds-expose": "internal", "xds-protocol": "http1"});
    register(good.clone(), json!([])).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let (client, shop) = (envoy.client(), Call::http("shop.example"));
    client.reaches(&shop, &["shop-1"]).await;
    let slips = [
        ("xds-expose", "intrenal", 1),
        ("xds-route", "host=shop.example/", 1),
        ("xds-protocol", "htpp", 1),
    ];
    for (key, value, kept) in slips {
        let mut meta = good.clone();
        meta[key] = value.into();
        register(meta, json!([])).await;
        bridge.metric_is(KEPT, &REGISTRY, |seen| seen == kept).await;
        client.reaches(&shop, &["shop-1"]).await;
        register(good.clone(), json!([])).await;
        bridge.metric_is(KEPT, &REGISTRY, |seen| seen == 0).await;
    }
    // A misspelt key, and one whose value is lost on the way to a tag.
    register(json!({"xds-Route": "host=shop.example"}), json!([])).await;
    bridge.metric_is(KEPT, &REGISTRY, |seen| seen == 1).await;
    client.reaches(&shop, &["shop-1"]).await;
    register(json!({}), json!(["xds.route"])).await;
    bridge.metric_is(KEPT, &REGISTRY, |seen| seen == 1).await;
    client.reaches(&shop, &["shop-1"]).await;
    register(json!({}), json!([])).await;
    client.is_refused(&shop, "http 404").await;
    bridge.assert_no_nacks().await;
}
