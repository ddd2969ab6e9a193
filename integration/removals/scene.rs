//! The scene of each proof: etcd, servers of one service, the bridge, an Envoy and steady load through it.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{DeleteOptions, Txn, TxnOp};
use tokio::task::JoinHandle;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::etcd::{Etcd, facts, instance_key};
use crate::support::load::{Load, Report};
use crate::support::servers::{Counter, Server};
use crate::support::wait;

/// Requests a second.
pub(super) const RPS: u32 = 40;

/// By HTTP/2 a server can stop without a race: one of HTTP/1 closes a connection while a request is on its way.
const DECLARED: [(&str, &str); 1] = [("protocol", "http2")];
const LEAVING: [(&str, &str); 2] = [("protocol", "http2"), ("state", "drain")];

const SOURCE: [(&str, &str); 1] = [("source", "registry")];

/// Everything that runs.
pub(super) struct Scene {
    pub(super) load: Running,
    pub(super) envoy: Envoy,
    pub(super) bridge: Bridge,
    pub(super) etcd: Etcd,
    /// `None`: stopped.
    servers: Vec<Option<Server>>,
}

/// Load until it is stopped.
pub(super) struct Running(Option<Load>);

impl Running {
    pub(super) async fn goes_on(&self, requests: u64) {
        self.0.as_ref().expect("it runs").goes_on(requests).await;
    }

    pub(super) async fn stop(&mut self) -> Report {
        self.0.take().expect("it runs").finish().await
    }

    pub(super) async fn finish(mut self) -> Report {
        self.stop().await
    }
}

/// A bridge on this etcd, with more keys for its source, and an Envoy.
pub(super) async fn start(etcd: &Etcd, more: &str) -> (Bridge, Envoy) {
    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n{more}",
        etcd.url()
    );
    let bridge = Bridge::start(&source).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    (bridge, envoy)
}

/// Takes these instances of `orders` out in one transaction.
pub(super) async fn delete(etcd: &Etcd, ids: &[&str]) {
    let operation = |id: &&str| TxnOp::delete(instance_key("orders", id), None);
    let all: Vec<TxnOp> = ids.iter().map(operation).collect();
    let done = etcd.client().await.txn(Txn::new().and_then(all)).await;
    done.expect("a transaction of etcd");
}

/// Wipes the registry.
pub(super) async fn delete_all(etcd: &Etcd) {
    let all = DeleteOptions::new().with_prefix();
    let done = etcd.client().await.delete("/services/", Some(all)).await;
    done.expect("etcd deletes");
}

/// Waits until so many instances are withheld.
pub(super) async fn withheld(bridge: &Bridge, wanted: usize) {
    let metric = "xds_bridge_source_withheld_instances";
    bridge
        .metric_is(metric, &SOURCE, |n| usize::try_from(n) == Ok(wanted))
        .await;
}

impl Scene {
    /// So many servers of `orders`, all of which answer; more keys for the source.
    pub(super) async fn start(servers: usize, more: &str) -> Self {
        let etcd = Etcd::start().await;
        let mut all = Vec::new();
        for n in 0..servers {
            let server = Server::http(&format!("orders-{n}")).await;
            let key = instance_key("orders", &server.id);
            etcd.put(&key, facts(&server, &DECLARED).to_string()).await;
            all.push(Some(server));
        }
        let (bridge, envoy) = start(&etcd, more).await;
        let mut scene = Self {
            load: Running(None),
            envoy,
            bridge,
            etcd,
            servers: all,
        };
        scene.served(servers).await;
        let load = Load::start(scene.envoy.listener(), &[Call::http("orders")], RPS, 4);
        load.goes_on(40).await;
        scene.load = Running(Some(load));
        scene
    }

    fn server(&self, n: usize) -> &Server {
        self.servers[n].as_ref().expect("it runs")
    }

    /// These leave the registry, at once.
    pub(super) async fn leave(&self, which: Range<usize>) {
        let ids: Vec<String> = which.map(|n| format!("orders-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        delete(&self.etcd, &ids).await;
    }

    /// These stop, as a server does in order.
    pub(super) async fn stop(&mut self, which: Range<usize>) {
        let stopping = self.servers[which].iter_mut().filter_map(Option::take);
        futures::future::join_all(stopping.map(Server::stop)).await;
    }

    /// This one registers (again).
    pub(super) async fn register(&self, n: usize) {
        self.put(n, &DECLARED).await;
    }

    /// This one declares that it goes down.
    pub(super) async fn drain(&self, n: usize) {
        self.put(n, &LEAVING).await;
    }

    async fn put(&self, n: usize, keys: &[(&str, &str)]) {
        let server = self.server(n);
        let key = instance_key("orders", &server.id);
        self.etcd.put(&key, facts(server, keys).to_string()).await;
    }

    /// Waits until so many instances are withheld.
    pub(super) async fn withheld(&self, wanted: usize) {
        withheld(&self.bridge, wanted).await;
    }

    /// Waits until so many of them have accepted a connection.
    pub(super) async fn alive(&self, wanted: usize) {
        let metric = "xds_bridge_source_withheld_alive_addresses";
        let is = |n| usize::try_from(n) == Ok(wanted);
        self.bridge.metric_is(metric, &SOURCE, is).await;
    }

    /// Waits until Envoy has so many instances.
    pub(super) async fn served(&self, wanted: usize) {
        wait::until(
            wait::PATIENCE,
            &format!("Envoy has {wanted} instances"),
            async || {
                let hosts = self.envoy.hosts("orders").await.len();
                wait::holds(hosts == wanted, || format!("{hosts}"))
            },
        )
        .await;
    }

    /// Waits until so many of them stand in the first priority.
    pub(super) async fn served_first(&self, wanted: usize) {
        let what = format!("{wanted} instances have Envoy's first priority");
        wait::until(wait::PATIENCE, &what, async || {
            let text = self.envoy.text("/clusters").await;
            let first = text
                .lines()
                .filter(|l| l.starts_with("orders::127.") && l.ends_with("::priority::0"));
            let first = first.count();
            wait::holds(first == wanted, || format!("{first}"))
        })
        .await;
    }

    /// The end: of all requests none has failed. Prints a line of the table in the documentation.
    pub(super) async fn finish(self, what: &str) {
        let report = self.load.finish().await;
        println!(
            "{what}: {} of {} requests failed",
            report.failures.len(),
            report.sent
        );
        report.assert_clean(40);
        self.bridge.assert_no_nacks().await;
    }
}

/// How many requests each server took, in steps of about a second.
pub(super) struct Share {
    seen: Arc<Mutex<Vec<Vec<u64>>>>,
    task: JoinHandle<()>,
}

/// So many requests in a row are looked at: those of 5 s.
const WINDOW: u64 = 5 * RPS as u64;

impl Share {
    /// Counts from now on.
    pub(super) fn watch(scene: &Scene) -> Self {
        let counters: Vec<Counter> = scene.servers.iter().flatten().map(Server::counter).collect();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                let now = counters.iter().map(Counter::requests).collect();
                shared.lock().expect("nobody panics").push(now);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Self { seen, task }
    }

    /// Of the requests of no 5 s did a server get more than twice its share.
    pub(super) fn assert_fair(self, scene: &Scene, what: &str) {
        self.task.abort();
        let seen = self.seen.lock().expect("nobody panics").clone();
        let servers = scene.servers.iter().flatten().count() as u64;
        let sum = |counts: &[u64]| counts.iter().sum::<u64>();
        let (mut windows, mut worst) = (0, 0.0_f64);
        for (n, begin) in seen.iter().enumerate() {
            let Some(end) = seen[n..].iter().find(|end| sum(end) >= sum(begin) + WINDOW) else {
                break;
            };
            windows += 1;
            let most = begin.iter().zip(end).map(|(b, e)| e - b).max().unwrap_or(0);
            #[allow(clippy::cast_precision_loss, reason = "some hundreds")]
            let times = (most * servers) as f64 / (sum(end) - sum(begin)) as f64;
            worst = worst.max(times);
        }
        println!("{what}: {worst:.2} times its share at the most, over 5 s");
        assert!(windows > 0, "too few requests: {seen:?}");
        assert!(worst <= 2.0, "{worst} times its share: {seen:?}");
    }
}
