//! What the bridge is for: a registry that restarts, lies, forgets our rights or goes away
//! takes not one healthy endpoint from Envoy, and not one request fails. Real registries, a
//! real Envoy under load all the time, and the bridge itself killed in the worst moment.

mod consul_restart;
mod consul_wiped;
mod etcd;

use tempfile::TempDir;

use crate::support::bridge::Bridge;
use crate::support::client::{Call, Client};
use crate::support::consul::Consul;
use crate::support::crowd::Crowd;
use crate::support::wait;

/// The only source of each bridge here.
const SOURCE: [(&str, &str); 1] = [("source", "registry")];

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

/// The registry is not to be trusted now, and the bridge says so and why.
async fn is_away(bridge: &Bridge, reason: &str) {
    bridge
        .metric_is("xds_bridge_source_up", &SOURCE, |up| up == 0)
        .await;
    wait::until(
        wait::PATIENCE,
        &format!("/readyz gives the reason: {reason}"),
        async || {
            let text = bridge.text("/readyz").await?;
            wait::holds(text.contains(reason), || text)
        },
    )
    .await;
}

/// The registry is trusted again.
async fn is_back(bridge: &Bridge) {
    bridge
        .metric_is("xds_bridge_source_up", &SOURCE, |up| up == 1)
        .await;
    bridge
        .metric_is("xds_bridge_source_stale_seconds", &SOURCE, |age| age == 0)
        .await;
}

/// A service that registers now is reached, a further instance of an old one too, and both can leave.
async fn follows(consul: &Consul, crowd: &Crowd, client: &Client) {
    let (late, third) = (crowd.entry("late", 0, 0), crowd.entry("s1", 1, 2));
    consul.enter(&late).await;
    consul.enter(&third).await;
    client.reaches(&Call::http("late"), &["server-0"]).await;
    let s1 = Call::http("s1");
    client.reaches(&s1, &["server-1", "server-2", "server-3"]).await;
    consul.leave(&late).await;
    consul.leave(&third).await;
    client.is_refused(&Call::http("late"), "http 404").await;
    client.reaches(&s1, &["server-1", "server-2"]).await;
}
