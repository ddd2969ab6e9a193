//! What etcd holds below the prefix, decoded. Pure: events in, a [`Change`] out.
//!
//! Never answers with a service whose record is as before, and applies the same events twice with the
//! same result. A value that went bad keeps its last good reading until the key is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::keys::{self, Key};
use super::native;
use crate::config::EtcdPrefix;
use crate::model::{Change, Instance, Issue, Policy, ServiceRecord};
use crate::registry::etcd::{Event, Kv};
use crate::source::entry::Decoded;

/// So many keys that fit no pattern are named one by one.
const MAX_STRAY: usize = 100;

/// Of a key that fits no pattern, so many bytes are kept: more than one that fits can have.
const MAX_REMEMBERED: usize = 1024;

/// All that is known of one prefix.
#[derive(Debug, Default)]
pub(super) struct State {
    prefix: String,
    services: HashMap<Arc<str>, Entries>,
    /// Keys that fit no pattern, as [`remembered`]; their reasons are found anew when they are shown.
    stray: BTreeSet<Box<[u8]>>,
}

/// The keys of one service.
#[derive(Debug, Default)]
struct Entries {
    instances: BTreeMap<Arc<str>, Entry<Instance>>,
    policy: Option<Entry<Policy>>,
}

/// One key.
#[derive(Clone, Debug)]
struct Entry<T> {
    /// Tells a rewritten key from one that was deleted and registered anew.
    create_revision: i64,
    /// The last good reading.
    good: Option<Decoded<T>>,
    /// Why the present value is not the good one.
    bad: Option<String>,
}

/// A whole listing on its way in: the old state stays untouched until [`Relisting::finish`].
#[derive(Debug)]
pub(super) struct Relisting {
    fresh: State,
}

impl State {
    /// Knows nothing yet.
    pub(super) fn new(prefix: &EtcdPrefix) -> Self {
        Self {
            prefix: prefix.prefix.clone(),
            ..Self::default()
        }
    }

    /// Applies changes in their order.
    pub(super) fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Change {
        let mut before: BTreeMap<Arc<str>, Option<ServiceRecord>> = BTreeMap::new();
        let mut stray = false;
        let prefix = std::mem::take(&mut self.prefix);
        for event in events {
            let (Event::Put(Kv { key, .. }) | Event::Delete { key, .. }) = &event;
            match keys::parse(&prefix, key) {
                Err(_) if matches!(event, Event::Put(_)) => stray |= self.stray.insert(remembered(key)),
                Err(_) => stray |= self.stray.remove(&remembered(key)),
                Ok(named) => {
                    if !before.contains_key(named.service()) {
                        before.insert(named.service().into(), self.record(&prefix, named.service()));
                    }
                    match &event {
                        Event::Put(kv) => self.put(&prefix, named, kv, None),
                        Event::Delete { .. } => self.delete(named),
                    }
                }
            }
        }
        self.prefix = prefix;
        let anew = |(name, old): (Arc<str>, Option<ServiceRecord>)| {
            let new = self.record(&self.prefix, &name);
            (new != old).then_some((name, new))
        };
        Change {
            services: before.into_iter().filter_map(anew).collect(),
            complete: false,
            stray: stray.then(|| self.stray_issues()),
        }
    }

    /// Takes a whole listing in; what it does not name is gone.
    pub(super) fn relist(&self) -> Relisting {
        Relisting {
            fresh: Self {
                prefix: self.prefix.clone(),
                ..Self::default()
            },
        }
    }

    /// `elder` is where the last good reading is looked up, unless in `self`.
    fn put(&mut self, prefix: &str, key: Key<'_>, kv: &Kv, elder: Option<&Self>) {
        let name = shown(prefix, key);
        let elder = elder.unwrap_or(self).services.get(key.service());
        match key {
            Key::Instance { id, .. } => {
                let last = elder.and_then(|e| e.instances.get(id));
                let mut entry = Entry::read(kv, native::instance(&name, id, kv), last);
                let entries = self.entries(key.service());
                entries.share_policy(&mut entry);
                entries.instances.insert(id.into(), entry);
            }
            Key::Policy { .. } => {
                let last = elder.and_then(|e| e.policy.as_ref());
                let entry = Entry::read(kv, native::policy(&name, kv), last);
                self.entries(key.service()).policy = Some(entry);
            }
        }
    }

    fn delete(&mut self, key: Key<'_>) {
        let Some(entries) = self.services.get_mut(key.service()) else {
            return;
        };
        match key {
            Key::Instance { id, .. } => drop(entries.instances.remove(id)),
            Key::Policy { .. } => entries.policy = None,
        }
        if entries.instances.is_empty() && entries.policy.is_none() {
            self.services.remove(key.service());
        }
    }

    fn entries(&mut self, service: &str) -> &mut Entries {
        self.services.entry(service.into()).or_default()
    }

    fn record(&self, prefix: &str, service: &str) -> Option<ServiceRecord> {
        let entries = self.services.get(service)?;
        let mut record = ServiceRecord::default();
        if let Some(entry) = &entries.policy {
            record.policy = entry.good.as_ref().map(|g| g.content.clone());
            entry.tell(|| shown(prefix, Key::Policy { service }), &mut record.issues);
        }
        for (id, entry) in &entries.instances {
            record
                .instances
                .extend(entry.good.as_ref().map(|g| g.content.clone()));
            entry.tell(
                || shown(prefix, Key::Instance { service, id }),
                &mut record.issues,
            );
        }
        Some(record)
    }

    fn stray_issues(&self) -> Vec<Issue> {
        let mut issues: Vec<Issue> = self
            .stray
            .iter()
            .take(MAX_STRAY)
            .map(|key| {
                let reason = keys::parse(&self.prefix, key).err().unwrap_or_default();
                Issue::warning(keys::shown(key), reason)
            })
            .collect();
        if let Some(rest) = self.stray.len().checked_sub(MAX_STRAY).filter(|rest| *rest > 0) {
            // To the power of ten: an exact count would be a new issue, and a log line, at each key.
            let at_least = 10_usize.pow(rest.ilog10());
            issues.push(Issue::warning(
                &self.prefix,
                format!("{at_least} or more further keys fit no pattern"),
            ));
        }
        issues
    }
}

impl Relisting {
    /// Takes one listed key in; its last good reading is looked up in `old`.
    pub(super) fn put(&mut self, old: &State, kv: &Kv) {
        let prefix = std::mem::take(&mut self.fresh.prefix);
        match keys::parse(&prefix, &kv.key) {
            Ok(key) => self.fresh.put(&prefix, key, kv, Some(old)),
            Err(_) => drop(self.fresh.stray.insert(remembered(&kv.key))),
        }
        self.fresh.prefix = prefix;
    }

    /// Swaps the new state in.
    pub(super) fn finish(self, state: &mut State) -> Change {
        *state = self.fresh;
        let state = &*state;
        let record = |name: &Arc<str>| (name.clone(), state.record(&state.prefix, name));
        Change {
            services: state.services.keys().map(record).collect(),
            complete: true,
            stray: Some(state.stray_issues()),
        }
    }
}

impl Entries {
    /// Instances mostly declare the same policy: one allocation for all of them.
    fn share_policy(&self, entry: &mut Entry<Instance>) {
        let known = self
            .instances
            .values()
            .find_map(|e| Some(&e.good.as_ref()?.content));
        if let Some(good) = &mut entry.good
            && let Some(known) = known
            && known.policy == good.content.policy
        {
            good.content.policy = known.policy.clone();
        }
    }
}

impl<T: Clone> Entry<T> {
    fn read(kv: &Kv, read: Result<Decoded<T>, String>, last: Option<&Self>) -> Self {
        let (good, bad) = match read {
            Ok(decoded) => (Some(decoded), None),
            Err(reason) => {
                let same_key = last.filter(|l| l.create_revision == kv.create_revision);
                (same_key.and_then(|l| l.good.clone()), Some(reason))
            }
        };
        Self {
            create_revision: kv.create_revision,
            good,
            bad,
        }
    }

    fn tell(&self, name: impl FnOnce() -> String, issues: &mut Vec<Issue>) {
        if let Some(good) = &self.good {
            issues.extend_from_slice(&good.issues);
        }
        issues.extend(match (&self.bad, &self.good) {
            (None, _) => None,
            (Some(reason), None) => Some(Issue::rejected(name(), reason)),
            (Some(reason), Some(_)) => Some(Issue::warning(
                name(),
                format!("{reason}; the last good value is still served"),
            )),
        });
    }
}

/// A key that fits no pattern, as it is kept: a key may have megabytes, and what is shown of it is short.
fn remembered(key: &[u8]) -> Box<[u8]> {
    if key.len() <= MAX_REMEMBERED {
        return key.into();
    }
    let hash = format!("…{:032x}", xxh3_128(key));
    [&key[..MAX_REMEMBERED], hash.as_bytes()].concat().into()
}

fn shown(prefix: &str, key: Key<'_>) -> String {
    match key {
        Key::Instance { service, id } => format!("{prefix}{service}/instances/{id}"),
        Key::Policy { service } => format!("{prefix}{service}/policy"),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
