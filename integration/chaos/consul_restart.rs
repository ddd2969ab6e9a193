//! A single Consul server with 2,000 services, killed and started again on its data: for
//! seconds it answers 200 with a part of its catalog. The bridge is killed meanwhile, too.

use super::{Cache, follows, is_away, is_back};
use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::Consul;
use crate::support::crowd::Crowd;
use crate::support::steady::Steady;

const SERVICES: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loads_its_catalog_takes_nothing_away() {
    let mut consul = Consul::start().await;
    let crowd = Crowd::start(SERVICES).await;
    consul.fill(&crowd.entries()).await;
    let cache = Cache::new();
    let mut bridge = Bridge::start(&(consul.section() + &cache.section())).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let last = Call::http(&format!("s{}", SERVICES - 1));
    client.reaches(&last, &["server-0", "server-3"]).await;
    let steady = Steady::start(&envoy, &crowd.calls(), 100).await;
    assert_eq!(steady.hosts(), crowd.instances());
    cache.holds("node-1/s1999-1").await;

    // The bridge lives through it.
    let generation = bridge.generation().await;
    consul.kill();
    is_away(&bridge, "away").await;
    steady.goes_on(100).await;
    consul.restart_unready();
    is_back(&bridge).await;
    steady.goes_on(100).await;
    assert_eq!(bridge.generation().await, generation, "the outage was published");

    // It is killed while the server is away: it has what it knew last, and keeps it.
    consul.kill();
    is_away(&bridge, "away").await;
    bridge.kill_and_restart().await;
    is_away(&bridge, "last known").await;
    let generation = bridge.generation().await;
    steady.goes_on(100).await;
    consul.restart_unready();
    is_back(&bridge).await;
    steady.goes_on(100).await;
    assert_eq!(bridge.generation().await, generation, "the outage was published");

    // It is killed while the server has only a part of its catalog.
    consul.kill();
    bridge.kill();
    consul.restart_unready();
    bridge.kill_and_restart().await;
    is_back(&bridge).await;
    steady.goes_on(200).await;

    // And it still follows.
    let load = steady.let_go().await;
    follows(&consul, &crowd, &client).await;
    load.finish().await.assert_clean(500);
    bridge.assert_no_nacks().await;
}
