//! The keys of a cluster through the real Envoy: it accepts each value that can be declared, and does what it says.

mod accepted;
mod connections;
mod health;

use serde_json::Value;

use crate::support::bridge::{Bridge, Step};
use crate::support::envoy::{CLUSTERS, Envoy};
use crate::support::folder::{Declared, Folder};
use crate::support::wait;

/// A watched folder, a bridge, and an Envoy that gets everything from it.
struct Scene {
    folder: Folder,
    bridge: Bridge,
    envoy: Envoy,
}

impl Scene {
    async fn start(services: &[Declared<'_>]) -> Self {
        Self::start_with(services, "").await
    }

    /// The same, with more in `bridge.toml`.
    async fn start_with(services: &[Declared<'_>], more: &str) -> Self {
        let folder = Folder::of(services);
        let bridge = Bridge::start(&format!("{}\n{more}", folder.section())).await;
        let envoy = bridge.envoy(Step::Listeners, &[]).await;
        Self {
            folder,
            bridge,
            envoy,
        }
    }

    /// The clusters that take requests, as Envoy holds them. What it cannot print is no JSON: a type that this version lacks.
    async fn active(&self) -> Result<Vec<Value>, String> {
        let text = self
            .envoy
            .text("/config_dump?resource=dynamic_active_clusters")
            .await;
        let dump: Value = serde_json::from_str(&text).map_err(|_| text)?;
        let all = dump["configs"].as_array().into_iter().flatten();
        Ok(all.map(|c| c["cluster"].clone()).collect())
    }

    /// Waits until a counter or gauge of a cluster is as wanted.
    async fn stat_is(&self, cluster: &str, name: &str, wanted: impl Fn(u64) -> bool) {
        let stat = format!("cluster.{cluster}.{name}");
        wait::until(wait::PATIENCE, &format!("{stat} is as wanted"), async || {
            let value = self.envoy.stat(&stat).await;
            wait::holds(wanted(value), || value.to_string())
        })
        .await;
    }

    /// Waits until Envoy holds against this many servers of a cluster what `field` of their health says.
    async fn marked(&self, cluster: &str, field: &str, wanted: usize) {
        let what = format!("{wanted} servers of {cluster} have {field}");
        wait::until(wait::PATIENCE, &what, async || {
            let all = self.envoy.json(CLUSTERS).await;
            let hosts = hosts(&all, cluster);
            let marked = hosts.iter().filter(|host| host["health_status"][field] == true);
            wait::holds(marked.count() == wanted, || format!("{hosts:?}"))
        })
        .await;
    }
}

fn hosts<'a>(all: &'a Value, cluster: &str) -> Vec<&'a Value> {
    let clusters = all["cluster_statuses"].as_array().into_iter().flatten();
    clusters
        .filter(|c| c["name"] == cluster)
        .flat_map(|c| c["host_statuses"].as_array().into_iter().flatten())
        .collect()
}
