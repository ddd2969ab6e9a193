//! Consul over HTTP/2: all services are watched, on a handful of connections.

use serde_json::json;
use tempfile::TempDir;

use super::outage::{AWAY, UP, few_and_uneven};
use super::{Full, PATIENCE, SERVICES, now, source};
use crate::support::bridge::Bridge;
use crate::support::consul_version;
use crate::support::mirror::Mirror;
use crate::support::pki::{Ca, loopback};
use crate::support::tap::Tap;
use crate::support::wait;

const CHANGES: usize = 100;

/// One for two hundred watches, and those for everything else.
const CONNECTIONS: usize = SERVICES / 200 + 3;

/// So many more may be opened at once: as many as there are reads that do not block.
const AT_ONCE: usize = 32;

/// Reads beside the watches, per second.
const AUDITS: usize = 5;

/// A full Consul that speaks TLS and logs each request, and a bridge that reaches it by a tap.
struct Watched {
    full: Full,
    tap: Tap,
    bridge: Bridge,
    mirror: Mirror,
    _dir: TempDir,
}

impl Watched {
    async fn start() -> Self {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
        let [certificate, key] = ca.sign(dir.path(), "consul", loopback());
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, &ca.pem).unwrap();
        let more = json!({ "cert_file": certificate, "key_file": key, "log_level": "debug" });
        let full = Full::start(&more).await;
        let tap = Tap::before(full.consul.https).await;
        let agents = source(&format!("https://{}", tap.address));
        let tls = format!("[sources.agents.tls]\nca = \"{}\"\n", file.display());
        let bridge = Bridge::start(&(agents + &tls)).await;
        let mirror = Mirror::of(bridge.xds, |_, _| {}).await;
        let all = Self {
            full,
            tap,
            bridge,
            mirror,
            _dir: dir,
        };
        all.same().await;
        all.few().await;
        all
    }

    /// Waits until what is served is what Consul says.
    async fn same(&self) {
        self.mirror
            .is(PATIENCE, &self.full.catalog.endpoints().await)
            .await;
    }

    /// Few connections at once since this was last asked, and soon as few as are needed: those that
    /// reads opened beside each other end.
    async fn few(&self) {
        let most = self.tap.most();
        assert!(
            most <= CONNECTIONS + AT_ONCE,
            "{most} connections at once for {SERVICES} services"
        );
        wait::until(PATIENCE, "the connections are few", async || {
            let now = self.tap.connections();
            wait::holds(now <= CONNECTIONS, || format!("{now} for {SERVICES} services"))
        })
        .await;
    }

    /// How many requests of the bridge Consul has answered, by a word in their path. A blocking one counts
    /// when it ends.
    fn answered(&self, word: &str) -> usize {
        let log = self.full.consul.log();
        log.lines()
            .filter(|line| line.contains("Request finished: method=GET") && line.contains(word))
            .filter(|line| !line.contains("by=proof"))
            .count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_each_change_costs_a_request_and_equal_content_no_generation() {
    let watched = Watched::start().await;
    let catalog = &watched.full.catalog;
    let (before, began) = (
        (watched.answered("/v1/health/service/"), watched.answered("/v1/")),
        now(),
    );
    watched.full.change(CHANGES).await;
    watched.same().await;
    let health = watched.answered("/v1/health/service/") - before.0;
    let all = watched.answered("/v1/") - before.1;
    let audits = usize::try_from((now() - began).as_secs() + 1).unwrap() * AUDITS;
    // A watch that ends is one; a lost instance is read once more to be certain, and the first change that an
    // agent streams of a service, too. Each change also wakes one or two of those that tell that anything
    // moved: names, checks, nodes.
    let streamed = if consul_version::streams() { CHANGES } else { 0 };
    assert!(
        (CHANGES..=CHANGES * 3 / 2 + streamed + audits).contains(&health),
        "{health} requests for {CHANGES} changes"
    );
    assert!(
        all <= CHANGES * 7 / 2 + streamed + audits,
        "{all} requests of all kinds for {CHANGES} changes"
    );

    // Everything again as it is; then one change, which tells that the bridge has seen all before it.
    let generation = watched.bridge.generation().await;
    catalog.again(&watched.mirror.held()).await;
    catalog.register(1, 0, 9_999, true).await;
    watched.same().await;
    let after = watched.bridge.generation().await;
    // One for the change, one when its old address no longer lingers.
    assert_eq!(after, generation + 2, "equal content made generations");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consul_that_was_away_is_asked_once_for_each_service() {
    let watched = Watched::start().await;
    let (tap, bridge) = (&watched.tap, &watched.bridge);
    let generation = bridge.generation().await;

    tap.shut();
    bridge.metric_is(UP, &[], |up| up == 0).await;
    let from = tap.attempts().len();
    watched.full.change(20).await;
    tokio::time::sleep(AWAY).await; // it is to last
    few_and_uneven(tap, from);
    let now = bridge.generation().await;
    assert_eq!(now, generation, "an outage changed what is served");

    let confirmed = watched.answered("consistent");
    tap.open();
    watched.same().await;
    bridge.metric_is(UP, &[], |up| up == 1).await;
    let confirmed = watched.answered("consistent") - confirmed;
    // Once each; the names, the canary and the policies besides, and once more who changed just now.
    assert!(
        (SERVICES..=SERVICES + 100).contains(&confirmed),
        "{confirmed} reads to confirm {SERVICES} services"
    );
    watched.few().await;
}
