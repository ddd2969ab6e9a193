//! Rollouts, with real Envoys and registries, and servers that fail as they are told: a bad version is taken back, a good
//! one promoted, and nothing is lost when the bridge, its leader or the registry goes away in the middle.
//! `ROLLOUT_RUNS=20` repeats what is measured, `ROLLOUT_MINUTES=10` is how long equally bad versions are watched.

mod scene;
mod trouble;

use std::time::Duration;

use crate::support::client::Call;
use crate::support::http::Http;
use crate::support::registry::Kind;
use crate::support::wait;
use scene::{Scene, is, runs};

/// Steps of a second, so that a test sees all of them.
const QUICK: &str = "steps = \"10,50,100\"\nstep_time = \"1s\"\nmin_sample = 20\nmargin = \"10%\"\n";
/// A step that is not left: only what is bad ends it.
const STAY: &str = "steps = \"10,100\"\nstep_time = \"1h\"\n";
/// The same at half of the requests.
const HALF: &str = "steps = \"50,100\"\nstep_time = \"1h\"\n";

/// All requests to the new version fail: how many of the users' did until it was taken back.
async fn all_bad(kind: Kind) -> usize {
    let scene = Scene::start(kind, STAY).await;
    let load = scene.load();
    let bad = scene.version("2").await;
    bad.server.fail_of(1_000);
    scene.taken_back("2").await;
    // What was decided stands among what changed.
    wait::until(wait::PATIENCE, "the decision is an event", async || {
        let events = scene.bridge.command("events --service orders").await.stdout;
        let mut decisions = events
            .lines()
            .filter(|line| line.contains("rollouts: orders rollout: "));
        wait::holds(decisions.any(|line| line.contains("it is taken back")), || {
            events.clone()
        })
    })
    .await;
    // It gets nothing any more.
    scene
        .envoy
        .client()
        .reaches(&Call::http("orders"), &["1-0"])
        .await;
    let before = bad.server.requests();
    wait::until(wait::PATIENCE, "the load goes on", async || {
        scene
            .envoy
            .client()
            .who(&Call::http("orders"))
            .await
            .map(drop)
            .map_err(|r| r.to_string())
    })
    .await;
    assert_eq!(
        bad.server.requests(),
        before,
        "nothing comes after it was taken back"
    );
    let report = load.finish().await;
    assert!(report.sent > 50, "{}", report.sent);
    let failed = report.failures.len();
    report.assert_failed_by("2-0 fails");
    // Who registers again is not tried again.
    let view = scene.view().await;
    assert_eq!(view["record"]["rejected"][0]["version"], "2", "{view:#}");
    bad.again(&scene).await;
    let record = scene.view().await["record"].clone();
    assert_eq!(record["stable"], "1", "{record:#}");
    scene.bridge.assert_no_nacks().await;
    failed
}

async fn a_version_that_only_fails_is_taken_back(kind: Kind) {
    let mut failed = Vec::new();
    for _ in 0..runs() {
        failed.push(all_bad(kind).await);
    }
    failed.sort_unstable();
    let median = failed[failed.len() / 2];
    println!("{kind:?}: failed requests of 200 a second: median {median} of {failed:?}");
    assert!(median <= 100, "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_only_fails_is_taken_back_with_etcd() {
    a_version_that_only_fails_is_taken_back(Kind::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_only_fails_is_taken_back_with_consul() {
    a_version_that_only_fails_is_taken_back(Kind::Consul).await;
}

/// What the bad version answers is tried again at the stable one: users notice nothing, and the bad one is judged by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_retries_a_version_that_only_fails_costs_users_nothing() {
    const RETRY: (&str, &str) = ("retry", "5xx:1");
    for _ in 0..runs() {
        let scene = Scene::start_with(Kind::Etcd, STAY, &[RETRY]).await;
        let load = scene.load();
        let bad = scene.version_with("2", &[("version", "2"), RETRY]).await;
        bad.server.fail_of(1_000);
        scene.taken_back("2").await;
        assert!(bad.server.requests() > 0, "it was tried");
        load.goes_on(100).await;
        load.finish().await.assert_clean(100);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_now_and_then_is_taken_back() {
    let scene = Scene::start(Kind::Etcd, HALF).await;
    let load = scene.load();
    let bad = scene.version("2").await;
    bad.server.fail_of(50);
    scene.taken_back("2").await;
    let report = load.finish().await;
    println!(
        "5 % bad: {} of {} requests failed",
        report.failures.len(),
        report.sent
    );
    assert!(report.failures.len() <= 400, "{:?}", report.reasons());
}

async fn a_good_version_is_promoted(kind: Kind) {
    let scene = Scene::start(kind, QUICK).await;
    let load = scene.load();
    let events = scene.events().await;
    let good = scene.version("2").await;
    scene.stable_is("2").await;
    scene
        .envoy
        .client()
        .reaches(&Call::http("orders"), &["2-0"])
        .await;
    assert!(good.server.requests() > 0);
    load.goes_on(100).await;
    load.finish().await.assert_clean(200);
    let seen = events.until("promoted").await;
    let steps: Vec<&str> = seen
        .iter()
        .filter(|event| event["event"] == "step")
        .map(|event| event["text"].as_str().unwrap_or_default())
        .collect();
    assert!(!steps.is_empty(), "{seen:?}");
    let view = scene.view().await;
    assert_eq!(view["record"]["history"][0]["candidate"], "2", "{view:#}");
    let output = scene.bridge.run(&["rollout", "history", "orders"]);
    assert!(
        output.status.success() && output.stdout.contains("2 beside 1"),
        "{}",
        output.stdout
    );
    let output = scene.bridge.run(&["rollout", "list"]);
    assert!(output.stdout.starts_with("orders  "), "{}", output.stdout);
    let output = scene.bridge.run(&["rollout", "show", "orders"]);
    assert!(output.stdout.contains("shares: 2 100 %"), "{}", output.stdout);
    scene.bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_version_is_promoted_step_by_step_with_etcd() {
    a_good_version_is_promoted(Kind::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_version_is_promoted_step_by_step_with_consul() {
    a_good_version_is_promoted(Kind::Consul).await;
}

/// A short while; `ROLLOUT_MINUTES=10` is the long run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_as_bad_as_the_one_before_stays() {
    let scene = Scene::start(Kind::Etcd, HALF).await;
    scene.first.server.fail_of(20);
    let load = scene.load();
    let other = scene.version("2").await;
    other.server.fail_of(20);
    let minutes: Option<u64> = std::env::var("ROLLOUT_MINUTES")
        .ok()
        .map(|n| n.parse().expect("a number"));
    let requests = minutes.map_or(2_000, |minutes| minutes * 60 * 200);
    let patience = Duration::from_secs(60 + requests / 50);
    wait::until(patience, "the load goes on", async || {
        let sent = load.report().sent;
        wait::holds(sent >= requests, || format!("{sent} of {requests} requests"))
    })
    .await;
    let view = scene.view().await;
    assert!(is(&view, "running") || is(&view, "held"), "{view:#}");
    assert!(load.finish().await.failures.len() > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_pauses_promotes_and_aborts() {
    let scene = Scene::start(Kind::Etcd, STAY).await;
    let load = scene.load();
    let _two = scene.version("2").await;
    scene.is_under_way().await;
    scene.order("pause orders").await;
    scene.phase_is("paused").await;
    scene.order("resume orders").await;
    scene.is_under_way().await;
    scene.order("abort orders").await;
    scene.taken_back("2").await;
    scene
        .envoy
        .client()
        .reaches(&Call::http("orders"), &["1-0"])
        .await;
    let retried = scene.order("retry orders --by bob --reason INC-7").await;
    assert!(retried.contains("bob retries 2: INC-7"), "{retried}");
    scene.is_under_way().await;
    scene.order("promote orders --all --by ann --reason urgent").await;
    scene.stable_is("2").await;
    let history = scene.order("history orders").await;
    for who in ["bob retries it: INC-7", "ann gives all requests to it: urgent"] {
        assert!(history.contains(who), "{history}");
    }
    scene
        .envoy
        .client()
        .reaches(&Call::http("orders"), &["2-0"])
        .await;
    let refused = scene.bridge.command("rollout resume orders").await;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
    let refused = scene.bridge.command("rollout abort nobody").await;
    assert!(
        refused.stderr.contains("no service is called `nobody`"),
        "{}",
        refused.stderr
    );
    load.goes_on(100).await;
    load.finish().await.assert_clean(100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_changes_nothing() {
    let scene = Scene::start(Kind::Etcd, &format!("auto = false\n{QUICK}")).await;
    let _two = scene.version("2").await;
    scene.waits("2").await;
    let output = scene.order("start orders --dry-run").await;
    assert!(output.contains("dry run"), "{output}");
    let view = scene.view().await;
    assert_eq!(view["record"]["rollout"]["dry_run"], true, "{view:#}");
}

/// A version that was taken back is judged by who asks for it, and nobody else gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_of_a_service_that_is_rolled_out_by_itself_moves_no_share() {
    let scene = Scene::start(
        Kind::Etcd,
        "steps = \"10,100\"\nstep_time = \"1h\"\ngrace = \"1h\"\n",
    )
    .await;
    let load = scene.load();
    let two = scene.version("2").await;
    scene.is_under_way().await;
    scene.order("abort orders").await;
    scene.taken_back("2").await;
    let shown = scene.order("show orders").await;
    assert!(shown.contains("grace: the next rollout starts in "), "{shown}");
    let output = scene.order("start orders --dry-run --version 2 --by ann").await;
    assert!(output.contains("ann starts the dry run of 2"), "{output}");
    let before = two.server.requests();
    load.goes_on(200).await;
    assert_eq!(two.server.requests(), before, "no share");
    let (http, url) = (Http::fresh(), format!("http://{}/", scene.envoy.listener()));
    let headers = [("host", "orders"), ("x-version", "2")];
    wait::until(wait::PATIENCE, "who asks for it gets it", async || {
        let reply = http.send_with("GET", &url, &headers, "").await?;
        wait::holds(reply.body.starts_with("2-0"), || reply.body)
    })
    .await;
    two.server.fail_of(1_000);
    wait::until(wait::PATIENCE, "it is judged by who asks for it", async || {
        for _ in 0..5 {
            http.send_with("GET", &url, &headers, "").await?;
        }
        let history = scene.order("history orders").await;
        wait::holds(history.contains("(dry run): 2 is worse"), || history)
    })
    .await;
    load.finish().await.assert_clean(100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn which_data_are_stored_has_an_answer_for_each_name() {
    let scene = Scene::start(Kind::Etcd, QUICK).await;
    let none = scene.bridge.command("data orders").await;
    assert!(
        none.status.success() && none.stdout.starts_with("orders: no number is stored"),
        "{} {}",
        none.stdout,
        none.stderr
    );
    let unknown = scene.bridge.command("data order").await;
    assert_eq!(unknown.status.code(), Some(1), "{}", unknown.stdout);
    assert!(
        unknown.stderr.contains("did you mean `orders`?"),
        "{}",
        unknown.stderr
    );
    scene.bridge.command("data later 3").await;
    let later = scene.bridge.command("data later").await;
    assert!(later.stdout.starts_with("later: 3 (by "), "{}", later.stdout);
}

/// Requests never go to a version that cannot read what is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_cannot_read_what_is_stored_gets_nothing() {
    let scene = Scene::start(Kind::Etcd, QUICK).await;
    scene.say_data(11).await;
    let load = scene.load();
    let keys = [("version", "2"), ("data", "12"), ("data-reads", "12..12")];
    let two = scene.version_with("2", &keys).await;
    scene.waits("2").await;
    load.goes_on(200).await;
    assert_eq!(two.server.requests(), 0, "it cannot read 11");
    // The migration is through.
    let output = scene.bridge.command("data orders 12").await;
    assert_eq!(output.stdout, "orders: 12\n", "{}", output.stderr);
    let output = scene.bridge.command("data orders").await;
    assert!(output.stdout.starts_with("orders: 12 (by "), "{}", output.stdout);
    scene.stable_is("2").await;
    load.finish().await.assert_clean(200);
}

/// Not by its share, not by a header, and not when nobody else is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stable_version_that_cannot_read_what_is_stored_gets_nothing_any_more() {
    let scene = Scene::start_with(Kind::Etcd, STAY, &[("data", "11")]).await;
    scene.say_data(11).await;
    let load = scene.load();
    let keys = [("version", "2"), ("data", "12"), ("data-reads", "11..12")];
    let two = scene.version_with("2", &keys).await;
    scene.is_under_way().await;
    scene.say_data(12).await;
    let client = scene.envoy.client();
    client.reaches(&Call::http("orders"), &["2-0"]).await;
    let before = scene.first.server.requests();
    let url = format!("http://{}/", scene.envoy.listener());
    let headers = [("host", "orders"), ("x-version", "1")];
    let asked = Http::fresh()
        .send_with("GET", &url, &headers, "")
        .await
        .expect("an answer");
    assert_eq!(asked.body, "2-0", "nobody gets it by asking");
    load.goes_on(100).await;
    load.finish().await.assert_clean(100);
    assert_eq!(scene.first.server.requests(), before);
    // Nobody reads this: it is a slip, most of the time.
    let slip = scene.bridge.command("data orders 99").await;
    assert_eq!(slip.status.code(), Some(1), "{}", slip.stdout);
    assert!(
        slip.stderr.contains("no version of `orders` reads data 99"),
        "{}",
        slip.stderr
    );
    two.leave().await;
    client.is_refused(&Call::http("orders"), "http 503").await;
    assert_eq!(
        scene.first.server.requests(),
        before,
        "it would not understand what it finds"
    );
    scene.bridge.assert_no_nacks().await;
}
