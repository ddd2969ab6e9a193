//! Which instances a client calls when there is a choice, and what it says when there is none.

use std::time::Duration;

use super::{ORDERS, Scene, TTL, call, servers};
use crate::support::bridge::Bridge;
use crate::support::grpc::Language;
use crate::support::registry::{Kind, Registry};
use crate::support::wait;

/// A client gives up a call after 20 s: a call that fails at once fails before.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A source with `priority = 1` stands behind the other: it gets calls only while that has no instance.
pub(super) async fn a_spare_source(language: Language) {
    let (near, far) = tokio::join!(Registry::start(Kind::Etcd), Registry::start(Kind::Etcd));
    let sources = format!("{}\n{}priority = 1\n", near.source("near"), far.source("far"));
    let bridge = Bridge::start(&sources).await;
    let client = call(language, &bridge);
    let [one, two, spare] = &servers(["near-1", "near-2", "spare"]).await;
    let register =
        async |registry: &Registry, server| registry.register_for("orders", server, &ORDERS, TTL).await;
    let _spare = register(&far, spare).await;
    client.reaches(&["spare"]).await;
    let first = register(&near, one).await;
    let second = register(&near, two).await;
    client.reaches(&["near-1", "near-2"]).await;
    client.assert_clean();
    first.remove().await;
    client.reaches(&["near-2"]).await;
    second.remove().await;
    client.reaches(&["spare"]).await;
    let _first = register(&near, one).await;
    client.reaches(&["near-1"]).await;
    bridge.assert_no_nacks().await;
}

/// The only instance drains: it serves until another one is there.
pub(super) async fn the_last_one_drains(language: Language) {
    let scene = Scene::start(language).await;
    let [one, two] = &servers(["orders-1", "orders-2"]).await;
    let first = scene.register(one).await;
    scene.client.reaches(&["orders-1"]).await;
    let leaving = scene.drain(one).await;
    // The bridge reads etcd in order: once it serves what came next, it has the drain.
    let marker = scene.registry.register_for("marker", one, &ORDERS, TTL).await;
    let services = "xds_bridge_services";
    scene
        .bridge
        .metric_is(services, &[], |services| services == 2)
        .await;
    scene.client.goes_on(50).await;
    scene.client.assert_clean();
    let _second = scene.register(two).await;
    scene.client.reaches(&["orders-2"]).await;
    leaving.remove().await;
    first.remove().await;
    marker.remove().await;
    scene.client.goes_on(20).await;
    scene.client.assert_clean();
    scene.bridge.assert_no_nacks().await;
}

/// The last instance goes (its server lives on, and must not be called): calls fail at once, in words that
/// name the service, and succeed at once when it is back.
pub(super) async fn nobody(language: Language) {
    let scene = Scene::start(language).await;
    let [one] = &servers(["orders-1"]).await;
    for _ in 0..2 {
        let registered = scene.register(one).await;
        scene.client.reaches(&["orders-1"]).await;
        let failed = scene.client.calls().failures.len();
        registered.remove().await;
        // Endpoints come before the listener that names the service: one call may fail in between.
        let why = wait::until(AT_ONCE, "a call fails, and names the service", async || {
            let failures = scene.client.calls().failures;
            let named = failures[failed..].iter().find(|why| why.contains("orders"));
            named
                .cloned()
                .ok_or_else(|| format!("{:?}", failures.get(failed)))
        })
        .await;
        // tonic-xds calls a request that no route takes UNKNOWN.
        let code = if language == Language::Rust {
            "UNKNOWN"
        } else {
            "UNAVAILABLE"
        };
        assert!(why.to_ascii_uppercase().starts_with(code), "{why}");
        scene.client.fails_on(20).await;
        let requests = one.requests();
        scene.client.fails_on(20).await;
        assert_eq!(one.requests(), requests, "the instance that left is still called");
    }
    let _back = scene.register(one).await;
    scene.client.reaches(&["orders-1"]).await;
    scene.bridge.assert_no_nacks().await;
}

/// Routes are for Envoys: whatever is declared, the client's own table holds nothing that it refuses.
pub(super) async fn declared_routes(language: Language) {
    let scene = Scene::start(language).await;
    let [one] = &servers(["orders-1"]).await;
    let declared = [
        ("protocol", "grpc"),
        ("route", "grpc=shop.Orders"),
        (
            "route-2",
            "host=orders.example path=/orders/ header=x-canary:1 timeout=2s",
        ),
    ];
    let register = scene.registry.register_for("orders", one, &declared, TTL);
    let _one = register.await;
    scene.client.reaches(&["orders-1"]).await;
    scene.client.assert_clean();
    scene.bridge.assert_no_nacks().await;
}
