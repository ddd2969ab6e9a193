//! The keys of a cluster are for Envoys first: whatever a service declares, gRPC's own clients accept its cluster and
//! call all of its instances.

use std::net::SocketAddr;

use super::servers;
use crate::support::bridge::Bridge;
use crate::support::folder::Folder;
use crate::support::grpc::{Caller, Language};

/// A key and its value.
type Pair = (&'static str, &'static str);

/// What one service of protocol `grpc` declares beside it.
const DECLARED: [&[Pair]; 15] = [
    &[("lb", "least_request")],
    &[("lb", "random")],
    &[("lb", "ring_hash")],
    &[("lb", "maglev")],
    &[("lb", "wrr")],
    &[("lb", "least_request"), ("slow-start", "30s")],
    &[("slow-start", "30s")],
    &[("health-check", "grpc:shop.Orders interval=1s")],
    &[("outlier", "errors=5 gateway-errors=5")],
    &[("outlier", "failure-rate=50% interval=1s")],
    &[("limits", "connections=100 requests=100 retry-budget=20%")],
    &[
        ("connect-timeout", "2s"),
        ("max-connection-duration", "1h"),
        ("max-requests-per-connection", "1000"),
    ],
    &[("tcp-keepalive", "idle=60s interval=10s probes=3")],
    &[("http2", "streams=100 window=1MiB keepalive=30s")],
    &[("proxy-protocol", "v2")], // left out
];

/// A client for each of them.
pub(super) async fn each_key_of_a_cluster(language: Language) {
    let both = servers(["orders-1", "orders-2"]).await;
    let names: Vec<String> = (1..=DECLARED.len()).map(|n| format!("orders-{n}")).collect();
    let keys: Vec<Vec<Pair>> = DECLARED
        .iter()
        .map(|declared| [&[("protocol", "grpc")], *declared].concat())
        .collect();
    let services: Vec<(&str, SocketAddr, &[Pair])> = names
        .iter()
        .zip(&keys)
        .flat_map(|(name, keys)| {
            both.iter()
                .map(|server| (name.as_str(), server.address, keys.as_slice()))
        })
        .collect();
    let folder = Folder::of(&services);
    let bridge = Bridge::start(&folder.section()).await;
    let bootstrap = bridge.grpc_bootstrap("client-1");
    for (name, declared) in names.iter().zip(DECLARED) {
        eprintln!("{name}: {declared:?}");
        let target = format!("xds:///{name}");
        let client = Caller::start(language, &bootstrap, &target, "/shop.Orders/Get");
        client.reaches(&["orders-1", "orders-2"]).await;
        client.assert_clean();
        bridge.assert_no_nacks().await;
    }
}
