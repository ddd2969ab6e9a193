//! When every instance of a service fails: all get requests, none does, or none is there, as the service
//! declares; and a source that stands behind another takes over, and gives back.

use std::time::Duration;

use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::{Check, Consul};
use crate::support::etcd::Etcd;
use crate::support::servers::Server;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(600);

/// The agent's own TTL check of this instance, told directly.
async fn tell(consul: &Consul, word: &str, id: &str) {
    let path = format!("/v1/agent/check/{word}/service:{id}");
    consul.put(&path, &json!(null)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_says_what_becomes_of_it_when_all_are_unhealthy() {
    let consul = Consul::start().await;
    let bridge = Bridge::start(&format!(
        "[sources.agents]\nkind = \"consul\"\naddress = \"{}\"\n",
        consul.url()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let words = ["open", "closed", "drop", "perhaps"];
    let mut all = Vec::new();
    for word in words {
        let server = Server::http(word).await;
        let keys = [("all-unhealthy", word)];
        let registered = consul.register(word, &server, &keys, Check::Ttl(TTL)).await;
        client.reaches(&Call::http(word), &[word]).await;
        registered.fall_silent();
        all.push((server, registered));
    }
    for word in words {
        tell(&consul, "fail", word).await;
    }
    client.is_refused(&Call::http("closed"), "http 503").await;
    client.is_refused(&Call::http("drop"), "http 503").await;
    client.reaches(&Call::http("open"), &["open"]).await;
    client.reaches(&Call::http("perhaps"), &["perhaps"]).await;
    let unhealthy = "xds_bridge_services_all_unhealthy";
    bridge.metric_is(unhealthy, &[], |n| n == 4).await;
    let named = "xds_bridge_service_all_unhealthy";
    bridge.metric_is(named, &[("service", "drop")], |n| n == 1).await;
    let ready = bridge.text("/readyz").await.expect("an answer");
    assert!(
        ready.contains("agents (consul): live, 4 services, 4 instances; 1 warning (see /sources)\n")
            && ready.contains("no instance is healthy in 4 services: closed, drop, open, perhaps\n"),
        "{ready}"
    );
    envoy.has_hosts("closed", &[all[1].0.address]).await;
    envoy.has_hosts("drop", &[]).await;
    envoy.has_hosts("open", &[all[0].0.address]).await;
    let log = bridge.log();
    assert!(
        log.contains("xds-all-unhealthy: `perhaps` must be open, closed or drop"),
        "{log}"
    );

    for word in words {
        tell(&consul, "pass", word).await;
        client.reaches(&Call::http(word), &[word]).await;
    }
    bridge.metric_is(unhealthy, &[], |n| n == 0).await;
    let metrics = bridge.metrics().await;
    assert_eq!(metrics.sum(named, &[]), None, "nobody is named any more");
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_behind_another_takes_over_when_all_there_fail_and_gives_back() {
    let (etcd, consul) = tokio::join!(Etcd::start(), Consul::start());
    let bridge = Bridge::start(&format!(
        "[sources.here]\nkind = \"consul\"\naddress = \"{}\"\n\n\
         [sources.far]\nkind = \"etcd\"\nendpoints = [\"{}\"]\npriority = 3\n",
        consul.url(),
        etcd.url()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let orders = Call::http("orders");
    let (here, far) = (Server::http("here").await, Server::http("far").await);

    // Alone it is the first choice.
    let _far = etcd.register("orders", &far, &[], TTL).await;
    client.reaches(&orders, &["far"]).await;
    let registered = consul.register("orders", &here, &[], Check::Ttl(TTL)).await;
    client.reaches(&orders, &["here"]).await;
    envoy.has_hosts("orders", &[here.address, far.address]).await;

    registered.fall_silent();
    tell(&consul, "fail", "here").await;
    client.reaches(&orders, &["far"]).await;
    tell(&consul, "pass", "here").await;
    client.reaches(&orders, &["here"]).await;
    registered.remove().await;
    client.reaches(&orders, &["far"]).await;
    bridge.assert_no_nacks().await;
}
