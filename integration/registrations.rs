//! What real registries hold on an ordinary day: leftovers, names in two spellings, addresses in odd forms.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::Consul;
use crate::support::etcd::{self, Etcd};
use crate::support::servers::Server;
use crate::support::wait;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(600);

/// Registers at the agent, with these fields over the usual ones.
async fn register(consul: &Consul, name: &str, id: &str, at: SocketAddr, more: &Value) {
    let mut body = json!({"Name": name, "ID": id, "Address": at.ip(), "Port": at.port()});
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    consul.put("/v1/agent/service/register", &body).await;
}

async fn logs(bridge: &Bridge, words: &str) {
    wait::until(wait::PATIENCE, &format!("the log says {words}"), async || {
        wait::holds(bridge.log().contains(words), || "not yet".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_registration_of_an_address_is_in_force() {
    let (consul, etcd) = tokio::join!(Consul::start(), Etcd::start());
    let (one, two) = (Server::http("one").await, Server::http("two").await);
    // The check of the leftover fails, as nobody answers for it any more.
    let failing = json!({"Check": {"TTL": "10m", "Status": "critical"}});
    register(&consul, "orders", "0-old", one.address, &failing).await;
    let drained = etcd::facts(&two, &[("state", "drain")]).to_string();
    let old = etcd::instance_key("users", "0-old");
    etcd.put(&old, drained).await;
    let bridge = Bridge::start(&format!(
        "{}\n[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n\n[clusters]\non_all_unhealthy = \"closed\"\n",
        consul.section(),
        etcd.url()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    client.is_refused(&Call::http("orders"), "http 503").await;

    register(&consul, "orders", "orders-1", one.address, &json!({})).await;
    client.reaches(&Call::http("orders"), &["one"]).await;
    let _two = etcd.register("users", &two, &[], TTL).await;
    let healthy = "users's server is healthy";
    wait::until(wait::PATIENCE, healthy, async || {
        let hosts = envoy.hosts("users").await;
        wait::holds(hosts.values().eq(["HEALTHY"]), || format!("{hosts:?}"))
    })
    .await;
    for (entry, newer) in [("entry=\"0-old@", "`orders-1@"), (&*old, "users/instances/two`")] {
        logs(&bridge, entry).await;
        logs(&bridge, newer).await;
    }
    // The leftover goes, and nothing else happens.
    etcd.delete(&old).await;
    wait::until(wait::PATIENCE, "nothing of etcd is wrong any more", async || {
        let wrong = bridge
            .metrics()
            .await
            .sum("xds_bridge_entry_issue", &[("source", "keys")]);
        wait::holds(wrong.is_none(), || format!("{wrong:?}"))
    })
    .await;
    client.reaches(&Call::http("users"), &["two"]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_differ_by_case_only_are_two_services() {
    let consul = Consul::start().await;
    let (lower, upper) = (Server::http("lower").await, Server::http("upper").await);
    register(&consul, "redis", "redis-1", lower.address, &json!({})).await;
    register(&consul, "Redis", "redis-2", upper.address, &json!({})).await;
    let bridge = Bridge::start(&consul.section()).await;
    let only = format!("{}services = [\"redis\"]\n", consul.section());
    let narrow = Bridge::start(&only).await;
    let (envoy, narrow_envoy) = (
        bridge.envoy(Step::Listeners, &[]).await,
        narrow.envoy(Step::Listeners, &[]).await,
    );
    envoy.has_hosts("redis", &[lower.address]).await;
    envoy.has_hosts("Redis", &[upper.address]).await;
    narrow_envoy.has_hosts("redis", &[lower.address]).await;
    envoy.client().reaches(&Call::http("redis"), &["lower"]).await;
    logs(&bridge, "the names `Redis` and `redis` differ by case only").await;

    consul
        .put("/v1/agent/service/deregister/redis-2", &json!(null))
        .await;
    bridge.metric_is("xds_bridge_services", &[], |n| n == 1).await;
    envoy.has_hosts("Redis", &[]).await;
    envoy.has_hosts("redis", &[lower.address]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ipv4_address_in_ipv6_dress_is_that_address() {
    let (consul, etcd) = tokio::join!(Consul::start(), Etcd::start());
    let server = Server::http("one").await;
    let port = server.address.port();
    let mapped = json!({"Address": "::ffff:127.0.0.1"});
    register(&consul, "orders", "orders-1", server.address, &mapped).await;
    let value = |address: &str| json!({"address": address, "port": port}).to_string();
    etcd.put(&etcd::instance_key("users", "1"), value("::ffff:127.0.0.1"))
        .await;
    etcd.put(&etcd::instance_key("users", "2"), value("127.0.0.1"))
        .await;
    let bridge = Bridge::start(&format!(
        "{}\n[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n",
        consul.section(),
        etcd.url()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    for service in ["orders", "users"] {
        envoy.client().reaches(&Call::http(service), &["one"]).await;
        envoy.has_hosts(service, &[server.address]).await;
    }
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_no_host_name_is_reported_once() {
    let consul = Consul::start().await;
    let server = Server::http("one").await;
    for name in ["my service", "a:b", "shop/orders", "größe"] {
        register(&consul, name, name, server.address, &json!({})).await;
    }
    let meta = json!({"Meta": {"xds-route": "host=named"}});
    register(&consul, "not a host", "n", server.address, &meta).await;
    let bridge = Bridge::start(&consul.section()).await;
    bridge.metric_is("xds_bridge_services", &[], |n| n == 5).await;
    for name in ["my service", "a:b", "shop/orders", "größe", "not a host"] {
        let labels = [("source", "catalog"), ("entry", name), ("severity", "warning")];
        bridge
            .metric_is("xds_bridge_entry_issue", &labels, |n| n == 1)
            .await;
    }
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("named"), &["one"]).await;
    assert_eq!(
        bridge.log().matches("is no host name").count(),
        5,
        "{}",
        bridge.log()
    );
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kratos_registers_in_consul_is_served() {
    let consul = Consul::start().await;
    let (http, grpc) = (
        Server::http("http").await,
        Server::grpc("grpc", "shop.Users").await,
    );
    // As its `contrib/registry/consul` does.
    let kratos = json!({
        "Tags": ["version=v1"],
        "Meta": {"xds-route": "grpc=shop.Users"},
        "TaggedAddresses": {
            "http": {"Address": format!("http://{}?isSecure=false", http.address), "Port": http.address.port()},
            "grpc": {"Address": format!("grpc://{}?isSecure=false", grpc.address), "Port": grpc.address.port()},
        },
    });
    register(&consul, "users", "users-1", http.address, &kratos).await;
    let preferred = format!("{}preferred_address = \"grpc\"\n", consul.section());
    let bridge = Bridge::start(&preferred).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::grpc("shop.Users"), &["grpc"]).await;
    envoy.has_hosts("users", &[grpc.address]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_is_a_line_in_the_log() {
    let etcd = Etcd::start().await;
    let source = format!(
        "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n",
        etcd.url()
    );
    let mut bridge = Bridge::start(&source).await;
    for _ in 0..2 {
        bridge.program().signal("HUP");
    }
    logs(&bridge, "SIGHUP").await;
    assert!(bridge.text("/readyz").await.is_ok());
    assert!(bridge.program().exited().is_none());
    assert!(bridge.terminate().await.success());
}
