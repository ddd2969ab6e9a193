//! [`State`]: the handle to what is shared, for whoever reads or writes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::document::{self, Documents, Drain, Replica, Unreadable};
use super::path::{Path, Target};
use super::recall::Recall;
use crate::config::{Config, SharedState, SourceConfig};
use crate::registry::store::{Entries, Held, Hold, If, MAX_KEYS, Revision, Status, Store, StoreError};
use crate::source::{self, Budget};
use crate::text::list;

/// Documents that are named among those that cannot be read.
const NAMED: usize = 5;
/// File descriptors of its connections: a blocked read, a write, a renewal, and one more while they are replaced.
pub const DESCRIPTORS: usize = 8;

/// A number that no other process has.
#[must_use]
pub fn random_id() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    // Keyed by what the system calls random.
    let state = RandomState::new();
    format!("{:016x}{:016x}", state.hash_one(0), state.hash_one(1))
}

/// The way to shared state. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    /// This process.
    replica: Arc<str>,
    place: Place,
    store: ArcSwapOption<Store>,
    /// What says that we run, while it is there.
    pub(super) present: ArcSwapOption<Hold>,
    /// Where it is remembered on disk.
    pub(super) recall: Option<Recall>,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

/// Where it is.
#[derive(Debug)]
enum Place {
    Off {
        why: String,
    },
    File(PathBuf),
    Registry {
        name: Arc<str>,
        source: Box<SourceConfig>,
        prefix: String,
        budget: Budget,
    },
}

/// All that is shared, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Whether it is that of now.
    pub status: Status,
    /// All keys below the root, also of others.
    pub entries: Arc<Entries>,
    /// Those that this bridge can read.
    pub documents: Documents,
    /// The grant that is missing to write, as it must be written.
    pub missing: Option<String>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Nothing is shared.
    #[error("shared state is off: {0}")]
    Off(String),
    /// The registry's, or the file's.
    #[error("shared state: {0}")]
    Store(#[from] StoreError),
    /// The document is one that this bridge must leave alone.
    #[error("shared state: {} {}", .0.key, .0.why)]
    Unreadable(Unreadable),
    /// The bound on keys is reached.
    #[error("there are {MAX_KEYS} keys in shared state already; nothing was written")]
    Full,
}

impl State {
    /// As `[state]` says; a [`Task`](super::Task) of it has to be run. `replica`: a random id of this process.
    #[must_use]
    pub fn new(config: &Config, budget: &Budget, replica: &str) -> Self {
        let place = match &config.state {
            SharedState::Off { why } => Place::Off { why: why.clone() },
            SharedState::File(path) => Place::File(path.clone()),
            SharedState::Registry { source, prefix } => match config.sources.get(source) {
                Some(section) => Place::Registry {
                    name: source.clone(),
                    source: Box::new(section.clone()),
                    prefix: prefix.clone(),
                    budget: budget.clone(),
                },
                // Refused when the file is read.
                None => Place::Off {
                    why: format!("`{source}` is not a source"),
                },
            },
        };
        let recall = match (&config.cache, &place) {
            (Some(cache), Place::Registry { source, prefix, .. }) => {
                let registry = match &**source {
                    SourceConfig::Etcd(etcd) => {
                        let mut members = etcd.endpoints.clone();
                        members.sort();
                        format!("etcd {}", members.join(","))
                    }
                    SourceConfig::Consul(consul) => consul.registry(),
                    SourceConfig::File(file) => file.path.display().to_string(),
                };
                let (folder, registry) = (cache.folder.clone(), format!("{registry} {prefix}"));
                Some(Recall::new(folder, cache.max_age, registry))
            }
            _ => None,
        };
        Self::at(place, replica, recall)
    }

    /// Nothing is shared.
    #[must_use]
    pub fn none(why: &str) -> Self {
        let why = why.to_owned();
        Self::at(Place::Off { why }, "", None)
    }

    fn at(place: Place, replica: &str, recall: Option<Recall>) -> Self {
        Self(Arc::new(Shared {
            replica: replica.into(),
            place,
            store: ArcSwapOption::empty(),
            present: ArcSwapOption::empty(),
            recall,
            snapshots: watch::Sender::new(Arc::default()),
        }))
    }

    /// This process among the bridges.
    #[must_use]
    pub fn replica(&self) -> &Arc<str> {
        &self.0.replica
    }

    /// What is shared now, as far as it was seen.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshots.borrow().clone()
    }

    /// The same, to be followed.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.snapshots.subscribe()
    }

    /// Until it was read once, or cannot be read now; at once where nothing is shared.
    pub async fn settled(&self) {
        if self.off().is_none() {
            let mut snapshots = self.follow();
            // The sender is ours.
            let _ = snapshots.wait_for(|seen| seen.status != Status::Connecting).await;
        }
    }

    /// What says that we run, while it is there.
    pub(super) fn present(&self) -> Option<Arc<Hold>> {
        self.0
            .present
            .load_full()
            .filter(|hold| hold.held() != Held::Lost)
    }

    /// Why nothing is shared; `None`: something is.
    #[must_use]
    pub fn off(&self) -> Option<&str> {
        match &self.0.place {
            Place::Off { why } => Some(why),
            Place::File(_) | Place::Registry { .. } => None,
        }
    }

    /// Where it is, for people; `None`: nowhere.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        match &self.0.place {
            Place::Off { .. } => None,
            Place::File(path) => Some(path.display().to_string()),
            Place::Registry { name, prefix, .. } => Some(format!("{name}, below {prefix}")),
        }
    }

    /// What is wrong with it, in one line; `None`: nothing, or it is off.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let snapshot = self.snapshot();
        let is_well = snapshot.status == Status::Live
            && snapshot.documents.unreadable.is_empty()
            && snapshot.missing.is_none();
        self.words().filter(|_| !is_well)
    }

    /// How it is, in one line; `None`: it is off.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let place = self.place()?;
        let snapshot = self.snapshot();
        let status = match &snapshot.status {
            Status::Away { reason } => format!("away ({place}): {reason}"),
            status => format!("{status} ({place})"),
        };
        let unreadable = &snapshot.documents.unreadable;
        let odd = (!unreadable.is_empty()).then(|| {
            let all = unreadable
                .iter()
                .map(|document| format!("{} {}", document.key, document.why));
            format!(
                "documents that cannot be read: {}",
                list(all, NAMED, unreadable.len())
            )
        });
        let missing = snapshot.missing.as_ref();
        let missing = missing.map(|grant| format!("it cannot be written, what is missing: {grant}"));
        let all: Vec<String> = std::iter::once(status).chain(odd).chain(missing).collect();
        Some(all.join("; "))
    }

    /// What is drained, as far as it was seen.
    #[must_use]
    pub fn drains(&self) -> BTreeMap<Target, Drain> {
        self.snapshot().documents.drains.clone()
    }

    /// The bridges that run, as far as it was seen.
    #[must_use]
    pub fn replicas(&self) -> BTreeMap<Arc<str>, Replica> {
        self.snapshot().documents.replicas.clone()
    }

    /// Drains something, on all bridges. One that was there is replaced.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn put_drain(&self, target: &Target, drain: &Drain) -> Result<Revision, StateError> {
        let key = Path::Drain(target.clone()).to_string();
        self.put(&key, &document::text(drain), If::Always).await
    }

    /// Ends a drain; also good where there is none.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn delete_drain(&self, target: &Target) -> Result<(), StateError> {
        let key = Path::Drain(target.clone()).to_string();
        Ok(self.store().await?.delete(&key, If::Always).await?)
    }

    /// Ends a drain that is still this one. False: it is another one by now, or none.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn end_drain(&self, target: &Target, drain: &Drain) -> Result<bool, StateError> {
        let key = Path::Drain(target.clone()).to_string();
        let store = self.store().await?;
        let Some(entry) = store.get(&key).await? else {
            return Ok(false);
        };
        let entries = Entries::from([(entry.key.clone(), entry.clone())]);
        if Documents::read(&entries).drains.get(target) != Some(drain) {
            return Ok(false);
        }
        match store.delete(&key, If::Revision(entry.revision)).await {
            Ok(()) => Ok(true),
            Err(StoreError::Changed { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The keys themselves.
    ///
    /// # Errors
    /// [`StateError::Off`], or why there is no way to them yet.
    pub async fn store(&self) -> Result<Store, StateError> {
        if let Some(store) = self.0.store.load_full() {
            return Ok((*store).clone());
        }
        let store = match &self.0.place {
            Place::Off { why } => return Err(StateError::Off(why.clone())),
            Place::File(path) => Store::in_file(path.clone()),
            Place::Registry {
                source,
                prefix,
                budget,
                ..
            } => {
                let (source, prefix, budget) = (source.clone(), prefix.clone(), budget.clone());
                let opening = tokio::task::spawn_blocking(move || source::store(&source, &prefix, &budget));
                let opened = opening.await.unwrap_or_else(|error| Err(error.to_string()));
                opened.map_err(|reason| StoreError::Away {
                    reason,
                    uncertain: false,
                })?
            }
        };
        // Two may have opened it: all use the same, since a file has one user.
        let store = Arc::new(store);
        let none: Option<Arc<Store>> = None;
        let before = self.0.store.compare_and_swap(&none, Some(store.clone()));
        let used = before.clone().unwrap_or(store);
        Ok((*used).clone())
    }

    pub(super) async fn put(&self, key: &str, text: &str, when: If) -> Result<Revision, StateError> {
        let store = self.store().await?;
        let entries = self.snapshot().entries.clone();
        if entries.len() >= MAX_KEYS && !entries.contains_key(key) {
            return Err(StateError::Full);
        }
        Ok(store.put(key, text.as_bytes(), when).await?)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        self.0.snapshots.send_modify(|snapshot| {
            let mut next = Snapshot::clone(snapshot);
            change(&mut next);
            *snapshot = Arc::new(next);
        });
    }
}
