//! What was shared last, on disk: what is drained stays drained when a bridge starts while its registry is away. Only what
//! outlives the bridges that wrote it. Never trusted beside a registry that answers, never of another registry.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::document::Documents;
use crate::clock;
use crate::files;
use crate::registry::store::{Entries, Entry};

/// In `cache.folder`.
const FILE: &str = "shared-state.json";
/// Of the file's layout.
const VERSION: u32 = 1;
/// The longest file, bytes.
const LONGEST: u64 = 64 << 20;
/// Keys that end with who wrote them.
const PASSING: [&str; 5] = ["replicas/", "questions/", "answers/", "counts/", "leader"];

/// Where it is kept.
#[derive(Clone, Debug)]
pub(super) struct Recall {
    folder: PathBuf,
    max_age: Duration,
    /// Whose state it is.
    registry: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    version: u32,
    registry: String,
    /// Unix time, seconds.
    at: u64,
    entries: BTreeMap<Arc<str>, String>,
}

impl Recall {
    pub(super) const fn new(folder: PathBuf, max_age: Duration, registry: String) -> Self {
        Self {
            folder,
            max_age,
            registry,
        }
    }

    /// What was saved. What cannot be used is named in the log.
    pub(super) async fn load(&self) -> Entries {
        let this = self.clone();
        let loading = tokio::task::spawn_blocking(move || this.read(clock::unix_seconds()));
        match loading.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(entries) => entries,
            Err(why) => {
                tracing::warn!(file = %self.folder.join(FILE).display(), "shared state of before is not used: it {why}");
                Entries::new()
            }
        }
    }

    fn read(&self, now: u64) -> Result<Entries, String> {
        let bytes = match files::read(&self.folder.join(FILE), LONGEST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Entries::new()),
            Err(error) => return Err(format!("cannot be read: {error}")),
        };
        let saved: Saved = serde_json::from_slice(&bytes)
            .map_err(|error| format!("is not what the bridge writes: {error}"))?;
        if saved.version != VERSION {
            return Err(format!("is of version {}", saved.version));
        }
        if saved.registry != self.registry {
            return Err(format!("is of another registry, {}", saved.registry));
        }
        // One of the future, after a clock was set back, counts as new.
        if now.saturating_sub(saved.at) > self.max_age.as_secs() {
            return Err("is older than cache.max_age".to_owned());
        }
        let entries = saved.entries.into_iter().map(|(key, value)| {
            let entry = Entry::of(&key, value.as_bytes(), 0);
            (key, entry)
        });
        Ok(entries.collect())
    }

    /// Replaces what was saved.
    pub(super) async fn save(&self, kept: Kept) {
        let saved = Saved {
            version: VERSION,
            registry: self.registry.clone(),
            at: clock::unix_seconds(),
            entries: kept.0,
        };
        let folder = self.folder.clone();
        let writing = tokio::task::spawn_blocking(move || write(&folder, &saved));
        if let Err(why) = writing.await.unwrap_or_else(|error| Err(error.to_string())) {
            tracing::warn!(folder = %self.folder.display(), "shared state cannot be saved: {why}");
        }
    }
}

fn write(folder: &Path, saved: &Saved) -> Result<(), String> {
    let text = serde_json::to_string(saved).map_err(|error| error.to_string())?;
    files::replace(folder, FILE, &text).map_err(|error| error.to_string())
}

/// What is worth saving.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept(BTreeMap<Arc<str>, String>);

impl Kept {
    /// Of documents that cannot be read, what was kept `before` of them: a restart must not forget what is in force.
    pub(super) fn of(entries: &Entries, documents: &Documents, before: &Self) -> Self {
        let unreadable: BTreeSet<&Arc<str>> = documents
            .unreadable
            .iter()
            .map(|document| &document.key)
            .collect();
        let lasting = |key: &str| !PASSING.iter().any(|passing| key.starts_with(passing));
        let kept = entries.values().filter(|entry| lasting(&entry.key));
        let texts = kept.filter_map(|entry| {
            let is_known = unreadable.contains(&entry.key) && !documents.guessed.contains(&entry.key);
            let known = before.0.get(&entry.key).filter(|_| is_known);
            let text = match known {
                Some(known) => known,
                None => std::str::from_utf8(&entry.value).ok()?,
            };
            Some((entry.key.clone(), text.to_owned()))
        });
        Self(texts.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Unreadable;

    #[tokio::test]
    async fn what_lasts_comes_back_and_nothing_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(86_400);
        let recall = Recall::new(folder.path().to_owned(), day, "etcd a".to_owned());
        assert_eq!(recall.load().await, Entries::new());
        let entries: Entries = [
            "drains/node/a",
            "answers/1/2",
            "questions/1",
            "replicas/1",
            "counts/1/0",
            "leader",
            "rollouts/a",
        ]
        .map(|key| (key.into(), Entry::of(key, b"{}", 7)))
        .into();
        let kept = Kept::of(&entries, &Documents::default(), &Kept::default());
        recall.save(kept.clone()).await;
        let keys: Vec<Arc<str>> = recall.load().await.into_keys().collect();
        assert_eq!(keys, ["drains/node/a".into(), "rollouts/a".into()]);

        let later: Entries = ["rollouts/a", "rollouts/b"]
            .map(|key| (key.into(), Entry::of(key, b"later", 8)))
            .into();
        let mut documents = Documents {
            unreadable: ["rollouts/a", "rollouts/b"]
                .map(|key| Unreadable {
                    key: key.into(),
                    why: String::new(),
                })
                .into(),
            ..Documents::default()
        };
        let after = Kept::of(&later, &documents, &kept);
        assert_eq!(after.0["rollouts/a"], "{}", "what is in force is kept");
        assert_eq!(after.0["rollouts/b"], "later", "nothing is known of it");
        documents.guessed.insert("rollouts/a".into());
        let after = Kept::of(&later, &documents, &kept);
        assert_eq!(
            after.0["rollouts/a"], "later",
            "what holds is a guess by the later one"
        );
        assert_eq!(
            Kept::of(&later, &Documents::default(), &kept).0["rollouts/a"],
            "later"
        );

        let now = clock::unix_seconds();
        let later = recall.read(now + 86_500).unwrap_err();
        assert!(later.contains("older than cache.max_age"), "{later}");
        assert_eq!(recall.read(now.saturating_sub(500)).unwrap().len(), 2);
        let other = Recall::new(folder.path().to_owned(), day, "etcd b".to_owned());
        assert!(other.read(now).unwrap_err().contains("another registry, etcd a"));
        for damaged in [
            "",
            "{",
            "{\"version\":2,\"registry\":\"etcd a\",\"at\":1,\"entries\":{}}",
        ] {
            std::fs::write(folder.path().join(FILE), damaged).unwrap();
            assert!(recall.read(now).is_err(), "{damaged}");
            assert_eq!(recall.load().await, Entries::new());
        }
    }
}
