//! Nobody to call: the only instance is off, drains, fails its check or is gone, also while the bridge is not
//! there. gRPC's own clients stop calling its address at once, their calls fail with the reason where the
//! library shows one, and succeed as soon as it is back. What is to be called all the same loses no call.

use std::time::Duration;

use serde_json::json;

use crate::support::bridge::Bridge;
use crate::support::consul::{Check, Consul};
use crate::support::grpc::{Caller, Language};
use crate::support::servers::Server;
use crate::support::wait;

const LANGUAGES: [Language; 5] = [
    Language::Python,
    Language::Node,
    Language::Rust,
    Language::Go,
    Language::Java,
];

/// So many calls in a row show what becomes of them.
const SAMPLE: usize = 20;

/// The only instance of `orders`, and a client of each language.
struct Scene {
    consul: Consul,
    bridge: Bridge,
    server: Server,
    clients: Vec<(Language, Caller)>,
}

impl Scene {
    async fn start() -> Self {
        let consul = Consul::start().await;
        let bridge = Bridge::start(&format!(
            "[sources.agents]\nkind = \"consul\"\naddress = \"{}\"\n",
            consul.url()
        ))
        .await;
        let server = Server::grpc("orders-1", "shop.Orders").await;
        let start = |language| {
            let bootstrap = bridge.grpc_bootstrap("client-1");
            let caller = Caller::start(language, &bootstrap, "xds:///orders", "/shop.Orders/Get");
            (language, caller)
        };
        let clients = LANGUAGES.into_iter().filter(|l| l.is_here()).map(start).collect();
        let scene = Self {
            consul,
            bridge,
            server,
            clients,
        };
        scene.declare(&[]).await;
        scene.all_are_answered().await;
        scene
    }

    /// Registers the instance with these keys; Consul's own check keeps its state.
    async fn declare(&self, keys: &[(&str, &str)]) {
        let keys = [&[("protocol", "grpc")], keys].concat();
        let ttl = Check::Ttl(Duration::from_secs(600));
        let registered = self.consul.register("orders", &self.server, &keys, ttl).await;
        registered.fall_silent(); // its state is what `check` says
        self.check("pass").await;
    }

    async fn check(&self, word: &str) {
        let path = format!("/v1/agent/check/{word}/service:orders-1");
        self.consul.put(&path, &json!(null)).await;
    }

    async fn deregister(&self) {
        let path = "/v1/agent/service/deregister/orders-1";
        self.consul.put(path, &json!(null)).await;
    }

    async fn all_are_answered(&self) {
        for (_, client) in &self.clients {
            client.reaches(&["orders-1"]).await;
        }
    }

    /// Calls of all clients fail, for this reason, and the server gets none.
    async fn nobody_is_called(&self, reason: &str) {
        for (language, client) in &self.clients {
            let words = match language {
                Language::Python | Language::Node | Language::Java => reason,
                Language::Go => "could not find VirtualHost for \"orders\"",
                Language::Rust => "no matching virtual host for authority 'orders'",
            };
            let before = client.calls();
            let what = format!("calls of {language:?} fail by: {words}");
            wait::until(wait::PATIENCE, &what, async || {
                let calls = client.calls();
                let last = &calls.failures[before.failures.len()..];
                let fail = last.len() > SAMPLE && last.iter().rev().take(SAMPLE).all(|f| f.contains(words));
                wait::holds(fail, || {
                    format!("{} failures, the last {:?}", last.len(), last.last())
                })
            })
            .await;
        }
        let (answered, requests) = (self.answered(), self.server.requests());
        let failed: Vec<usize> = self.failed();
        for ((language, client), failed) in self.clients.iter().zip(failed) {
            let what = format!("further calls of {language:?} fail");
            wait::until(wait::PATIENCE, &what, async || {
                let now = client.calls().failures.len();
                wait::holds(now > failed + SAMPLE, || {
                    format!("{now} of {failed} and {SAMPLE}")
                })
            })
            .await;
        }
        assert_eq!(self.answered(), answered, "{reason}: somebody is answered");
        assert_eq!(
            self.server.requests(),
            requests,
            "{reason}: the old address is called"
        );
    }

    fn answered(&self) -> Vec<usize> {
        self.clients
            .iter()
            .map(|(_, c)| c.calls().answers.len())
            .collect()
    }

    fn failed(&self) -> Vec<usize> {
        self.clients
            .iter()
            .map(|(_, c)| c.calls().failures.len())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_fail_with_the_reason_while_there_is_nobody_and_succeed_again() {
    let mut scene = Scene::start().await;
    let sick = "xds-bridge: no instance of orders is healthy, and its all-unhealthy is";

    scene.declare(&[("state", "off")]).await;
    scene
        .nobody_is_called("xds-bridge: all instances of orders are off")
        .await;
    scene.declare(&[]).await;
    scene.all_are_answered().await;

    for word in ["closed", "drop"] {
        scene.declare(&[("all-unhealthy", word)]).await;
        scene.all_are_answered().await;
        scene.check("fail").await;
        scene.nobody_is_called(&format!("{sick} {word}")).await;
        scene.check("pass").await;
        scene.all_are_answered().await;
    }

    let draining = [("state", "drain"), ("all-unhealthy", "closed")];
    scene.declare(&draining).await;
    scene
        .nobody_is_called("xds-bridge: all instances of orders are draining, and its all-unhealthy is closed")
        .await;
    scene.declare(&[]).await;
    scene.all_are_answered().await;

    scene.deregister().await;
    scene
        .nobody_is_called("xds-bridge: orders has no instances")
        .await;
    scene.declare(&[]).await;
    scene.all_are_answered().await;

    // It goes while no bridge is there to say so.
    scene.bridge.kill();
    scene.deregister().await;
    scene.bridge.restart().await;
    scene
        .nobody_is_called("xds-bridge: orders is not registered")
        .await;
    scene.declare(&[]).await;
    scene.all_are_answered().await;
    scene.bridge.assert_no_nacks().await;
}

/// Neither library shows a reason of ours for a name that is no longer dialled; Rust and Python name it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_no_longer_for_grpc_clients_is_not_called() {
    let scene = Scene::start().await;
    for keys in [("expose", "none"), ("protocol", "http1")] {
        scene.declare(&[keys]).await;
        scene.nobody_is_called("orders is not for gRPC clients").await;
        // Its endpoints change meanwhile, and again as it comes back.
        scene.declare(&[keys, ("weight", "7")]).await;
        scene.nobody_is_called("orders is not for gRPC clients").await;
        scene.declare(&[("weight", "9")]).await;
        scene.all_are_answered().await;
    }
    scene.bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_instance_is_called_while_it_drains_and_by_default_while_it_is_unhealthy() {
    let scene = Scene::start().await;
    let bridge = &scene.bridge;
    let unhealthy = "xds_bridge_services_all_unhealthy";
    scene.check("fail").await;
    bridge.metric_is(unhealthy, &[], |n| n == 1).await;
    for (_, client) in &scene.clients {
        client.goes_on(2 * SAMPLE).await;
    }
    scene.check("pass").await;
    bridge.metric_is(unhealthy, &[], |n| n == 0).await;

    let generation = bridge.generation().await;
    scene.declare(&[("state", "drain")]).await;
    let what = "the drain is published";
    wait::until(wait::PATIENCE, what, async || {
        let now = bridge.generation().await;
        wait::holds(now > generation, || format!("generation {now}"))
    })
    .await;
    for (_, client) in &scene.clients {
        client.goes_on(2 * SAMPLE).await;
    }
    // Until another one is there.
    let other = Server::grpc("orders-2", "shop.Orders").await;
    let keys = [("protocol", "grpc")];
    let _other = scene
        .consul
        .register("orders", &other, &keys, Check::Ttl(Duration::from_secs(600)))
        .await;
    for (_, client) in &scene.clients {
        client.reaches(&["orders-2"]).await;
        client.assert_clean();
    }
    bridge.assert_no_nacks().await;
}
