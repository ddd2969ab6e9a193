//! What etcd holds below the prefix, decoded. Pure: events in, a [`Change`] out.
//!
//! Never answers with a service whose record is as before, and applies the same events twice with the
//! same result. A value that went bad keeps its last good reading until the key is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::foreign::{self, Bad, Read};
use super::keys::{self, Key, Keys};
use super::room::Room;
use super::value;
use crate::config::EtcdPrefix;
use crate::model::{Change, Instance, Issue, Policy, ServiceRecord};
use crate::registry::etcd::{Event, Kv};
use crate::registry::weight::{INSTANCE, SERVICE};
use crate::source::entry::{self, Decoded};
use crate::source::newest::{Registered, newest};

/// So many keys that fit no pattern are named one by one.
const MAX_STRAY: usize = 100;

/// So many are kept, to be counted and to be taken back: below some prefixes are millions of others' keys.
const MAX_KEPT: usize = 10_000;

/// Of a key that fits no pattern, so many bytes are kept: more than one that fits can have.
const MAX_REMEMBERED: usize = 1024;

/// All that is known of one prefix.
#[derive(Debug)]
pub struct State {
    keys: Arc<Keys>,
    services: HashMap<Arc<str>, Entries>,
    room: Room,
    /// Values left out since the last listing, because there is no room.
    left_out: usize,
    /// Keys that fit no pattern, as [`remembered`]; their reasons are found anew when they are shown.
    stray: BTreeSet<Box<[u8]>>,
}

/// The keys of one service.
#[derive(Debug, Default)]
struct Entries {
    /// By the id in the key; a value may hold several.
    instances: BTreeMap<Arc<str>, Entry<Vec<Instance>>>,
    policy: Option<Entry<Policy>>,
}

/// One key.
#[derive(Clone, Debug)]
struct Entry<T> {
    /// Tells a rewritten key from one that was deleted and registered anew.
    create_revision: i64,
    /// The last good reading.
    good: Option<Decoded<T>>,
    /// Why the present value is not the good one, or not all of it.
    bad: Vec<Issue>,
}

/// A whole listing on its way in: the old state stays untouched until [`Relisting::finish`].
#[derive(Debug)]
pub struct Relisting {
    fresh: State,
    full: bool,
}

impl State {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(prefix: &EtcdPrefix) -> Self {
        Self::of(Arc::new(Keys::new(prefix)))
    }

    fn of(keys: Arc<Keys>) -> Self {
        Self {
            keys,
            services: HashMap::new(),
            room: Room::default(),
            left_out: 0,
            stray: BTreeSet::new(),
        }
    }

    /// So much may be known from now on; what is known already stays.
    pub const fn bound(&mut self, most: usize) {
        self.room.most = most;
    }

    /// What is known weighs so much.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.room.weight
    }

    /// Applies changes in their order.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Change {
        let mut before: BTreeMap<Arc<str>, Option<ServiceRecord>> = BTreeMap::new();
        let mut stray = false;
        let keys = self.keys.clone();
        for event in events {
            let (Event::Put(Kv { key, .. }) | Event::Delete { key, .. }) = &event;
            match keys.read(key) {
                Ok(None) => {}
                Err(_) if matches!(event, Event::Put(_)) => stray |= self.remember(key),
                Err(_) => stray |= self.stray.remove(&remembered(key)),
                Ok(Some(named)) => {
                    if !before.contains_key(named.service()) {
                        before.insert(named.service().into(), self.record(named.service()));
                    }
                    let fits = match &event {
                        Event::Put(kv) => self.put(&named, kv, None),
                        Event::Delete { .. } => {
                            self.delete(&named);
                            true
                        }
                    };
                    self.left_out += usize::from(!fits);
                    stray |= !fits;
                }
            }
        }
        let anew = |(name, old): (Arc<str>, Option<ServiceRecord>)| {
            let new = self.record(&name);
            (new != old).then_some((name, new))
        };
        Change {
            services: before.into_iter().filter_map(anew).collect(),
            complete: false,
            stray: stray.then(|| self.stray_issues()),
        }
    }

    /// Takes a whole listing in; what it does not name is gone.
    #[must_use]
    pub fn relist(&self) -> Relisting {
        let mut fresh = Self::of(self.keys.clone());
        fresh.bound(self.room.most);
        Relisting { fresh, full: false }
    }

    /// `elder` is where the last good reading is looked up, unless in `self`. False: there is no room for it.
    fn put(&mut self, key: &Key<'_>, kv: &Kv, elder: Option<&Self>) -> bool {
        let name = keys::shown(&kv.key);
        let elder = elder.unwrap_or(self).services.get(key.service());
        match key {
            Key::Instance { id, .. } => {
                let last = elder.and_then(|e| e.instances.get(*id));
                let entry = match foreign::read(self.keys.format(), &name, id, kv) {
                    Ok(Read::Gone) => {
                        self.delete(key);
                        return true;
                    }
                    Ok(Read::Here { decoded, bad }) => Entry::partly(&name, kv, decoded, bad, last),
                    Err(reason) => Entry::bad(&name, kv, &reason, last),
                };
                let known = self.services.get(key.service());
                let of_service = if known.is_some() { 0 } else { SERVICE };
                let before = known
                    .and_then(|known| known.instances.get(*id))
                    .map_or(0, Entry::weight);
                if !self.room.change(before, entry.weight() + of_service) {
                    return false;
                }
                let entries = self.entries(key.service());
                let entry = entries.share_policy(entry);
                entries.instances.insert((*id).into(), entry);
            }
            Key::Policy { .. } => {
                let last = elder.and_then(|e| e.policy.as_ref());
                let entry = match value::policy(&name, kv) {
                    Ok(decoded) => Entry::good(kv, decoded),
                    Err(reason) => Entry::bad(&name, kv, &reason, last),
                };
                let is_known = self.services.contains_key(key.service());
                if !is_known && !self.room.change(0, SERVICE) {
                    return false;
                }
                self.entries(key.service()).policy = Some(entry);
            }
        }
        true
    }

    /// A key that fits no pattern; whether that is news.
    fn remember(&mut self, key: &[u8]) -> bool {
        self.stray.len() < MAX_KEPT && self.stray.insert(remembered(key))
    }

    fn delete(&mut self, key: &Key<'_>) {
        let Some(entries) = self.services.get_mut(key.service()) else {
            return;
        };
        match key {
            Key::Instance { id, .. } => {
                let gone = entries.instances.remove(*id);
                self.room.change(gone.as_ref().map_or(0, Entry::weight), 0);
            }
            Key::Policy { .. } => entries.policy = None,
        }
        if entries.instances.is_empty() && entries.policy.is_none() {
            self.services.remove(key.service());
            self.room.change(SERVICE, 0);
        }
    }

    fn entries(&mut self, service: &str) -> &mut Entries {
        self.services.entry(service.into()).or_default()
    }

    fn record(&self, service: &str) -> Option<ServiceRecord> {
        let entries = self.services.get(service)?;
        let mut record = ServiceRecord::default();
        if let Some(entry) = &entries.policy {
            record.policy = entry.good.as_ref().map(|g| g.content.clone());
            record.unread.extend(record.policy.is_none().then(|| "".into()));
            entry.tell(&mut record.issues);
        }
        let mut all = Vec::with_capacity(entries.instances.len());
        for (id, entry) in &entries.instances {
            record.unread.extend(entry.good.is_none().then(|| id.clone()));
            let good = entry.good.iter().flat_map(|g| &g.content);
            all.extend(good.map(|instance| Registered {
                instance: (instance, id),
                created: u64::try_from(entry.create_revision).unwrap_or_default(),
            }));
            entry.tell(&mut record.issues);
        }
        let (all, doubled) = newest(all, |(_, id)| self.keys.name(service, id));
        let dated = |((instance, _), created): ((&Instance, _), u64)| Instance {
            created,
            ..instance.clone()
        };
        record.instances = all.into_iter().map(dated).collect();
        record.issues.extend(entry::bounded(service, doubled));
        // Ids of one value do not always sort as its key does.
        record.instances.sort_by(|a, b| a.id.cmp(&b.id));
        Some(record)
    }

    fn stray_issues(&self) -> Vec<Issue> {
        let mut issues: Vec<Issue> = self
            .stray
            .iter()
            .take(MAX_STRAY)
            .map(|key| {
                let reason = self.keys.read(key).err();
                let reason = reason.unwrap_or_else(|| "the key is too long; ignored".to_owned());
                Issue::warning(keys::shown(key), reason)
            })
            .collect();
        if let Some(rest) = self.stray.len().checked_sub(MAX_STRAY).filter(|rest| *rest > 0) {
            // To the power of ten: an exact count would be a new issue, and a log line, at each key.
            let at_least = 10_usize.pow(rest.ilog10());
            issues.push(Issue::warning(
                self.keys.prefix(),
                format!("{at_least} or more further keys fit no pattern"),
            ));
        }
        if let Some(digits) = self.left_out.checked_ilog10() {
            issues.push(Issue::rejected(
                self.keys.prefix(),
                format!(
                    "{} or more values are left out: they are {}",
                    10_usize.pow(digits),
                    self.room
                ),
            ));
        }
        issues
    }
}

impl Relisting {
    /// Why the listing cannot be taken in.
    #[must_use]
    pub fn full(&self) -> Option<String> {
        self.full.then(|| self.fresh.room.to_string())
    }

    /// Takes one listed key in; its last good reading is looked up in `old`.
    pub fn put(&mut self, old: &State, kv: &Kv) {
        let keys = self.fresh.keys.clone();
        match keys.read(&kv.key) {
            Ok(None) => {}
            Ok(Some(key)) => self.full |= !self.fresh.put(&key, kv, Some(old)),
            Err(_) => drop(self.fresh.remember(&kv.key)),
        }
    }

    /// Swaps the new state in.
    pub fn finish(self, state: &mut State) -> Change {
        *state = self.fresh;
        let state = &*state;
        let record = |name: &Arc<str>| (name.clone(), state.record(name));
        Change {
            services: state.services.keys().map(record).collect(),
            complete: true,
            stray: Some(state.stray_issues()),
        }
    }
}

impl Entries {
    /// Instances mostly declare the same policy: one allocation for all of them.
    fn share_policy(&self, mut entry: Entry<Vec<Instance>>) -> Entry<Vec<Instance>> {
        let mut of_others = self
            .instances
            .values()
            .filter_map(|e| e.good.as_ref()?.content.first());
        let mut known = of_others.next().map(|other| other.policy.clone());
        for instance in entry.good.iter_mut().flat_map(|good| &mut good.content) {
            match &known {
                Some(known) if *known == instance.policy => instance.policy = known.clone(),
                Some(_) => {}
                None => known = Some(instance.policy.clone()),
            }
        }
        entry
    }
}

impl Entry<Vec<Instance>> {
    /// What it counts: one instance at least, which a value that cannot be read may become.
    fn weight(&self) -> usize {
        let instances = self.good.as_ref().map_or(0, |good| good.content.len());
        instances.max(1).saturating_mul(INSTANCE)
    }

    /// Of the instances in one value some may be wrong: each of those keeps its own last good reading.
    fn partly(
        name: &str,
        kv: &Kv,
        mut decoded: Decoded<Vec<Instance>>,
        bad: Vec<Bad>,
        last: Option<&Self>,
    ) -> Self {
        let last = last.filter(|l| l.create_revision == kv.create_revision);
        let last = last
            .and_then(|l| l.good.as_ref())
            .map_or(&[][..], |good| &good.content);
        let mut issues = Vec::new();
        if decoded.content.is_empty() && !bad.is_empty() && !last.is_empty() {
            // Nothing of it is good: as if it could not be read at all.
            decoded.content = last.to_vec();
            issues.extend(
                bad.iter()
                    .map(|bad| stale(format!("{name}: {}", bad.place), &bad.reason)),
            );
            return Self {
                bad: entry::bounded(name, issues),
                ..Self::good(kv, decoded)
            };
        }
        for Bad { id, place, reason } in bad {
            let name = format!("{name}: {place}");
            let kept = last.iter().find(|instance| *instance.id == *id);
            // It may only have moved to another place in its list.
            let fresh = |kept: &&Instance| {
                let same = |other: &Instance| other.id == kept.id || other.address == kept.address;
                !decoded.content.iter().any(same)
            };
            issues.push(match kept.filter(fresh) {
                Some(kept) => {
                    decoded.content.push(kept.clone());
                    stale(name, &reason)
                }
                None => Issue::rejected(name, reason),
            });
        }
        Self {
            bad: entry::bounded(name, issues),
            ..Self::good(kv, decoded)
        }
    }
}

impl<T: Clone> Entry<T> {
    const fn good(kv: &Kv, decoded: Decoded<T>) -> Self {
        Self {
            create_revision: kv.create_revision,
            good: Some(decoded),
            bad: Vec::new(),
        }
    }

    fn bad(name: &str, kv: &Kv, reason: &str, last: Option<&Self>) -> Self {
        let same_key = last.filter(|l| l.create_revision == kv.create_revision);
        let good = same_key.and_then(|l| l.good.clone());
        let bad = match &good {
            Some(_) => stale(name, reason),
            None => Issue::rejected(name, reason),
        };
        Self {
            create_revision: kv.create_revision,
            good,
            bad: vec![bad],
        }
    }

    fn tell(&self, issues: &mut Vec<Issue>) {
        if let Some(good) = &self.good {
            issues.extend_from_slice(&good.issues);
        }
        issues.extend_from_slice(&self.bad);
    }
}

fn stale(name: impl Into<String>, reason: &str) -> Issue {
    Issue::warning(name, format!("{reason}; the last good value is still served"))
}

/// A key that fits no pattern, as it is kept: a key may have megabytes, and what is shown of it is short.
fn remembered(key: &[u8]) -> Box<[u8]> {
    if key.len() <= MAX_REMEMBERED {
        return key.into();
    }
    let hash = format!("…{:032x}", xxh3_128(key));
    [&key[..MAX_REMEMBERED], hash.as_bytes()].concat().into()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
