//! Rolling deploys in each way, and what is lost without the bridge's answer.

use serde_json::json;

use super::killed::Mortal;
use super::scene::{Commands, Scene, Service, Way, clean, load, reached, rounds, tell};
use crate::support::bridge::{Bridge, Step};
use crate::support::consul::{Check, Consul, Registration};
use crate::support::etcd::instance_key;

async fn rolling(what: &str, way: Way) {
    let scene = Scene::start("grace = \"1s\"").await;
    let mut old = scene.deploy_all(0).await;
    let envoy = scene.envoy(&old).await;
    let load = load(&envoy);
    let rounds = rounds(2);
    for n in 1..=rounds {
        scene.roll(&mut old, n, way).await;
        load.goes_on(20).await;
    }
    clean(what, rounds, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_the_commands_nothing_is_lost() {
    rolling("`wait --serving`, `drain --wait`, kill", Way::Command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_deregistration_nothing_is_lost() {
    rolling("deregister, `wait --drained`, kill", Way::Deregister).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_leases_that_run_out_nothing_is_lost() {
    rolling("the lease runs out, `wait --drained`, kill", Way::Lease).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_maintenance_in_consul_nothing_is_lost() {
    let consul = Consul::start().await;
    let bridge = Bridge::start(&format!("{}\n[drain]\ngrace = \"1s\"\n", consul.section())).await;
    let commands = Commands::of(&bridge);
    let deploy = async |service: Service, n: usize| {
        let id = format!("{}-{n}", service.name());
        let mortal = Mortal::start(service, &id).await;
        let server = mortal.server();
        let registered = consul.register(service.name(), server, service.keys(), Check::None);
        let registered: Registration = registered.await;
        commands.done("wait --serving", service, &id).await;
        (service, mortal, registered)
    };
    let mut old = futures::future::join_all(Service::ALL.map(|service| deploy(service, 0))).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    for (service, mortal, _) in &old {
        let [short, ..] = service.calls();
        envoy.client().reaches(&short, &[&mortal.server().id]).await;
    }
    let load = load(&envoy);
    let rounds = rounds(2);
    for n in 1..=rounds {
        let next = futures::future::join_all(Service::ALL.map(|service| deploy(service, n))).await;
        let before = std::mem::replace(&mut old, next);
        let retire = async |(service, mortal, registered): (Service, Mortal, Registration)| {
            let id = mortal.server().id.clone();
            let path = format!("/v1/agent/service/maintenance/{id}?enable=true&reason=deploy");
            consul.put(&path, &json!(null)).await;
            commands.done("wait --drained", service, &id).await;
            mortal.kill();
            registered.remove().await;
        };
        futures::future::join_all(before.into_iter().map(retire)).await;
        load.goes_on(20).await;
    }
    clean("maintenance in Consul, `wait --drained`, kill", rounds, load).await;
}

/// What the others prove, they would not find by themselves: this load notices what is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_requests_are_lost() {
    let scene = Scene::start("linger = \"0s\"").await;
    let mut old = scene.deploy_all(0).await;
    let envoy = scene.envoy(&old).await;
    let rounds = rounds(1);
    for (what, is_silent) in [
        ("deregister and kill at once, `linger = \"0s\"`", false),
        ("kill; the lease runs out after that", true),
    ] {
        reached(&envoy, &old).await;
        let load = load(&envoy);
        let first = if is_silent { rounds } else { 0 };
        for n in 1..=rounds {
            let next = scene.deploy_all(first + n).await;
            for one in std::mem::replace(&mut old, next) {
                one.lease.fall_silent();
                if !is_silent {
                    let key = instance_key(one.service.name(), &one.id());
                    scene.etcd.delete(&key).await;
                }
                one.mortal.kill();
            }
            reached(&envoy, &old).await;
        }
        let report = load.finish().await;
        tell(what, rounds, &report);
        assert!(
            !report.failures.is_empty(),
            "{what}: nothing is lost of {}",
            report.sent
        );
    }
}

/// "Safe", and SIGKILL at once: 200 times in the long run, beside 100,000 requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe_means_that_it_may_be_killed_at_once() {
    let (trials, requests) = if super::scene::is_long() {
        (200, 100_000)
    } else {
        (3, 500)
    };
    let scene = Scene::start("grace = \"1s\"").await;
    let mut old = scene.deploy_all(0).await;
    let envoy = scene.envoy(&old).await;
    let load = super::scene::busy_load(&envoy);
    let mut killed = 0;
    while killed < trials || load.report().sent < requests {
        killed += old.len();
        scene.roll(&mut old, killed, Way::Command).await;
        load.goes_on(20).await;
    }
    clean("\"safe\", SIGKILL at once", killed, load).await;
}
