//! One stream as the fan-out has it: its engine state, what it has not looked at yet, and what an
//! operator sees of it.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lock;
use super::rejections::Poll;
use super::status::StreamStatus;
use crate::xds::{Changed, ClientId, Generation, Kind, NameId, Stream, StreamId, Version};

/// A stream, and what it has not looked at yet.
#[derive(Debug)]
pub struct Subscriber {
    /// Locked by the stream's own task, and for a moment to look for names that are not served any more
    /// (only tried) and for acknowledgements. Taken before [`Self::pending`] and the fan-out's lock.
    pub(super) stream: Mutex<Stream>,
    pub(super) pending: Mutex<Pending>,
    /// Woken when there is something new.
    pub wake: Notify,
    /// What an operator sees of the stream.
    pub status: Mutex<StreamStatus>,
}

/// What a stream has not looked at yet: a set of names, however much was published.
#[derive(Debug, Default)]
pub struct Pending {
    /// Names that changed.
    pub changed: Changed,
    /// When the oldest of these changes reached the hub.
    pub since: Option<Instant>,
    /// What the fan-out wants to know.
    pub polls: Vec<Poll>,
    /// When the oldest change reached the hub that the client has not acknowledged; it outlives what is taken out.
    pub(super) behind: Option<Instant>,
}

/// A registered stream.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its number.
    pub id: StreamId,
    /// The stream.
    pub subscriber: Arc<Subscriber>,
}

impl Registration {
    /// Whose vote counts, for the client with this node id: one client has one, however many streams it has.
    #[must_use]
    pub fn voter(&self, node: &str) -> (ClientId, StreamId) {
        (Version::of(node.as_bytes()).0, self.id)
    }
}

impl Subscriber {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream: Mutex::new(stream),
            pending: Mutex::default(),
            wake: Notify::new(),
            status: Mutex::default(),
        }
    }

    /// The stream itself.
    pub fn stream(&self) -> MutexGuard<'_, Stream> {
        lock(&self.stream)
    }

    /// Changes what an operator sees of the stream.
    pub fn update_status(&self, change: impl FnOnce(&mut StreamStatus)) {
        change(&mut lock(&self.status));
    }

    pub(super) fn put(&self, since: Instant, put: impl FnOnce(&mut Changed)) {
        let mut pending = lock(&self.pending);
        put(&mut pending.changed);
        pending.since.get_or_insert(since);
        pending.behind.get_or_insert(since);
        drop(pending);
        self.wake.notify_one();
    }

    /// Takes everything out; `None` when there is nothing.
    #[must_use]
    pub fn take(&self) -> Option<Pending> {
        let mut pending = lock(&self.pending);
        let any = pending.since.is_some() || !pending.polls.is_empty();
        let behind = pending.behind;
        any.then(|| {
            let rest = Pending {
                behind,
                ..Pending::default()
            };
            std::mem::replace(&mut *pending, rest)
        })
    }

    /// Whether the client has acknowledged the content of a name in this generation, or newer content.
    pub(super) fn has_acked(&self, generation: &Generation, kind: Kind, id: NameId) -> bool {
        let stream = self.stream();
        let is_pending = lock(&self.pending).changed.get(kind).contains(id);
        !is_pending && stream.has_acked(generation, kind, id)
    }
}
