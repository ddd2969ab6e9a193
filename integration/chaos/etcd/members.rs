//! One member of three is gone: the leader, the one that the bridge watches, or that one frozen.

use std::time::Duration;

use super::cluster::{Cluster, MEMBERS};
use super::scene::Scene;

fn others(member: usize) -> Vec<usize> {
    (0..MEMBERS).filter(|n| *n != member).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_and_the_watched_member_die() {
    let mut scene = Scene::start(Cluster::start().await).await;

    // The leader, whoever the bridge watches.
    let leader = scene.cluster.leader(&[0, 1, 2]).await;
    scene.cluster.kill(leader);
    scene.registers("news-1").await;
    scene.news_are(&["news-0", "news-1"]).await;
    scene.known(&["news-0", "news-1"]).await;
    scene.bridge_dies().await;
    scene.registers("news-2").await;
    scene.deregisters("news-1").await;
    scene.news_are(&["news-0", "news-2"]).await;
    scene.cluster.restart(&[leader]).await;
    scene.goes_on().await;

    // The member that the bridge watches, at once and in order.
    for (round, id) in ["news-3", "news-4"].into_iter().enumerate() {
        scene.source_is(true).await;
        let watched = scene.watched().expect("the log names a member");
        match round {
            0 => scene.cluster.kill(watched),
            _ => scene.cluster.stop(watched).await,
        }
        scene.registers(id).await;
        scene.news_are(&["news-0", "news-2", id]).await;
        assert_ne!(scene.watched(), Some(watched), "it watches another member");
        scene.known(&["news-0", "news-2", id]).await;
        scene.bridge_dies().await;
        scene.deregisters(id).await;
        scene.news_are(&["news-0", "news-2"]).await;
        scene.cluster.restart(&[watched]).await;
    }
    scene.finish(&["news-0", "news-2"]).await;
}

/// For a minute its connections stay open and nobody answers. What is written elsewhere arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watched_member_freezes() {
    let mut scene = Scene::start(Cluster::start().await).await;
    let watched = scene.watched().expect("the log names a member");
    scene.cluster.freeze(watched);
    let minute = tokio::time::sleep(Duration::from_secs(60));
    scene.cluster.leader(&others(watched)).await;
    scene.registers("news-1").await;
    scene.news_are(&["news-0", "news-1"]).await;
    assert_ne!(scene.watched(), Some(watched), "it watches another member");
    scene.known(&["news-0", "news-1"]).await;
    scene.goes_on().await;

    // A bridge that begins with the frozen one.
    scene.bridge_dies().await;
    scene.registers("news-2").await;
    scene.deregisters("news-1").await;
    scene.news_are(&["news-0", "news-2"]).await;
    tokio::pin!(minute);
    while !minute.is_elapsed() {
        tokio::select! {
            () = &mut minute => {}
            () = scene.goes_on() => {}
        }
    }
    scene.cluster.thaw(watched);
    scene.finish(&["news-0", "news-2"]).await;
}
