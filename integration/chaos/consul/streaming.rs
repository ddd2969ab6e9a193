//! A client agent that streams, and what is behind it: its only server dies and comes back, with its data or
//! empty, and the quorum of three is lost. The agent lives all the time, and goes on to answer reads with a low
//! index from its memory.

use std::time::Duration;

use super::scene::Scene;
use crate::support::consul::Consul;

/// All of them are watched over the agent's 200 connections.
const SERVICES: usize = 140;

const HALF: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streaming_agent_without_its_server_takes_nothing_away() {
    let mut servers = [Consul::start().await];
    let agent = Consul::agent_of(&servers).await;
    let mut scene = Scene::start(&agent, SERVICES, "").await;

    servers[0].kill();
    scene.is_away("away").await;
    scene.lasts(HALF).await;
    servers[0].restart_unready();
    scene.is_back().await;

    // The bridge dies meanwhile, too.
    servers[0].kill();
    scene.is_away("away").await;
    scene.restart_bridge().await;
    scene.is_away("last known").await;
    servers[0].restart_unready();
    scene.is_back().await;
    scene.follows_each(&servers[0]).await;
}

/// The agent's copy has what the server lost: the bridge withholds it, and follows the server again once it
/// is filled, although the indexes began again at 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_behind_a_streaming_agent_is_withheld() {
    let mut servers = [Consul::start().await];
    let agent = Consul::agent_of(&servers).await;
    let scene = Scene::start(&agent, SERVICES, "max_removal_hold = \"1h\"\n").await;
    let all = scene.crowd.instances();
    servers[0].kill();
    servers[0].wipe();
    servers[0].restart_unready();
    scene.withholds(all).await;
    servers[0].is_consistent().await;
    servers[0].fill(&scene.crowd.entries()).await;
    scene.withholds(0).await;
    scene.is_back().await;
    scene.still_follows(&servers[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_lost_behind_a_streaming_agent_changes_nothing() {
    let mut servers = Consul::cluster().await;
    let agent = Consul::agent_of(&servers).await;
    let leader = servers[0].leader_of(&servers).await.expect("a leader");
    let others = [leader, (leader + 1) % 3];
    let alive = (leader + 2) % 3;
    let mut scene = Scene::start(&agent, SERVICES, "").await;
    for other in others {
        servers[other].kill();
    }
    scene.is_away("away").await;
    scene.lasts(HALF).await;
    scene.restart_bridge().await;
    scene.is_away("last known").await;
    for other in others {
        servers[other].restart_unready();
    }
    scene.is_back().await;
    scene.still_follows(&servers[alive]).await;
}
