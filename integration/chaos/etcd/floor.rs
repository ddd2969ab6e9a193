//! A watch on what Envoy holds that goes on through a whole test: the hosts that must always be there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::envoy::{CLUSTERS, Envoy, hosts_of};
use crate::support::http::Http;
use crate::support::wait;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(150);

/// Cluster → hosts.
type Hosts = BTreeMap<String, BTreeSet<String>>;

/// The watch; it ends with the test.
pub(super) struct Floor {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Must be there, and healthy.
    wanted: Hosts,
    looks: u64,
    /// The first look that missed one.
    missed: Option<String>,
}

impl Floor {
    /// Looks from now on; nothing must be there yet.
    pub(super) fn watch(envoy: &Envoy) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, url) = (state.clone(), format!("http://{}{CLUSTERS}", envoy.admin()));
        let task = tokio::spawn(async move {
            let http = Http::keeping();
            loop {
                // What must be there when the look begins: a host that is let go meanwhile may be missing.
                let wanted = shared.lock().expect("no panic").wanted.clone();
                if let Ok(text) = http.text(&url).await {
                    let clusters: Value = serde_json::from_str(&text).expect("JSON of Envoy");
                    let missed = missing(&wanted, &clusters);
                    let mut state = shared.lock().expect("no panic");
                    state.looks += 1;
                    if state.missed.is_none() && state.wanted == wanted {
                        state.missed = missed;
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { state, task }
    }

    /// From now on this host must be there.
    pub(super) fn demand(&self, cluster: &str, host: &str) {
        let mut state = self.state.lock().expect("no panic");
        let hosts = state.wanted.entry(cluster.to_owned()).or_default();
        hosts.insert(host.to_owned());
    }

    /// This host may go.
    pub(super) fn let_go(&self, cluster: &str, host: &str) {
        let mut state = self.state.lock().expect("no panic");
        state.wanted.entry(cluster.to_owned()).or_default().remove(host);
    }

    /// All may go.
    pub(super) fn let_all_go(&self) {
        self.state.lock().expect("no panic").wanted.clear();
    }

    /// Waits for two more looks, and fails when any look until then missed a host.
    pub(super) async fn holds(&self) {
        let begin = self.looks();
        wait::until(wait::PATIENCE, "Envoy is looked at", async || {
            let looks = self.looks();
            wait::holds(looks >= begin + 2, || format!("{looks} looks"))
        })
        .await;
    }

    fn looks(&self) -> u64 {
        let (looks, missed) = {
            let state = self.state.lock().expect("no panic");
            (state.looks, state.missed.clone())
        };
        if let Some(missed) = missed {
            panic!("at look {looks} or before Envoy had lost endpoints: {missed}");
        }
        looks
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The first cluster that lacks a host.
fn missing(wanted: &Hosts, clusters: &Value) -> Option<String> {
    wanted.iter().find_map(|(cluster, hosts)| {
        let there = hosts_of(clusters, cluster);
        let lost: Vec<&String> = hosts
            .iter()
            .filter(|h| there.get(*h).is_none_or(|health| health != "HEALTHY"))
            .collect();
        (!lost.is_empty()).then(|| format!("{cluster} lacks {lost:?}, has {there:?}"))
    })
}
