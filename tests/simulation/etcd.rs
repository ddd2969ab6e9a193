//! etcd, as far as a watcher sees it: revisions, transactions, compaction, restored backups. As strict as
//! `shared/docs/etcd.md` says: a watch from before the compaction is refused, one on a restored store falls silent.

use std::collections::{BTreeMap, VecDeque};

use xds_bridge::registry::etcd::{Event, Kv, Origin};

/// Changes that a backup may be old, at most.
const BACKUPS: usize = 64;

#[derive(Clone, Debug)]
struct Backup {
    revision: i64,
    keys: BTreeMap<String, Kv>,
}

#[derive(Debug)]
pub(crate) struct Etcd {
    revision: i64,
    compacted: i64,
    raft_index: u64,
    keys: BTreeMap<String, Kv>,
    /// Since the compaction; of one revision what one transaction did.
    log: Vec<Event>,
    backups: VecDeque<Backup>,
}

impl Etcd {
    pub(crate) const fn new() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            raft_index: 1 << 40,
            keys: BTreeMap::new(),
            log: Vec::new(),
            backups: VecDeque::new(),
        }
    }

    pub(crate) const fn revision(&self) -> i64 {
        self.revision
    }

    pub(crate) const fn origin(&self) -> Origin {
        Origin {
            cluster_id: 7,
            raft_term: 2,
            raft_index: Some(self.raft_index),
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.keys.keys()
    }

    /// Keys and values.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys
            .iter()
            .map(|(key, kv)| (key.as_str(), std::str::from_utf8(&kv.value).unwrap_or_default()))
    }

    fn begin(&mut self) {
        if self.backups.len() == BACKUPS {
            self.backups.pop_front();
        }
        self.backups.push_back(Backup {
            revision: self.revision,
            keys: self.keys.clone(),
        });
        self.revision += 1;
        self.raft_index += 1;
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) {
        self.begin();
        let created = self.keys.get(key).map_or(self.revision, |kv| kv.create_revision);
        let kv = Kv {
            key: key.into(),
            value: value.into(),
            size: value.len(),
            mod_revision: self.revision,
            create_revision: created,
        };
        self.keys.insert(key.to_owned(), kv.clone());
        self.log.push(Event::Put(kv));
    }

    /// In one transaction.
    pub(crate) fn delete(&mut self, keys: &[String]) {
        if !keys.iter().any(|key| self.keys.contains_key(key)) {
            return;
        }
        self.begin();
        for key in keys {
            if self.keys.remove(key).is_some() {
                self.log.push(Event::Delete {
                    key: key.clone().into_bytes(),
                    mod_revision: self.revision,
                });
            }
        }
    }

    pub(crate) fn compact(&mut self) {
        self.compacted = self.revision;
        self.log.clear();
    }

    /// A backup takes its place. False: there is none so old.
    pub(crate) fn restore(&mut self, back: usize) -> bool {
        let Some(at) = self.backups.len().checked_sub(back.max(1)) else {
            return false;
        };
        let Some(backup) = self.backups.get(at).cloned() else {
            return false;
        };
        self.backups.truncate(at);
        self.revision = backup.revision;
        // The log of a restored member is short.
        self.raft_index /= 2;
        self.keys = backup.keys;
        self.compacted = self.revision;
        self.log.clear();
        true
    }

    /// All keys, and the revision at which they are that.
    pub(crate) fn list(&self) -> (i64, Vec<Kv>) {
        (self.revision, self.keys.values().cloned().collect())
    }

    /// What changed from this revision on; `None`: compacted.
    pub(crate) fn since(&self, from: i64) -> Option<Vec<Event>> {
        if from <= self.compacted && self.compacted > 0 {
            return None;
        }
        let later = |event: &&Event| event.mod_revision() >= from;
        Some(self.log.iter().filter(later).cloned().collect())
    }

    /// The newest events, old ones as they were.
    pub(crate) fn last(&self, count: usize) -> Vec<Event> {
        self.log[self.log.len().saturating_sub(count)..].to_vec()
    }
}
