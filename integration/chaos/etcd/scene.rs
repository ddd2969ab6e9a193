//! The scene of each proof: etcd with many services, the bridge as a process with a cache, an Envoy that
//! gets all from it, servers that stay up all the time, steady load, and a watch that no endpoint is lost.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;

use super::cluster::{Cluster, PATIENCE};
use super::floor::Floor;
use super::owners::Owners;
use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::etcd::{facts, instance_key};
use crate::support::load::Load;
use crate::support::servers::Server;
use crate::support::wait;

/// Services that nothing happens to, with two servers each.
const SERVICES: usize = 20;
const EACH: usize = 2;

/// The instances of a scene at its start.
pub(super) const INSTANCES: usize = SERVICES * EACH + 1;

/// Requests a second and service. Few: the machine has to run etcd, too.
const RPS: u32 = 5;

/// The service whose servers come and go. Its first one stays.
const NEWS: &str = "news";

const SOURCE: [(&str, &str); 1] = [("source", "registry")];

/// Everything that runs.
pub(super) struct Scene {
    pub(super) load: Load,
    pub(super) floor: Floor,
    pub(super) bridge: Bridge,
    pub(super) envoy: Envoy,
    pub(super) owners: Owners,
    pub(super) cluster: Cluster,
    servers: Vec<Server>,
    folder: TempDir,
    /// How often Envoy had changed the members of each service.
    changes: u64,
}

impl Scene {
    /// Starts all on this etcd, with leases that outlive the test.
    pub(super) async fn start(cluster: Cluster) -> Self {
        Self::with_source(cluster, "").await
    }

    /// The same with more keys for the source.
    pub(super) async fn with_source(cluster: Cluster, more: &str) -> Self {
        Self::with(cluster, Duration::from_secs(900), more).await
    }

    /// The same with leases of this length.
    pub(super) async fn with_leases(cluster: Cluster, ttl: Duration) -> Self {
        Self::with(cluster, ttl, "").await
    }

    async fn with(cluster: Cluster, ttl: Duration, more: &str) -> Self {
        let owners = Owners::start(cluster.urls(), ttl);
        let mut servers = Vec::new();
        let services = (0..SERVICES).flat_map(|s| (0..EACH).map(move |n| (format!("s{s:02}"), n)));
        for (service, n) in services.chain([(NEWS.to_owned(), 0)]) {
            let server = Server::http(&format!("{service}-{n}")).await;
            owners.begin(
                &instance_key(&service, &server.id),
                facts(&server, &[]).to_string(),
            );
            servers.push(server);
        }
        owners.settled().await;

        let folder = tempfile::tempdir().expect("a folder");
        let source = format!(
            "[sources.registry]\nkind = \"etcd\"\nendpoints = {:?}\n{more}\n[cache]\nfolder = \"{}\"\n",
            cluster.bridge_urls(),
            folder.path().display()
        );
        let bridge = Bridge::start(&source).await;
        let envoy = bridge.envoy(Step::Listeners, &[]).await;
        let floor = Floor::watch(&envoy);
        let names: Vec<String> = (0..SERVICES)
            .map(|n| format!("s{n:02}"))
            .chain([NEWS.into()])
            .collect();
        for name in &names {
            let of = |s: &&Server| s.id.rsplit_once('-').is_some_and(|(service, _)| service == name);
            let hosts: Vec<SocketAddr> = servers.iter().filter(of).map(|s| s.address).collect();
            envoy.has_hosts(name, &hosts).await;
            for host in hosts {
                floor.demand(name, &host.to_string());
            }
        }
        let calls: Vec<Call> = names.iter().map(|name| Call::http(name)).collect();
        let load = Load::start(envoy.listener(), &calls, RPS, 1);
        let mut scene = Self {
            load,
            floor,
            bridge,
            envoy,
            owners,
            cluster,
            servers,
            folder,
            changes: 0,
        };
        scene.changes = scene.membership_changes().await;
        scene.known(&["news-0"]).await;
        scene.goes_on().await;
        scene
    }

    /// Some more load; not one request has failed until now, and no endpoint was lost.
    pub(super) async fn goes_on(&self) {
        self.load.goes_on(100).await;
        self.floor.holds().await;
    }

    /// The state of now lasts so long, and nothing suffers.
    pub(super) async fn lasts(&self, time: Duration) {
        let over = tokio::time::sleep(time);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.goes_on() => {}
            }
        }
    }

    /// The bridge dies and comes back in the middle of it. Returns when it serves again.
    pub(super) async fn bridge_dies(&mut self) {
        self.bridge.kill();
        self.goes_on().await;
        self.bridge.restart().await;
        self.bridge
            .metric_is("xds_bridge_streams", &[], |streams| streams >= 1)
            .await;
        self.goes_on().await;
    }

    /// Waits until the source says that etcd is well (`true`) or away.
    pub(super) async fn source_is(&self, up: bool) {
        let what = format!("etcd is {}", if up { "well" } else { "away" });
        wait::until(PATIENCE, &what, async || {
            let metrics = self.bridge.metrics().await;
            let seen = metrics.sum("xds_bridge_source_up", &SOURCE);
            wait::holds(seen == Some(i64::from(up)), || format!("{seen:?}"))
        })
        .await;
    }

    /// Which member the bridge watches, as its log says.
    pub(super) fn watched(&self) -> Option<usize> {
        let log = self.bridge.log();
        let line = log.lines().rfind(|line| line.contains("watching etcd"))?;
        self.cluster
            .bridge_urls()
            .iter()
            .position(|url| line.contains(&format!("{url}\"")) || line.contains(&format!("{url} ")))
    }

    /// One more server of `news` registers; nobody waits for Envoy.
    pub(super) async fn registers(&mut self, id: &str) {
        let server = Server::http(id).await;
        self.owners
            .add(&instance_key(NEWS, id), facts(&server, &[]).to_string())
            .await;
        self.servers.push(server);
    }

    /// The same, written right at a member that only its peers reach.
    pub(super) async fn registers_at(&mut self, member: usize, id: &str) {
        let server = Server::http(id).await;
        let value = facts(&server, &[]).to_string();
        self.cluster
            .write_at(member, &instance_key(NEWS, id), Some(&value));
        self.servers.push(server);
    }

    /// And deregisters there.
    pub(super) fn deregisters_at(&self, member: usize, id: &str) {
        self.floor.let_go(NEWS, &self.address(id));
        self.cluster.write_at(member, &instance_key(NEWS, id), None);
    }

    /// A server of `news` deregisters (it stays up); nobody waits for Envoy.
    pub(super) async fn deregisters(&self, id: &str) {
        self.floor.let_go(NEWS, &self.address(id));
        self.owners.remove(&instance_key(NEWS, id)).await;
    }

    /// Waits until Envoy has exactly these servers of `news`, which must stay from now on.
    pub(super) async fn news_are(&self, ids: &[&str]) {
        let mut wanted: Vec<String> = ids.iter().map(|id| self.address(id)).collect();
        wanted.sort();
        wait::until(PATIENCE, &format!("Envoy has the servers {ids:?}"), async || {
            let hosts = self.envoy.hosts(NEWS).await;
            let same = hosts.keys().eq(wanted.iter());
            wait::holds(same, || format!("{hosts:?}, not {wanted:?}"))
        })
        .await;
        for host in &wanted {
            self.floor.demand(NEWS, host);
        }
    }

    /// This server may go, though nobody deregistered it.
    pub(super) fn let_go(&self, id: &str) {
        self.floor.let_go(NEWS, &self.address(id));
    }

    /// Waits until so many instances are withheld.
    pub(super) async fn withheld(&self, instances: usize) {
        let wanted = i64::try_from(instances).ok();
        wait::until(
            PATIENCE,
            &format!("{instances} instances are withheld"),
            async || {
                let metrics = self.bridge.metrics().await;
                let seen = metrics.sum("xds_bridge_source_withheld_instances", &SOURCE);
                wait::holds(seen == wanted, || format!("{seen:?}"))
            },
        )
        .await;
    }

    /// Waits until the bridge has logged this since its start.
    pub(super) async fn logged(&self, word: &str) {
        wait::until(PATIENCE, &format!("the log says `{word}`"), async || {
            let log = self.bridge.log();
            wait::holds(log.contains(word), || log)
        })
        .await;
    }

    /// Waits until the bridge's disk has exactly these servers of `news`: it is written once a second.
    pub(super) async fn known(&self, ids: &[&str]) {
        let file = self.folder.path().join("registry.cache");
        let begin = format!("\"{NEWS}-");
        wait::until(PATIENCE, &format!("{ids:?} are on disk"), async || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let rest = text.split(begin.as_str()).skip(1);
            let found: BTreeSet<String> = rest
                .filter_map(|rest| Some(format!("{NEWS}-{}", rest.split_once('"')?.0)))
                .collect();
            wait::holds(found.iter().eq(ids), || format!("{found:?}"))
        })
        .await;
    }

    /// Where a server is, `127.0.0.1:PORT`.
    fn address(&self, id: &str) -> String {
        let server = self.servers.iter().find(|s| s.id == id).expect("a server");
        server.address.to_string()
    }

    /// After the recovery: what comes and what goes is followed. Then the end: no request has failed,
    /// no endpoint was lost at any time, and Envoy was sent nothing of the services nothing happened to.
    pub(super) async fn finish(mut self, news: &[&str]) {
        self.source_is(true).await;
        self.registers("news-last").await;
        let more: Vec<&str> = news.iter().copied().chain(["news-last"]).collect();
        self.news_are(&more).await;
        self.deregisters("news-last").await;
        self.news_are(news).await;
        self.ends_clean().await;
        self.bridge.assert_no_nacks().await;
        let sent = self.load.finish().await;
        sent.assert_clean(300);
    }

    /// Until now no endpoint was lost, and no other member was told of a service that nothing happened to.
    /// From here on all may go. Returns the number of requests, none of which failed.
    pub(super) async fn ends_clean(&self) -> u64 {
        self.goes_on().await;
        assert_eq!(
            self.membership_changes().await,
            self.changes,
            "Envoy was told other members of a service that nothing happened to"
        );
        self.floor.let_all_go();
        self.load.report().sent
    }

    /// How often Envoy changed the members of the services that nothing happens to.
    async fn membership_changes(&self) -> u64 {
        let counted = self.envoy.stats(&["cluster.s*.membership_change"]).await;
        assert_eq!(
            counted.len(),
            SERVICES,
            "Envoy counts under other names: {counted:?}"
        );
        counted.values().sum()
    }
}
