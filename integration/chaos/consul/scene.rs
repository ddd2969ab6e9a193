//! The scene of the proofs with Consul: many services in it, a bridge on it that remembers what
//! it knew, an Envoy under load over all of them, and a watch on what that Envoy holds.

use std::time::Duration;

use futures::StreamExt as _;
use tempfile::TempDir;

use crate::support::bridge::{Bridge, Counted, Step};
use crate::support::client::{Call, Client};
use crate::support::consul::Consul;
use crate::support::crowd::Crowd;
use crate::support::envoy::Envoy;
use crate::support::load::Load;
use crate::support::steady::Steady;
use crate::support::wait;

/// So many instances are withheld.
pub(super) const WITHHELD: &str = "xds_bridge_source_withheld_instances";

/// The only source of the bridge.
pub(super) const SOURCE: [(&str, &str); 1] = [("source", "registry")];

/// The folder of a bridge's last known state.
struct Cache(TempDir);

impl Cache {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// The section of `bridge.toml`.
    fn section(&self) -> String {
        format!("\n[cache]\nfolder = \"{}\"\n", self.0.path().display())
    }

    /// Waits until something with this word in it is on disk.
    async fn holds(&self, word: &str) {
        let file = self.0.path().join("registry.cache");
        wait::until(
            wait::PATIENCE,
            &format!("{word} is in the last known state"),
            async || {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                wait::holds(text.contains(word), || format!("{} bytes without it", text.len()))
            },
        )
        .await;
    }
}

/// From its start on not one request may fail, and nothing may change in Envoy.
pub(super) struct Scene {
    bridge: Bridge,
    envoy: Envoy,
    pub(super) crowd: Crowd,
    steady: Steady,
    /// The last that the bridge published before it got difficult.
    generation: i64,
    _cache: Cache,
}

impl Scene {
    /// So many services in this Consul; `keys` of the source beside its address.
    pub(super) async fn start(consul: &Consul, services: usize, keys: &str) -> Self {
        let crowd = Crowd::start(services).await;
        consul.fill(&crowd.entries()).await;
        let cache = Cache::new();
        let bridge = Bridge::start(&(consul.section() + keys + &cache.section())).await;
        let envoy = bridge.envoy(Step::Listeners, &[]).await;
        let last = crowd.calls().pop().expect("a service");
        let client = envoy.client();
        wait::until(wait::PATIENCE, "the last service is there", async || {
            client.who(&last).await.map_err(|refusal| refusal.to_string())
        })
        .await;
        let steady = Steady::start(&envoy, &crowd.calls(), 100).await;
        assert_eq!(steady.hosts(), crowd.instances(), "hosts in Envoy");
        let last = crowd.entries().pop().expect("an instance").id;
        cache.holds(&format!("/{last}\"")).await;
        Self {
            generation: bridge.generation().await,
            bridge,
            envoy,
            crowd,
            steady,
            _cache: cache,
        }
    }

    /// Requests are answered, nothing changed in Envoy, and the bridge has published nothing.
    pub(super) async fn is_still(&self) {
        self.steady.goes_on(100).await;
        assert_eq!(
            self.bridge.generation().await,
            self.generation,
            "something was published"
        );
    }

    /// That for a while, the one place where time passes.
    pub(super) async fn lasts(&self, time: Duration) {
        self.steady.lasts(time).await;
        self.is_still().await;
    }

    /// The bridge dies and starts again, from what it knew last.
    pub(super) async fn restart_bridge(&mut self) {
        self.bridge.kill_and_restart().await;
        self.generation = self.bridge.generation().await;
        self.is_still().await;
    }

    /// The registry is not to be trusted now, and the bridge says so and why.
    pub(super) async fn is_away(&self, reason: &str) {
        self.bridge
            .metric_is("xds_bridge_source_up", &SOURCE, |up| up == 0)
            .await;
        self.says(reason).await;
        self.is_still().await;
    }

    /// `/readyz` says this.
    pub(super) async fn says(&self, word: &str) {
        wait::until(wait::PATIENCE, &format!("/readyz says: {word}"), async || {
            let text = self.bridge.text("/readyz").await?;
            wait::holds(text.contains(word), || text)
        })
        .await;
    }

    /// The registry is trusted again, and nothing came of it. Backoff has its time, too.
    pub(super) async fn is_back(&self) {
        wait::until(wait::PATIENCE * 3, "the registry is trusted", async || {
            let metrics = Counted::new(self.bridge.text("/metrics").await?);
            let of = |name| metrics.sum(name, &SOURCE);
            let seen = (of("xds_bridge_source_up"), of("xds_bridge_source_stale_seconds"));
            wait::holds(seen == (Some(1), Some(0)), || format!("up, stale: {seen:?}"))
        })
        .await;
        self.is_still().await;
    }

    /// So many instances are withheld.
    pub(super) async fn withholds(&self, instances: usize) {
        withholds(&self.bridge, instances).await;
        self.is_still().await;
    }

    /// How many entries of the registry are not served as they are.
    pub(super) async fn rejected(&self) -> usize {
        self.counted("xds_bridge_source_entries_rejected").await
    }

    /// How many instances are withheld now.
    pub(super) async fn withheld(&self) -> usize {
        self.counted(WITHHELD).await
    }

    /// Each service is followed again: it gets a further instance for a while.
    pub(super) async fn follows_each(self, consul: &Consul) {
        let (bridge, envoy, crowd, load) = self.let_go().await;
        each_is_followed(consul, &crowd, &envoy).await;
        load.finish().await.assert_clean(300);
        bridge.assert_no_nacks().await;
    }

    async fn counted(&self, metric: &str) -> usize {
        let seen = self.bridge.metrics().await.sum(metric, &SOURCE);
        seen.and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
    }

    /// Nothing has changed until now, and may from now on; the load goes on.
    pub(super) async fn let_go(self) -> (Bridge, Envoy, Crowd, Load) {
        (self.bridge, self.envoy, self.crowd, self.steady.let_go().await)
    }

    /// The end: a service that registers now is reached, a further instance of an old one too, and
    /// both can leave; of the load until now not one request failed.
    pub(super) async fn still_follows(self, consul: &Consul) -> (Bridge, Envoy, Crowd) {
        let (bridge, envoy, crowd, load) = self.let_go().await;
        follows(consul, &crowd, &envoy.client()).await;
        load.finish().await.assert_clean(300);
        bridge.assert_no_nacks().await;
        (bridge, envoy, crowd)
    }
}

/// So many instances are withheld.
pub(super) async fn withholds(bridge: &Bridge, instances: usize) {
    let wanted = i64::try_from(instances).expect("some hundreds");
    bridge.metric_is(WITHHELD, &SOURCE, |n| n == wanted).await;
}

/// Each service gets a further instance for a while.
async fn each_is_followed(consul: &Consul, crowd: &Crowd, envoy: &Envoy) {
    let further = crowd.further_entries();
    consul.fill(&further).await;
    has_hosts(envoy, crowd.instances() + further.len()).await;
    futures::stream::iter(&further)
        .for_each_concurrent(16, |entry| consul.leave(entry))
        .await;
    has_hosts(envoy, crowd.instances()).await;
}

async fn has_hosts(envoy: &Envoy, wanted: usize) {
    wait::until(wait::PATIENCE, &format!("{wanted} hosts in Envoy"), async || {
        let hosts = envoy.all_hosts().await;
        wait::holds(hosts == wanted, || format!("{hosts} hosts"))
    })
    .await;
}

async fn follows(consul: &Consul, crowd: &Crowd, client: &Client) {
    let (late, third) = (crowd.entry("late", 0, 0), crowd.entry("s1", 1, 2));
    consul.enter(&late).await;
    consul.enter(&third).await;
    client.reaches(&Call::http("late"), &["server-0"]).await;
    let s1 = Call::http("s1");
    client.reaches(&s1, &["server-1", "server-2", "server-3"]).await;
    consul.leave(&late).await;
    consul.leave(&third).await;
    client.is_refused(&Call::http("late"), "http 503").await;
    client.reaches(&s1, &["server-1", "server-2"]).await;
}
