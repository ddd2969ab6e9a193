//! `load registries` with Consul: plain blocking queries, one for each service, beside the bridge over
//! HTTP/1.1 and over HTTP/2. Each on a Consul of its own, which logs each request: so they are counted.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::awaited::Awaited;
use crate::registries::{Extent, Meter, Tables, bridge};
use crate::server::Server;
use crate::support::consul::Consul;
use crate::support::many::{self, Catalog, PORT};
use crate::support::mirror::Mirror;
use crate::support::pki::{Ca, loopback};
use crate::support::procfs;
use crate::support::tap::Tap;

const INSTANCES: usize = 5;

/// Between two changes.
const PACE: Duration = Duration::from_millis(100);

/// Blocking queries: as long as the bridge's.
const WAIT: Duration = Duration::from_secs(300);

/// A plain watcher tries again after this.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Plain,
    Http1,
    Http2,
}

impl Who {
    const fn title(self) -> &'static str {
        match self {
            Self::Nobody => "Consul: nobody",
            Self::Plain => {
                "Consul: a plain blocking query for each service (its limit of 200 connections raised)"
            }
            Self::Http1 => "Consul: xds-bridge, HTTP/1.1",
            Self::Http2 => "Consul: xds-bridge, HTTP/2",
        }
    }
}

/// Fills the rows of Consul.
pub(crate) async fn measure(extent: Extent, tables: &mut Tables) {
    for who in [Who::Nobody, Who::Plain, Who::Http1, Who::Http2] {
        one(who, extent, tables).await;
    }
}

async fn one(who: Who, extent: Extent, tables: &mut Tables) {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let [certificate, key] = ca.sign(dir.path(), "consul", loopback());
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, &ca.pem).expect("a file");
    let mut more = json!({ "cert_file": certificate, "key_file": key, "log_level": "debug" });
    if who == Who::Plain {
        more["limits"] = json!({ "http_max_conns_per_client": 2 * extent.consul_services });
    }
    let mut consul = Consul::start_as(&more).await;
    let catalog = Catalog::of(consul.url());
    catalog.fill(extent.consul_services, INSTANCES).await;
    let registry = consul.program().id();
    let target = if who == Who::Http2 {
        consul.https
    } else {
        consul.address()
    };
    let tap = Tap::before(target).await;
    let awaited = Awaited::default();
    let requests = Box::new(|| {
        let log = consul.log();
        log.lines()
            .filter(|line| line.contains("Request finished: method=GET"))
            .count()
    });
    let mut meter = Meter {
        registry,
        watcher: None,
        tap: &tap,
        requests,
    };
    let mut plain = JoinSet::new();
    let mut server: Option<Server> = None;
    let mut mirror: Option<Mirror> = None;
    let (used, pid) = meter
        .during(async || match who {
            Who::Nobody => None,
            Who::Plain => {
                watch_all(&mut plain, tap.address, extent.consul_services, &awaited).await;
                None
            }
            Who::Http1 | Who::Http2 => {
                let scheme = if who == Who::Http2 { "https" } else { "http" };
                let mut section = format!(
                    "[sources.agents]\nkind = \"consul\"\naddress = \"{scheme}://{}\"\n",
                    tap.address
                );
                if who == Who::Http2 {
                    section = format!("{section}[sources.agents.tls]\nca = \"{}\"\n", ca_file.display());
                }
                let (started, pid) = bridge(&section).await;
                server = Some(started);
                Some(pid)
            }
        })
        .await;
    meter.watcher = pid;
    if let Some(server) = &server {
        let awaited = awaited.clone();
        let hear = move |name: &str, has: &std::collections::BTreeMap<SocketAddr, bool>| {
            awaited.saw(name, has.keys().map(SocketAddr::port));
        };
        mirror = Some(Mirror::of(server.xds, hear).await);
    }
    if who != Who::Nobody {
        // All of its CPU time is that of its start.
        let used = crate::registries::Used {
            watcher: pid.map(procfs::total),
            ..used
        };
        tables.sync(who.title(), &meter, &used);
        tokio::time::sleep(Duration::from_secs(3)).await; // what follows a start is over
        tables.idle(who.title(), &meter, extent.idle).await;
    }

    let changes = changes(extent);
    let (used, took) = meter
        .during(async || {
            change(
                &catalog,
                extent,
                changes,
                (who != Who::Nobody).then_some(&awaited),
            )
            .await;
            awaited.all().await
        })
        .await;
    tables.busy(who.title(), &meter, &used, &took, changes);
    if who == Who::Nobody {
        return;
    }

    let from = tap.attempts().len();
    tap.most();
    tap.shut();
    tokio::time::sleep(extent.away).await;
    let tried = tap.attempts().len() - from;
    // What changed meanwhile tells that it was heard again.
    for service in 0..extent.consul_services.min(10) {
        awaited.begins(many::name(service), PORT + 9_999);
        catalog.register(service, 0, PORT + 9_999, true).await;
    }
    let (back, took) = meter
        .during(async || {
            tap.open();
            let took = awaited.all().await;
            quiet(&tap).await;
            took
        })
        .await;
    tables.away(who.title(), &meter, tried, &back, &took);
    drop((plain, mirror, server));
}

/// Until next to nothing is said for a second. (That second counts in none of the figures but the time.)
/// A watcher that reads in turns is never quiet: not for ever.
async fn quiet(tap: &Tap) {
    for _ in 0..20 {
        let before = tap.bytes();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if tap.bytes() - before < 4096 {
            return;
        }
    }
}

const fn changes(extent: Extent) -> usize {
    let all = extent.busy.as_millis() / PACE.as_millis();
    if all > extent.consul_services as u128 {
        extent.consul_services
    } else {
        all as usize
    }
}

/// One instance gets another port, each time of another service.
async fn change(catalog: &Catalog, extent: Extent, changes: usize, awaited: Option<&Awaited>) {
    let mut ticks = tokio::time::interval(PACE);
    let mut writes = JoinSet::new();
    for n in 0..changes {
        ticks.tick().await;
        let service = n * 7 % extent.consul_services;
        let port = PORT + 1 + u16::try_from(n).expect("so many changes");
        if let Some(awaited) = awaited {
            awaited.begins(many::name(service), port);
        }
        let catalog = catalog.clone();
        writes.spawn(async move { catalog.register(service, 0, port, true).await });
    }
    writes.join_all().await;
}

/// What a plain client does: for each service a blocking query, again and again; after an error from the
/// beginning, a second later. Returns when each was read once.
pub(crate) async fn watch_all(
    tasks: &mut JoinSet<()>,
    agent: SocketAddr,
    services: usize,
    awaited: &Awaited,
) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut first = Vec::new();
    for service in 0..services {
        let (done, once) = tokio::sync::oneshot::channel();
        first.push(once);
        let (client, awaited) = (client.clone(), awaited.clone());
        let mut done = Some(done);
        tasks.spawn(async move {
            let name = many::name(service);
            let mut index = 0;
            loop {
                let Ok(answer) = read(&client, agent, &name, index).await else {
                    index = 0;
                    tokio::time::sleep(AGAIN).await;
                    continue;
                };
                index = answer.0;
                let entries: Vec<Value> = serde_json::from_slice(&answer.1).expect("JSON of Consul");
                let ports = entries.iter().filter_map(|e| e["Service"]["Port"].as_u64());
                awaited.saw(&name, ports.filter_map(|port| u16::try_from(port).ok()));
                if let Some(done) = done.take() {
                    let _ = done.send(()); // nobody waits any more
                }
            }
        });
    }
    join_all(first).await;
}

/// One blocking query: the index and the body.
async fn read(
    client: &Client<HttpConnector, Empty<Bytes>>,
    agent: SocketAddr,
    name: &str,
    index: u64,
) -> Result<(u64, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let wait = WAIT.as_secs();
    let url = format!("http://{agent}/v1/health/service/{name}?index={index}&wait={wait}s");
    let response = client.get(url.parse()?).await?;
    let index = response.headers().get("x-consul-index").ok_or("no index")?;
    let index = index.to_str()?.parse()?;
    Ok((index, response.into_body().collect().await?.to_bytes()))
}
