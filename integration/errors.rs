//! Which errors there are: Envoys say it of routes whose rollout is judged, and of no others; what turns it on and off is
//! a route alone. Other Envoys by `ENVOY_BIN`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use xds_bridge::errors::Line;
use xds_bridge::hub::{Hub, INBOX, Order, SourceInfo};
use xds_bridge::model::change::What;
use xds_bridge::model::rollouts::{Mode, Rollouts, Shares};
use xds_bridge::model::{Change, Facts, Instance, Policy, Protocol, RouteRule, ServiceRecord};
use xds_bridge::{config, model};

use crate::support::envoy::Envoy;
use crate::support::http::Http;
use crate::support::served::Served;
use crate::support::{process, wait};

mod servers;

use servers::{Failing, call};

/// What is counted of everything that a change of a listener or a cluster would touch.
const UNTOUCHED: [&str; 7] = [
    "listener_manager.listener_modified",
    "listener_manager.listener_added",
    "listener_manager.total_filter_chains_draining",
    "listener_manager.total_listeners_draining",
    "cluster_manager.cluster_modified",
    "cluster_manager.cluster_added",
    "http.main.downstream_cx_drain_close",
];

/// A bridge without registries in this process, and an Envoy.
struct Scene {
    served: Served,
    envoy: Envoy,
    orders: mpsc::Sender<Order>,
    /// The hub ends with it.
    _events: mpsc::Sender<model::change::Event>,
    names: Vec<&'static str>,
    http: Http,
    _stop: DropGuard,
}

/// One service of a scene.
struct Registered {
    name: &'static str,
    policy: Policy,
    /// With their versions.
    servers: Vec<(&'static str, SocketAddr)>,
}

impl Registered {
    fn record(&self) -> ServiceRecord {
        let instance = |(n, (version, address)): (usize, &(&str, SocketAddr))| {
            Instance::from(Facts {
                version: (*version).into(),
                policy: Arc::new(self.policy.clone()),
                ..Facts::new(format!("{}-{n}", self.name), *address)
            })
        };
        let mut instances: Vec<Instance> = self.servers.iter().enumerate().map(instance).collect();
        instances.sort_by(|a, b| a.id.cmp(&b.id));
        ServiceRecord {
            instances,
            ..ServiceRecord::default()
        }
    }
}

fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.rollout.mode = Some(Mode::Auto);
    policy
}

impl Scene {
    async fn start(services: &[Registered], more: &str) -> Self {
        let served = Served::start(&[]).await;
        let [port] = process::ports();
        let listener = SocketAddr::from(([127, 0, 0, 1], port));
        let text = format!(
            "[sources.none]\nkind = \"file\"\npath = \".\"\n[listeners.main]\naddress = \"{listener}\"\n{more}"
        );
        let network = config::load_str(std::path::Path::new("bridge.toml"), &text, None)
            .expect("a configuration")
            .network();
        let sources = BTreeMap::from([("none".into(), SourceInfo::new("file"))]);
        let settle = (Duration::from_millis(10), Duration::from_millis(100));
        let (fanout, metrics) = (served.fanout().clone(), Arc::default());
        let (hub, mut overview) = Hub::new(sources, network, settle, fanout, metrics);
        let ((events, inbox), (orders, orders_in)) = (mpsc::channel(INBOX), mpsc::channel(1));
        let stop = CancellationToken::new();
        let nobody = (mpsc::channel(1).0, mpsc::channel(1).1);
        tokio::spawn(hub.run(inbox, orders_in, nobody, stop.clone()));
        let all = services.iter().map(|s| (s.name.into(), Some(s.record())));
        let what = What::Change(Change::new(all.collect(), true));
        let event = model::change::Event {
            source: "none".into(),
            what,
        };
        events.send(event).await.expect("the hub runs");
        overview
            .wait_for(|overview| overview.ready)
            .await
            .expect("the hub runs");
        let envoy = served.envoy_at(listener).await;
        let scene = Self {
            served,
            envoy,
            orders,
            _events: events,
            names: services.iter().map(|s| s.name).collect(),
            http: Http::keeping(),
            _stop: stop.drop_guard(),
        };
        scene.watch(false).await;
        scene
    }

    /// Has errors reported or not, once Envoy knows it.
    async fn watch(&self, watched: bool) {
        let shares = |stable: &str| Shares {
            weights: [(stable.into(), model::rollouts::WHOLE), ("b".into(), 0)].into(),
            stable: stable.into(),
            mirror: None,
            watched,
            stored: None,
        };
        if watched {
            // As the driver of rollouts says it.
            let clusters = |name: &str| ["", "@a", "@b"].map(|version| format!("{name}{version}").into());
            let expected = self
                .names
                .iter()
                .map(|name| ((*name).into(), (1, clusters(name).into())));
            self.served.loads().errors().expect(expected.collect());
        }
        let services = self.names.iter().map(|name| ((*name).into(), shares("a")));
        let rollouts = Rollouts {
            services: services.collect(),
        };
        self.orders
            .send(Order::Rollouts { rollouts })
            .await
            .expect("the hub runs");
        wait::until(wait::PATIENCE, "Envoy has the routes", async || {
            let dump = self
                .envoy
                .text("/config_dump?resource=dynamic_route_configs")
                .await;
            let has_all = self.names.iter().all(|name| dump.contains(&format!("{name}@a")));
            let is_marked = dump.contains("\"xds-bridge\"");
            wait::holds(has_all && is_marked == watched, || dump.clone())
        })
        .await;
    }

    /// GET of this path at this version of a service; the status.
    async fn get(&self, service: &str, version: &str, path: &str) -> u16 {
        let url = format!("http://{}{path}", self.envoy.listener());
        let headers = [("host", service), ("x-version", version)];
        let reply = self.http.send_with("GET", &url, &headers, "").await;
        reply.expect("an answer of Envoy").status
    }

    fn lines(&self) -> Vec<String> {
        let all = self.served.loads().errors().of(None, 100);
        let shown = |cluster: &str, line: &Line| {
            let flags = line.flags.to_string();
            let upstream = line.upstream.map_or_else(String::new, |at| at.to_string());
            let (method, status, message) = (&line.method, line.status, &line.message);
            format!(
                "{cluster} {}x {method} {status} [{flags}] {upstream} `{message}`",
                line.count
            )
        };
        all.iter()
            .flat_map(|of| of.lines.iter().map(|line| shown(&of.cluster, line)))
            .collect()
    }

    /// Waits for exactly these.
    async fn has(&self, wanted: &[String]) {
        wait::until(wait::PATIENCE, "the errors that there were", async || {
            let lines = self.lines();
            wait::holds(lines == wanted, || format!("{lines:#?}\n  wanted: {wanted:#?}"))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_known_while_a_rollout_is_judged_and_not_otherwise() {
    let (stable, new, calls) = (
        Failing::http().await,
        Failing::http().await,
        Failing::grpc().await,
    );
    let closing = Failing::closing().await;
    let grpc = Policy {
        protocol: Some(Protocol::Grpc),
        routes: [(1, RouteRule::parse("grpc=shop.Calls").expect("a route"))].into(),
        ..policy()
    };
    let hasty = Policy {
        timeout: Some(Duration::from_millis(300)),
        ..policy()
    };
    let services = [
        Registered {
            name: "calls",
            policy: grpc,
            servers: vec![("a", calls.address)],
        },
        Registered {
            name: "closing",
            policy: policy(),
            servers: vec![("a", closing.address)],
        },
        Registered {
            name: "hasty",
            policy: hasty,
            servers: vec![("a", stable.address)],
        },
        Registered {
            name: "orders",
            policy: policy(),
            servers: vec![("a", stable.address), ("b", new.address)],
        },
    ];
    let scene = Scene::start(&services, "").await;
    // Not judged: nobody is told.
    assert_eq!(scene.get("orders", "b", "/code/501").await, 501);
    let before = scene.envoy.stats(&UNTOUCHED).await;

    scene.watch(true).await;
    for path in ["/code/500", "/code/500?secret=1", "/code/500"] {
        assert_eq!(scene.get("orders", "b", path).await, 500);
    }
    assert_eq!(scene.get("orders", "a", "/code/503").await, 503);
    assert_eq!(scene.get("orders", "b", "/code/404").await, 404);
    assert_eq!(scene.get("orders", "b", "/code/200").await, 200);
    assert_eq!(scene.get("closing", "a", "/list").await, 503);
    assert_eq!(scene.get("hasty", "a", "/hang").await, 504);
    for (method, code) in [
        ("Lost", 13),
        ("Lost", 13),
        ("Away", 14),
        ("Nothing", 5),
        ("Fine", 0),
    ] {
        assert_eq!(call(scene.envoy.listener(), method).await, code, "{method}");
    }
    let (stable, new) = (stable.address, new.address);
    let mut wanted = vec![
        format!(
            "calls@a 2x shop.Calls/Lost INTERNAL [] {} `no such table: ümläut`",
            calls.address
        ),
        format!(
            "calls@a 1x shop.Calls/Away UNAVAILABLE [] {} `try later`",
            calls.address
        ),
        format!("closing@a 1x GET /list no response [UC] {} ``", closing.address),
        format!("hasty@a 1x GET /hang 504 [UT] {stable} ``"),
        format!("orders@a 1x GET /code/* 503 [] {stable} ``"),
        format!("orders@b 3x GET /code/* 500 [] {new} ``"),
    ];
    scene.has(&wanted).await;

    scene.watch(false).await;
    assert_eq!(scene.get("orders", "b", "/code/502").await, 502);
    assert_eq!(call(scene.envoy.listener(), "Lost").await, 13);
    scene.watch(true).await;
    // What comes last shows that nothing came before it.
    assert_eq!(scene.get("orders", "b", "/code/505").await, 505);
    wanted.push(format!("orders@b 1x GET /code/* 505 [] {new} ``"));
    scene.has(&wanted).await;

    assert_eq!(
        scene.envoy.stats(&UNTOUCHED).await,
        before,
        "no connection and no cluster"
    );
    assert_eq!(scene.envoy.stat("listener_manager.lds.update_rejected").await, 0);
    let metrics = scene.served.metrics();
    assert_eq!(metrics.sum("xds_bridge_request_errors_total", &[]), Some(10));
    assert_eq!(
        metrics.sum("xds_bridge_log_streams", &[]),
        Some(1),
        "of one thread"
    );
    assert_eq!(metrics.sum("xds_bridge_log_streams_refused_total", &[]), Some(0));
}

/// A retry hides an error from the caller, and not from whoever judges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_is_tried_again_is_an_error_nevertheless() {
    let (good, bad) = (Failing::http().await, Failing::http().await);
    bad.always(503);
    let retried = Policy {
        routes: [(
            1,
            RouteRule::parse("host=orders path=/ retry=5xx:3").expect("a route"),
        )]
        .into(),
        ..policy()
    };
    let services = [Registered {
        name: "orders",
        policy: retried,
        servers: vec![("a", good.address), ("a", bad.address)],
    }];
    let scene = Scene::start(&services, "").await;
    scene.watch(true).await;
    while bad.requests() < 3 {
        assert_eq!(scene.get("orders", "a", "/list").await, 200);
    }
    let line = format!("orders@a 3x GET /list 503 [] {} ``", bad.address);
    scene.has(&[line]).await;
}

/// A server judges its answers itself: in a header, and in the trailers of a call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_the_servers_come_with_load_reports() {
    let (web, calls) = (Failing::http().await, Failing::grpc().await);
    let mut measured = policy();
    measured.rollout.metric = Some("bad".into());
    let grpc = Policy {
        protocol: Some(Protocol::Grpc),
        routes: [(1, RouteRule::parse("grpc=shop.Calls").expect("a route"))].into(),
        ..measured.clone()
    };
    let services = [
        Registered {
            name: "calls",
            policy: grpc,
            servers: vec![("a", calls.address)],
        },
        Registered {
            name: "web",
            policy: measured,
            servers: vec![("a", web.address)],
        },
    ];
    let scene = Scene::start(&services, "").await;
    let _quick = scene.served.loads().quicken();
    // What comes before the first report of a cluster is in none.
    wait::until(wait::PATIENCE, "reports of all clusters", async || {
        let (_, clients) = scene.served.loads().clients(None, 10);
        let listed = clients.first().map_or(0, |client| client.clusters);
        wait::holds(listed >= 4, || format!("{clients:?}"))
    })
    .await;
    for path in ["/bad", "/good", "/bad", "/bad"] {
        assert_eq!(scene.get("web", "a", path).await, 200);
    }
    for (method, code) in [("Nothing", 5), ("Fine", 0), ("Fine", 0)] {
        assert_eq!(call(scene.envoy.listener(), method).await, code);
    }
    for (service, wanted) in [("web", (4, 3.0)), ("calls", (3, 1.0))] {
        wait::until(wait::PATIENCE, "the figures of all answers", async || {
            let clusters = scene.served.loads().services(Some(service), 10);
            let totals = clusters
                .iter()
                .flat_map(|of| &of.ends)
                .flat_map(|end| &end.totals);
            let bad = totals
                .flat_map(|totals| &totals.metrics)
                .filter(|(name, ..)| name == "bad");
            let sums = bad.fold((0, 0.0), |all, (_, n, sum)| (all.0 + n, all.1 + sum));
            wait::holds(sums == wanted, || format!("{service}: {clusters:?}"))
        })
        .await;
    }
}

/// Whoever's bootstrap calls the bridge otherwise gets the listener all the same, and its errors go nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_does_not_have_the_cluster_takes_the_listener() {
    let server = Failing::http().await;
    let services = || {
        [Registered {
            name: "orders",
            policy: policy(),
            servers: vec![("a", server.address)],
        }]
    };
    for (more, logs) in [
        ("[errors]\ncluster = \"nowhere\"\n", true),
        ("[errors]\ncollect = false\n", false),
    ] {
        let scene = Scene::start(&services(), more).await;
        scene.watch(true).await;
        assert_eq!(scene.get("orders", "a", "/code/500").await, 500);
        let dump = scene.envoy.text("/config_dump?resource=dynamic_listeners").await;
        assert_eq!(dump.contains("xds-bridge errors"), logs, "{dump}");
        assert_eq!(scene.envoy.stat("listener_manager.lds.update_rejected").await, 0);
        assert_eq!(scene.get("orders", "a", "/code/200").await, 200);
        assert_eq!(scene.lines(), Vec::<String>::new());
    }
}
