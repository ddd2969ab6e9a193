//! Between the publisher and the streams: the newest generation, and for each
//! stream a mailbox with the set of names that changed since it last looked.
//!
//! The one shared structure of the serving side, kept out of `xds` so that the
//! engine stays pure. Its lock is held for a publication or one request, never
//! across a send. A slow stream costs its set of names, not a queue of states.

mod fleets;
mod forget;
mod opinions;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use roaring::RoaringBitmap;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use fleets::Unused;
pub use opinions::{LastNack, Poll, Rejected, StreamStatus, TypeStatus};

use crate::xds::{
    Changed, Generation, Gone, Heard, Index, NameId, Names, Stream, StreamId, Update, Verdicts,
};

/// The newest generation and everybody who wants to hear of the next.
#[derive(Debug)]
pub struct Fanout {
    shared: Mutex<Shared>,
    current: ArcSwapOption<Generation>,
    max_streams: usize,
    /// Some version was refused by somebody: acceptances count from now on.
    doubting: AtomicBool,
    fleets: fleets::Fleets,
}

#[derive(Debug, Default)]
struct Shared {
    verdicts: Verdicts,
    /// The streams of each fleet, and the fleet of each stream.
    fleets: HashMap<Arc<str>, RoaringBitmap>,
    fleet_of: HashMap<StreamId, Arc<str>>,
    names: Names,
    index: Index,
    mailboxes: Vec<Option<Arc<Mailbox>>>,
    free: Vec<StreamId>,
    /// While names are being forgotten: the streams that were not asked yet.
    asking: Option<RoaringBitmap>,
    generation: Arc<Generation>,
}

/// A stream, and what it has not looked at yet.
#[derive(Debug)]
pub struct Mailbox {
    /// Locked by the stream's own task alone, but to look for names that nobody serves any more. Taken
    /// before [`Self::letters`].
    stream: Mutex<Stream>,
    letters: Mutex<Letters>,
    /// Woken when there is something new.
    pub wake: Notify,
    /// What an operator sees of the stream.
    pub status: Mutex<StreamStatus>,
}

/// The content of a mailbox.
#[derive(Debug, Default)]
pub struct Letters {
    /// Names that changed.
    pub changed: Changed,
    /// When the oldest of these changes reached the hub.
    pub since: Option<Instant>,
    /// What the fan-out wants to know.
    pub polls: Vec<Poll>,
}

/// A stream's place.
#[derive(Debug)]
pub struct Place {
    /// Its number.
    pub id: StreamId,
    /// Its mailbox.
    pub mailbox: Arc<Mailbox>,
}

/// Why there is no place for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// The sources have not delivered yet. Never answered with emptiness instead.
    #[error("the bridge has not heard from all its sources yet")]
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
    /// Nothing published yet; at most so many streams. `hold`: newcomers of a fleet that
    /// rejects a version get the content before it.
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
            shared: Mutex::new(shared),
            current: ArcSwapOption::empty(),
            max_streams,
            doubting: AtomicBool::new(false),
            fleets: fleets::Fleets::default(),
        }
    }

    /// What gRPC's own clients get in place of a resource that is gone.
    pub fn when_gone(&self, gone: Gone) {
        let mut shared = lock(&self.shared);
        let generation = (*shared.generation).clone().with_gone(gone);
        shared.generation = Arc::new(generation);
    }

    /// Makes the next generation from these updates and tells the streams concerned.
    /// Returns it, and whether anything changed. `since`: when the first of these changes arrived.
    pub fn publish(&self, updates: &[Update], since: Instant) -> (Arc<Generation>, bool) {
        let mut shared = lock(&self.shared);
        let shared = &mut *shared;
        // Before the streams are busy with what is new.
        shared.forget();
        let (next, changed) = shared.generation.next(&mut shared.names, updates);
        let first = self.current.load().is_none();
        if !first && changed.iter().all(|(_, names)| names.is_empty()) {
            return (shared.generation.clone(), false);
        }
        for (kind, names) in changed.iter() {
            shared.verdicts.moved(kind, names);
        }
        self.doubting
            .store(!shared.verdicts.is_empty(), Ordering::Release);
        let next = Arc::new(next);
        shared.generation = next.clone();
        // Stored before anybody is woken: who drains a mailbox afterwards sees at least this.
        self.current.store(Some(next.clone()));
        shared.notify(&changed, since);
        (next, true)
    }

    /// The newest generation; `None` until the first was published.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Generation>> {
        self.current.load_full()
    }

    /// A place for one more stream.
    ///
    /// # Errors
    /// [`NoPlace`]
    pub fn enter(&self, stream: Stream) -> Result<Place, NoPlace> {
        if self.current.load().is_none() {
            return Err(NoPlace::NotReady);
        }
        let mut shared = lock(&self.shared);
        let open = shared.mailboxes.len() - shared.free.len();
        if open >= self.max_streams {
            return Err(NoPlace::Full(open));
        }
        shared.names.stream_opened();
        let mailbox = Arc::new(Mailbox {
            stream: Mutex::new(stream),
            letters: Mutex::default(),
            wake: Notify::new(),
            status: Mutex::default(),
        });
        let id = match shared.free.pop() {
            Some(id) => {
                shared.mailboxes[id as usize] = Some(mailbox.clone());
                id
            }
            None => {
                shared.mailboxes.push(Some(mailbox.clone()));
                StreamId::try_from(shared.mailboxes.len() - 1).unwrap_or(StreamId::MAX)
            }
        };
        Ok(Place { id, mailbox })
    }

    /// Lets a stream hear a request, and takes over what it subscribes to now. What is
    /// published afterwards reaches its mailbox; what was before, it sees in the generation.
    ///
    /// # Errors
    /// Those of `hear`.
    pub fn hear<E>(
        &self,
        place: &Place,
        hear: impl FnOnce(&mut Stream, &mut Names, &Generation) -> Result<Heard, E>,
    ) -> Result<Heard, E> {
        let mut shared = lock(&self.shared);
        let (shared, id) = (&mut *shared, place.id);
        let mut heard = hear(&mut place.mailbox.stream(), &mut shared.names, &shared.generation)?;
        if let Some(nack) = &mut heard.nack {
            nack.name = nack.only.and_then(|(id, _)| shared.names.name(id).cloned());
        }
        if let Some(kind) = heard.kind {
            for name in &heard.unsubscribed {
                shared.index.remove(kind, id, name);
            }
            shared.index.add(kind, id, &heard.subscribed);
            if let Some(on) = heard.wildcard {
                shared.index.wildcard(kind, id, on);
            }
        }
        Ok(heard)
    }

    /// A stream has said of which fleet its client is.
    pub fn belongs(&self, id: StreamId, fleet: &str) {
        let mut shared = lock(&self.shared);
        let fleet = shared
            .fleets
            .get_key_value(fleet)
            .map_or_else(|| fleet.into(), |(known, _)| known.clone());
        shared.fleets.entry(Arc::clone(&fleet)).or_default().insert(id);
        shared.fleet_of.insert(id, fleet);
    }

    /// These listeners are for these fleets only. Those of which an Envoy is connected are not waited for.
    pub fn expect_fleets(&self, mut listeners: Vec<(Arc<str>, Vec<Arc<str>>)>) {
        let shared = lock(&self.shared);
        listeners.retain(|(_, fleets)| !fleets.iter().any(|fleet| shared.fleets.contains_key(fleet)));
        self.fleets.expect(listeners);
    }

    /// An Envoy of this fleet has connected.
    pub fn envoy_of(&self, fleet: &str) {
        self.fleets.connected(fleet);
    }

    /// Listeners that no Envoy was for, as that changes.
    #[must_use]
    pub fn unused_listeners(&self) -> watch::Receiver<Unused> {
        self.fleets.unused()
    }

    /// A stream has ended. Says whether that changed what is rejected.
    pub fn leave(&self, place: &Place) -> bool {
        let (mut shared, id) = (lock(&self.shared), place.id);
        {
            let (shared, stream) = (&mut *shared, place.mailbox.stream());
            shared.index.leave(id, stream.subscriptions());
            stream.leave(&mut shared.names);
            shared.names.stream_closed();
            shared.asked(id);
            shared.tidy();
        }
        if let Some(fleet) = shared.fleet_of.remove(&id)
            && let Some(streams) = shared.fleets.get_mut(&fleet)
        {
            streams.remove(id);
            if streams.is_empty() {
                shared.fleets.remove(&fleet);
            }
        }
        let mut ruled = false;
        for (matter, ruling) in shared.verdicts.leave(id) {
            ruled |= self.rule(&mut shared, &matter, ruling);
        }
        if let Some(mailbox) = shared.mailboxes.get_mut(id as usize) {
            *mailbox = None;
            shared.free.push(id);
        }
        ruled
    }

    /// How many names are known, served or not.
    #[must_use]
    pub fn names(&self) -> usize {
        lock(&self.shared).names.len()
    }

    /// The name of a number.
    #[must_use]
    pub fn name(&self, id: NameId) -> Option<Arc<str>> {
        lock(&self.shared).names.name(id).cloned()
    }
}

impl Shared {
    /// Puts each changed name into the mailboxes of the streams that subscribe to it.
    fn notify(&self, changed: &Changed, since: Instant) {
        let mailbox = |id: StreamId| self.mailboxes.get(id as usize).and_then(Option::as_ref);
        for (kind, names) in changed.iter().filter(|(_, names)| !names.is_empty()) {
            for stream in self.index.wildcards(kind) {
                if let Some(mailbox) = mailbox(stream) {
                    mailbox.put(since, |changed| *changed.get_mut(kind) |= names);
                }
            }
            for name in names {
                for stream in self.index.named(kind, name) {
                    if let Some(mailbox) = mailbox(stream) {
                        mailbox.put(since, |changed| {
                            changed.get_mut(kind).insert(name);
                        });
                    }
                }
            }
        }
    }
}

impl Mailbox {
    /// The stream itself.
    pub fn stream(&self) -> MutexGuard<'_, Stream> {
        lock(&self.stream)
    }

    /// Changes what an operator sees of the stream.
    pub fn note(&self, change: impl FnOnce(&mut StreamStatus)) {
        change(&mut lock(&self.status));
    }

    fn put(&self, since: Instant, put: impl FnOnce(&mut Changed)) {
        let mut letters = lock(&self.letters);
        put(&mut letters.changed);
        letters.since.get_or_insert(since);
        drop(letters);
        self.wake.notify_one();
    }

    /// Takes everything out; `None` when it is empty.
    #[must_use]
    pub fn take(&self) -> Option<Letters> {
        let mut letters = lock(&self.letters);
        let any = letters.since.is_some() || !letters.polls.is_empty();
        any.then(|| std::mem::take(&mut *letters))
    }
}
