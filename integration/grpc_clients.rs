//! gRPC's own xDS clients dial `xds:///orders`: they find a service that appears, follow
//! its instances, and outlive a restart of the bridge without a failed call. What one of
//! them cannot do stands in docs/clients.md, and in its test.

mod bridges;
mod choice;
mod declared;
mod encrypted;
mod follow;
mod near;
mod reports;
mod tls;
mod versions;

use std::time::Duration;

use crate::support::bridge::Bridge;
use crate::support::grpc::{Caller, Language};
use crate::support::registry::{Kind, Registered, Registry};
use crate::support::servers::Server;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(120);

const ORDERS: [(&str, &str); 1] = [("protocol", "grpc")];
const LEAVING: [(&str, &str); 2] = [("protocol", "grpc"), ("state", "drain")];

/// Each scene as a test of each language.
macro_rules! in_each_language {
    ($($scene:path as $name:ident),+ $(,)?) => {
        in_each_language!(@ python Python $($scene as $name),+);
        in_each_language!(@ node Node $($scene as $name),+);
        in_each_language!(@ rust Rust $($scene as $name),+);
        in_each_language!(@ go Go $($scene as $name),+);
        in_each_language!(@ java Java $($scene as $name),+);
    };
    (@ $module:ident $language:ident $($scene:path as $name:ident),+) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if Language::$language.is_here() {
                        $scene(Language::$language).await;
                    }
                }
            )+
        }
    };
}

in_each_language! {
    follow::instances as follows_instances,
    follow::a_rolling_replacement as loses_no_call_in_a_rolling_replacement,
    follow::streams_that_end as loses_no_call_when_streams_end_by_age,
    choice::a_spare_source as calls_a_spare_source_only_when_the_first_has_nobody,
    choice::the_last_one_drains as calls_the_only_instance_though_it_drains,
    near::zones as calls_its_zone_and_is_given_others_when_servers_fail,
    choice::nobody as fails_at_once_with_nobody_to_call_and_recovers,
    choice::declared_routes as is_dialled_by_name_whatever_routes_are_declared,
    reports::load as reports_its_load_by_locality,
    declared::each_key_of_a_cluster as calls_a_service_with_each_key_of_a_cluster,
    encrypted::names_and_cas as calls_a_server_by_tls_only_with_the_right_certificate,
    versions::shares as shares_calls_out_among_versions,
    encrypted::there_and_back as follows_a_service_into_tls_and_out_of_it,
}

/// A registry, a bridge, and a client of `xds:///orders`.
struct Scene {
    registry: Registry,
    bridge: Bridge,
    client: Caller,
}

impl Scene {
    async fn start(language: Language) -> Self {
        Self::start_with(language, "").await
    }

    /// The same; a shell does `before` before it starts the bridge.
    async fn start_with(language: Language, before: &str) -> Self {
        let registry = Registry::start(Kind::Etcd).await;
        let bridge = Bridge::start_after(before, &registry.source("registry")).await;
        let client = call(language, &bridge);
        Self {
            registry,
            bridge,
            client,
        }
    }

    async fn register(&self, server: &Server) -> Registered {
        self.registry.register_for("orders", server, &ORDERS, TTL).await
    }

    /// Registered again, as one that drains.
    async fn drain(&self, server: &Server) -> Registered {
        self.registry.register_for("orders", server, &LEAVING, TTL).await
    }
}

/// A client of `xds:///orders` by this bridge.
fn call(language: Language, bridge: &Bridge) -> Caller {
    call_by(&[], language, bridge)
}

/// The same; `before`: variables (`A=b`).
fn call_by(before: &[String], language: Language, bridge: &Bridge) -> Caller {
    let bootstrap = bridge.grpc_bootstrap("client-1");
    Caller::start_by(before, language, &bootstrap, "xds:///orders", "/shop.Orders/Get")
}

/// Servers of `shop.Orders`, not registered yet.
async fn servers<const N: usize>(names: [&str; N]) -> [Server; N] {
    futures::future::join_all(names.map(|name| Server::grpc(name, "shop.Orders")))
        .await
        .try_into()
        .unwrap_or_else(|_| unreachable!("as many servers as names"))
}

/// The C core reads why a name is missing, and puts it into the error of the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_c_core_says_why_a_service_cannot_be_called() {
    let registry = Registry::start(Kind::Etcd).await;
    let fleets = "[fleets.client-fleet]\nservices = [\"orders\"]\n";
    let bridge = Bridge::start(&format!("{}\n{fleets}", registry.source("registry"))).await;
    let [orders, hidden] = &servers(["orders", "hidden"]).await;
    let _orders = registry.register_for("orders", orders, &ORDERS, TTL).await;
    let _hidden = registry.register_for("hidden", hidden, &ORDERS, TTL).await;
    bridge
        .metric_is("xds_bridge_services", &[], |services| services == 2)
        .await;
    let printed = bridge.grpc_bootstrap("client-1");
    let mut bootstrap: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    bootstrap["node"]["cluster"] = "client-fleet".into();
    let bootstrap = bootstrap.to_string();
    let before = ["GRPC_EXPERIMENTAL_XDS_DATA_ERROR_HANDLING=true".to_owned()];
    let call = |service: &str| {
        let target = format!("xds:///{service}");
        Caller::start_by(&before, Language::Python, &bootstrap, &target, "/shop.Orders/Get")
    };
    call("orders").reaches(&["orders"]).await;
    for (service, words) in [
        ("nobody", "no service `nobody` for gRPC clients"),
        ("hidden", "not in the view of the fleet `client-fleet`"),
    ] {
        let client = call(service);
        client.fails_on(1).await;
        let failures = client.calls().failures;
        assert!(failures[0].contains(words), "{failures:?}");
    }
    bridge.assert_no_nacks().await;
}
