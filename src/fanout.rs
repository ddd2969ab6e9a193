//! Between the publisher and the streams: the newest generation, and for each
//! stream the set of names that changed since it last looked.
//!
//! The one shared structure of the serving side, kept out of `xds` so that the
//! engine stays pure. A slow stream costs its set of names, not a queue of states.

mod acks;
mod changes;
mod departed;
mod fleets;
mod forget;
mod given;
mod large;
mod next;
mod rejections;
mod status;
mod subscriber;
mod views;
mod waves;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use roaring::RoaringBitmap;
use tokio::sync::watch;
use tokio::time::Instant;

pub use acks::{AckWatch, Laggard, Laggards, Progress, Wanted};
pub use departed::Unknown;
pub use fleets::Unused;
pub use given::{ClientState, Lacking};
pub use large::Ready;
pub use next::Next;
pub use rejections::{Poll, Rejected};
pub use status::{LastNack, Standing, StreamStatus, TypeStatus};
pub use subscriber::{Pending, Registration, Subscriber};
pub use waves::Settled;

use changes::Clusters;
use departed::Departures;

use crate::clock;
use crate::xds::{
    Acks, Changed, Encoded, Generation, Gone, Handled, Index, Kind, NameId, NameOf, Names, Prepared, Refusal,
    Stream, StreamId, Update, Verdicts, Why,
};

/// The newest generation and the streams that are sent it.
#[derive(Debug)]
pub struct Fanout {
    /// The one lock of the serving side, over everything that a publication and a request must agree on:
    /// a stream that subscribes either sees a change in the generation or gets it as a pending change,
    /// never neither.
    ///
    /// It is a `Mutex` that can be handed on to who waits, held without an `await` and never across a send:
    /// - by a publication for the next generation's tables and the set of names of each stream concerned;
    /// - by a request for what it changes: counts of names, the subscription, the index;
    /// - by streams that open and close, by the removal of names (once a response, to find them), by votes
    ///   on refused versions and by watches for acknowledgements, for a moment each.
    ///
    /// What takes long happens before: resources are hashed and encoded, lists of names are hashed, and
    /// their numbers are looked up and taken in, [`AT_ONCE`] in one hold, and given back in the same way, so that a
    /// request with 200,000 names does not hold up the others (`large.rs`). The generation that is replaced is dropped afterwards. Only a sweep
    /// (`forget.rs`) looks at all resources and streams inside of it, seldom.
    ///
    /// Order of locks: a stream, then its pending changes or this, then pending changes.
    shared: parking_lot::Mutex<Shared>,
    current: ArcSwapOption<Generation>,
    max_streams: AtomicUsize,
    /// Some version was refused: acceptances count from now on.
    has_refusals: AtomicBool,
    /// Some content's acknowledgements are watched.
    watching: AtomicBool,
    /// Sent when what is watched may have changed.
    acked: watch::Sender<()>,
    /// Which clients have not acknowledged what was published. Its lock is taken inside the other one, or after a
    /// stream, and before pending changes.
    waves: Mutex<waves::Waves>,
    /// The last client has acknowledged something.
    settled: watch::Sender<()>,
    /// There is something in it.
    following: AtomicBool,
    /// Changes with each generation.
    published: watch::Sender<u64>,
    fleets: fleets::Fleets,
}

#[derive(Debug, Default)]
struct Shared {
    verdicts: Verdicts,
    acks: Acks,
    /// Clients that disconnected a moment ago.
    departures: Departures,
    clusters: Clusters,
    /// The streams of each fleet, and the fleet of each stream.
    fleets: HashMap<Arc<str>, RoaringBitmap>,
    fleet_of: HashMap<StreamId, Arc<str>>,
    /// Streams of nobody: `xds-bridge doctor` tries the way of an Envoy under the name of that.
    onlookers: RoaringBitmap,
    names: Names,
    index: Index,
    subscribers: Vec<Option<Arc<Subscriber>>>,
    free: Vec<StreamId>,
    /// While names are being forgotten: the streams that were not asked yet.
    asking: Option<RoaringBitmap>,
    generation: Arc<Generation>,
}

/// Names that are looked up in one hold of the lock, some 100 µs; a list of fewer is not worth a hold of
/// its own.
const AT_ONCE: usize = 1_024;

/// Why a stream is not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The sources have not delivered yet. An empty state is never served instead.
    #[error("the bridge has not received the state of all its sources yet")]
    NotReady,
    /// `xds.max_streams`
    #[error("there are {0} discovery streams already")]
    Full(usize),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in one stream must not take the others down; each section below leaves the data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fanout {
    /// Nothing is published yet. `hold`: newcomers of a fleet that rejects a version get the content
    /// before it.
    #[must_use]
    pub fn new(max_streams: usize, hold: bool) -> Self {
        let generation = if hold {
            Generation::keeping()
        } else {
            Generation::default()
        };
        let shared = Shared {
            generation: Arc::new(generation),
            ..Shared::default()
        };
        Self {
            shared: parking_lot::Mutex::new(shared),
            current: ArcSwapOption::empty(),
            max_streams: AtomicUsize::new(max_streams),
            has_refusals: AtomicBool::new(false),
            watching: AtomicBool::new(false),
            acked: watch::Sender::new(()),
            waves: Mutex::default(),
            settled: watch::Sender::default(),
            following: AtomicBool::new(false),
            published: watch::Sender::new(0),
            fleets: fleets::Fleets::default(),
        }
    }

    /// What gRPC's own clients get in place of a resource that is gone, and learn of one that is missing.
    pub fn when_gone(&self, gone: Gone, why: Why) {
        let mut shared = self.shared.lock();
        let generation = (*shared.generation).clone().with_gone(gone).with_reasons(why);
        shared.generation = Arc::new(generation);
    }

    /// Makes the next generation from these updates and wakes the streams concerned.
    /// Returns it, and whether anything changed. `since`: when the first of these changes arrived.
    pub fn publish(&self, updates: &[Update], since: Instant) -> (Arc<Generation>, bool) {
        self.publish_encoded(Encoded::new(updates), since)
    }

    /// As [`Self::publish`], with updates that were encoded one by one as they were made.
    pub fn publish_encoded(&self, mut encoded: Encoded, since: Instant) -> (Arc<Generation>, bool) {
        // Before the streams are busy with what is new.
        self.shared.lock().forget();
        if encoded.len() >= AT_ONCE {
            encoded.look_up(AT_ONCE, |names, hints| {
                self.shared.lock().names.look_up(names, hints);
            });
        }
        let mut guard = self.shared.lock();
        let shared = &mut *guard;
        let (next, changed) = shared.generation.apply(&mut shared.names, encoded);
        let first = self.current.load().is_none();
        let ruled = !Arc::ptr_eq(next.rules(), shared.generation.rules());
        if !first && !ruled && changed.iter().all(|(_, names)| names.is_empty()) {
            return (shared.generation.clone(), false);
        }
        for (kind, names) in changed.iter() {
            shared.verdicts.moved(kind, names);
        }
        self.has_refusals
            .store(!shared.verdicts.is_empty(), Ordering::Release);
        let next = Arc::new(next);
        if !shared.acks.is_empty() {
            shared.acks.published(&next, &changed);
        }
        let now = clock::now();
        shared.departures.published(&changed, now);
        shared.clusters.0.published(&changed, now);
        let old = std::mem::replace(&mut shared.generation, next.clone());
        // Stored before a stream is woken: one that takes its pending changes afterwards sees at least this.
        let current = self.current.swap(Some(next.clone()));
        if ruled {
            // Each looks up the view that it has now.
            for subscriber in shared.subscribers.iter().flatten() {
                subscriber.put(since, |_| {});
            }
        }
        self.published.send_modify(|n| *n = n.wrapping_add(1));
        // Held until all are marked: who acknowledges meanwhile waits.
        let mut waves = lock(&self.waves);
        self.following.store(true, Ordering::Release);
        shared.notify(&changed, (next.number, since), &mut waves);
        drop(waves);
        drop(guard);
        drop((old, current));
        self.wake_watches();
        (next, true)
    }

    /// The newest generation; `None` until the first was published.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Generation>> {
        self.current.load_full()
    }

    /// Changes with each generation, before a stream is woken for it.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// `xds.max_streams`, from now on; those that are open stay.
    pub fn set_max_streams(&self, max_streams: usize) {
        self.max_streams.store(max_streams, Ordering::Relaxed);
    }

    /// Registers a stream; [`Self::unregister`] has to follow.
    ///
    /// # Errors
    /// [`RegisterError`]
    pub fn register(&self, stream: Stream) -> Result<Registration, RegisterError> {
        if self.current.load().is_none() {
            return Err(RegisterError::NotReady);
        }
        let mut shared = self.shared.lock();
        let open = shared.subscribers.len() - shared.free.len();
        if open >= self.max_streams.load(Ordering::Relaxed) {
            return Err(RegisterError::Full(open));
        }
        shared.names.stream_opened();
        let subscriber = Arc::new(Subscriber::new(stream));
        let id = match shared.free.pop() {
            Some(id) => {
                shared.subscribers[id as usize] = Some(subscriber.clone());
                id
            }
            None => {
                shared.subscribers.push(Some(subscriber.clone()));
                StreamId::try_from(shared.subscribers.len() - 1).unwrap_or(StreamId::MAX)
            }
        };
        Ok(Registration { id, subscriber })
    }

    /// Has a stream handle a request, and updates the index by it. What is published afterwards becomes
    /// a pending change of the stream; what was before, it sees in the generation.
    ///
    /// # Errors
    /// [`Refusal`]: the stream ends with it.
    pub fn handle_request(
        &self,
        registration: &Registration,
        request: impl Into<Prepared>,
    ) -> Result<Handled, Refusal> {
        let mut request = request.into();
        let stream = registration.subscriber.stream();
        if request.len() >= AT_ONCE && !stream.is_repeated(&request) {
            self.look_up(&mut request);
        }
        self.handle(registration.id, stream, &mut request)
    }

    fn handle(
        &self,
        id: StreamId,
        mut stream: MutexGuard<'_, Stream>,
        request: &mut Prepared,
    ) -> Result<Handled, Refusal> {
        let mut guard = self.shared.lock();
        let shared = &mut *guard;
        let handled = stream.handle_prepared(request, &mut shared.names, &shared.generation)?;
        if stream.node().is_some_and(|node| node.is_doctor()) {
            shared.onlookers.insert(id);
        }
        if let Some(kind) = handled.kind {
            for name in &handled.unsubscribed {
                shared.index.remove(kind, id, name);
            }
            shared.index.add(kind, id, &handled.subscribed);
            if let Some(on) = handled.wildcard {
                shared.index.wildcard(kind, id, on);
            }
            if handled.ack && !shared.acks.is_empty() {
                shared.acks.accepted(id, kind, &handled.accepted);
            }
        }
        drop(guard);
        self.wake_watches();
        Ok(handled)
    }

    /// A stream has nothing to send now.
    pub fn settled(&self) {
        self.wake_watches();
    }

    /// The client of a stream is of this fleet.
    pub fn join_fleet(&self, id: StreamId, fleet: &str) {
        let mut shared = self.shared.lock();
        let fleet = shared
            .fleets
            .get_key_value(fleet)
            .map_or_else(|| fleet.into(), |(known, _)| known.clone());
        shared.fleets.entry(Arc::clone(&fleet)).or_default().insert(id);
        shared.fleet_of.insert(id, fleet);
    }

    /// These listeners are for these fleets only. Those of which an Envoy is connected are not waited for.
    pub fn expect_fleets(&self, mut listeners: Vec<(Arc<str>, Vec<Arc<str>>)>) {
        let shared = self.shared.lock();
        listeners.retain(|(_, fleets)| !fleets.iter().any(|fleet| shared.fleets.contains_key(fleet)));
        self.fleets.expect(listeners);
    }

    /// An Envoy of this fleet has connected.
    pub fn envoy_of(&self, fleet: &str) {
        self.fleets.connected(fleet);
    }

    /// Listeners that no Envoy has used, as that changes.
    #[must_use]
    pub fn unused_listeners(&self) -> watch::Receiver<Unused> {
        self.fleets.unused()
    }

    /// A stream has ended. Returns whether that changed what is rejected.
    pub fn unregister(&self, registration: &Registration) -> bool {
        let (stream, id) = (registration.subscriber.stream(), registration.id);
        self.depart(&stream, &registration.subscriber);
        self.shared.lock().index.leave(id, stream.subscriptions());
        self.release(&stream.asked().collect::<Vec<_>>());
        let mut shared = self.shared.lock();
        shared.names.stream_closed();
        shared.asked(id);
        shared.tidy();
        shared.acks.left(id);
        shared.onlookers.remove(id);
        let is_over = lock(&self.waves).left(id);
        if is_over {
            self.settled.send_replace(());
        }
        drop(stream);
        if let Some(fleet) = shared.fleet_of.remove(&id)
            && let Some(streams) = shared.fleets.get_mut(&fleet)
        {
            streams.remove(id);
            if streams.is_empty() {
                shared.fleets.remove(&fleet);
            }
        }
        let mut ruled = false;
        for (key, ruling) in shared.verdicts.leave(id) {
            ruled |= self.rule(&mut shared, &key, ruling);
        }
        if let Some(subscriber) = shared.subscribers.get_mut(id as usize) {
            *subscriber = None;
            shared.free.push(id);
        }
        drop(shared);
        self.wake_watches();
        ruled
    }

    /// The client of a stream leaves with what it has.
    fn depart(&self, stream: &Stream, subscriber: &Subscriber) {
        let Some(node) = stream.node().filter(|node| !node.is_doctor()) else {
            return;
        };
        let (held, mut behind) = stream.held(Kind::Endpoints);
        if held.is_empty() {
            return;
        }
        let mut shared = self.shared.lock();
        behind |= lock(&subscriber.pending).changed.get(Kind::Endpoints);
        let client = (&*node.id, &*node.cluster);
        shared.departures.add(client, held, behind, clock::now());
    }

    /// For this long a client that has disconnected may go on with what it had.
    pub fn set_grace(&self, grace: Duration) {
        self.shared.lock().departures.set_grace(grace);
    }

    /// How many names are in the table, served or not.
    #[must_use]
    pub fn names(&self) -> usize {
        self.shared.lock().names.len()
    }
}

/// For [`Stream::poll_response`].
impl NameOf for Fanout {
    fn names_of(&self, ids: &[NameId]) -> Vec<Option<Arc<str>>> {
        if ids.is_empty() {
            return Vec::new();
        }
        self.shared.lock().names.names_of(ids)
    }
}

impl Shared {
    fn subscriber(&self, id: StreamId) -> Option<&Arc<Subscriber>> {
        self.subscribers.get(id as usize).and_then(Option::as_ref)
    }

    /// The streams of clients.
    fn clients(&self) -> Vec<Arc<Subscriber>> {
        let all = (0..).zip(&self.subscribers);
        let clients = all.filter(|(id, _)| !self.onlookers.contains(*id));
        clients.filter_map(|(_, subscriber)| subscriber.clone()).collect()
    }

    /// The streams of clients that subscribe to a name.
    fn clients_of(&self, kind: Kind, name: NameId) -> RoaringBitmap {
        self.index.subscribers(kind, name) - &self.onlookers
    }

    /// Adds each changed name to the pending changes of the streams that subscribe to it.
    fn notify(&self, changed: &Changed, (number, since): (u64, Instant), waves: &mut waves::Waves) {
        for (kind, names) in changed.iter().filter(|(_, names)| !names.is_empty()) {
            let mut streams = RoaringBitmap::new();
            let mut concerned = views::Concerned::new(self, kind, names);
            for stream in self.index.wildcards(kind) {
                let mine = concerned.by(stream);
                if let Some(subscriber) = self.subscriber(stream).filter(|_| !mine.is_empty()) {
                    subscriber.put(since, |changed| *changed.get_mut(kind) |= mine);
                    streams.insert(stream);
                }
            }
            for name in names {
                for stream in self.index.named(kind, name) {
                    if !concerned.by(stream).contains(name) {
                        continue;
                    }
                    if let Some(subscriber) = self.subscriber(stream) {
                        subscriber.put(since, |changed| {
                            changed.get_mut(kind).insert(name);
                        });
                        streams.insert(stream);
                    }
                }
            }
            waves.begin(kind, (number, since), streams - &self.onlookers);
        }
    }
}
