//! Rolling deploys while something else goes wrong: a bridge restarts or is lost, the registry is down, an Envoy is
//! frozen or joins, and one of a thousand clients is late.

use serde_json::Value;

use super::crowd::Crowd;
use super::scene::{Commands, Deployed, Scene, Service, Way, clean, is_long, load, reached, sources, ways};
use crate::support::bridge::Bridge;
use crate::support::gate::Gate;
use crate::support::wait;

/// Waits until all of them are drained, and kills each as soon as it is.
async fn kill_all(commands: &Commands, all: Vec<Deployed>) {
    let kill = async |one: Deployed| {
        // A bridge that starts in between does not know who was deregistered before.
        let (server, service) = (one.mortal.server(), one.service.name());
        let args = format!(
            "wait --drained {service}/{} --address {}",
            server.id, server.address
        );
        commands.until(&args).await;
        one.mortal.kill();
    };
    futures::future::join_all(all.into_iter().map(kill)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_is_killed_and_restarted_in_the_middle() {
    let mut scene = Scene::start("grace = \"1s\"").await;
    let mut old = scene.deploy_all(0).await;
    let envoy = scene.envoy(&old).await;
    let load = load(&envoy);
    for (n, way) in ways() {
        let next = scene.deploy_all(n).await;
        let before = std::mem::replace(&mut old, next);
        scene.leave_all(&before, way).await;
        let commands = scene.commands.clone();
        tokio::join!(kill_all(&commands, before), scene.bridge.kill_and_restart());
        reached(&envoy, &old).await;
    }
    clean(
        "the bridge is killed and started again in the middle",
        ways().count(),
        load,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_bridges_that_is_killed_in_the_middle() {
    let scene = Scene::start("grace = \"1s\"").await;
    let mut other = scene.bridge.twin(&sources(&scene.etcd, "grace = \"1s\"")).await;
    let gate = Gate::to(other.xds).await;
    let mut old = scene.deploy_all(0).await;
    let envoy = scene.bridge.envoy_by(gate.address).await;
    reached(&envoy, &old).await;
    let load = load(&envoy);
    for (n, way) in ways() {
        let next = scene.deploy_all(n).await;
        let before = std::mem::replace(&mut old, next);
        scene.leave_all(&before, way).await;
        let lost = async {
            other.kill();
            gate.open(scene.bridge.xds);
        };
        tokio::join!(kill_all(&scene.commands, before), lost);
        other.restart().await;
        gate.open(other.xds);
        streams(&other, 1).await;
        reached(&envoy, &old).await;
    }
    clean("one of two bridges is killed in the middle", ways().count(), load).await;
}

async fn streams(bridge: &Bridge, wanted: i64) {
    let enough = |streams| streams >= wanted;
    bridge.metric_is("xds_bridge_streams", &[], enough).await;
}

/// While it is down the answer is no, whatever is drained; nothing is lost by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_down_in_the_middle() {
    let mut scene = Scene::start("grace = \"1s\"").await;
    let mut old = scene.deploy_all(0).await;
    let envoy = scene.envoy(&old).await;
    let load = load(&envoy);
    for (n, way) in ways() {
        let next = scene.deploy_all(n).await;
        let before = std::mem::replace(&mut old, next);
        scene.leave_all(&before, way).await;
        scene.etcd.kill();
        wait::until(wait::PATIENCE, "the bridge knows that etcd is away", async || {
            let text = scene.bridge.text("/readyz").await?;
            let state = text.lines().find(|line| line.starts_with("shared state"));
            wait::holds(state.is_some_and(|line| line.contains("away")), || text.clone())
        })
        .await;
        let one = &before[0];
        let args = format!("wait --drained {}/{} --timeout 1s", one.service.name(), one.id());
        let answer = scene.commands.run(&args).await;
        let code = answer.status.code();
        assert!(
            !answer.status.success(),
            "{way:?}: {}{}",
            answer.stdout,
            answer.stderr
        );
        if way == Way::Command {
            assert!(matches!(code, Some(3 | 4)), "{}{}", answer.stdout, answer.stderr);
            let words = "other bridges cannot be asked";
            assert!(answer.stderr.contains(words), "{}", answer.stderr);
        }
        scene.etcd.restart().await;
        kill_all(&scene.commands, before).await;
        load.goes_on(20).await;
    }
    clean("the registry is down in the middle", ways().count(), load).await;
}

/// It holds connections and has calls under way: the answer is no, and names it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_is_frozen_is_named_and_waited_for() {
    let scene = Scene::start("grace = \"1s\"").await;
    let mut old = scene.deploy_all(0).await;
    let first = scene.envoy(&old).await;
    let mut frozen = scene.further_envoy("envoy-2").await;
    // Of both: the kernel spreads connections over them.
    let load = load(&first);
    // Until a lease has run out, calls that a frozen Envoy holds would be given up.
    let all: Vec<_> = ways().filter(|(_, way)| *way != Way::Lease).collect();
    let rounds = all.len();
    for (n, way) in all {
        let next = scene.deploy_all(n).await;
        let before = std::mem::replace(&mut old, next);
        frozen.program().signal("STOP");
        scene.leave_all(&before, way).await;
        for one in &before {
            let args = format!(
                "wait --drained {}/{} --timeout 300ms",
                one.service.name(),
                one.id()
            );
            wait::until(wait::PATIENCE, "it is named", async || {
                let answer = scene.commands.run(&args).await;
                assert!(!answer.status.success(), "{way:?}: {}", answer.stdout);
                let words = "1 client has not acknowledged it: envoy-2 (proof)";
                let is_named = answer.status.code() == Some(3) && answer.stderr.contains(words);
                wait::holds(is_named, || answer.stderr.clone())
            })
            .await;
        }
        frozen.program().signal("CONT");
        kill_all(&scene.commands, before).await;
        load.goes_on(20).await;
    }
    assert!(frozen.stat("http.internal.downstream_rq_total").await > 0);
    clean("an Envoy is frozen in the middle", rounds, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_joins_in_the_middle() {
    let scene = Scene::start("grace = \"1s\"").await;
    let mut old = scene.deploy_all(0).await;
    let envoy = scene.envoy(&old).await;
    let first = load(&envoy);
    // Both listen on the same port: connections of the first load go to either, and end with it.
    let mut stay = Vec::new();
    // In the long run a third: with sixty on one port some would get no connection.
    let all: Vec<_> = ways().step_by(if is_long() { 3 } else { 1 }).collect();
    let rounds = all.len();
    for (n, way) in all {
        let next = scene.deploy_all(n).await;
        let before = std::mem::replace(&mut old, next);
        let joins = async {
            let joined = scene.further_envoy(&format!("envoy-{}", n + 1)).await;
            let mut loads = Vec::new();
            // Which of those on the port gets a connection is the kernel's choice.
            while loads.len() < 20 && joined.stat("http.internal.downstream_rq_total").await == 0 {
                let load = load(&joined);
                load.goes_on(100).await;
                loads.push(load);
            }
            (joined, loads)
        };
        let rolls = async {
            scene.leave_all(&before, way).await;
            kill_all(&scene.commands, before).await;
        };
        let ((joined, loads), ()) = tokio::join!(joins, rolls);
        for load in loads {
            load.goes_on(100).await;
            load.finish().await.assert_clean(200);
        }
        assert!(joined.stat("http.internal.downstream_rq_total").await > 0);
        stay.push(joined);
    }
    clean("an Envoy joins in the middle", rounds, first).await;
}

/// A thousand clients, of which one is late: it is named, and nothing is safe before it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_thousand_clients_is_late() {
    let scene = Scene::start("grace = \"1s\"\nin_flight = \"3s\"").await;
    let mut old = scene.deploy_all(0).await;
    let envoy = scene.envoy(&old).await;
    let names = Service::ALL.map(Service::name);
    let crowd = Crowd::start(scene.bridge.xds, 1_000, &names).await;
    streams(&scene.bridge, 1_001).await;
    let load = load(&envoy);
    for (n, way) in ways() {
        let next = scene.deploy_all(n).await;
        let before = std::mem::replace(&mut old, next);
        crowd.hold("client-617");
        scene.leave_all(&before, way).await;
        for one in &before {
            let name = format!("{}/{}", one.service.name(), one.id());
            let args = format!("wait --drained {name} --timeout 300ms --json");
            // The others take their time on a busy machine.
            wait::until(wait::PATIENCE, "one client is late", async || {
                let answer = scene.commands.run(&args).await;
                assert!(!answer.status.success(), "{way:?}: {}", answer.stdout);
                let view: Value = serde_json::from_str(&answer.stdout).expect("JSON");
                let lagging = &view["instances"][0]["lagging"];
                let is_it = lagging["clients"][0]["node"] == "client-617";
                let is_late = answer.status.code() == Some(3) && lagging["count"] == 1;
                wait::holds(is_late && is_it, || format!("{view:#}"))
            })
            .await;
        }
        crowd.release();
        kill_all(&scene.commands, before).await;
        load.goes_on(20).await;
    }
    clean("one of 1,000 clients acknowledges late", ways().count(), load).await;
    scene.bridge.assert_no_nacks().await;
}
