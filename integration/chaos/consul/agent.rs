//! The client agent that we ask: frozen for a minute, killed, replaced by another one on its
//! port, and restarted together with the server behind it.

use std::time::Duration;

use super::scene::Scene;
use crate::support::consul::Consul;

/// Half a minute, twice.
const HALF: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_freezes_dies_or_is_replaced_takes_nothing_away() {
    let mut servers = [Consul::start().await];
    let mut agent = Consul::agent_of(&servers).await;
    let mut scene = Scene::start(&agent, 300, "").await;

    agent.program().signal("STOP");
    scene.is_away("no answer").await;
    scene.lasts(HALF).await;
    scene.restart_bridge().await;
    scene.is_away("last known").await;
    scene.lasts(HALF).await;
    agent.program().signal("CONT");
    scene.is_back().await;

    agent.kill();
    scene.is_away("consul at").await;
    let mut agent = agent.successor(&servers).await;
    scene.is_back().await;

    // Both at once: the agent is there first, and finds no server.
    servers[0].kill();
    agent.kill();
    scene.is_away("consul at").await;
    agent.restart_unready();
    scene.restart_bridge().await;
    servers[0].restart_unready();
    scene.is_back().await;
    scene.still_follows(&servers[0]).await;
}
