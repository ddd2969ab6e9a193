//! Instances leave a registry under load: because somebody scales in, or because the registry has lost its data.
//! The bridge cannot know which, and no request fails in either.

mod grpc;
mod scene;

use scene::{Scene, Share};

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::Consul;
use crate::support::crowd::Crowd;
use crate::support::etcd::{Etcd, facts, instance_key};
use crate::support::load::Load;
use crate::support::servers::Server;
use crate::support::wait;

const ALL: usize = 30;

/// Requests of one phase: 15 s.
const PHASE: u64 = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scale_in_of_most_instances_loses_nothing() {
    for left in [6, 1] {
        let mut scene = Scene::start(ALL, "").await;
        scene.leave(left..ALL).await;
        scene.served_first(left).await; // who stops before that loses requests, as in any removal
        scene.stop(left..ALL).await;
        scene.load.goes_on(PHASE).await;
        scene.withheld(0).await;
        scene.served(left).await;
        scene
            .finish(&format!("{} of {ALL} leave and stop", ALL - left))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scale_in_whose_servers_stop_later_loses_nothing() {
    let mut scene = Scene::start(ALL, "").await;
    scene.leave(6..ALL).await;
    scene.withheld(ALL - 6).await;
    scene.alive(ALL - 6).await;
    for server in 6..ALL {
        scene.stop(server..server + 1).await;
        scene.load.goes_on(400 / (ALL as u64 - 6)).await; // all within 10 s
    }
    scene.load.goes_on(PHASE - 400).await;
    scene.withheld(0).await;
    scene.served(6).await;
    scene.finish("24 of 30 leave, and stop in the next 10 s").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wipe_loses_nothing_and_those_that_come_back_share() {
    let scene = Scene::start(ALL, "").await;
    scene.leave(0..ALL).await;
    scene.withheld(ALL).await;
    scene.alive(ALL).await;
    scene.load.goes_on(PHASE).await;
    let share = Share::watch(&scene);
    for server in 0..ALL {
        scene.register(server).await;
        scene.withheld(ALL - 1 - server).await;
        scene.load.goes_on(20).await;
    }
    share.assert_fair(&scene, "after a wipe 30 register again, one each half second");
    scene.finish("all 30 are wiped and come back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wipe_in_the_middle_of_a_scale_in_loses_nothing() {
    let mut scene = Scene::start(ALL, "").await;
    scene.leave(6..ALL).await;
    scene.stop(6..18).await;
    scene.load.goes_on(40).await;
    scene.leave(0..6).await;
    scene.load.goes_on(40).await;
    scene.stop(18..ALL).await;
    scene.load.goes_on(PHASE - 80).await;
    scene.withheld(6).await;
    scene.alive(6).await;
    scene
        .finish("24 of 30 leave; 12 stop, all is wiped, 12 stop")
        .await;
}

/// Where the bridge reaches no server, those that are still registered come first, unless they are too few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_probes_a_scale_in_and_a_wipe_lose_nothing() {
    let mut scene = Scene::start(ALL, "guard_probe = false\n").await;
    scene.leave(6..ALL).await;
    scene.withheld(ALL - 6).await;
    scene.served_first(6).await;
    scene.stop(6..ALL).await;
    scene.load.goes_on(PHASE).await;
    scene.withheld(ALL - 6).await;
    scene.finish("no probes: 24 of 30 leave and stop").await;

    let scene = Scene::start(ALL, "guard_probe = false\n").await;
    scene.leave(0..ALL).await;
    scene.withheld(ALL).await;
    let share = Share::watch(&scene);
    for server in 0..5 {
        scene.register(server).await;
        scene.withheld(ALL - 1 - server).await;
        scene.load.goes_on(80).await;
    }
    share.assert_fair(&scene, "no probes: after a wipe 5 of 30 register again");
    scene.finish("no probes: all 30 are wiped").await;
}

/// Small services are protected, too: all of them together are many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wipe_of_small_services_loses_nothing() {
    let etcd = Etcd::start().await;
    let mut servers = Vec::new();
    for n in 0..8 {
        let server = Server::http(&format!("s{}-{n}", n / 2)).await;
        let key = instance_key(&format!("s{}", n / 2), &server.id);
        etcd.put(&key, facts(&server, &[]).to_string()).await;
        servers.push(server);
    }
    let (bridge, envoy) = scene::start(&etcd, "").await;
    let calls: Vec<Call> = (0..4).map(|n| Call::http(&format!("s{n}"))).collect();
    for (n, call) in calls.iter().enumerate() {
        let names = [format!("s{n}-{}", 2 * n), format!("s{n}-{}", 2 * n + 1)];
        envoy.client().reaches(call, &[&names[0], &names[1]]).await;
    }
    let load = Load::over(envoy.listener(), &calls, 40, 4);
    load.goes_on(40).await;
    scene::delete_all(&etcd).await;
    scene::withheld(&bridge, 8).await;
    load.goes_on(PHASE).await;
    load.finish().await.assert_clean(PHASE);
    bridge.assert_no_nacks().await;
}

/// The same with Consul, whose server comes back without its data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_consul_of_small_services_loses_nothing() {
    let mut consul = Consul::start().await;
    let crowd = Crowd::start(4).await;
    consul.fill(&crowd.entries()).await;
    let bridge = Bridge::start(&consul.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    for call in crowd.calls() {
        let what = format!("{call} is answered");
        wait::until(wait::PATIENCE, &what, async || {
            envoy
                .client()
                .call(&call)
                .await
                .map_err(|refusal| refusal.to_string())
        })
        .await;
    }
    let load = Load::over(envoy.listener(), &crowd.calls(), 40, 4);
    load.goes_on(40).await;
    consul.kill();
    consul.wipe();
    consul.restart_unready();
    scene::withheld(&bridge, crowd.instances()).await;
    load.goes_on(PHASE).await;
    load.finish().await.assert_clean(PHASE);
    bridge.assert_no_nacks().await;
}

/// What people do by hand is followed at once, whether the server still runs or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_and_the_last_one_leave_at_once() {
    let mut scene = Scene::start(2, "").await;
    let (client, orders) = (scene.envoy.client(), Call::http("orders"));
    scene.load.stop().await.assert_clean(40);
    scene::delete(&scene.etcd, &["orders-1"]).await;
    client.reaches(&orders, &["orders-0"]).await;
    scene::delete(&scene.etcd, &["orders-0"]).await;
    client.is_refused(&orders, "http 503").await; // its route is kept
    scene.served(0).await;
    let log = scene.bridge.log();
    assert!(!log.contains("withheld"), "{log}");
}

/// A service that is stopped as a whole: its dead servers are not waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_servers_are_dead_leaves_without_the_hold() {
    let mut scene = Scene::start(5, "max_removal_hold = \"1h\"\n").await;
    let (client, orders) = (scene.envoy.client(), Call::http("orders"));
    scene.leave(0..5).await;
    scene.withheld(5).await;
    scene.alive(5).await;
    let ready = scene.bridge.text("/readyz").await.expect("an answer");
    let words = "5 removed instances withheld (5 of their addresses accept connections)";
    assert!(ready.contains(words), "{ready}");
    let load = scene.load.stop().await;
    scene.stop(0..5).await;
    scene.withheld(0).await;
    scene.served(0).await;
    client.is_refused(&orders, "http 503").await; // its route is kept
    load.assert_clean(40);
    let gone = "xds_bridge_source_withheld_gone_total";
    scene
        .bridge
        .metric_is(gone, &[("source", "registry")], |n| n == 5)
        .await;
}

/// One that drained before is not missed, however many there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_drained_leave_at_once() {
    let scene = Scene::start(10, "max_removal_hold = \"1h\"\n").await;
    for server in 1..10 {
        scene.drain(server).await;
    }
    let (client, orders) = (scene.envoy.client(), Call::http("orders"));
    client.reaches(&orders, &["orders-0"]).await;
    scene.leave(1..10).await;
    scene.served(1).await;
    scene.withheld(0).await;
    assert!(!scene.bridge.log().contains("withheld"), "{}", scene.bridge.log());
    scene.finish("9 of 10 drain and leave").await;
}

/// `/readyz` and the metric follow each instance, not only each service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withheld_instances_are_counted_one_by_one() {
    let scene = Scene::start(ALL, "max_removal_hold = \"1h\"\n").await;
    let counted = async |bridge: &Bridge, n: usize| {
        scene::withheld(bridge, n).await;
        wait::until(wait::PATIENCE, "/readyz has the same number", async || {
            let text = bridge.text("/readyz").await?;
            wait::holds(text.contains(&format!("{n} removed instances withheld")), || text)
        })
        .await;
    };
    scene.leave(10..ALL).await;
    counted(&scene.bridge, 20).await;
    scene.leave(3..10).await;
    counted(&scene.bridge, 27).await;
    scene.register(5).await;
    counted(&scene.bridge, 26).await;
    scene.register(29).await;
    counted(&scene.bridge, 25).await;
    scene.finish("some of 30 leave in parts").await;
}
