//! `load registries` with etcd: a plain watch of the prefix alone, and the bridge beside it, without and
//! with its cache of the last known state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use etcd_client::{Client, WatchOptions};
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};

use crate::awaited::{Awaited, Took};
use crate::registries::{Extent, Meter, Tables, Used, bridge};
use crate::support::etcd::Etcd;
use crate::support::many::{self, PORT};
use crate::support::mirror::Mirror;
use crate::support::procfs;
use crate::support::tap::Tap;

/// Keys of each service.
const INSTANCES: usize = 20;

/// A thousand a second, ten at once.
const PACE: Duration = Duration::from_millis(10);
const AT_ONCE: usize = 10;

/// Fills the rows of etcd.
pub(crate) async fn measure(extent: Extent, tables: &mut Tables) {
    let etcd = Etcd::start().await;
    let mut round = Round {
        client: etcd.client().await,
        etcd,
        extent,
        port: PORT,
    };
    many::fill_etcd(&round.client, 0..extent.etcd_services, INSTANCES, PORT).await;
    round.alone(tables).await;
    round.beside("etcd: xds-bridge", "", tables).await;
    let folder = tempfile::tempdir().expect("a folder");
    let cache = format!("[cache]\nfolder = \"{}\"\n", folder.path().display());
    round
        .beside(
            "etcd: xds-bridge that keeps its last known state on disk",
            &cache,
            tables,
        )
        .await;
}

struct Round {
    etcd: Etcd,
    client: Client,
    extent: Extent,
    /// Given last: no change is like another.
    port: u16,
}

impl Round {
    async fn alone(&mut self, tables: &mut Tables) {
        let tap = Tap::before(self.etcd.address()).await;
        let (own, _watch) = self.watch().await;
        let meter = Meter {
            registry: self.etcd.program().id(),
            watcher: None,
            tap: &tap,
            requests: Box::new(|| 0),
        };
        let (used, (took, changes)) = meter.during(async || self.change(&own, None).await).await;
        tables.busy("etcd: a plain watch alone", &meter, &used, &took.0, changes);
    }

    async fn beside(&mut self, who: &str, more: &str, tables: &mut Tables) {
        let tap = Tap::before(self.etcd.address()).await;
        let registry = self.etcd.program().id();
        let source = format!(
            "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"http://{}\"]\n{more}",
            tap.address
        );
        let mut meter = Meter {
            registry,
            watcher: None,
            tap: &tap,
            requests: Box::new(|| 0),
        };
        let (used, (server, pid)) = meter.during(async || bridge(&source).await).await;
        meter.watcher = Some(pid);
        let used = Used {
            watcher: Some(procfs::total(pid)),
            ..used
        };
        tables.sync(who, &meter, &used);
        let (own, _watch) = self.watch().await;
        let ours = Awaited::default();
        let heard = ours.clone();
        let hear = move |name: &str, has: &BTreeMap<SocketAddr, bool>| {
            heard.saw(name, has.keys().map(SocketAddr::port));
        };
        let _mirror = Mirror::of(server.xds, hear).await;
        tokio::time::sleep(Duration::from_secs(3)).await; // what follows a start is over
        tables.idle(who, &meter, self.extent.idle).await;
        let (used, (took, changes)) = meter.during(async || self.change(&own, Some(&ours)).await).await;
        tables.busy(
            &format!("{who} (the plain watch: {})", took.0.three()),
            &meter,
            &used,
            &took.1,
            changes,
        );

        let from = tap.attempts().len();
        tap.most();
        tap.shut();
        tokio::time::sleep(self.extent.away).await;
        let tried = tap.attempts().len() - from;
        self.port += 1;
        for service in 0..10 {
            ours.begins(many::name(service), self.port);
            let value = many::value(service, 0, self.port);
            self.etcd.put(&many::key(service, 0), value).await;
        }
        let (back, took) = meter
            .during(async || {
                tap.open();
                ours.all().await
            })
            .await;
        tables.away(who, &meter, tried, &back, &took);
    }

    /// A watch of the registry itself, in this process.
    async fn watch(&self) -> (Awaited, JoinHandle<()>) {
        let (own, mut client) = (Awaited::default(), self.client.clone());
        let heard = own.clone();
        let options = WatchOptions::new().with_prefix();
        let mut watch = client
            .watch("/services/", Some(options))
            .await
            .expect("a watch of etcd");
        let task = tokio::spawn(async move {
            while let Ok(Some(response)) = watch.message().await {
                for kv in response.events().iter().filter_map(|event| event.kv()) {
                    let service = kv.key_str().ok().and_then(|key| key.split('/').nth(2));
                    let value: Value = serde_json::from_slice(kv.value()).unwrap_or_default();
                    let port = value["port"].as_u64().and_then(|port| u16::try_from(port).ok());
                    heard.saw(service.unwrap_or_default(), port.into_iter());
                }
            }
        });
        (own, task)
    }

    /// A thousand changes a second, each to the next service; what the plain watch and what the bridge took.
    async fn change(&mut self, own: &Awaited, ours: Option<&Awaited>) -> ((Took, Took), usize) {
        let batches = self.extent.busy.as_millis() / PACE.as_millis();
        let services = self.extent.etcd_services;
        let round = services / AT_ONCE;
        let mut ticks = tokio::time::interval(PACE);
        let mut writes = JoinSet::new();
        let batches = usize::try_from(batches).expect("a short time");
        for batch in 0..batches {
            ticks.tick().await;
            if batch % round == 0 {
                self.port += 1;
                while let Some(written) = writes.join_next().await {
                    written.expect("a write to etcd");
                }
            }
            for k in 0..AT_ONCE {
                let service = (batch * AT_ONCE + k) % services;
                let (mut client, port) = (self.client.clone(), self.port);
                for awaited in [Some(own), ours].into_iter().flatten() {
                    awaited.begins(many::name(service), port);
                }
                writes.spawn(async move {
                    let (key, value) = (many::key(service, 1), many::value(service, 1, port));
                    client.put(key, value, None).await.expect("a write to etcd");
                });
            }
        }
        writes.join_all().await;
        let own = own.all().await;
        let ours = match ours {
            Some(ours) => ours.all().await,
            None => Took::default(),
        };
        ((own, ours), batches * AT_ONCE)
    }
}
