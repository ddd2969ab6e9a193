//! Keys in a file, for one bridge without a registry. One process has it at a time; what is held by it is in memory only,
//! so that it ends with the process. Never reads what others write into it meanwhile, never overwrites a file that it
//! cannot read.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;

use super::change::{Change, Lease, LeaseId};
use super::entry::{Entry, If, MAX_BYTES, MAX_KEYS, Revision};
use super::error::StoreError;
use super::watch::{Entries, Outlet, Pauses, bound};
use crate::files;

/// Of the file's layout.
const VERSION: u32 = 1;
/// The longest file, bytes: all keys, each character of a value escaped.
const LONGEST: u64 = 8 * MAX_BYTES as u64;
/// The highest revision that is read: no bridge counts so far.
const MAX_REVISION: u64 = u64::MAX / 2;

#[derive(Debug)]
pub(super) struct InFile {
    path: PathBuf,
    content: Mutex<Content>,
    /// One change at a time; holds the lock of the file once it is open.
    open: tokio::sync::Mutex<Option<File>>,
    /// Counts the changes.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Content {
    entries: Entries,
    /// Which of them end with which hold.
    held: BTreeMap<std::sync::Arc<str>, u64>,
    revision: u64,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    revision: u64,
    entries: BTreeMap<String, StoredEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredEntry {
    revision: u64,
    value: String,
}

impl InFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            content: Mutex::default(),
            open: tokio::sync::Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.opened(&mut *self.open.lock().await).await?;
        Ok(self.content().entries.get(key).cloned())
    }

    pub(super) async fn list(&self) -> Result<Entries, StoreError> {
        self.opened(&mut *self.open.lock().await).await?;
        Ok(self.content().entries.clone())
    }

    /// Takes the file, and reads it, once.
    async fn opened(&self, open: &mut Option<File>) -> Result<(), StoreError> {
        if open.is_some() {
            return Ok(());
        }
        let path = self.path.clone();
        let taking = tokio::task::spawn_blocking(move || take(&path));
        let taken = taking.await.unwrap_or_else(|error| Err(error.to_string()));
        let (lock, content) =
            taken.map_err(|why| StoreError::away(format!("{}: {why}", self.path.display())))?;
        *self.content() = content;
        *open = Some(lock);
        self.changes.send_modify(|n| *n += 1);
        Ok(())
    }

    pub(super) async fn change(&self, change: Change<'_>) -> Result<Revision, StoreError> {
        let mut open = self.open.lock().await;
        self.opened(&mut open).await?;
        let owner = change.fence.map(number);
        let (stored, next) = {
            let content = self.content();
            content.allows(&change)?;
            let next = content.revision + 1;
            let stays = !change.under || !content.held.contains_key(change.key);
            let stored = stays.then(|| content.stored(&change, next)).transpose()?;
            (stored, next)
        };
        if let Some(stored) = stored {
            let path = self.path.clone();
            let writing = tokio::task::spawn_blocking(move || save(&path, &stored));
            let written = writing.await.unwrap_or_else(|error| Err(error.to_string()));
            written.map_err(|why| StoreError::away(format!("{}: {why}", self.path.display())))?;
        }
        self.content()
            .apply(&change, next, owner.filter(|_| change.under));
        self.changes.send_modify(|n| *n += 1);
        Ok(Revision(next))
    }

    pub(super) async fn take(&self, key: &str, value: &[u8], ttl: Duration) -> Result<Lease, StoreError> {
        let mut open = self.open.lock().await;
        self.opened(&mut open).await?;
        let change = Change {
            key,
            value: Some(value),
            when: If::Absent,
            fence: None,
            under: true,
        };
        let mut content = self.content();
        content.allows(&change)?;
        let next = content.revision + 1;
        content.apply(&change, next, Some(next));
        drop(content);
        self.changes.send_modify(|n| *n += 1);
        Ok(Lease {
            id: LeaseId::File(next),
            key: key.into(),
            created: next,
            ttl,
        })
    }

    pub(super) async fn renew(&self, lease: &Lease) -> Result<bool, StoreError> {
        let _open = self.open.lock().await;
        Ok(self.content().holds(lease))
    }

    pub(super) fn release(&self, lease: &Lease) {
        let owner = number(lease);
        let mut content = self.content();
        let ends: Vec<_> = content.held.iter().filter(|(_, of)| **of == owner).collect();
        let ends: Vec<_> = ends.into_iter().map(|(key, _)| key.clone()).collect();
        for key in &ends {
            content.held.remove(key);
            content.entries.remove(key);
        }
        drop(content);
        if !ends.is_empty() {
            self.changes.send_modify(|n| *n += 1);
        }
    }

    /// Without end.
    pub(super) async fn follow(&self, outlet: &Outlet) {
        let mut pauses = Pauses::new();
        let mut changes = self.changes.subscribe();
        loop {
            let opened = self.opened(&mut *self.open.lock().await).await;
            if let Err(error) = opened {
                outlet.away(error.to_string());
                sleep(pauses.next_pause()).await;
                continue;
            }
            changes.mark_unchanged();
            let entries = self.content().entries.clone();
            outlet.live(&entries);
            // The sender is ours.
            let _ = changes.changed().await;
        }
    }
}

impl Content {
    fn holds(&self, lease: &Lease) -> bool {
        self.held.get(&lease.key) == Some(&number(lease))
    }

    fn allows(&self, change: &Change<'_>) -> Result<(), StoreError> {
        if let Some(lease) = change.fence.filter(|lease| !self.holds(lease)) {
            return Err(StoreError::NotHeld {
                key: lease.key.to_string(),
            });
        }
        let now = self.entries.get(change.key).map(|entry| entry.revision);
        let owner = self.held.get(change.key);
        let of_other = change.under && owner.is_some() && owner != change.fence.map(number).as_ref();
        let right = match (change.when, now) {
            _ if of_other => false,
            (If::Always, _) | (If::Absent, None) => true,
            (If::Revision(_), None) => change.value.is_none(),
            (If::Absent, Some(_)) => false,
            (If::Revision(wanted), Some(now)) => wanted == now,
        };
        if !right {
            return Err(StoreError::Changed {
                key: change.key.to_owned(),
            });
        }
        if now.is_none() && change.value.is_some() && self.entries.len() >= MAX_KEYS {
            return Err(StoreError::away(format!(
                "there are {MAX_KEYS} keys in the file of the shared state already"
            )));
        }
        Ok(())
    }

    /// What the file holds once the change is made.
    fn stored(&self, change: &Change<'_>, revision: u64) -> Result<String, StoreError> {
        let lasting = |key: &str| key != change.key && !self.held.contains_key(key);
        let text = |key: &str, value: &[u8]| {
            String::from_utf8(value.to_vec())
                .map_err(|_| StoreError::away(format!("{key}: a value in a file must be UTF-8")))
        };
        let mut entries = BTreeMap::new();
        for (key, entry) in self.entries.iter().filter(|(key, _)| lasting(key)) {
            let stored = StoredEntry {
                revision: entry.revision.0,
                value: text(key, &entry.value)?,
            };
            entries.insert(key.to_string(), stored);
        }
        if let Some(value) = change.value.filter(|_| !change.under) {
            let value = text(change.key, value)?;
            entries.insert(change.key.to_owned(), StoredEntry { revision, value });
        }
        let stored = Stored {
            version: VERSION,
            revision,
            entries,
        };
        serde_json::to_string_pretty(&stored).map_err(|error| StoreError::away(error.to_string()))
    }

    fn apply(&mut self, change: &Change<'_>, revision: u64, owner: Option<u64>) {
        self.revision = revision;
        self.held.remove(change.key);
        let Some(value) = change.value else {
            self.entries.remove(change.key);
            return;
        };
        let entry = Entry::new(change.key, value.to_vec(), value.len(), revision);
        if let Some(owner) = owner {
            self.held.insert(entry.key.clone(), owner);
        }
        self.entries.insert(entry.key.clone(), entry);
    }
}

fn number(lease: &Lease) -> u64 {
    match lease.id {
        LeaseId::File(number) => number,
        LeaseId::Etcd(_) | LeaseId::Consul(_) => 0,
    }
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// The lock, and what the file holds.
fn take(path: &Path) -> Result<(File, Content), String> {
    std::fs::create_dir_all(folder(path)).map_err(|error| error.to_string())?;
    // Beside the file, which is replaced at each write.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&beside)
        .map_err(|error| format!("its lock: {error}"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(
                "another process uses it; bridges that share state need a registry for that".to_owned(),
            );
        }
        Err(TryLockError::Error(error)) => return Err(format!("its lock: {error}")),
    }
    Ok((lock, load(path)?))
}

fn load(path: &Path) -> Result<Content, String> {
    let bytes = match files::read(path, LONGEST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Content::default()),
        Err(error) => return Err(error.to_string()),
    };
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| {
        format!("is not what the bridge writes ({error}); move it away to begin without it")
    })?;
    if stored.version != VERSION {
        return Err(format!(
            "is of version {}, which this bridge does not know; move it away to begin without it",
            stored.version
        ));
    }
    let mut content = Content {
        revision: stored.revision,
        ..Content::default()
    };
    for (key, StoredEntry { revision, value }) in stored.entries {
        let size = value.len();
        let entry = Entry::new(&key, value.into_bytes(), size, revision);
        // Revisions are never given twice, also if somebody has edited the file.
        content.revision = content.revision.max(revision);
        content.entries.insert(entry.key.clone(), entry);
    }
    // The next ones are counted on from here.
    if content.revision > MAX_REVISION {
        return Err(format!(
            "has the revision {}, which the bridge does not write; move it away to begin without it",
            content.revision
        ));
    }
    bound(&content.entries)?;
    Ok(content)
}

fn save(path: &Path, text: &str) -> Result<(), String> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or("is not the name of a file")?;
    files::replace(folder(path), name, text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_cannot_be_counted_on_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let written = |revision: u64| {
            let entries = BTreeMap::from([(
                "a".to_owned(),
                StoredEntry {
                    revision,
                    value: "1".to_owned(),
                },
            )]);
            let stored = Stored {
                version: VERSION,
                revision: 1,
                entries,
            };
            std::fs::write(&path, serde_json::to_string(&stored).unwrap()).unwrap();
            load(&path).map(|content| content.revision)
        };
        assert_eq!(written(MAX_REVISION), Ok(MAX_REVISION));
        assert!(
            written(u64::MAX)
                .unwrap_err()
                .contains("has the revision 18446744073709551615")
        );
    }
}
