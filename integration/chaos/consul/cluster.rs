//! Three servers: the follower that we ask restarts, the leader dies, all of them die, and the
//! quorum is lost for a minute.

use std::time::Duration;

use super::scene::Scene;
use crate::support::consul::Consul;
use crate::support::wait;

/// Half a minute, twice.
const HALF: Duration = Duration::from_secs(30);

/// Three servers, a follower to be asked, and the two others.
async fn cluster() -> (Vec<Consul>, usize, [usize; 2]) {
    let servers = Consul::cluster().await;
    let leader = servers[0].leader_of(&servers).await.expect("a leader");
    (servers, (leader + 1) % 3, [leader, (leader + 2) % 3])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_restart_mislead_nobody() {
    let (mut servers, asked, [leader, third]) = cluster().await;
    let mut scene = Scene::start(&servers[asked], 1_000, "").await;

    // The follower that is asked; the bridge, too.
    servers[asked].kill();
    scene.is_away("away").await;
    servers[asked].restart_unready();
    scene.is_back().await;
    servers[asked].kill();
    servers[asked].restart_unready();
    scene.restart_bridge().await;
    scene.is_back().await;

    // The leader, and another one takes over.
    servers[leader].kill();
    wait::until(wait::PATIENCE, "another leader", async || {
        let now = servers[third].leader_of(&servers).await;
        wait::holds(now.is_some_and(|now| now != leader), || format!("{now:?}"))
    })
    .await;
    scene.is_back().await;
    servers[leader].restart_unready();
    scene.is_still().await;

    // All at once.
    for server in &mut servers {
        server.kill();
    }
    scene.is_away("away").await;
    for server in &mut servers {
        server.restart_unready();
    }
    scene.is_back().await;
    scene.still_follows(&servers[third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_lost_for_a_minute_changes_nothing() {
    let (mut servers, asked, others) = cluster().await;
    let mut scene = Scene::start(&servers[asked], 300, "").await;
    for other in others {
        servers[other].program().signal("STOP");
    }
    scene.is_away("away").await;
    scene.lasts(HALF).await;
    scene.restart_bridge().await;
    scene.is_away("last known").await;
    scene.lasts(HALF).await;
    for other in others {
        servers[other].program().signal("CONT");
    }
    scene.is_back().await;

    // Dead, not frozen.
    for other in others {
        servers[other].kill();
    }
    scene.is_away("eader").await; // `No cluster leader`, or nobody leads to its answer
    for other in others {
        servers[other].restart_unready();
    }
    scene.is_back().await;
    scene.still_follows(&servers[asked]).await;
}
