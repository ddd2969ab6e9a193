//! A registry that is away for half a minute with thousands of services watched: few tries while it
//! is away, not in step, and each service confirmed once when it is back.

use std::time::Duration;

use super::{PATIENCE, SERVICES};
use crate::support::bridge::Bridge;
use crate::support::etcd::Etcd;
use crate::support::many::{self, PORT};
use crate::support::mirror::Mirror;
use crate::support::tap::Tap;

/// How long it is away.
pub(super) const AWAY: Duration = Duration::from_secs(30);

/// Pauses double up to half a minute: nine tries and no more. Each of Consul's is a request, which a
/// client may send twice when its connection ends without a byte. As many again of shared state, which
/// follows its keys, renews its presence and takes it again.
const TRIES: usize = 70;

pub(super) const UP: &str = "xds_bridge_source_up";

/// Tries while it was away; they are neither many nor at equal distances.
pub(super) fn few_and_uneven(tap: &Tap, from: usize) {
    let attempts = &tap.attempts()[from..];
    let count = attempts.len();
    assert!(
        (3..=TRIES).contains(&count),
        "{count} connections were tried while the registry was away"
    );
    let gaps: Vec<Duration> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut different: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() > 1, "in step: {gaps:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_was_away_is_asked_for_what_was_missed() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    many::fill_etcd(&client, 0..SERVICES, 2, PORT).await;
    let tap = Tap::before(etcd.address()).await;
    let bridge = Bridge::start(&format!(
        "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"http://{}\"]\n",
        tap.address
    ))
    .await;
    let mirror = Mirror::of(bridge.xds, |_, _| {}).await;
    mirror.is(PATIENCE, &many::etcd_endpoints(&client).await).await;
    let generation = bridge.generation().await;
    let listing = tap.bytes();

    tap.shut();
    bridge.metric_is(UP, &[], |up| up == 0).await;
    let from = tap.attempts().len();
    many::fill_etcd(&client, 0..10, 2, PORT + 1).await;
    tokio::time::sleep(AWAY).await; // it is to last
    few_and_uneven(&tap, from);
    assert_eq!(
        bridge.generation().await,
        generation,
        "an outage changed what is served"
    );

    let bytes = tap.bytes();
    tap.open();
    mirror.is(PATIENCE, &many::etcd_endpoints(&client).await).await;
    bridge.metric_is(UP, &[], |up| up == 1).await;
    let bytes = tap.bytes() - bytes;
    assert!(
        bytes < listing / 10,
        "{bytes} bytes for 20 keys, all of them are {listing}"
    );
    let most = tap.most();
    assert!(
        most <= 4,
        "{most}: one connection of the source, one of shared state, and one of each that is given up"
    );
}
