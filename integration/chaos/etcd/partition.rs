//! Packets are dropped: between one member and its peers, and between the bridge and all members.

use super::cluster::{Cluster, MEMBERS};
use super::network::{End, Network};
use super::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watched_member_loses_its_peers_and_the_bridge_loses_all() {
    let mut scene = Scene::start(Cluster::start_in(Network::new()).await).await;
    let network = |scene: &Scene, verb: fn(&Network, End, End), ways: &[(End, End)]| {
        let network = scene.cluster.network.as_ref().expect("members in a network");
        for (one, other) in ways {
            verb(network, *one, *other);
        }
    };

    // The bridge reaches the member; its peers do not.
    let watched = scene.watched().expect("the log names a member");
    let peers: Vec<usize> = (0..MEMBERS).filter(|n| *n != watched).collect();
    let ways: Vec<(End, End)> = peers
        .iter()
        .map(|n| (End::Member(watched), End::Member(*n)))
        .collect();
    network(&scene, Network::cut, &ways);
    scene.cluster.leader(&peers).await;
    scene.registers("news-1").await;
    scene.news_are(&["news-0", "news-1"]).await;
    assert_ne!(
        scene.watched(),
        Some(watched),
        "it watches a member of the majority"
    );
    scene.known(&["news-0", "news-1"]).await;
    scene.bridge_dies().await;
    scene.registers("news-2").await;
    scene.deregisters("news-1").await;
    scene.news_are(&["news-0", "news-2"]).await;
    scene.known(&["news-0", "news-2"]).await;
    network(&scene, Network::heal, &ways);
    scene.goes_on().await;

    // Nothing gets through to any member, and nothing is refused.
    let ways: Vec<(End, End)> = (0..MEMBERS).map(|n| (End::Here, End::Member(n))).collect();
    scene.source_is(true).await;
    network(&scene, Network::cut, &ways);
    scene.source_is(false).await;
    scene.bridge_dies().await;
    let stale = scene.bridge.text("/readyz").await.expect("an answer");
    assert!(stale.contains("last known"), "{stale}");
    scene.registers_at(0, "news-3").await;
    scene.registers_at(1, "news-4").await;
    scene.deregisters_at(2, "news-3");
    network(&scene, Network::heal, &ways);
    scene.news_are(&["news-0", "news-2", "news-4"]).await;
    scene.finish(&["news-0", "news-2", "news-4"]).await;
}
