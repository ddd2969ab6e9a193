//! Envoy accepts the ends of each range, and each policy balances.

use std::collections::BTreeSet;

use super::Scene;
use crate::support::client::Call;
use crate::support::servers::Server;
use crate::support::wait;

/// Values of `lb`.
const POLICIES: [&str; 6] = [
    "round_robin",
    "least_request",
    "random",
    "ring_hash",
    "maglev",
    "wrr",
];

/// Protocol, key, and values at the ends of what can be declared.
const VALUES: [(&str, &str, &[&str]); 20] = [
    ("http1", "lb", &POLICIES),
    (
        "http1",
        "health-check",
        &[
            "http:/",
            "http:/a?b=%C3%A4;c=%7B{}<>`^| interval=24h timeout=24h unhealthy=100 healthy=100 host=a_b.example:65535",
            "http:/ interval=100ms timeout=1ms status=100-599",
            "http:/ status=100,200,300,400,500,501,502,599",
            "tcp interval=100ms timeout=1ms unhealthy=1 healthy=1",
        ],
    ),
    ("http2", "health-check", &["http:/", "grpc", "tcp"]),
    (
        "grpc",
        "health-check",
        &["grpc:~!@#$%^&*()_+", "grpc:a host=a.example"],
    ),
    ("tcp", "health-check", &["http:/", "tcp"]),
    (
        "http1",
        "outlier",
        &[
            "off",
            "errors=1 gateway-errors=1 failure-rate=1% interval=100ms ejection=100ms max-ejected=1%",
            "errors=10000 gateway-errors=10000 failure-rate=100% interval=24h ejection=24h max-ejected=100%",
        ],
    ),
    ("tcp", "outlier", &["errors=1"]),
    (
        "http1",
        "limits",
        &[
            "connections=1 pending=1 requests=1 retries=0",
            "connections=4294967295 pending=4294967295 requests=4294967295 retries=4294967295",
            "retry-budget=1% min-retries=0",
            "retry-budget=100% min-retries=4294967295",
        ],
    ),
    ("tcp", "connect-timeout", &["1ms", "24h"]),
    ("http1", "max-connection-duration", &["0s", "1ms", "24h"]),
    ("grpc", "max-connection-duration", &["24h"]),
    ("http1", "max-requests-per-connection", &["0", "1", "4294967295"]),
    ("http2", "max-requests-per-connection", &["1", "4294967295"]),
    (
        "http1",
        "tcp-keepalive",
        &[
            "1s",
            "32767s",
            "idle=1s interval=1s probes=1",
            "idle=32767s interval=32767s probes=127",
        ],
    ),
    (
        "http2",
        "http2",
        &[
            "streams=1 window=65535 connection-window=65535 keepalive=100ms keepalive-timeout=100ms",
            "streams=2147483647 window=2147483647 connection-window=2147483647 keepalive=24h keepalive-timeout=24h",
        ],
    ),
    ("grpc", "http2", &["keepalive=30s"]),
    ("http1", "proxy-protocol", &["v1", "v2"]),
    ("http2", "proxy-protocol", &["v2"]),
    ("tcp", "proxy-protocol", &["v1"]),
    ("http1", "slow-start", &["0s", "1ms", "24h"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_accepts_each_value_that_can_be_declared() {
    let server = Server::http("web").await;
    let mut declared = Vec::new();
    for (protocol, key, values) in VALUES {
        for value in values {
            declared.push([("protocol", protocol), (key, *value)]);
        }
    }
    let names: Vec<String> = (1..=declared.len()).map(|n| format!("service-{n:02}")).collect();
    let services: Vec<_> = names
        .iter()
        .zip(&declared)
        .map(|(name, keys)| (name.as_str(), server.address, &keys[..]))
        .collect();
    let scene = Scene::start(&services).await;
    wait::until(wait::PATIENCE, "each cluster is active", async || {
        let active = scene.active().await?;
        let active: BTreeSet<&str> = active.iter().filter_map(|c| c["name"].as_str()).collect();
        let missing = names
            .iter()
            .zip(&declared)
            .filter(|(name, _)| !active.contains(name.as_str()));
        let missing: Vec<_> = missing.collect();
        wait::holds(missing.is_empty(), || format!("{missing:?}"))
    })
    .await;
    scene.bridge.assert_no_nacks().await;
    let metrics = scene.bridge.metrics().await;
    assert_eq!(
        metrics.sum("xds_bridge_entry_issue", &[]),
        None,
        "{}",
        scene.bridge.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_policy_reaches_all_servers() {
    let (one, two) = tokio::join!(Server::http("one"), Server::http("two"));
    let all = POLICIES;
    let keys = all.map(|lb| [("lb", lb)]);
    let services: Vec<_> = all
        .iter()
        .zip(&keys)
        .flat_map(|(lb, keys)| [&one, &two].map(|server| (*lb, server.address, &keys[..])))
        .collect();
    let scene = Scene::start(&services).await;
    let client = scene.envoy.client();
    for lb in all {
        client.reaches(&Call::http(lb), &["one", "two"]).await;
    }
    // Which have figures of their own.
    scene
        .stat_is("ring_hash", "ring_hash_lb.size", |size| size > 0)
        .await;
    scene
        .stat_is("maglev", "maglev_lb.max_entries_per_host", |entries| entries > 0)
        .await;
    scene.bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_sets_keys_of_services_by_their_names() {
    let server = Server::http("web").await;
    let limits = [("limits", "requests=1000")];
    let scene = Scene::start_with(
        &[
            ("orders-new", server.address, &limits),
            ("users", server.address, &limits),
        ],
        "[services.\"orders*\"]\nlimits = \"requests=7\"\n",
    )
    .await;
    wait::until(wait::PATIENCE, "both clusters have their limits", async || {
        let clusters = scene.envoy.text("/clusters").await;
        let has = |line: &str| clusters.lines().any(|l| l == line);
        let right = has("orders-new::default_priority::max_requests::7")
            && has("users::default_priority::max_requests::1000");
        wait::holds(right, || clusters.clone())
    })
    .await;
    let labels = [("source", "catalog"), ("entry", "orders-new")];
    scene
        .bridge
        .metric_is("xds_bridge_entry_issue", &labels, |n| n == 1)
        .await;
    scene.bridge.assert_no_nacks().await;
}
