//! Who has which requests: a newcomer takes no running route, a route outlives its last instance, a rename and a
//! policy document take it over. The same after a restart of the bridge.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::{Check, Consul};
use crate::support::etcd::{Etcd, facts, instance_key};
use crate::support::servers::Server;
use crate::support::wait;

const TTL: Duration = Duration::from_secs(120);
const CONTESTED: &str = "xds_bridge_routes_contested";
const KEPT: &str = "xds_bridge_services_kept";

/// A bridge that reads this etcd and remembers in this folder.
fn sources(etcd: &Etcd, folder: &Path) -> String {
    format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n\n[cache]\nfolder = \"{}\"\n",
        etcd.url(),
        folder.display()
    )
}

/// Decisions on disk hold these words.
async fn remembered(folder: &Path, words: &[&str]) {
    let file = folder.join("decisions");
    wait::until(wait::PATIENCE, "the decisions are on disk", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        wait::holds(words.iter().all(|word| text.contains(word)), || text)
    })
    .await;
}

fn get(path: &str) -> Call {
    Call::Http {
        host: "shop.example".to_owned(),
        path: path.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_outlives_its_last_instance() {
    let etcd = Etcd::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut bridge = Bridge::start(&sources(&etcd, folder.path())).await;
    let (web, cart) = (Server::http("web-1").await, Server::http("cart-1").await);
    let (basket, prices) = (
        Server::http("basket-1").await,
        Server::grpc("prices-1", "shop.Prices").await,
    );
    let _web = etcd.register("web", &web, &[("route", "path=/")], TTL).await;
    let path = [("route", "path=/api/cart/")];
    let short = Duration::from_secs(2);
    let lease = etcd.register("cart", &cart, &path, short).await;
    let calls = [("route", "grpc=shop.Prices")];
    let prices_lease = etcd.register("prices", &prices, &calls, TTL).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let (wanted, prices) = (get("/api/cart/1"), Call::grpc("shop.Prices"));
    client.reaches(&wanted, &["cart-1"]).await;
    client.reaches(&prices, &["prices-1"]).await;

    // Its last lease runs out: nobody else answers for it.
    lease.fall_silent();
    client.is_refused(&wanted, "http 503").await;
    prices_lease.revoke().await;
    client.is_refused(&prices, "grpc Unavailable").await;
    client.reaches(&get("/api"), &["web-1"]).await;
    bridge.metric_is(KEPT, &[], |n| n == 2).await;
    let ready = bridge.text("/readyz").await.expect("an answer");
    assert!(
        ready.contains(
            "routes kept of 2 services without instances: cart (60 min), prices (60 min); ended at once"
        ),
        "{ready}"
    );

    // One that claims it afterwards waits, and so it does behind a bridge that restarts.
    let _basket = etcd.register("basket", &basket, &path, TTL).await;
    bridge.metric_is(CONTESTED, &[], |n| n == 1).await;
    client.is_refused(&wanted, "http 503").await;
    let file = folder.path().join("decisions");
    wait::until(wait::PATIENCE, "both departures are on disk", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        wait::holds(text.matches("left_ago").count() == 2, || text)
    })
    .await;
    bridge.kill_and_restart().await;
    bridge.metric_is(KEPT, &[], |n| n == 2).await;
    let newcomer = bridge.envoy(Step::Listeners, &[]).await;
    newcomer.client().is_refused(&wanted, "http 503").await;
    client.is_refused(&wanted, "http 503").await;

    // A policy document takes it over at once, and `forget` ends what is kept.
    let document = json!({ "route": "path=/api/cart/" }).to_string();
    etcd.put("/services/basket/policy", document).await;
    client.reaches(&wanted, &["basket-1"]).await;
    bridge.metric_is(CONTESTED, &[], |n| n == 0).await;
    let said = bridge.forget("web");
    assert!(
        said.stderr.contains("nothing is kept of `web`: it has instances"),
        "{}",
        said.stderr
    );
    assert!(!bridge.forget("nobody").status.success());
    let said = bridge.forget("prices");
    assert!(
        said.stdout.contains("prices: its routes have ended"),
        "{} {}",
        said.stdout,
        said.stderr
    );
    bridge.metric_is(KEPT, &[], |n| n == 1).await;
    client.reaches(&get("/shop.Prices/Get"), &["web-1"]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_that_stood_before_takes_over_at_once() {
    let etcd = Etcd::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let bridge = Bridge::start(&sources(&etcd, folder.path())).await;
    let (cart, basket) = (Server::http("cart-1").await, Server::http("basket-1").await);
    let path = [("route", "path=/api/cart/")];
    let lease = etcd.register("cart", &cart, &path, TTL).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let (client, wanted) = (envoy.client(), get("/api/cart/1"));
    client.reaches(&wanted, &["cart-1"]).await;
    let _basket = etcd.register("basket", &basket, &path, TTL).await;
    bridge.metric_is(CONTESTED, &[], |n| n == 1).await;
    client.reaches(&wanted, &["cart-1"]).await;
    lease.revoke().await;
    client.reaches(&wanted, &["basket-1"]).await;
    // It was only a restart.
    let _cart = etcd.register("cart", &cart, &path, TTL).await;
    client.reaches(&wanted, &["cart-1"]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_takes_no_running_route() {
    let etcd = Etcd::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut bridge = Bridge::start(&sources(&etcd, folder.path())).await;
    let (web, experiment) = (Server::http("web-1").await, Server::http("experiment-1").await);
    let key = instance_key("web", "web-1");
    let route = facts(&web, &[("route", "host=shop.example")]).to_string();
    etcd.put(&key, route.clone()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let (client, shop) = (envoy.client(), get("/"));
    client.reaches(&shop, &["web-1"]).await;

    let claim = facts(&experiment, &[("route", "host=shop.example path=/")]).to_string();
    etcd.put(&instance_key("aaa-experiment", "1"), claim).await;
    bridge.metric_is(CONTESTED, &[], |n| n == 1).await;
    client.reaches(&shop, &["web-1"]).await;
    let sources = bridge.text("/sources").await.expect("an answer");
    for text in [&sources, &bridge.log()] {
        assert!(text.contains("is that of `web`, which has it"), "{text}");
        assert!(
            text.contains("[exposures.internal.owners] of bridge.toml"),
            "{text}"
        );
    }

    // All of its instances restart: what they register now is newer than the newcomer's claim.
    etcd.delete(&key).await;
    bridge.metric_is(KEPT, &[], |n| n == 1).await;
    etcd.put(&key, route).await;
    bridge.metric_is(KEPT, &[], |n| n == 0).await;
    client.reaches(&shop, &["web-1"]).await;
    remembered(folder.path(), &["\"service\":\"web\"", "aaa-experiment"]).await;
    assert_eq!(bridge.terminate().await.code(), Some(0));
    bridge.restart().await;
    bridge.metric_is(CONTESTED, &[], |n| n == 1).await;
    let newcomer = bridge.envoy(Step::Listeners, &[]).await;
    newcomer.client().reaches(&shop, &["web-1"]).await;
    client.reaches(&shop, &["web-1"]).await;

    // Without what was decided the one that registered first has it; the log says why.
    bridge.kill();
    std::fs::remove_file(folder.path().join("decisions")).expect("a file");
    bridge.restart().await;
    newcomer.client().reaches(&shop, &["experiment-1"]).await;
    assert!(
        bridge.log().contains("no decisions of before"),
        "{}",
        bridge.log()
    );
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_register_while_there_is_no_bridge_the_first_has_it() {
    let (etcd, consul) = tokio::join!(Etcd::start(), Consul::start());
    let (one, two) = (Server::http("one").await, Server::http("two").await);
    let mut registered = Vec::new();
    for (service, server) in [("zoo", &one), ("aaa", &two)] {
        let claim = facts(server, &[("route", "host=shop.example")]).to_string();
        etcd.put(&instance_key(service, "1"), claim).await;
        let keys = [("route", "host=shop.example")];
        registered.push(consul.register(service, server, &keys, Check::None).await);
    }
    let folder = tempfile::tempdir().expect("a folder");
    for sources in [sources(&etcd, folder.path()), consul.section()] {
        let bridge = Bridge::start(&sources).await;
        let envoy = bridge.envoy(Step::Listeners, &[]).await;
        bridge.metric_is(CONTESTED, &[], |n| n == 1).await;
        envoy.client().reaches(&get("/"), &["one"]).await;
        bridge.assert_no_nacks().await;
    }
}
