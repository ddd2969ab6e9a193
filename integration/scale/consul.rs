//! Consul with thousands of services, over HTTP/1.1 on its default limits.

use super::{Full, PATIENCE, SERVICES, now, source};
use crate::support::bridge::Bridge;
use crate::support::mirror::Mirror;
use crate::support::tap::Tap;

const CHANGES: usize = 100;

/// What Consul allows one client by default (`http_max_conns_per_client`).
const CONNECTIONS: usize = 200;

/// The least time from one round of those that have no watch to the next.
const ROUND: f64 = 2.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_plain_http_all_changes_arrive_within_the_connections_that_consul_allows() {
    let full = Full::start(&serde_json::json!({})).await;
    let tap = Tap::before(full.consul.address()).await;
    let bridge = Bridge::start(&source(&format!("http://{}", tap.address))).await;
    let mirror = Mirror::of(bridge.xds, |_, _| {}).await;
    mirror.is(PATIENCE, &full.catalog.endpoints().await).await;

    let (requests, began) = (tap.requests(), now());
    full.change(CHANGES).await;
    mirror.is(PATIENCE, &full.catalog.endpoints().await).await;
    let (requests, seconds) = (tap.requests() - requests, (now() - began).as_secs_f64());

    let most = tap.most();
    assert!(
        most <= CONNECTIONS,
        "{most} connections at once, Consul allows {CONNECTIONS}"
    );
    // Each round asks each service that has no watch once, and once more where something changed.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let most = (seconds / ROUND + 2.0) * SERVICES as f64 + (4 * CHANGES) as f64;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let count = requests as f64;
    assert!(
        count <= most,
        "{requests} requests in {seconds:.1} s, at most {most:.0} are right"
    );
    let log = bridge.log();
    assert!(
        !log.contains("consul is away"),
        "so many services are no outage:\n{log}"
    );
}
