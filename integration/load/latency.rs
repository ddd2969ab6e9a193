//! `load latency`: from a write to the registry until Envoy has accepted it (the bridge logs
//! its ACK), and beside it, for the same write, until a watcher of the registry itself saw it:
//! what is beyond that is the bridge's and Envoy's.

use std::time::{Duration, Instant};

use etcd_client::WatchOptions;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStderr;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::catalog;
use crate::changes::Dice;
use crate::numbers::{Samples, Table, now};
use crate::server::Server;
use crate::support::consul::Consul;
use crate::support::etcd::Etcd;
use crate::support::http::Http;

/// Services, three instances each; one of them changes.
const SERVICES: usize = 10;
const MOVING: usize = 5;

/// No change takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints the table.
pub(crate) async fn measure(changes: usize) {
    let mut table = Table::new(
        format!("From a write to Envoy's ACK: p50 / p99 / max of {changes} single endpoint changes, ms"),
        &[
            "registry",
            "a watcher of the registry sees it",
            "Envoy's ACK",
            "the difference",
        ],
    );
    let registries = [Registry::etcd().await, Registry::consul().await];
    for mut registry in registries {
        let [seen, accepted, beyond] = registry.run(changes).await;
        table.row([
            registry.name.to_owned(),
            seen.three(),
            accepted.three(),
            beyond.three(),
        ]);
    }
    println!("{table}");
}

/// A registry with its own ways to be written and watched.
struct Registry {
    name: &'static str,
    source: String,
    hand: Hand,
    /// Port that was seen, and when.
    seen: UnboundedReceiver<(u16, Instant)>,
    watcher: JoinHandle<()>,
    _program: Box<dyn std::any::Any>,
}

/// Writes.
enum Hand {
    Etcd(Box<etcd_client::Client>),
    Consul(Box<Http>, String),
}

impl Registry {
    async fn etcd() -> Self {
        let etcd = Etcd::start().await;
        let mut hand = Hand::Etcd(Box::new(etcd.client().await));
        fill(&mut hand).await;
        let (saw, seen) = unbounded_channel();
        let mut client = etcd.client().await;
        let key = crate::support::etcd::instance_key(&catalog::name(MOVING), "0");
        let watcher = tokio::spawn(async move {
            let options = WatchOptions::new();
            let mut watch = client.watch(key, Some(options)).await.expect("watching etcd");
            while let Ok(Some(response)) = watch.message().await {
                let at = now();
                for event in response.events() {
                    let value: Option<Value> =
                        event.kv().and_then(|kv| serde_json::from_slice(kv.value()).ok());
                    report(&saw, value.as_ref().map(|v| &v["port"]), at);
                }
            }
        });
        Self {
            name: "etcd",
            source: catalog::etcd_source(&etcd.url()),
            hand,
            seen,
            watcher,
            _program: Box::new(etcd),
        }
    }

    async fn consul() -> Self {
        let consul = Consul::start().await;
        let url = consul.url();
        let mut hand = Hand::Consul(Box::new(Http::keeping()), url.clone());
        fill(&mut hand).await;
        let (saw, seen) = unbounded_channel();
        let health = format!("{url}/v1/health/service/{}", catalog::name(MOVING));
        let watcher = tokio::spawn(async move {
            let http = Http::keeping();
            let mut index = 1;
            loop {
                // Shorter than the client's patience, and no matter: it asks again.
                let url = format!("{health}?index={index}&wait=5s");
                let body = http.text(&url).await.expect("watching Consul");
                let at = now();
                let entries: Vec<Value> = serde_json::from_str(&body).expect("JSON of Consul");
                let of = |e: &Value| e["Service"]["ModifyIndex"].as_u64();
                index = entries.iter().filter_map(of).max().unwrap_or(1).max(index);
                let entry = entries.iter().find(|e| e["Service"]["ID"] == id(MOVING, 0));
                report(&saw, entry.map(|e| &e["Service"]["Port"]), at);
            }
        });
        Self {
            name: "Consul",
            source: format!("[sources.agents]\nkind = \"consul\"\naddress = \"{url}\"\n\n"),
            hand,
            seen,
            watcher,
            _program: Box::new(consul),
        }
    }

    /// How long after the write: seen by the watcher, accepted by Envoy, the difference.
    async fn run(&mut self, changes: usize) -> [Samples; 3] {
        let (server, log) = Server::start_talking(&self.source).await;
        let (reader, mut accepted) = accepted(log);
        let _envoy = server.envoy().await;
        tokio::time::sleep(Duration::from_secs(1)).await; // its first answers are over
        let mut dice = Dice::new();
        let mut samples = [const { Samples::none() }; 3];
        for port in (20_000..).take(changes) {
            let pause = 30 + u64::try_from(dice.below(30)).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            while accepted.try_recv().is_ok() {}
            let began = now();
            self.hand.write(MOVING, 0, port).await;
            let acked = within(accepted.recv(), "Envoy's ACK").await;
            let seen = loop {
                let (seen, at) = within(self.seen.recv(), "the change in the registry").await;
                if seen == port {
                    break at;
                }
            };
            samples[0].push(seen - began);
            samples[1].push(acked - began);
            samples[2].push(acked.saturating_duration_since(seen));
        }
        self.watcher.abort();
        reader.abort();
        samples
    }
}

async fn within<T>(event: impl Future<Output = Option<T>>, what: &str) -> T {
    let event = tokio::time::timeout(PATIENCE, event).await;
    event
        .ok()
        .flatten()
        .unwrap_or_else(|| panic!("after {PATIENCE:?} still not: {what}"))
}

fn report(saw: &UnboundedSender<(u16, Instant)>, port: Option<&Value>, at: Instant) {
    let port = port
        .and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok());
    if let Some(port) = port {
        let _ = saw.send((port, at)); // nobody listens at the end
    }
}

/// When Envoy accepted endpoints, as the bridge logs it.
fn accepted(log: ChildStderr) -> (JoinHandle<()>, UnboundedReceiver<Instant>) {
    let (say, said) = unbounded_channel();
    let reader = tokio::spawn(async move {
        let mut lines = BufReader::new(log).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("\"accepted\"") && line.contains("\"eds\"") {
                let _ = say.send(now());
            }
        }
    });
    (reader, said)
}

fn id(service: usize, instance: usize) -> String {
    format!("{}-{instance}", catalog::name(service))
}

async fn fill(hand: &mut Hand) {
    for service in 0..SERVICES {
        for instance in 0..3 {
            hand.write(service, instance, 8_080).await;
        }
    }
}

impl Hand {
    /// Writes one instance, on a connection that stays open.
    async fn write(&mut self, service: usize, instance: usize, port: u16) {
        let address = format!("10.0.{service}.{instance}");
        match self {
            Self::Etcd(client) => {
                let key = crate::support::etcd::instance_key(&catalog::name(service), &instance.to_string());
                let value = json!({ "address": address, "port": port }).to_string();
                client.put(key, value, None).await.expect("a write to etcd");
            }
            Self::Consul(http, url) => {
                let entry = json!({
                    "Node": "load", "Address": "10.0.0.1", "SkipNodeUpdate": true,
                    "Service": {
                        "ID": id(service, instance), "Service": catalog::name(service),
                        "Address": address, "Port": port,
                    },
                });
                let url = format!("{url}/v1/catalog/register");
                let reply = http.send("PUT", &url, None, entry.to_string()).await;
                let reply = reply.expect("a write to Consul");
                assert_eq!(reply.status, 200, "Consul says {}", reply.body);
            }
        }
    }
}
