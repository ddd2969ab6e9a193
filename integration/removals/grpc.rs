//! The same with gRPC's own clients.

use std::time::Duration;

use super::scene::withheld;
use crate::support::bridge::Bridge;
use crate::support::grpc::{Caller, Language};
use crate::support::registry::{Kind, Registered, Registry};
use crate::support::servers::Server;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(120);

const SERVERS: usize = 10;

struct Scene {
    registry: Registry,
    bridge: Bridge,
    client: Caller,
    servers: Vec<Server>,
    registered: Vec<Registered>,
}

impl Scene {
    async fn start(language: Language, more: &str) -> Self {
        let registry = Registry::start(Kind::Etcd).await;
        let bridge = Bridge::start(&(registry.source("registry") + more)).await;
        let bootstrap = bridge.grpc_bootstrap("client-1");
        let client = Caller::start(language, &bootstrap, "xds:///orders", "/shop.Orders/Get");
        let mut scene = Self {
            registry,
            bridge,
            client,
            servers: Vec::new(),
            registered: Vec::new(),
        };
        for n in 0..SERVERS {
            let server = Server::grpc(&format!("orders-{n}"), "shop.Orders").await;
            let lease = scene.register(&server).await;
            scene.registered.push(lease);
            scene.servers.push(server);
        }
        scene.reaches(0..SERVERS).await;
        scene
    }

    async fn register(&self, server: &Server) -> Registered {
        let declared = [("protocol", "grpc")];
        self.registry.register_for("orders", server, &declared, TTL).await
    }

    async fn reaches(&self, which: std::ops::Range<usize>) {
        let names: Vec<String> = which.map(|n| format!("orders-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.client.reaches(&names).await;
    }

    async fn wipe(&self) {
        let Registry::Etcd(etcd) = &self.registry else {
            unreachable!("it is etcd")
        };
        super::scene::delete_all(etcd).await;
    }

    /// A transaction that takes all out but the first ones.
    async fn leave(&self, left: usize) {
        let Registry::Etcd(etcd) = &self.registry else {
            unreachable!("it is etcd")
        };
        let ids: Vec<String> = (left..SERVERS).map(|n| format!("orders-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        super::scene::delete(etcd, &ids).await;
    }
}

/// Servers leave and stop some time later; then the registry is wiped, and filled again.
async fn scale_in_and_wipe(language: Language) {
    let mut scene = Scene::start(language, "").await;
    scene.leave(4).await;
    withheld(&scene.bridge, SERVERS - 4).await;
    scene.client.goes_on(50).await;
    for server in scene.servers.split_off(4) {
        server.stop().await;
        scene.client.goes_on(10).await;
    }
    withheld(&scene.bridge, 0).await;
    scene.reaches(0..4).await;
    // Servers that went on for a while after they left are called until they stop. tonic-xds tries such a call
    // once more, whatever `num_retries` says, and may meet the same dead server.
    let lost = if language == Language::Rust {
        SERVERS - 4
    } else {
        0
    };
    scene.client.assert_failed(lost, "tcp connect error");

    scene.wipe().await;
    withheld(&scene.bridge, 4).await;
    scene.client.goes_on(50).await;
    scene.reaches(0..4).await;
    let mut leases = Vec::new();
    for server in &scene.servers {
        leases.push(scene.register(server).await);
        scene.reaches(0..4).await;
    }
    withheld(&scene.bridge, 0).await;
    scene.client.goes_on(50).await;
    scene.client.assert_failed(lost, "tcp connect error");
    scene.bridge.assert_no_nacks().await;
}

/// Nobody knows whether those that left still run: they stand behind the others, as a lower priority or not at all.
async fn without_probes(language: Language) {
    let mut scene = Scene::start(language, "guard_probe = false\n").await;
    scene.leave(4).await;
    withheld(&scene.bridge, SERVERS - 4).await;
    scene.reaches(0..4).await;
    for server in scene.servers.split_off(4) {
        server.stop().await;
    }
    scene.client.goes_on(50).await;
    scene.reaches(0..4).await;
    scene.client.assert_clean();
    scene.bridge.assert_no_nacks().await;
}

macro_rules! in_each_language {
    ($($module:ident $language:ident),+) => { $(
        mod $module {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn loses_no_call_in_a_scale_in_and_in_a_wipe() {
                if Language::$language.is_here() {
                    scale_in_and_wipe(Language::$language).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn calls_those_that_are_registered_first() {
                if Language::$language.is_here() {
                    without_probes(Language::$language).await;
                }
            }
        }
    )+ };
}

in_each_language!(python Python, node Node, rust Rust, go Go, java Java);
