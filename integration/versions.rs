//! Versions of a service share its requests: by shares, by a header, by a hash; also while shares change and versions come
//! and go under load, and while one of them fails. Other Envoys by `ENVOY_BIN`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::http::Http;
use crate::support::load::Load;
use crate::support::servers::Server;
use crate::support::versions::Versions;
use crate::support::wait;

/// Requests from which shares are read.
const MANY: u64 = 3_000;

/// What a share of 10 % of [`MANY`] requests stays within: five standard deviations.
const TEN_PERCENT: std::ops::RangeInclusive<u64> = 218..=382;

async fn servers<const N: usize>(names: [&str; N]) -> [Server; N] {
    futures::future::join_all(names.map(Server::http))
        .await
        .try_into()
        .unwrap_or_else(|_| unreachable!("as many servers as names"))
}

/// Requests with headers, on connections that stay.
pub(crate) struct Requests {
    http: Http,
    url: String,
}

impl Requests {
    pub(crate) fn by(envoy: &Envoy) -> Self {
        Self {
            http: Http::keeping(),
            url: format!("http://{}/", envoy.listener()),
        }
    }

    /// Who answers.
    async fn send(&self, headers: &[(&str, &str)]) -> String {
        let headers: Vec<(&str, &str)> = [("host", "orders")]
            .into_iter()
            .chain(headers.iter().copied())
            .collect();
        let reply = self
            .http
            .send_with("GET", &self.url, &headers, "")
            .await
            .expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body
    }

    /// Who answers this many of them.
    pub(crate) async fn count(&self, number: u64, headers: &[(&str, &str)]) -> BTreeMap<String, u64> {
        let mut seen = BTreeMap::new();
        for _ in 0..number {
            *seen.entry(self.send(headers).await).or_default() += 1;
        }
        seen
    }
}

async fn reaches(envoy: &Envoy, names: &[&str]) {
    envoy.client().reaches(&Call::http("orders"), names).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_holds_and_a_header_asks_for_a_version() {
    let [old, older, new] = &servers(["old", "older", "new"]).await;
    let versions = Versions::of(
        &[],
        &[
            (old, "1", &[]),
            (older, "1", &[]),
            (new, "2", &[("share", "10%")]),
        ],
    );
    let bridge = Bridge::start(&versions.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    reaches(&envoy, &["old", "older", "new"]).await;
    let requests = Requests::by(&envoy);
    let seen = requests.count(MANY, &[]).await;
    assert!(TEN_PERCENT.contains(&seen["new"]), "{seen:?}");
    assert!(seen["old"].abs_diff(seen["older"]) <= 3, "in turn: {seen:?}");
    let names = |seen: BTreeMap<String, u64>| seen.into_keys().collect::<Vec<_>>();
    assert_eq!(names(requests.count(50, &[("x-version", "2")]).await), ["new"]);
    assert_eq!(
        names(requests.count(50, &[("x-version", "1")]).await),
        ["old", "older"]
    );
    assert!(
        names(requests.count(50, &[("x-version", "3")]).await).contains(&"old".to_owned()),
        "by its share"
    );

    // Only those who ask for it.
    versions.write(&[(old, "1", &[]), (new, "2", &[("share", "0%")])]);
    reaches(&envoy, &["old"]).await;
    assert_eq!(names(requests.count(50, &[("x-version", "2")]).await), ["new"]);
    assert_eq!(names(requests.count(200, &[]).await), ["old"]);

    // What clients report is told apart, once a report has named both clusters.
    wait::until(2 * wait::PATIENCE, "reports of both versions", async || {
        requests.count(5, &[]).await;
        requests.count(5, &[("x-version", "2")]).await;
        let text = bridge.text("/loads?service=orders").await?;
        let loads: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let clusters = loads["clusters"].as_array().cloned().unwrap_or_default();
        let names: BTreeSet<&str> = clusters.iter().filter_map(|c| c["name"].as_str()).collect();
        wait::holds(names == BTreeSet::from(["orders@1", "orders@2"]), || {
            format!("{loads}")
        })
    })
    .await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_header_asks_for_a_version_or_none_does() {
    let [old, new] = &servers(["old", "new"]).await;
    for (header, wanted) in [("x-commit", "new"), ("off", "old")] {
        let none: &[(&str, &str)] = &[("share", "0%")];
        let versions = Versions::of(
            &[("version-header", header)],
            &[(old, "1", &[]), (new, "2", none)],
        );
        let bridge = Bridge::start(&versions.section()).await;
        let envoy = bridge.envoy(Step::Listeners, &[]).await;
        reaches(&envoy, &["old"]).await;
        let requests = Requests::by(&envoy);
        for (name, wanted) in [("x-commit", wanted), ("x-version", "old")] {
            wait::until(wait::PATIENCE, &format!("{name} with {header}"), async || {
                let seen = requests.count(20, &[(name, "2")]).await;
                wait::holds(seen.into_keys().eq([wanted]), || wanted.to_owned())
            })
            .await;
        }
        bridge.assert_no_nacks().await;
    }
}

/// What only routes lead to gets their requests and no others, by no header and when nobody else is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_apart_gets_what_routes_bring() {
    let [old, new] = &servers(["old", "new"]).await;
    let routes: &[(&str, &str)] = &[
        ("route", "host=orders header=x-try:1 version=2"),
        ("route-2", "host=orders header=x-try:9 version=9"),
    ];
    let apart: &[(&str, &str)] = &[("share", "routes")];
    let versions = Versions::of(routes, &[(old, "1", &[]), (new, "2", apart)]);
    let bridge = Bridge::start(&versions.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let requests = Requests::by(&envoy);
    reaches(&envoy, &["old"]).await;
    let names = |seen: BTreeMap<String, u64>| seen.into_keys().collect::<Vec<_>>();
    assert_eq!(names(requests.count(100, &[]).await), ["old"]);
    assert_eq!(names(requests.count(50, &[("x-version", "2")]).await), ["old"]);
    assert_eq!(names(requests.count(50, &[("x-try", "1")]).await), ["new"]);
    let status = async |header: &(&str, &str)| {
        let headers = [("host", "orders"), *header];
        let reply = requests.http.send_with("GET", &requests.url, &headers, "").await;
        reply.map(|reply| reply.status)
    };
    assert_eq!(
        status(&("x-try", "9")).await,
        Ok(503),
        "nobody is of that version"
    );
    let why_nothing = || {
        let said = bridge.run(&["why", "orders"]).stdout;
        assert!(
            said.contains("only requests of routes that name its version"),
            "{said}"
        );
    };
    why_nothing();
    versions.write(&[(new, "2", apart)]);
    wait::until(wait::PATIENCE, "nobody else is left", async || {
        let status = status(&("x-none", "1")).await?;
        wait::holds(status == 503, || status.to_string())
    })
    .await;
    assert_eq!(names(requests.count(50, &[("x-try", "1")]).await), ["new"]);
    why_nothing();
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_stay_with_a_version_while_its_share_grows() {
    let [old, new] = &servers(["old", "new"]).await;
    let of_share = |share: &str| -> Vec<(&'static str, String)> { vec![("share", share.to_owned())] };
    let versions = Versions::of(
        &[("sticky", "header:x-user")],
        &[(old, "1", &[]), (new, "2", &[("share", "5%")])],
    );
    let bridge = Bridge::start(&versions.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    reaches(&envoy, &["old", "new"]).await;
    let requests = Requests::by(&envoy);
    let mut before = BTreeSet::new();
    for (share, fits) in [
        ("5%", 5..=50),
        ("20%", 50..=120),
        ("50%", 150..=250),
        ("100%", 400..=400),
    ] {
        let keys = of_share(share);
        let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        versions.write(&[(old, "1", &[]), (new, "2", &keys)]);
        let mut now = BTreeSet::new();
        wait::until(wait::PATIENCE, "the share of users", async || {
            now = BTreeSet::new();
            for user in 0..400 {
                let name = user.to_string();
                if requests.send(&[("x-user", &name)]).await == "new" {
                    now.insert(user);
                }
            }
            wait::holds(fits.contains(&now.len()), || {
                format!("{} of 400 at {share}", now.len())
            })
        })
        .await;
        assert!(
            before.is_subset(&now),
            "{:?} went back at {share}",
            before.difference(&now)
        );
        for user in &now {
            assert_eq!(
                requests.send(&[("x-user", &user.to_string())]).await,
                "new",
                "user {user}"
            );
        }
        before = now;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_that_change_under_load_cost_no_request_and_no_connection() {
    let [old, new] = &servers(["old", "new"]).await;
    let versions = Versions::of(
        &[("rollout", "auto"), ("idle-timeout", "0s")],
        &[(old, "1", &[]), (new, "2", &[("share", "5%")])],
    );
    let bridge = Bridge::start(&versions.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    reaches(&envoy, &["old", "new"]).await;
    let load = Load::start(envoy.listener(), &[Call::http("orders")], 200, 4);
    load.goes_on(200).await;
    let held = envoy.cluster("orders@1").await;
    for n in 0..50_u32 {
        let share = format!("{}%", 10 + 40 * (n % 2) + n % 7);
        let generation = bridge.generation().await;
        versions.write(&[(old, "1", &[]), (new, "2", &[("share", &share)])]);
        wait::until(wait::PATIENCE, "the next generation", async || {
            let now = bridge.generation().await;
            wait::holds(now > generation, || format!("{now}"))
        })
        .await;
        load.goes_on(20).await;
    }
    assert_eq!(envoy.cluster("orders@1").await, held, "no weight is in a cluster");
    assert_eq!(envoy.stat("cluster.orders@1.upstream_cx_destroy").await, 0);
    load.finish().await.assert_clean(1_200);

    // And versions that come and go, down to one and up again.
    let load = Load::start(envoy.listener(), &[Call::http("orders")], 200, 4);
    let [third] = &servers(["third"]).await;
    for _ in 0..5 {
        let share: &[(&str, &str)] = &[("share", "30%")];
        versions.write(&[(old, "1", &[]), (new, "2", share), (third, "3", share)]);
        reaches(&envoy, &["old", "new", "third"]).await;
        versions.write(&[
            (old, "1", &[]),
            (new, "2", &[("share", "30%"), ("state", "drain")]),
            (third, "3", share),
        ]);
        reaches(&envoy, &["old", "third"]).await;
        versions.write(&[(old, "1", &[])]);
        reaches(&envoy, &["old"]).await;
    }
    assert_eq!(
        envoy.cluster("orders@1").await,
        held,
        "the version that stays is not touched"
    );
    assert_eq!(envoy.stat("cluster.orders@1.upstream_cx_destroy").await, 0);
    load.finish().await.assert_clean(100);
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_request_is_tried_again_with_the_stable_version() {
    let [old, older, new] = &servers(["old", "older", "new"]).await;
    let instances = |share: &'static [(&'static str, &'static str)]| {
        [(old, "1", &[][..]), (older, "1", &[]), (new, "2", share)]
    };
    let versions = Versions::of(&[("retry", "5xx:1")], &instances(&[("share", "50%")]));
    let bridge = Bridge::start(&versions.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    reaches(&envoy, &["old", "older", "new"]).await;
    new.fail(true);
    let before = new.requests();
    let load = Load::start(envoy.listener(), &[Call::http("orders")], 200, 4);
    load.goes_on(1_000).await;
    let tried = new.requests() - before;
    assert!(tried > 300, "its share of requests: {tried}");
    // Priorities come and go in its cluster while requests are tried again there.
    for n in 0..20_u32 {
        let share: &[(&str, &str)] = if n % 2 == 0 {
            &[("share", "0%")]
        } else {
            &[("share", "50%")]
        };
        versions.write(&instances(share));
        load.goes_on(20).await;
    }
    load.finish().await.assert_clean(1_400);
    // Whoever asks for the version sees what it does.
    let url = format!("http://{}/", envoy.listener());
    let headers = [("host", "orders"), ("x-version", "2")];
    let reply = Http::fresh()
        .send_with("GET", &url, &headers, "")
        .await
        .expect("an answer");
    assert_eq!((reply.status, &*reply.body), (500, "new fails"));
    bridge.assert_no_nacks().await;
}

/// Envoys whose clusters and routes stand in their own file have the share by the weights of endpoints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoys_with_their_own_routes_get_the_share_by_weights() {
    let [old, older, new] = &servers(["old", "older", "new"]).await;
    let versions = Versions::of(
        &[],
        &[
            (old, "1", &[]),
            (older, "1", &[]),
            (new, "2", &[("share", "10%")]),
        ],
    );
    let bridge = Bridge::start(&versions.section()).await;
    // In turn by weights, or by chance.
    for (step, fits) in [(Step::Endpoints, 95..=105), (Step::Clusters, 55..=145)] {
        let envoy = bridge.envoy(step, &["orders"]).await;
        reaches(&envoy, &["old", "older", "new"]).await;
        let seen = Requests::by(&envoy).count(1_000, &[]).await;
        assert!(fits.contains(&seen["new"]), "{step:?}: {seen:?}");
    }
}

/// An instance stands in the cluster of its service and in that of its version; both must know that it drains.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_one_version_may_be_stopped_when_all_clusters_know() {
    let [old, new, newer] = &servers(["old", "new", "newer"]).await;
    let share: &[(&str, &str)] = &[("share", "50%")];
    let versions = Versions::of(&[], &[(old, "1", &[]), (new, "2", share), (newer, "2", share)]);
    let bridge = Bridge::start(&format!("{}[drain]\ngrace = \"1s\"\n", versions.section())).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    reaches(&envoy, &["old", "new", "newer"]).await;
    new.answer_after(Duration::from_secs(3));
    let load = Load::start(envoy.listener(), &[Call::http("orders")], 60, 8);
    load.goes_on(120).await;
    versions.write(&[
        (old, "1", &[]),
        (new, "2", &[("share", "50%"), ("state", "drain")]),
        (newer, "2", share),
    ]);
    let output = bridge.command("wait --drained orders/new --timeout 60s").await;
    assert!(output.status.success(), "{}", output.stderr);
    let counter = new.counter();
    let taken = counter.requests();
    versions.write(&[(old, "1", &[]), (newer, "2", share)]);
    load.goes_on(200).await;
    assert_eq!(
        counter.requests(),
        taken,
        "nothing comes after it was said that it may stop"
    );
    load.finish().await.assert_clean(300);
}
