//! What is seen of all keys below the root: whole and consistent snapshots, the newest wins. Says when nothing can be
//! seen, and keeps the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::entry::{Entry, MAX_BYTES, MAX_KEYS};

/// The shortest and the longest pause between two tries; each is drawn evenly from zero on.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// Reasons of one outage in the log.
const SAID: usize = 8;
/// See [`Pauses::denied`].
const DENIED: Duration = Duration::from_secs(15);

/// All keys below the root, at one moment.
pub type Entries = BTreeMap<Arc<str>, Entry>;

/// What is known of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Whether they are those of now.
    pub status: Status,
    /// The last that were seen, also while the store is away.
    pub entries: Arc<Entries>,
}

/// Whether a view is that of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nothing was seen yet.
    #[default]
    Connecting,
    /// It is.
    Live,
    /// Nobody knows.
    Away {
        /// Why, and how to fix it.
        reason: String,
    },
}

/// Follows all keys until it is dropped.
#[derive(Debug)]
pub struct Watching {
    seen: watch::Receiver<View>,
    _task: AbortOnDropHandle<()>,
}

impl Watching {
    /// `follow` never ends.
    pub(super) fn spawn<F>(follow: impl FnOnce(Outlet) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (outlet, seen) = watch::channel(View::default());
        let task = tokio::spawn(follow(Outlet {
            views: outlet,
            said: Mutex::default(),
        }));
        Self {
            seen,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// What is known now.
    #[must_use]
    pub fn view(&self) -> View {
        self.seen.borrow().clone()
    }

    /// Waits for something that was not seen yet. May be dropped while it waits.
    pub async fn next(&mut self) -> View {
        if self.seen.changed().await.is_err() {
            // The task never ends but by a panic, which is logged: what was seen stays.
            std::future::pending::<()>().await;
        }
        self.seen.borrow_and_update().clone()
    }
}

/// Where views are published. What changes nothing wakes nobody.
#[derive(Debug)]
pub(super) struct Outlet {
    views: watch::Sender<View>,
    /// Reasons in the log since it was live: members that fail in turn have one each.
    said: Mutex<BTreeSet<String>>,
}

impl Outlet {
    /// These are the keys of now.
    pub(super) fn live(&self, entries: &Entries) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.views.send_if_modified(|view| {
            let known = view.status == Status::Live && *view.entries == *entries;
            if !known {
                view.status = Status::Live;
                view.entries = Arc::new(entries.clone());
            }
            !known
        });
    }

    pub(super) fn away(&self, reason: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < SAID && said.insert(reason.clone()) {
            tracing::warn!("shared state is away: {reason}");
        }
        drop(said);
        let away = Status::Away { reason };
        self.views.send_if_modified(|view| {
            let known = view.status == away;
            if !known {
                view.status = away;
            }
            !known
        });
    }

    /// Whether a key was there that is not among these.
    pub(super) fn lost_any(&self, entries: &Entries) -> bool {
        let view = self.views.borrow();
        view.entries.keys().any(|key| !entries.contains_key(key))
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connecting => f.write_str("not read yet"),
            Self::Live => f.write_str("live"),
            Self::Away { reason } => f.write_str(reason),
        }
    }
}

/// Whether all of this may be held.
pub(super) fn bound(entries: &Entries) -> Result<(), String> {
    let bytes: usize = entries
        .iter()
        .map(|(key, entry)| key.len() + entry.value.len())
        .sum();
    if entries.len() > MAX_KEYS || bytes > MAX_BYTES {
        return Err(format!(
            "there are more than {MAX_KEYS} keys, or more than {} MiB, below the root of the shared state; what was \
             seen before stays",
            MAX_BYTES >> 20
        ));
    }
    Ok(())
}

/// Pauses between tries: ever longer, without end.
#[derive(Debug)]
pub struct Pauses(ExponentialBackoff);

impl Default for Pauses {
    fn default() -> Self {
        Self::new()
    }
}

impl Pauses {
    /// From the first try after a success on.
    #[must_use]
    pub fn new() -> Self {
        let (first, longest) = PAUSES;
        let pauses = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(longest)
            .with_jitter()
            .without_max_times();
        Self(pauses.build())
    }

    /// A try succeeded.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Before another try without the rights: somebody has to grant them, and may never do.
    pub(super) const fn denied() -> Duration {
        DENIED
    }

    /// Before the next try.
    pub fn next_pause(&mut self) -> Duration {
        self.0.next().unwrap_or(PAUSES.1)
    }
}
