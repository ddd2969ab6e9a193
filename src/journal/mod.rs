//! What changed, when, and what the registry wrote for it: the newest events, bounded, for whoever asks "what changed at
//! 14:03?". Between the hub, which notes them, and the admin port, which shows them.

mod difference;
mod file;
mod ring;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub use difference::{Line, differences};
pub use ring::{Acked, Event, Events, Filter, Noted};

use ring::Ring;

/// The newest events. Its lock covers one event or one question, never an `await`.
#[derive(Debug, Default)]
pub struct Journal {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    /// When the numbers of events began; Unix time, milliseconds.
    start: AtomicU64,
}

impl Journal {
    /// Something has changed: all of it at once, so that whoever follows is woken once.
    pub fn note(&self, all: Vec<Noted>) {
        if all.is_empty() {
            return;
        }
        let mut ring = self.lock();
        for noted in all {
            ring.push(noted);
        }
        let newest = ring.last();
        drop(ring);
        self.newest.send_replace(newest);
    }

    /// What was noted until now is published: in this generation where it is of these services; the rest changes nothing
    /// that is served.
    pub fn published(&self, generation: Option<u64>, touched: &BTreeSet<Arc<str>>) {
        self.lock().published(generation, touched);
    }

    /// The last client has acknowledged these generations.
    pub fn acked(&self, all: &[Acked]) {
        let mut ring = self.lock();
        for acked in all {
            ring.acked(acked);
        }
    }

    /// The first event gets its number now (Unix time, milliseconds), or goes on after those that were kept.
    pub fn begin(&self, now: u64, kept: Option<&str>) {
        let kept = kept.and_then(file::decode);
        let (start, events) = kept.unwrap_or_else(|| (now, Vec::new()));
        self.start.store(start, Ordering::Relaxed);
        self.lock().restore(events);
    }

    /// All that is kept, as a file of it.
    #[must_use]
    pub fn text(&self) -> String {
        let all = self.lock().all();
        file::encode(self.start(), &all)
    }

    /// Since when the numbers of events count; another start without a file of them begins again.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start.load(Ordering::Relaxed)
    }

    /// The newest events that fit, the oldest first.
    #[must_use]
    pub fn events(&self, filter: &Filter<'_>, most: usize) -> Events {
        self.lock().events(filter, most)
    }

    /// The number of the newest event, to be waited for.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events that came from nobody in particular have this source.
pub const OPERATOR: &str = "operator";

impl Noted {
    /// An operator's word.
    #[must_use]
    pub fn by_operator(at: u64, service: Option<Arc<str>>, what: String) -> Self {
        Self {
            at,
            source: Some(OPERATOR.into()),
            service,
            instance: None,
            what,
        }
    }
}
