//! The clients that have acknowledged what was published: the barrier of a drain, and the laggards of a status page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Fanout, Shared, Subscriber, Unknown, lock};
use crate::clock;
use crate::xds::{Generation, Kind, NameId, StreamId, WatchId};

/// A resource whose present content is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
}

/// A client that has not acknowledged everything that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Laggard {
    /// `node.id`
    pub node: String,
    /// `node.cluster`
    pub fleet: String,
    /// Since when it is owed, or was sent, what is wanted: it was published then, or the client connected
    /// later.
    pub since: Instant,
    /// The client's streams that lag.
    pub streams: usize,
}

/// Clients that have not acknowledged everything that is wanted, the longest waiting first.
pub type Laggards = Vec<Laggard>;

/// How far the clients are with what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Clients that have acknowledged it, and that are connected: `node.cluster` and `node.id`.
    pub acked: Vec<(String, String)>,
    /// Clients that have not.
    pub laggards: Laggards,
    /// Clients that disconnected a moment ago without it: they may go on with what they had.
    pub unknown: Vec<Unknown>,
}

/// Waits until each client that subscribes to some resources has acknowledged the content which these had
/// when the watch began, or newer content. Clients without such a subscription never count. A client that
/// disconnects is not listed any more; one that connects counts until it has the content.
///
/// The present content stays present only if it was published before: publish, then watch.
#[derive(Debug)]
pub struct AckWatch {
    fanout: Arc<Fanout>,
    watches: Vec<WatchId>,
    since: Instant,
    wake: watch::Receiver<()>,
}

/// A stream that may lag, and what it was asked for.
struct Suspect {
    watch: WatchId,
    wanted: (Kind, NameId),
    stream: StreamId,
    subscriber: Arc<Subscriber>,
}

impl Fanout {
    /// Watches for the acknowledgement of these resources; `since`: when their content was published.
    #[must_use]
    pub fn watch_acks(self: &Arc<Self>, wanted: &[Wanted], since: Instant) -> AckWatch {
        AckWatch {
            fanout: self.clone(),
            watches: self.begin_watches(wanted),
            since,
            wake: self.acked.subscribe(),
        }
    }

    /// Clients that have not acknowledged the present content of these resources.
    #[must_use]
    pub fn acked(&self, wanted: &[Wanted], since: Instant) -> Laggards {
        let watches = self.begin_watches(wanted);
        let laggards = self.laggards(&watches, since);
        self.end_watches(&watches);
        laggards
    }

    fn begin_watches(&self, wanted: &[Wanted]) -> Vec<WatchId> {
        let mut shared = self.shared.lock();
        let Shared {
            acks,
            names,
            generation,
            ..
        } = &mut *shared;
        let watches = wanted
            .iter()
            .map(|wanted| {
                // Like a subscription: the number keeps its meaning.
                let id = names.ask(&wanted.name);
                acks.watch(wanted.kind, id, generation)
            })
            .collect();
        self.watching.store(!acks.is_empty(), Ordering::Release);
        watches
    }

    fn end_watches(&self, watches: &[WatchId]) {
        let mut shared = self.shared.lock();
        for watch in watches {
            if let Some((_, id)) = shared.acks.unwatch(*watch) {
                let _ = shared.names.release(id);
            }
        }
        self.watching.store(!shared.acks.is_empty(), Ordering::Release);
    }

    /// Something happened by which a laggard may be none any more, or a client may have become one.
    pub(super) fn wake_watches(&self) {
        if self.watching.load(Ordering::Acquire) {
            self.acked.send_replace(());
        }
    }

    fn progress(&self, watches: &[WatchId], since: Instant) -> Progress {
        let laggards = self.laggards(watches, since);
        let now = clock::now();
        let shared = self.shared.lock();
        let mut subscribed: BTreeSet<StreamId> = BTreeSet::new();
        let mut unknown: BTreeMap<(String, String), Unknown> = BTreeMap::new();
        for watch in watches {
            let Some((kind, id)) = shared.acks.watched(*watch) else {
                continue;
            };
            subscribed.extend(shared.clients_of(kind, id));
            for client in shared
                .departures
                .behind(id, now)
                .filter(|_| kind == Kind::Endpoints)
            {
                unknown.insert((client.fleet.clone(), client.node.clone()), client);
            }
        }
        let subscribers: Vec<_> = subscribed
            .into_iter()
            .filter_map(|stream| shared.subscriber(stream).cloned())
            .collect();
        drop(shared);
        let mut connected: BTreeSet<(String, String)> = BTreeSet::new();
        for subscriber in subscribers {
            let status = lock(&subscriber.status);
            connected.insert((status.fleet.clone(), status.node.clone()));
        }
        unknown.retain(|client, _| !connected.contains(client));
        for laggard in &laggards {
            connected.remove(&(laggard.fleet.clone(), laggard.node.clone()));
        }
        Progress {
            acked: connected.into_iter().collect(),
            laggards,
            unknown: unknown.into_values().collect(),
        }
    }

    fn laggards(&self, watches: &[WatchId], since: Instant) -> Laggards {
        let (suspects, generation) = self.suspects(watches);
        // Without the lock: each stream is looked at by itself.
        let (confirmed, lagging): (Vec<Suspect>, Vec<Suspect>) = suspects.into_iter().partition(|suspect| {
            let (kind, id) = suspect.wanted;
            suspect.subscriber.has_acked(&generation, kind, id)
        });
        if !confirmed.is_empty() {
            let mut shared = self.shared.lock();
            for suspect in confirmed {
                // Its number may mean another stream by now.
                let present = shared.subscriber(suspect.stream);
                if present.is_some_and(|present| Arc::ptr_eq(present, &suspect.subscriber)) {
                    shared.acks.confirmed(suspect.watch, suspect.stream);
                }
            }
        }
        by_client(&lagging, since)
    }

    /// Streams that subscribe to what is watched, without those that are known to have it.
    fn suspects(&self, watches: &[WatchId]) -> (Vec<Suspect>, Arc<Generation>) {
        let shared = self.shared.lock();
        let mut suspects = Vec::new();
        for watch in watches {
            let Some((kind, id)) = shared.acks.watched(*watch) else {
                continue;
            };
            let subscribed = shared.clients_of(kind, id);
            for stream in shared.acks.lagging(*watch, &subscribed) {
                if let Some(subscriber) = shared.subscriber(stream) {
                    suspects.push(Suspect {
                        watch: *watch,
                        wanted: (kind, id),
                        stream,
                        subscriber: subscriber.clone(),
                    });
                }
            }
        }
        (suspects, shared.generation.clone())
    }
}

/// One entry a client, however many streams and resources lag.
fn by_client(lagging: &[Suspect], since: Instant) -> Laggards {
    let mut streams: BTreeMap<StreamId, &Suspect> = BTreeMap::new();
    for suspect in lagging {
        streams.insert(suspect.stream, suspect);
    }
    let mut clients: BTreeMap<(String, String), Laggard> = BTreeMap::new();
    for suspect in streams.into_values() {
        let status = lock(&suspect.subscriber.status);
        let since = status.since.map_or(since, |opened| opened.max(since));
        let laggard = clients
            .entry((status.fleet.clone(), status.node.clone()))
            .or_insert_with(|| Laggard {
                node: status.node.clone(),
                fleet: status.fleet.clone(),
                since,
                streams: 0,
            });
        laggard.since = laggard.since.min(since);
        laggard.streams += 1;
    }
    let mut laggards: Laggards = clients.into_values().collect();
    laggards.sort_by_key(|laggard| laggard.since);
    laggards
}

impl AckWatch {
    /// Clients that have not acknowledged yet; empty: all have.
    pub fn laggards(&mut self) -> Laggards {
        self.wake.mark_unchanged();
        self.fanout.laggards(&self.watches, self.since)
    }

    /// How far all are.
    pub fn progress(&mut self) -> Progress {
        self.wake.mark_unchanged();
        self.fanout.progress(&self.watches, self.since)
    }

    /// Waits until [`Self::laggards`] may return something else.
    pub async fn changed(&mut self) {
        // The sender lives as long as the fan-out, which this holds.
        let _ = self.wake.changed().await;
    }
}

impl Drop for AckWatch {
    fn drop(&mut self) {
        self.fanout.end_watches(&self.watches);
    }
}
