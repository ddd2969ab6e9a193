//! What etcd remembers is not what it was: compacted, taken from a backup, or gone.

use std::path::Path;

use etcd_client::CompactionOptions;

use super::cluster::{Cluster, MEMBERS};
use super::scene::{INSTANCES, Scene};
use crate::support::bridge::run;
use crate::support::etcd::connect;

/// Forgets all history before now.
async fn compact(scene: &Scene, member: usize) {
    let mut etcd = connect(scene.cluster.url(member)).await.expect("a client");
    let now = etcd.get("any", None).await.expect("a read");
    let revision = now.header().expect("a header").revision();
    let physical = CompactionOptions::new().with_physical();
    etcd.compact(revision, Some(physical))
        .await
        .expect("a compaction");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_compacted_while_the_bridge_is_away() {
    let mut scene = Scene::start(Cluster::start().await).await;
    scene.registers("news-1").await;
    scene.news_are(&["news-0", "news-1"]).await;

    // It hears nothing, and the member that it watched is gone when it wakes up.
    let watched = scene.watched().expect("the log names a member");
    scene.bridge.program().signal("STOP");
    scene.cluster.kill(watched);
    scene.registers("news-2").await;
    scene.deregisters("news-1").await;
    compact(&scene, (watched + 1) % MEMBERS).await;
    scene.bridge.program().signal("CONT");
    scene.logged("is compacted").await;
    scene.news_are(&["news-0", "news-2"]).await;
    scene.known(&["news-0", "news-2"]).await;
    scene.cluster.restart(&[watched]).await;

    // It is dead meanwhile.
    scene.bridge.kill();
    scene.registers("news-3").await;
    scene.deregisters("news-2").await;
    compact(&scene, 0).await;
    scene.goes_on().await;
    scene.bridge.restart().await;
    scene.news_are(&["news-0", "news-3"]).await;
    scene.finish(&["news-0", "news-3"]).await;
}

/// What came after the backup is unknown to etcd and goes; what left after it is back. Nothing else moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_restored() {
    let mut scene = Scene::start(Cluster::start().await).await;
    scene.registers("news-1").await;
    let backup = scene.cluster.save(0);
    scene.deregisters("news-1").await;
    scene.registers("news-2").await;
    scene.news_are(&["news-0", "news-2"]).await;

    // The bridge sleeps, and the new history has passed the old one when it wakes up.
    scene.bridge.program().signal("STOP");
    scene.let_go("news-2");
    restore(&mut scene, &backup).await;
    let mut etcd = connect(scene.cluster.url(0)).await.expect("a client");
    for _ in 0..20 {
        etcd.put("elsewhere", "something", None).await.expect("a write");
    }
    scene.bridge.program().signal("CONT");
    scene.news_are(&["news-0", "news-1"]).await;
    // Its server finds its lease gone.
    scene.owners.fall_silent(false);
    scene.owners.look_after().await;
    scene.news_are(&["news-0", "news-1", "news-2"]).await;
    scene.known(&["news-0", "news-1", "news-2"]).await;

    // Once more, while the bridge is awake, and dies.
    scene.let_go("news-2");
    for n in 0..MEMBERS {
        scene.cluster.kill(n);
    }
    scene.source_is(false).await;
    scene.bridge_dies().await;
    restore(&mut scene, &backup).await;
    scene.news_are(&["news-0", "news-1"]).await;
    scene.owners.fall_silent(false);
    scene.owners.look_after().await;
    let news = ["news-0", "news-1", "news-2"];
    scene.news_are(&news).await;
    scene.finish(&news).await;
}

/// All members die, and come back with what was in the backup. No server notices yet.
async fn restore(scene: &mut Scene, backup: &Path) {
    scene.owners.fall_silent(true);
    for n in 0..MEMBERS {
        scene.cluster.kill(n);
    }
    scene.cluster.restore(backup);
    scene.cluster.restart(&[0, 1, 2]).await;
}

/// Members with empty disks: the same cluster to look at, and then another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_data_are_lost() {
    let cluster = Cluster::start().await;
    let mut scene = Scene::with_source(cluster, "max_removal_hold = \"1h\"").await;
    let wiped = async |scene: &mut Scene| {
        for n in 0..MEMBERS {
            scene.cluster.kill(n);
        }
        scene.source_is(false).await;
        scene.cluster.wipe();
        scene.cluster.restart(&[0, 1, 2]).await;
        scene.withheld(INSTANCES).await;
        scene.goes_on().await;
    };

    // The servers register again before the hold is over: none was ever away.
    wiped(&mut scene).await;
    scene.bridge_dies().await;
    scene.withheld(INSTANCES).await;
    scene.owners.look_after().await;
    assert_eq!(scene.owners.registered_anew(), INSTANCES);
    scene.withheld(0).await;
    scene.registers("news-1").await;
    scene.news_are(&["news-0", "news-1"]).await;
    scene.deregisters("news-1").await;
    scene.news_are(&["news-0"]).await;
    scene.goes_on().await;

    // Nobody registers again, and the operator says that it is so.
    scene.cluster.rename("another");
    wiped(&mut scene).await;
    let load = scene.ends_clean().await;
    let file = scene.bridge.file();
    let folder = file.parent().expect("a folder");
    let accepted = run(
        &["accept", "registry", "--config", &file.display().to_string()],
        folder,
    );
    assert!(accepted.status.success(), "{}", accepted.stderr);
    scene.withheld(0).await;
    scene.news_are(&[]).await;
    assert!(scene.envoy.hosts("s00").await.is_empty(), "believed");
    assert!(load > 300, "only {load} requests");
    // Alive all the time, they come back.
    scene.owners.look_after().await;
    scene.news_are(&["news-0"]).await;
}
