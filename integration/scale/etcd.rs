//! etcd with a hundred thousand keys: memory, a thousand changes a second, a burst, and equal content.

use std::time::Duration;

use super::PATIENCE;
use crate::support::bridge::Bridge;
use crate::support::etcd::Etcd;
use crate::support::many::{self, PORT};
use crate::support::mirror::Mirror;
use crate::support::procfs;

/// A hundred thousand keys.
const SERVICES: usize = 5_000;
const INSTANCES: usize = 20;

/// A tenth of them.
const FEW: usize = SERVICES / 10;

/// A thousand a second, ten at once.
const SECONDS: usize = 5;
const PACE: Duration = Duration::from_millis(10);
const AT_ONCE: usize = 10;

const BURST: usize = 10_000;

/// Memory that does not grow with the keys, KiB.
const CONSTANT: u64 = 32 * 1024;

fn source(etcd: &Etcd) -> String {
    format!(
        "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n",
        etcd.url()
    )
}

/// What a bridge takes for what is in this etcd, KiB.
async fn resident(etcd: &Etcd) -> u64 {
    let mut bridge = Bridge::start(&source(etcd)).await;
    procfs::resident(bridge.program().id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_keys_and_a_thousand_changes_a_second() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let empty = resident(&etcd).await;
    many::fill_etcd(&client, 0..FEW, INSTANCES, PORT).await;
    let few = resident(&etcd).await - empty;
    many::fill_etcd(&client, FEW..SERVICES, INSTANCES, PORT).await;
    let mut bridge = Bridge::start(&source(&etcd)).await;
    let pid = bridge.program().id();
    let bound = 10 * few + CONSTANT;
    let many_keys = procfs::resident(pid) - empty;
    assert!(
        many_keys <= bound,
        "{few} KiB for a tenth of the keys, {many_keys} for all"
    );

    let mirror = Mirror::of(bridge.xds, |_, _| {}).await;
    mirror.is(PATIENCE, &many::etcd_endpoints(&client).await).await;
    let mut ticks = tokio::time::interval(PACE);
    for n in 0..SECONDS * 1000 / AT_ONCE {
        ticks.tick().await;
        let writes = (0..AT_ONCE).map(|k| {
            let (service, mut client) = ((n * AT_ONCE + k) * 7 % SERVICES, client.clone());
            let instance = n % INSTANCES;
            let port = PORT + u16::try_from(n).unwrap();
            async move {
                let (key, value) = (many::key(service, instance), many::value(service, instance, port));
                client.put(key, value, None).await.unwrap();
            }
        });
        futures::future::join_all(writes).await;
    }
    mirror.is(PATIENCE, &many::etcd_endpoints(&client).await).await;

    // All at once: one by one, as ten thousand servers would write them.
    let generation = bridge.generation().await;
    let writes = (0..BURST).map(|n| {
        let (service, instance) = (n % SERVICES, n / SERVICES);
        (
            many::key(service, instance),
            many::value(service, instance, 7_070),
        )
    });
    futures::StreamExt::for_each_concurrent(futures::stream::iter(writes), 256, |(key, value)| {
        let mut client = client.clone();
        async move { drop(client.put(key, value, None).await.unwrap()) }
    })
    .await;
    mirror.is(PATIENCE, &many::etcd_endpoints(&client).await).await;
    let burst = bridge.generation().await - generation;
    let most = i64::try_from(BURST / 10).unwrap();
    assert!(
        burst <= most,
        "{BURST} changes made {burst} generations, {most} are too many already"
    );

    // Each key of half the services again, as it is; then one change, which is the only news.
    many::fill_etcd(&client, 0..SERVICES / 2, INSTANCES, 6_060).await;
    mirror.is(PATIENCE, &many::etcd_endpoints(&client).await).await;
    let generation = bridge.generation().await;
    many::fill_etcd(&client, 0..SERVICES / 2, INSTANCES, 6_060).await;
    etcd.put(&many::key(0, 0), many::value(0, 0, 5_050)).await;
    mirror.is(PATIENCE, &many::etcd_endpoints(&client).await).await;
    // One for the change, one when its old address no longer lingers.
    assert_eq!(
        bridge.generation().await,
        generation + 2,
        "equal content made generations"
    );

    let after = procfs::resident(pid) - empty;
    let bound = bound + bound / 2;
    assert!(after <= bound, "{after} KiB after all that, {bound} allowed");
}
