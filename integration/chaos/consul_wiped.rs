//! The server comes back on its ports with an empty data directory: `?consistent` says in all
//! honesty that there is nothing. Only the guard stands between that and Envoy.

use super::{Cache, SOURCE, follows, is_back};
use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::Consul;
use crate::support::crowd::Crowd;
use crate::support::envoy::Envoy;
use crate::support::load::Load;
use crate::support::steady::Steady;
use crate::support::wait;

const SERVICES: usize = 300;
const WITHHELD: &str = "xds_bridge_source_withheld_instances";

/// All instances of the crowd are withheld, or none.
async fn withholds(bridge: &Bridge, instances: usize) {
    let wanted = i64::try_from(instances).expect("some hundreds");
    bridge.metric_is(WITHHELD, &SOURCE, |n| n == wanted).await;
}

async fn start(consul: &Consul, hold: &str, cache: &Cache) -> (Bridge, Envoy) {
    let hold = format!("max_removal_hold = \"{hold}\"\n");
    let bridge = Bridge::start(&(consul.section() + &hold + &cache.section())).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let last = Call::http(&format!("s{}", SERVICES - 1));
    envoy.client().reaches(&last, &["server-0", "server-3"]).await;
    (bridge, envoy)
}

/// Follows the load for as long as everything is withheld: not one request fails before it is believed.
async fn is_clean_while_withheld(bridge: &Bridge, load: &Load) {
    wait::until(wait::PATIENCE * 3, "the empty registry is believed", async || {
        let report = load.report();
        let metrics = bridge.metrics().await;
        match metrics.sum(WITHHELD, &SOURCE) {
            Some(0) => Ok(()),
            withheld => {
                report.assert_clean(0); // counted before it was seen to be withheld
                Err(format!("{withheld:?} withheld"))
            }
        }
    })
    .await;
}

/// Kills the server and takes all its data.
fn wipe(consul: &mut Consul) {
    consul.kill();
    consul.wipe();
    consul.restart_unready();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_server_is_withheld_until_it_is_filled_again_or_accepted() {
    let mut consul = Consul::start().await;
    let crowd = Crowd::start(SERVICES).await;
    consul.fill(&crowd.entries()).await;
    let cache = Cache::new();
    let (mut bridge, envoy) = start(&consul, "1h", &cache).await;
    let client = envoy.client();
    let steady = Steady::start(&envoy, &crowd.calls(), 100).await;
    assert_eq!(steady.hosts(), crowd.instances());
    cache.holds("node-1/s299-1").await;
    let generation = bridge.generation().await;

    // It is gone all at once, and withheld all at once; also by a bridge that is killed meanwhile.
    wipe(&mut consul);
    withholds(&bridge, crowd.instances()).await;
    let ready = bridge.text("/readyz").await.expect("an answer");
    let said = format!("{} removed instances withheld", crowd.instances());
    assert!(ready.contains(&said), "{ready}");
    steady.goes_on(100).await;
    assert_eq!(
        bridge.generation().await,
        generation,
        "the empty catalog was published"
    );
    bridge.kill_and_restart().await;
    withholds(&bridge, crowd.instances()).await;
    steady.goes_on(100).await;

    // The services register again: nothing was ever removed.
    let generation = bridge.generation().await;
    consul.fill(&crowd.entries()).await;
    withholds(&bridge, 0).await;
    is_back(&bridge).await;
    steady.goes_on(100).await;
    assert_eq!(
        bridge.generation().await,
        generation,
        "what came back was published"
    );
    let load = steady.let_go().await;
    follows(&consul, &crowd, &client).await;
    load.finish().await.assert_clean(300);

    // Wiped once more, and the operator says that it is right.
    wipe(&mut consul);
    withholds(&bridge, crowd.instances()).await;
    let s0 = Call::http("s0");
    client.reaches(&s0, &["server-0", "server-1"]).await;
    let said = bridge.accept("registry");
    let wanted = format!("{} withheld instances let go", crowd.instances());
    assert!(said.stdout.contains(&wanted), "{} {}", said.stdout, said.stderr);
    client.is_refused(&s0, "http 404").await;
    consul.enter(&crowd.entry("s0", 0, 0)).await;
    client.reaches(&s0, &["server-0"]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_server_is_believed_after_the_hold() {
    let mut consul = Consul::start().await;
    let crowd = Crowd::start(SERVICES).await;
    consul.fill(&crowd.entries()).await;
    let (bridge, envoy) = start(&consul, "20s", &Cache::new()).await;
    let client = envoy.client();
    let steady = Steady::start(&envoy, &crowd.calls(), 100).await;
    wipe(&mut consul);
    withholds(&bridge, crowd.instances()).await;
    let load = steady.let_go().await;
    is_clean_while_withheld(&bridge, &load).await;
    let s0 = Call::http("s0");
    client.is_refused(&s0, "http 404").await;
    drop(load);
    consul.fill(&crowd.entries()).await;
    client.reaches(&s0, &["server-0", "server-1"]).await;
    bridge.assert_no_nacks().await;
}
