//! `make demo DEMO=rollout`: a good and a bad commit of a service that is rolled out, for a person.

use std::time::Duration;

use serde_json::Value;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::etcd::{Etcd, Lease};
use crate::support::load::Load;
use crate::support::servers::Server;
use crate::support::wait;
use crate::{now, step, tell};

const TTL: Duration = Duration::from_secs(5);
/// Requests a second.
const RATE: u32 = 200;
/// So that all of it is seen in a minute; `step_time` is 60 s otherwise.
const ROLLOUTS: &str = "[services.orders]\nrollout = \"auto\"\n\n[rollouts]\nsteps = \"10,25,50,100\"\nstep_time = \
                        \"4s\"\nmin_sample = 60\nmargin = \"5%\"\ngrace = \"1s\"\n";
/// What a step may take.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) async fn demo() {
    println!("xds-bridge: every commit beside the one that serves. All on 127.0.0.1.");
    step("An etcd, a bridge and an Envoy start. This is what bridge.toml says of rollouts:").await;
    let etcd = Etcd::start().await;
    let source = format!(
        "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n",
        etcd.url()
    );
    let bridge = Bridge::start(&format!("{source}\n{ROLLOUTS}")).await;
    tell(&ROLLOUTS.lines().collect::<Vec<_>>());
    let envoy = bridge.envoy(Step::Listeners, &[]).await;

    step("Commit a1 of `orders` registers itself: the first version gets everything.").await;
    let (_one, _lease) = commit(&etcd, "a1").await;
    until(&bridge, "a1 serves", |view| view["record"]["stable"] == "a1").await;
    let orders = Call::http("orders");
    envoy.client().reaches(&orders, &["a1"]).await;
    let load = Load::start(envoy.listener(), &[orders], RATE, 8);
    tell(&[&format!(
        "load     {RATE} requests a second through Envoy, from now on"
    )]);

    step("Commit b2 registers itself beside it. It is a good one.").await;
    let (_two, _lease) = commit(&etcd, "b2").await;
    watch(&bridge, "b2 serves", |view| view["record"]["stable"] == "b2").await;
    answers(&load);

    step("Commit c3 registers itself. Each of its answers is a 500.").await;
    let before = load.report().failures.len();
    let (bad, _lease) = commit(&etcd, "c3").await;
    bad.fail_of(1_000);
    watch(&bridge, "c3 is taken back", |view| {
        let rejected = view["record"]["rejected"].as_array();
        rejected.is_some_and(|all| all.iter().any(|one| one["version"] == "c3"))
    })
    .await;
    let failed = load.report().failures.len() - before;
    tell(&[&format!(
        "failed   {failed} requests of users, until it was taken back"
    )]);
    answers(&load);

    step("What there is to know of it: `xds-bridge rollout show orders`").await;
    let shown = bridge.command("rollout show orders").await;
    tell(&shown.stdout.lines().collect::<Vec<_>>());
    step("And what happened before: `xds-bridge rollout history orders`").await;
    let shown = bridge.command("rollout history orders").await;
    tell(&shown.stdout.lines().collect::<Vec<_>>());
    load.finish().await;
}

/// A server of a commit, under a lease.
async fn commit(etcd: &Etcd, commit: &str) -> (Server, Lease) {
    let server = Server::http(commit).await;
    let lease = etcd
        .register("orders", &server, &[("version", commit)], TTL)
        .await;
    (server, lease)
}

fn answers(load: &Load) {
    let report = load.report();
    let who: Vec<String> = report
        .answers
        .iter()
        .map(|(name, times)| format!("{name} {times}×"))
        .collect();
    tell(&[&format!(
        "answers  {}; failed {}",
        who.join(", "),
        report.failures.len()
    )]);
}

async fn view(bridge: &Bridge) -> Result<Value, String> {
    let text = bridge.text("/rollouts/orders").await?;
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

async fn until(bridge: &Bridge, what: &str, wanted: impl Fn(&Value) -> bool) {
    wait::until(PATIENCE, what, async || {
        let view = view(bridge).await?;
        wait::holds(wanted(&view), || view["text"].to_string())
    })
    .await;
}

/// The same, and says how it stands each time that this changes.
async fn watch(bridge: &Bridge, what: &str, wanted: impl Fn(&Value) -> bool) {
    let (began, mut shown) = (now(), Value::Null);
    wait::until(PATIENCE, what, async || {
        let view = view(bridge).await?;
        let state = (view["phase"].clone(), view["record"]["rollout"]["step"].clone());
        let state = serde_json::json!([state.0, state.1]);
        if state != shown {
            shown = state;
            let after = now().duration_since(began).as_secs_f64();
            tell(&[&format!(
                "{after:6.1} s  {}",
                view["text"].as_str().unwrap_or_default()
            )]);
        }
        wait::holds(wanted(&view), || view["text"].to_string())
    })
    .await;
}
