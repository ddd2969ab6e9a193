//! What a sick registry must not disturb: load through Envoy over all services, and what
//! Envoy holds, looked at all the time in the background. Envoy's counters tell also what
//! happened between two looks: no cluster and no host can come and go unseen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Call;
use super::envoy::Envoy;
use super::http::Http;
use super::load::Load;
use super::wait;

/// Between two looks: they cost Envoy's main thread some milliseconds for thousands of clusters.
const PAUSE: Duration = Duration::from_millis(300);

/// What must not move: which clusters and hosts there are, and that nothing was sent of them.
const STILL: &str = r"^(cluster\..*\.(membership_total|membership_change|update_success|update_empty)|cluster_manager\.cluster_(added|modified|removed))$";

/// Differences that are named in a message.
const NAMED: usize = 8;

/// Load, and a watch on what Envoy holds.
pub(crate) struct Steady {
    load: Load,
    still: Still,
}

impl Steady {
    /// From now on `rps` requests a second over all these calls, and nothing may change in this Envoy.
    pub(crate) async fn start(envoy: &Envoy, calls: &[Call], rps: u32) -> Self {
        let load = Load::over(envoy.listener(), calls, rps, 4);
        let still = Still::watch(envoy).await;
        Self { load, still }
    }

    /// Waits until so many more requests were answered, and Envoy was looked at again. A single
    /// failed request, and anything that changed in Envoy, ends the test.
    pub(crate) async fn goes_on(&self, requests: u64) {
        self.load.goes_on(requests).await;
        self.still.holds().await;
    }

    /// How many hosts Envoy has in all its clusters.
    pub(crate) fn hosts(&self) -> usize {
        self.still.hosts()
    }

    /// The same over this time: for a state that has to *last*. Time passes nowhere else.
    pub(crate) async fn lasts(&self, time: Duration) {
        let over = tokio::time::sleep(time);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return self.goes_on(10).await,
                () = self.goes_on(10) => {}
            }
        }
    }

    /// Nothing has changed until now. From now on Envoy may change; the load goes on.
    pub(crate) async fn let_go(self) -> Load {
        self.still.holds().await;
        self.load
    }
}

/// A watch on what an Envoy holds; it ends with the test.
pub(crate) struct Still {
    began: BTreeMap<String, u64>,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// What was seen by now.
#[derive(Clone, Debug, Default)]
struct Seen {
    looks: u64,
    /// The first look that differed.
    changed: Option<String>,
}

impl Still {
    /// Remembers what the Envoy holds now, and looks again and again.
    pub(crate) async fn watch(envoy: &Envoy) -> Self {
        let url = format!("http://{}/stats?filter={}", envoy.admin(), encoded(STILL));
        let http = Http::keeping();
        let began = look(&http, &url).await.expect("Envoy's statistics");
        assert!(
            began.keys().any(|name| name.ends_with(".membership_total")),
            "Envoy counts under other names: {began:?}"
        );
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), CancellationToken::new());
        let (shared, first, ended) = (seen.clone(), began.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while ended
                .run_until_cancelled(tokio::time::sleep(PAUSE))
                .await
                .is_some()
            {
                let Ok(now) = look(&http, &url).await else {
                    continue; // Envoy is busy, or goes away with the test
                };
                let mut seen = shared.lock().expect("no watch panics");
                seen.looks += 1;
                if seen.changed.is_none() && now != first {
                    seen.changed = Some(differences(&first, &now));
                }
            }
        });
        Self {
            began,
            seen,
            task,
            stop,
        }
    }

    /// How many hosts there were in all clusters.
    pub(crate) fn hosts(&self) -> usize {
        let totals = self
            .began
            .iter()
            .filter(|(name, _)| name.ends_with(".membership_total"));
        let sum: u64 = totals.map(|(_, hosts)| hosts).sum();
        usize::try_from(sum).expect("some thousands")
    }

    /// Waits for two more looks (the first may have begun before now), and fails when any has
    /// seen a change.
    pub(crate) async fn holds(&self) {
        let now = || self.seen.lock().expect("no watch panics").clone();
        let wanted = now().looks + 2;
        wait::until(wait::PATIENCE, "Envoy is looked at", async || {
            let seen = now();
            if let Some(changed) = seen.changed {
                panic!("what Envoy holds has changed:\n{changed}");
            }
            wait::holds(seen.looks >= wanted, || format!("{} looks", seen.looks))
        })
        .await;
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

/// One look at the statistics.
async fn look(http: &Http, url: &str) -> Result<BTreeMap<String, u64>, String> {
    let text = http.text(url).await?;
    let pairs = text.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    // The bridge's own cluster is static, and belongs to it.
    Ok(pairs
        .filter(|(name, _)| !name.starts_with("cluster.xds-bridge."))
        .collect())
}

/// What differs between two looks, by name.
fn differences(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let names = before
        .keys()
        .chain(after.keys().filter(|name| !before.contains_key(*name)));
    let differ: Vec<String> = names
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| format!("  {name}: {:?} → {:?}", before.get(name), after.get(name)))
        .collect();
    let more = differ.len().saturating_sub(NAMED);
    format!(
        "{}\n  and {more} more",
        differ[..differ.len().min(NAMED)].join("\n")
    )
}

/// A regular expression as a query parameter.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
