//! Envoys report what they have in progress to each endpoint: for certain, or known not to be certain; soon, while
//! somebody waits for it. Other Envoys by `ENVOY_BIN`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use xds_bridge::clock;
use xds_bridge::intake::{InFlight, Loads, Quickened};
use xds_bridge::loads::{Kind, SLOW, Why};
use xds_bridge::model::instance::Facts;
use xds_bridge::model::{Clusters, Health, Instance, Service};
use xds_bridge::translate::endpoints::endpoints as endpoints_of;
use xds_bridge::xds::Update;

use crate::support::bridge::{Bridge, Step};
use crate::support::envoy::Envoy;
use crate::support::folder::Folder;
use crate::support::http::Http;
use crate::support::served::Served;
use crate::support::wait;

/// A connection on loopback that is not made by then waits.
const FULL: Duration = Duration::from_millis(500);

/// A server that answers when it is let.
struct Held {
    address: SocketAddr,
    answers: watch::Sender<bool>,
    _stop: DropGuard,
}

impl Held {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (answers, wait) = watch::channel(false);
        let handler = move || {
            let mut wait = wait.clone();
            async move {
                wait.wait_for(|answers| *answers)
                    .await
                    .map_or("stopped", |_| "done")
            }
        };
        let stop = CancellationToken::new();
        let router = Router::new().fallback(handler);
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move { serving.await.expect("a server in this process") });
        Self {
            address,
            answers,
            _stop: stop.drop_guard(),
        }
    }

    fn answer(&self, answers: bool) {
        self.answers.send_replace(answers);
    }
}

/// A server that is too busy to accept: further connections wait.
struct Full {
    address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    async fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let mut waiting = Vec::new();
        // The kernel takes a few; then a connection is not made any more.
        while let Ok(taken) = tokio::time::timeout(FULL, TcpStream::connect(address)).await {
            waiting.push(taken.expect("a connection"));
        }
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }
}

/// Requests to `orders` that are in progress until they are answered, however long that takes.
struct Calls(JoinSet<io::Result<String>>);

impl Calls {
    fn start(envoy: &Envoy, number: usize) -> Self {
        let mut calls = JoinSet::new();
        for _ in 0..number {
            let listener = envoy.listener();
            calls.spawn(async move {
                let mut stream = TcpStream::connect(listener).await?;
                let request = b"GET / HTTP/1.1\r\nhost: orders\r\nconnection: close\r\n\r\n";
                stream.write_all(request).await?;
                let mut response = String::new();
                stream.read_to_string(&mut response).await?;
                Ok(response)
            });
        }
        Self(calls)
    }

    async fn all_answered(mut self) {
        let all = async {
            while let Some(done) = self.0.join_next().await {
                let response = done.expect("a call").expect("a response");
                assert!(
                    response.starts_with("HTTP/1.1 200") && response.ends_with("done"),
                    "{response}"
                );
            }
        };
        tokio::time::timeout(wait::PATIENCE, all)
            .await
            .expect("all are answered");
    }
}

fn release(version: &str) -> (u32, u32) {
    let number = version.split('/').nth(1).expect("hash/version/…");
    let mut parts = number.split('.').map(|part| part.parse().expect("a number"));
    (parts.next().expect("major"), parts.next().expect("minor"))
}

async fn release_of(envoy: &Envoy) -> (u32, u32) {
    let info = envoy.json("/server_info").await;
    release(info["version"].as_str().expect("a version"))
}

/// What is known of the endpoint, once it is as wanted.
async fn known(loads: &Loads, at: SocketAddr, what: &str, wanted: impl Fn(&InFlight) -> bool) -> InFlight {
    let clusters: [Arc<str>; 1] = ["orders".into()];
    wait::until(wait::PATIENCE, what, async || {
        let found = loads.in_flight(&clusters, at);
        wait::holds(wanted(&found), || format!("{found:?}")).map(|()| found)
    })
    .await
}

/// Calls in progress, for certain.
async fn certain(loads: &Loads, at: SocketAddr, open: u64) -> InFlight {
    let what = format!("{open} calls in progress to {at}");
    known(loads, at, &what, |found| {
        found.unknown.is_empty() && found.certain.len() == 1 && found.open == open
    })
    .await
}

/// The endpoints of `orders`.
fn orders(endpoints: &[(SocketAddr, Health)]) -> Update {
    let mut instances: Vec<Instance> = Vec::new();
    for (n, (address, health)) in endpoints.iter().enumerate() {
        let mut facts = Facts::new(format!("orders-{n}"), *address);
        facts.health = *health;
        instances.push(facts.into());
    }
    instances.sort_by_key(|instance| instance.address);
    let service = Service {
        name: "orders".into(),
        instances,
        ..Service::default()
    };
    Update::Put(endpoints_of(&service, Clusters::DEFAULT.on_all_unhealthy))
}

struct Scene {
    served: Served,
    envoy: Envoy,
    one: Held,
    other: Held,
    quick: Option<Quickened>,
}

impl Scene {
    async fn start() -> Self {
        let (one, other) = (Held::start().await, Held::start().await);
        let both = [(one.address, Health::Healthy), (other.address, Health::Healthy)];
        let served = Served::start(&[orders(&both)]).await;
        let quick = served.loads().quicken();
        let envoy = served.envoy_with(&["orders"]).await;
        envoy.has_hosts("orders", &[one.address, other.address]).await;
        Self {
            served,
            envoy,
            one,
            other,
            quick: Some(quick),
        }
    }

    fn loads(&self) -> &Loads {
        self.served.loads()
    }

    /// Two calls to each server, which are not answered.
    async fn two_calls_each(&self) -> Calls {
        let calls = Calls::start(&self.envoy, 4);
        for at in [self.one.address, self.other.address] {
            known(self.loads(), at, "two calls to each server", |found| {
                found.open + found.unknown.iter().map(|client| client.open).sum::<u64>() == 2
            })
            .await;
        }
        calls
    }

    /// The first server drains: new calls go to the other.
    async fn drain(&self) {
        let (one, other) = (self.one.address, self.other.address);
        self.served
            .publish(&[orders(&[(one, Health::Draining), (other, Health::Healthy)])]);
        wait::until(wait::PATIENCE, "Envoy knows who drains", async || {
            let hosts = self.envoy.hosts("orders").await;
            let health = hosts.get(&one.to_string()).cloned();
            wait::holds(health.as_deref() == Some("DRAINING"), || format!("{hosts:?}"))
        })
        .await;
    }

    /// Waits for a number of further reports.
    async fn reports(&self, number: u64) {
        let mut reports = self.loads().reports();
        let before = *reports.borrow_and_update();
        let enough = reports.wait_for(|n| *n >= before + number);
        let waited = tokio::time::timeout(wait::PATIENCE, enough).await;
        waited.expect("reports come").expect("the port serves");
    }
}

/// As a deploy does it: other servers have traffic meanwhile. So each Envoy says for certain how many calls go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drains_beside_others_is_followed_to_zero() {
    let scene = Scene::start().await;
    let calls = scene.two_calls_each().await;
    scene.drain().await;
    scene.other.answer(true);
    let (http, url) = (Http::keeping(), format!("http://{}/", scene.envoy.listener()));
    let traffic = tokio::spawn(async move {
        loop {
            let reply = http
                .send("GET", &url, Some("orders"), "")
                .await
                .expect("an answer");
            assert_eq!(reply.status, 200);
            tokio::time::sleep(Duration::from_millis(20)).await; // the pace of this traffic
        }
    });
    certain(scene.loads(), scene.one.address, 2).await;
    scene.reports(3).await;
    let began = clock::now();
    let found = known(
        scene.loads(),
        scene.one.address,
        "a report after a time",
        |found| found.oldest().is_some_and(|at| at > began),
    )
    .await;
    assert_eq!((found.open, found.unknown.len()), (2, 0), "{found:?}");
    scene.one.answer(true);
    certain(scene.loads(), scene.one.address, 0).await;
    scene.reports(2).await;
    certain(scene.loads(), scene.one.address, 0).await;
    traffic.abort();
    calls.all_answered().await;
    let services = scene.loads().services(Some("orders"), 10);
    let counts = services[0]
        .ends
        .iter()
        .flat_map(|end| &end.totals)
        .map(|totals| totals.counts);
    let (issued, errors) = counts.fold((0, 0), |sums, c| (sums.0 + c.issued, sums.1 + c.errors));
    assert!(issued >= 4 && errors == 0, "{services:?}");
}

/// Nothing begins any more: Envoys from 1.37 on go on reporting what is in progress (unless a guard is off, which ends
/// with 1.40), those before leave it out, and that is not taken for zero.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_only_go_on_are_counted_or_known_not_to_be() {
    let scene = Scene::start().await;
    let calls = scene.two_calls_each().await;
    let release = release_of(&scene.envoy).await;
    scene.reports(3).await;
    if release >= (1, 37) {
        certain(scene.loads(), scene.one.address, 2).await;
        scene.one.answer(true);
        certain(scene.loads(), scene.one.address, 0).await;
        certain(scene.loads(), scene.other.address, 2).await;
    } else {
        let silent = async |at| {
            known(scene.loads(), at, "it is silent", |found| {
                found
                    .unknown
                    .first()
                    .is_some_and(|c| c.why == Why::Silent && c.open == 2)
            })
            .await
        };
        silent(scene.one.address).await;
        scene.one.answer(true);
        scene.reports(3).await;
        silent(scene.one.address).await;
    }
    let (_, clients) = scene.loads().clients(Some("envoy-1"), 10);
    assert_eq!(clients[0].is_sure, release >= (1, 37), "{clients:?}");
    assert_eq!(
        clients[0].kind == Kind::OldEnvoy,
        release < (1, 39),
        "{clients:?}"
    );
    scene.other.answer(true);
    calls.all_answered().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_quick_while_somebody_waits() {
    let mut scene = Scene::start().await;
    let loads = scene.served.loads().clone();
    // As Envoy measures it, whatever the machine does meanwhile: quick is far below half of slow.
    let interval = async |what: &str, wanted: fn(Duration) -> bool| {
        wait::until(wait::PATIENCE, what, async || {
            let (_, clients) = loads.clients(Some("envoy-1"), 10);
            let measured = clients.first().filter(|c| c.last.is_some()).map(|c| c.interval);
            wait::holds(measured.is_some_and(wanted), || format!("{clients:?}"))
        })
        .await;
    };
    interval("quick reports", |interval| interval < SLOW / 2).await;
    scene.quick = None;
    interval("slow reports", |interval| interval > SLOW * 9 / 10).await;
    scene.quick = Some(loads.quicken());
    interval("quick reports again", |interval| interval < SLOW / 2).await;
    let metrics = scene.served.metrics();
    let streams = metrics.sum("xds_bridge_load_streams", &[]);
    assert_eq!(streams, Some(1), "all on one stream");
    assert_eq!(metrics.sum("xds_bridge_load_streams_refused_total", &[]), Some(0));
}

/// What whoever drains has to know: an endpoint that is removed is in no report, though its calls go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_endpoint_is_in_no_report_while_its_calls_go_on() {
    let scene = Scene::start().await;
    let calls = scene.two_calls_each().await;
    scene
        .served
        .publish(&[orders(&[(scene.other.address, Health::Healthy)])]);
    scene.envoy.has_hosts("orders", &[scene.other.address]).await;
    scene.reports(2).await;
    let clusters: [Arc<str>; 1] = ["orders".into()];
    let found = scene.loads().in_flight(&clusters, scene.one.address);
    let sure = release_of(&scene.envoy).await >= (1, 37);
    assert_eq!((found.open, found.unknown.is_empty()), (0, sure), "{found:?}");
    scene.one.answer(true);
    scene.other.answer(true);
    calls.all_answered().await;
}

/// Nor is a request that waits for a connection: one that was sent to an endpoint just before it drains may begin there
/// up to `connect_timeout` later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_for_a_connection_is_in_no_report() {
    let full = Full::start().await;
    let served = Served::start(&[orders(&[(full.address, Health::Healthy)])]).await;
    let _quick = served.loads().quicken();
    let envoy = served.envoy_with(&["orders"]).await;
    envoy.has_hosts("orders", &[full.address]).await;
    // Its own streams to the bridge go on, and a report says so from 1.37 on.
    let sure = release_of(&envoy).await >= (1, 37);
    known(served.loads(), full.address, "a report", |found| {
        found.certain.len() == usize::from(sure) && found.unknown.iter().all(|c| c.why == Why::Silent)
    })
    .await;
    let mut calls = Calls::start(&envoy, 1);
    let began = clock::now();
    let pending = async || envoy.stat("cluster.orders.upstream_rq_pending_active").await == 1;
    wait::until(wait::PATIENCE, "a request waits", async || {
        wait::holds(pending().await, || "none".to_owned())
    })
    .await;
    let found = known(served.loads(), full.address, "a report after it", |found| {
        let unknown = found.unknown.iter().filter_map(|client| client.at);
        found.oldest().into_iter().chain(unknown).any(|at| at > began)
    })
    .await;
    let ended = calls.0.try_join_next();
    assert!(ended.is_none(), "it waits still, or is tried again: {ended:?}");
    assert_eq!((found.open, found.unknown.is_empty()), (0, sure), "{found:?}");
}

/// Nor what goes on in a cluster that Envoy has replaced, since a setting of it changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_a_cluster_that_was_replaced_are_in_no_report() {
    let held = Held::start().await;
    let folder = Folder::of(&[("orders", held.address, &[])]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.has_hosts("orders", &[held.address]).await;
    let calls = answered_by(&held, &envoy).await;
    let before = envoy.cluster("orders").await.dynamic;
    folder.write(&[("orders", held.address, &[("connect-timeout", "2s")])]);
    wait::until(wait::PATIENCE, "the cluster is replaced", async || {
        let now = envoy.cluster("orders").await.dynamic;
        wait::holds(now.is_some() && now != before, || format!("{now:?}"))
    })
    .await;
    let reported = async || {
        let text = bridge.text("/loads?service=orders&node=envoy-1").await?;
        let view: Value = serde_json::from_str(&text).expect("JSON");
        let client = &view["clients"][0];
        wait::holds(client["clusters"] == 2, || text.clone())?;
        Ok::<_, String>(client["endpoints"][0]["in_progress"].as_u64().unwrap_or(0))
    };
    let open = wait::until(wait::PATIENCE, "a report of the cluster", reported).await;
    assert_eq!(open, 0);
    held.answer(true);
    calls.all_answered().await;
    bridge.assert_no_nacks().await;
}

/// A bridge that has restarted knows what is in progress again, and an operator sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_restarts_gets_reports_again() {
    let held = Held::start().await;
    let folder = Folder::of(&[("orders", held.address, &[])]);
    let mut bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.has_hosts("orders", &[held.address]).await;
    let in_progress = async |bridge: &Bridge, wanted: u64| {
        let what = format!("/loads shows {wanted} requests in progress");
        wait::until(2 * wait::PATIENCE, &what, async || {
            let text = bridge.text("/loads?service=orders&node=envoy-1").await?;
            let view: Value = serde_json::from_str(&text).expect("JSON");
            let of = &view["clients"][0]["endpoints"][0];
            let same = of["address"] == held.address.to_string() && of["in_progress"] == wanted;
            let sums = &view["clusters"][0]["endpoints"][0]["reported_by"];
            let issued = sums.as_object().and_then(|kinds| kinds.values().next());
            wait::holds(same && issued.is_some(), || text.clone())
        })
        .await;
    };
    let release = release_of(&envoy).await;
    if release < (1, 37) {
        // What began before the first report that lists the cluster is in none.
        wait::until(wait::PATIENCE, "reports of both clusters", async || {
            let text = bridge.text("/loads?node=envoy-1").await?;
            let view: Value = serde_json::from_str(&text).expect("JSON");
            wait::holds(view["clients"][0]["clusters"] == 2, || text.clone())
        })
        .await;
    }
    let calls = answered_by(&held, &envoy).await;
    in_progress(&bridge, 2).await;
    bridge.kill_and_restart().await;
    if release >= (1, 37) {
        in_progress(&bridge, 2).await;
        held.answer(true);
        calls.all_answered().await;
        if release >= (1, 39) {
            in_progress(&bridge, 0).await;
        }
    } else {
        held.answer(true);
        calls.all_answered().await;
        let more = Calls::start(&envoy, 2);
        more.all_answered().await;
        in_progress(&bridge, 0).await;
    }
    bridge.assert_no_nacks().await;
}

/// Two calls that have reached the server.
async fn answered_by(held: &Held, envoy: &Envoy) -> Calls {
    let calls = Calls::start(envoy, 2);
    let active = format!("cluster.{}.upstream_rq_active", "orders");
    wait::until(wait::PATIENCE, "two calls in progress", async || {
        let open = envoy.stat(&active).await;
        wait::holds(open == 2, || format!("{open} at {}", held.address))
    })
    .await;
    calls
}
