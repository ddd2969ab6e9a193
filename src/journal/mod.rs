//! What changed, when, and what the registry wrote for it: the newest events, bounded, for whoever asks "what changed at
//! 14:03?". Between the hub, which notes them, and the admin port, which shows them.

mod difference;
mod ring;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub use difference::{Line, differences};
pub use ring::{Event, Filter, Noted};

use ring::Ring;

/// The newest events. Its lock covers one event or one question, never an `await`.
#[derive(Debug, Default)]
pub struct Journal {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

impl Journal {
    /// Something has changed.
    pub fn note(&self, noted: Noted) {
        let newest = self.lock().push(noted);
        self.newest.send_replace(newest);
    }

    /// All that was noted and not published yet is in this generation.
    pub fn published(&self, generation: u64) {
        if self.lock().published(generation) {
            self.newest.send_modify(|_| {});
        }
    }

    /// The newest events that fit, the oldest first, and how many older ones are left out.
    #[must_use]
    pub fn events(&self, filter: &Filter<'_>, most: usize) -> (Vec<Event>, usize) {
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
