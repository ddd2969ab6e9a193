//! Rollouts go on, or stay as they are, when the bridge, the one that leads, or the registry goes away; and Envoys that come
//! get what the others have.

use std::time::Duration;

use xds_bridge::registry::store::If;

use crate::store::scene::of as store;
use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::load::Load;
use crate::support::registry::{Kind, Registry};
use crate::support::tap::Tap;
use crate::support::wait;

use super::scene::{RATE, Scene, Version, config, is, taken_back, until, view};

/// Long enough to be met in the middle.
const SLOW: &str = "steps = \"10,50,100\"\nstep_time = \"3s\"\nmin_sample = 20\nmargin = \"10%\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_is_killed_in_a_step_goes_on_with_it() {
    let mut scene = Scene::start(Kind::Etcd, SLOW).await;
    let load = scene.load();
    let _good = scene.version("2").await;
    for step in ["10", "50"] {
        scene
            .until(&format!("step {step}"), |view| {
                view["text"]
                    .as_str()
                    .unwrap_or_default()
                    .contains(&format!("step {step} since"))
            })
            .await;
        let started = scene.view().await["record"]["rollout"]["started"].clone();
        scene.bridge.kill_and_restart().await;
        let record = scene.view().await["record"].clone();
        assert_eq!(
            record["rollout"]["started"], started,
            "the same rollout: {record:#}"
        );
        assert_eq!(record["stable"], "1");
    }
    scene.stable_is("2").await;
    scene
        .envoy
        .client()
        .reaches(&Call::http("orders"), &["2-0"])
        .await;
    load.finish().await.assert_clean(500);
    scene.bridge.assert_no_nacks().await;
}

/// A later bridge writes what this one cannot read, and this one, or one without memory, starts beside it.
async fn what_was_taken_back_gets_nothing_although_its_record_is_unreadable(kind: Kind) {
    let mut scene = Scene::start(kind, "steps = \"50,100\"\nstep_time = \"1h\"\n").await;
    let load = scene.load();
    let bad = scene.version("2").await;
    bad.server.fail_of(1_000);
    scene.taken_back("2").await;
    load.finish().await;
    let store = store(&scene.registry);
    let later = br#"{"version":2,"stable":"1","arms":[{"of":"2","part":0.5}]}"#;
    let written = store.put("rollouts/orders", later, If::Always).await;
    written.expect("another record");
    let says_so = async |bridge: &Bridge| {
        wait::until(wait::PATIENCE, "it is named", async || {
            let shown = bridge.command("rollout show orders").await;
            let words = format!("{}{}", shown.stdout, shown.stderr);
            let is_named = words.contains("rollouts/orders is of version 2") && !shown.status.success();
            wait::holds(is_named, || words.clone())
        })
        .await;
        let list = bridge.command("rollout list").await;
        assert!(list.stdout.contains("orders  unreadable: "), "{}", list.stdout);
        let refused = bridge.command("rollout retry orders").await;
        assert!(
            !refused.status.success() && refused.stderr.contains("is of version 2"),
            "{}",
            refused.stderr
        );
    };
    says_so(&scene.bridge).await;
    let before = bad.server.requests();
    scene.bridge.kill_and_restart().await;
    says_so(&scene.bridge).await;
    let two = scene
        .bridge
        .twin(&config(&scene.registry, "steps = \"50,100\"\n"))
        .await;
    says_so(&two).await;
    let fresh = two.envoy(Step::Listeners, &[]).await;
    for envoy in [&scene.envoy, &fresh] {
        envoy.client().reaches(&Call::http("orders"), &["1-0"]).await;
        for _ in 0..50 {
            let answer = envoy.client().call(&Call::http("orders")).await;
            assert!(answer.is_ok(), "{answer:?}");
        }
    }
    assert_eq!(bad.server.requests(), before, "what was taken back gets nothing");
    scene.bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_back_gets_nothing_although_its_record_is_unreadable_with_etcd() {
    what_was_taken_back_gets_nothing_although_its_record_is_unreadable(Kind::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_back_gets_nothing_although_its_record_is_unreadable_with_consul() {
    what_was_taken_back_gets_nothing_although_its_record_is_unreadable(Kind::Consul).await;
}

async fn another_bridge_leads_on(kind: Kind) {
    let registry = Registry::start(kind).await;
    let settings = "steps = \"10,50,100\"\nstep_time = \"1h\"\n";
    let sources = config(&registry, settings);
    let mut one = Bridge::start(&sources).await;
    let _first = Version::start(&registry, "1-0", &[("version", "1")]).await;
    until(&one, "one leads", |view| view["leads"] == true).await;
    let two = one.twin(&sources).await;
    until(&two, "both know", |view| view["record"]["stable"] == "1").await;
    // It reports to the one that does not lead.
    let envoy = two.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["1-0"]).await;
    let load = Load::start(envoy.listener(), &[Call::http("orders")], RATE, 8);
    let other = Version::start(&registry, "2-0", &[("version", "2")]).await;
    until(&one, "the leader knows what the other one counts", |view| {
        view["counts"]["2"]["envoy"]["ok"].as_u64() > Some(20)
    })
    .await;
    let started = view(&two).await.expect("a view")["record"]["rollout"]["started"].clone();
    assert!(load.report().failures.is_empty(), "{:?}", load.report().reasons());
    one.kill();
    until(&two, "two leads", |view| view["leads"] == true).await;
    let now = view(&two).await.expect("a view")["record"].clone();
    assert_eq!(now["rollout"]["started"], started, "{now:#}");
    other.server.fail_of(1_000);
    taken_back(&two, "2").await;
    envoy.client().reaches(&Call::http("orders"), &["1-0"]).await;
    let report = load.finish().await;
    report.assert_failed_by("2-0 fails");
    println!(
        "{kind:?}: {} requests failed under the new leader",
        report.failures.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_bridge_leads_on_with_etcd() {
    another_bridge_leads_on(Kind::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_bridge_leads_on_with_consul() {
    another_bridge_leads_on(Kind::Consul).await;
}

async fn nothing_moves_while_the_registry_is_away(kind: Kind) {
    let mut scene = Scene::start(kind, "steps = \"50,100\"\nstep_time = \"1h\"\n").await;
    let load = scene.load();
    let other = scene.version("2").await;
    scene.is_under_way().await;
    scene
        .envoy
        .client()
        .reaches(&Call::http("orders"), &["1-0", "2-0"])
        .await;
    scene.registry.kill();
    wait::until(wait::PATIENCE, "the log says that nothing moves", async || {
        let log = scene.bridge.log();
        wait::holds(log.contains("rollouts stay as they are"), || log.clone())
    })
    .await;
    other.server.fail_of(1_000);
    let before = load.report();
    wait::until(wait::PATIENCE, "the load goes on", async || {
        let now = load.report();
        wait::holds(now.sent > before.sent + 600, || format!("{}", now.sent))
    })
    .await;
    let now = load.report();
    assert!(
        now.failures.len() > before.failures.len() + 100,
        "both get their shares: {:?}",
        now.answers
    );
    let current = scene.view().await;
    assert!(is(&current, "running") || is(&current, "held"), "{current:#}");
    scene.registry.restart().await;
    scene.taken_back("2").await;
    let log = scene.bridge.log();
    assert_eq!(log.matches("rollouts stay as they are").count(), 1, "{log}");
    assert!(log.contains("rollouts go on"), "{log}");
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_moves_while_etcd_is_away() {
    nothing_moves_while_the_registry_is_away(Kind::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_moves_while_consul_is_away() {
    nothing_moves_while_the_registry_is_away(Kind::Consul).await;
}

/// From what is remembered on disk: the shares are there before the first Envoy is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_starts_without_its_registry_has_the_shares() {
    let registry = Registry::start(Kind::Etcd).await;
    let settings = "steps = \"header,100\"\nstep_time = \"1h\"\n";
    let folder = tempfile::tempdir().expect("a folder");
    let sources = format!(
        "{}[cache]\nfolder = \"{}\"\n",
        config(&registry, settings),
        folder.path().display()
    );
    let mut bridge = Bridge::start(&sources).await;
    let _first = Version::start(&registry, "1-0", &[("version", "1")]).await;
    until(&bridge, "1 is stable", |view| view["record"]["stable"] == "1").await;
    let second = Version::start(&registry, "2-0", &[("version", "2")]).await;
    until(&bridge, "a rollout is under way", |view| {
        is(view, "running") || is(view, "held")
    })
    .await;
    assert!(bridge.terminate().await.success());
    let mut registry = registry;
    registry.kill();
    bridge.restart().await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["1-0"]).await;
    assert_eq!(
        second.server.requests(),
        0,
        "only who asks for it by header gets it"
    );
}

/// Requests that this Envoy has sent to the version that is rolled out.
async fn sent(envoy: &Envoy) -> u64 {
    envoy.stat("cluster.orders@2.upstream_rq_total").await
}

/// The others decide; the one that is cut off goes on as it was, is named, and follows when it is back. They share a port, so
/// that what each sends is read from its own counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_envoy_of_three_is_cut_off() {
    let scene = Scene::start(Kind::Etcd, "steps = \"50,100\"\nstep_time = \"1h\"\n").await;
    let tap = Tap::before(scene.bridge.xds).await;
    let cut = scene.bridge.envoy_by(tap.address).await;
    let third = scene.bridge.envoy(Step::Listeners, &[]).await;
    // Connections enough for each of them to have some.
    let load = Load::start(scene.envoy.listener(), &[Call::http("orders")], RATE, 48);
    let other = scene.version("2").await;
    scene
        .until("three clients report", |view| view["clients"]["reporting"] == 3)
        .await;
    let sends = async |envoy: &Envoy| {
        let before = sent(envoy).await;
        wait::until(wait::PATIENCE, "it sends requests to 2", async || {
            let now = sent(envoy).await;
            wait::holds(now > before + 5, || format!("{now}, {before} before"))
        })
        .await;
    };
    let sends_nothing = async |envoy: &Envoy| {
        wait::until(
            Duration::from_secs(60),
            "it sends nothing to 2 any more",
            async || {
                let (before, of_all) = (sent(envoy).await, load.report().sent);
                wait::until(wait::PATIENCE, "the load goes on", async || {
                    let now = load.report().sent;
                    wait::holds(now > of_all + 200, || format!("{now}"))
                })
                .await;
                let now = sent(envoy).await;
                wait::holds(now == before, || format!("{now}, {before} before"))
            },
        )
        .await;
    };
    for envoy in [&scene.envoy, &cut, &third] {
        sends(envoy).await;
    }
    tap.shut();
    scene
        .until("two clients report, and the rollout goes on", |view| {
            view["clients"]["reporting"] == 2 && (is(view, "running") || is(view, "held"))
        })
        .await;
    other.server.fail_of(1_000);
    scene.taken_back("2").await;
    for envoy in [&scene.envoy, &third] {
        sends_nothing(envoy).await;
    }
    // Nobody can say it to the one that is cut off: it has what it had.
    sends(&cut).await;
    tap.open();
    sends_nothing(&cut).await;
    let report = load.finish().await;
    report.assert_failed_by("2-0 fails");
    scene.bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_joins_gets_the_shares_and_is_counted() {
    let scene = Scene::start(Kind::Etcd, "steps = \"50,100\"\nstep_time = \"1h\"\n").await;
    let load = scene.load();
    let _other = scene.version("2").await;
    scene.is_under_way().await;
    let twin = scene.bridge.envoy(Step::Listeners, &[]).await;
    let wait = Duration::from_secs(60);
    wait::until(wait, "it has both versions", async || {
        let (one, two) = (twin.hosts("orders@1").await, twin.hosts("orders@2").await);
        wait::holds(!one.is_empty() && !two.is_empty(), || format!("{one:?} {two:?}"))
    })
    .await;
    scene
        .until("two clients report", |view| view["clients"]["reporting"] == 2)
        .await;
    load.finish().await.assert_clean(100);
    scene.bridge.assert_no_nacks().await;
}
