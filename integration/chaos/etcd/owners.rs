//! What the servers' own programs do: each holds a lease with its key under it, renews it by whichever
//! member answers, and registers anew when etcd has forgotten it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{Client, PutOptions};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::cluster::PATIENCE;
use crate::support::etcd::connect;
use crate::support::wait;

/// A member that takes longer is passed over.
const CALL: Duration = Duration::from_secs(2);

/// When none has answered.
const AGAIN: Duration = Duration::from_millis(500);

/// All servers of a test; they end with it.
pub(super) struct Owners {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    urls: Vec<String>,
    ttl: Duration,
    keys: Mutex<BTreeMap<String, Owned>>,
    news: Notify,
    /// Rounds in which each server was looked after.
    rounds: AtomicUsize,
    /// Cut off from etcd: nobody renews.
    silent: Mutex<bool>,
}

#[derive(Clone)]
struct Owned {
    value: String,
    /// 0: not registered (any more).
    lease: i64,
    /// How often it was registered.
    times: u32,
}

impl Owners {
    /// Servers that know these members and take leases of this length.
    pub(super) fn start(urls: Vec<String>, ttl: Duration) -> Self {
        let shared = Arc::new(Shared {
            urls,
            ttl,
            keys: Mutex::default(),
            news: Notify::new(),
            rounds: AtomicUsize::new(0),
            silent: Mutex::new(false),
        });
        let task = tokio::spawn(keep(shared.clone()));
        Self { shared, task }
    }

    /// One more server; returns when etcd has it.
    pub(super) async fn add(&self, key: &str, value: String) {
        self.begin(key, value);
        self.settled().await;
    }

    /// One more server, registered in the background.
    pub(super) fn begin(&self, key: &str, value: String) {
        let owned = Owned {
            value,
            lease: 0,
            times: 0,
        };
        self.shared
            .keys
            .lock()
            .expect("no panic")
            .insert(key.to_owned(), owned);
        self.shared.news.notify_one();
    }

    /// Waits until each server is registered.
    pub(super) async fn settled(&self) {
        wait::until(PATIENCE, "all servers are registered", async || {
            let keys = self.shared.keys.lock().expect("no panic");
            let open: Vec<&String> = keys
                .iter()
                .filter(|(_, o)| o.lease == 0)
                .map(|(k, _)| k)
                .collect();
            wait::holds(open.is_empty(), || format!("not yet: {open:?}"))
        })
        .await;
    }

    /// A server leaves in order, by whichever member answers.
    pub(super) async fn remove(&self, key: &str) {
        let owned = self.shared.keys.lock().expect("no panic").remove(key);
        let lease = owned.expect("a server that was added").lease;
        wait::until(PATIENCE, &format!("{key} has left"), async || {
            let mut seen = String::new();
            for url in &self.shared.urls {
                let gone = async {
                    let mut client = connect(url).await?;
                    // Not found: it has run out.
                    drop(client.lease_revoke(lease).await);
                    client.get(key, None).await.map_err(|e| e.to_string())
                };
                match timeout(CALL, gone).await {
                    Ok(Ok(left)) if left.count() == 0 => return Ok(()),
                    other => seen = format!("{url}: {other:?}"),
                }
            }
            Err(seen)
        })
        .await;
    }

    /// All servers look after their leases now, and register anew where they have to.
    pub(super) async fn look_after(&self) {
        let begun = self.shared.rounds.load(Ordering::Relaxed);
        self.shared.news.notify_one();
        wait::until(
            PATIENCE,
            "all servers have looked after their leases",
            async || {
                // The first round may have begun before.
                let rounds = self.shared.rounds.load(Ordering::Relaxed);
                if rounds == begun + 1 {
                    self.shared.news.notify_one();
                }
                wait::holds(rounds >= begun + 2, || format!("{} rounds", rounds - begun))
            },
        )
        .await;
    }

    /// No server reaches etcd any more, or all do again. The servers themselves stay well.
    pub(super) fn fall_silent(&self, silent: bool) {
        *self.shared.silent.lock().expect("no panic") = silent;
        self.shared.news.notify_one();
    }

    /// How many servers had to register a second time.
    pub(super) fn registered_anew(&self) -> usize {
        let keys = self.shared.keys.lock().expect("no panic");
        keys.values().filter(|o| o.times > 1).count()
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(shared: Arc<Shared>) {
    let mut pause = Duration::ZERO;
    let mut first = 0; // the member that answered last
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.news.notified() => {}
        }
        pause = AGAIN;
        for n in 0..shared.urls.len() {
            let at = (first + n) % shared.urls.len();
            if round(&shared, &shared.urls[at]).await.is_ok() {
                (first, pause) = (at, shared.ttl / 5);
                shared.rounds.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
}

/// Renews all by one member, until it fails.
async fn round(shared: &Shared, url: &str) -> Result<(), String> {
    let all: Vec<(String, Owned)> = {
        let keys = shared.keys.lock().expect("no panic");
        keys.iter().map(|(k, o)| (k.clone(), o.clone())).collect()
    };
    let late = |_| format!("{url} does not answer");
    let mut client = timeout(CALL, connect(url)).await.map_err(late)??;
    for (key, mut owned) in all {
        if *shared.silent.lock().expect("no panic") {
            return Ok(());
        }
        timeout(CALL, renew(&mut client, &key, &mut owned, shared.ttl))
            .await
            .map_err(late)??;
        let left = {
            let mut keys = shared.keys.lock().expect("no panic");
            match keys.get_mut(&key) {
                Some(place) => {
                    *place = owned;
                    None
                }
                None => Some(owned.lease),
            }
        };
        if let Some(lease) = left {
            drop(timeout(CALL, client.lease_revoke(lease)).await); // removed meanwhile
        }
    }
    Ok(())
}

async fn renew(client: &mut Client, key: &str, owned: &mut Owned, ttl: Duration) -> Result<(), String> {
    if owned.lease != 0 {
        match client.lease_keep_alive(owned.lease).await {
            Ok(_) => return Ok(()),
            Err(etcd_client::Error::LeaseKeepAliveError(_)) => owned.lease = 0, // run out, or never heard of
            Err(error) => return Err(error.to_string()),
        }
    }
    let seconds = i64::try_from(ttl.as_secs()).expect("a short lease");
    let lease = client
        .lease_grant(seconds, None)
        .await
        .map_err(|e| e.to_string())?
        .id();
    let under = PutOptions::new().with_lease(lease);
    client
        .put(key, owned.value.clone(), Some(under))
        .await
        .map_err(|e| e.to_string())?;
    (owned.lease, owned.times) = (lease, owned.times + 1);
    Ok(())
}
