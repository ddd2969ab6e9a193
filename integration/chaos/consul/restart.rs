//! A single Consul server with 2,000 services, killed and started again on its data: for
//! seconds it answers 200 with a part of its catalog. The bridge is killed meanwhile, too.

use super::scene::Scene;
use crate::support::consul::Consul;

const SERVICES: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loads_its_catalog_takes_nothing_away() {
    let mut consul = Consul::start().await;
    let mut scene = Scene::start(&consul, SERVICES, "").await;

    // The bridge lives through it.
    consul.kill();
    scene.is_away("away").await;
    consul.restart_unready();
    scene.is_back().await;

    // It is killed while the server is away: it has what it knew last, and keeps it.
    consul.kill();
    scene.is_away("away").await;
    scene.restart_bridge().await;
    scene.is_away("last known").await;
    consul.restart_unready();
    scene.is_back().await;

    // It is killed while the server has only a part of its catalog.
    consul.kill();
    consul.restart_unready();
    scene.restart_bridge().await;
    scene.is_back().await;
    scene.still_follows(&consul).await;
}

/// Consul is well all the time. But a blocked read whose client has died counts until its wait is
/// over, and an agent allows 200 connections of one client: the bridge starts beside its own ghosts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_killed_again_and_again_finds_room_beside_its_own_dead_reads() {
    let consul = Consul::start().await;
    let mut scene = Scene::start(&consul, 300, "").await;
    for _ in 0..3 {
        scene.restart_bridge().await;
        scene.is_back().await;
    }
    scene.still_follows(&consul).await;
}
