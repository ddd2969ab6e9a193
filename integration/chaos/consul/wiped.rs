//! The server comes back on its ports with an empty data directory: `?consistent` says in all
//! honesty that there is nothing. Only the guard stands between that and Envoy.

use super::scene::{SOURCE, Scene, WITHHELD, withholds};
use crate::support::client::Call;
use crate::support::consul::Consul;
use crate::support::wait;

const SERVICES: usize = 300;

/// Kills the server and takes all its data.
fn wipe(consul: &mut Consul) {
    consul.kill();
    consul.wipe();
    consul.restart_unready();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_server_is_withheld_until_it_is_filled_again_or_accepted() {
    let mut consul = Consul::start().await;
    let mut scene = Scene::start(&consul, SERVICES, "max_removal_hold = \"1h\"\n").await;
    let all = scene.crowd.instances();

    // It is gone all at once, and withheld all at once; also by a bridge that is killed meanwhile.
    wipe(&mut consul);
    scene.withholds(all).await;
    scene.says(&format!("{all} removed instances withheld")).await;
    scene.restart_bridge().await;
    scene.withholds(all).await;

    // The services register again: nothing was ever removed.
    consul.fill(&scene.crowd.entries()).await;
    scene.withholds(0).await;
    scene.is_back().await;
    let (bridge, envoy, crowd) = scene.still_follows(&consul).await;

    // Wiped once more, and the operator says that it is right.
    wipe(&mut consul);
    withholds(&bridge, all).await;
    let (client, s0) = (envoy.client(), Call::http("s0"));
    client.reaches(&s0, &["server-0", "server-1"]).await;
    let said = bridge.accept("registry");
    let wanted = format!("{all} withheld instances let go");
    assert!(said.stdout.contains(&wanted), "{} {}", said.stdout, said.stderr);
    client.is_refused(&s0, "http 503").await;
    consul.enter(&crowd.entry("s0", 0, 0)).await;
    client.reaches(&s0, &["server-0"]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_server_is_believed_after_the_hold() {
    let mut consul = Consul::start().await;
    let scene = Scene::start(&consul, SERVICES, "max_removal_hold = \"20s\"\n").await;
    wipe(&mut consul);
    let all = scene.crowd.instances();
    let (bridge, envoy, crowd, load) = scene.let_go().await;
    withholds(&bridge, all).await;
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
    let (client, s0) = (envoy.client(), Call::http("s0"));
    client.is_refused(&s0, "http 503").await;
    consul.fill(&crowd.entries()).await;
    client.reaches(&s0, &["server-0", "server-1"]).await;
    bridge.assert_no_nacks().await;
}
