//! All members are gone for a minute, longer than the leases last.

use std::time::Duration;

use super::cluster::Cluster;
use super::scene::Scene;

/// etcd counts no lease down while it is away, and gives each its full length again when it has a leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_members_are_down_for_longer_than_the_leases_last() {
    let ttl = Duration::from_secs(10);
    let mut scene = Scene::with_leases(Cluster::start().await, ttl).await;
    scene.registers("news-1").await;
    scene.news_are(&["news-0", "news-1"]).await;
    scene.known(&["news-0", "news-1"]).await;
    for n in 0..3 {
        scene.cluster.kill(n);
    }
    scene.source_is(false).await;
    scene.lasts(Duration::from_secs(20)).await;
    scene.bridge_dies().await;
    let ready = scene.bridge.text("/readyz").await.expect("an answer");
    assert!(ready.contains("last known"), "{ready}");
    scene.lasts(Duration::from_secs(40)).await;

    scene.cluster.restart(&[0, 1, 2]).await;
    scene.source_is(true).await;
    // Each lease has its second chance to run out.
    scene.lasts(2 * ttl).await;
    scene.deregisters("news-1").await;
    scene.news_are(&["news-0"]).await;
    scene.finish(&["news-0"]).await;
}
