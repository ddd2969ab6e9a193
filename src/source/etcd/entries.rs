//! The keys of one service, decoded, and the record that they make together. Pure.
//!
//! A service may have ten thousands of instances, of which one changes: what is needed of all of them is kept, and
//! only the changed keys are compared.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;

use super::foreign::Bad;
use super::keys::Key;
use crate::model::{Instance, Issue, Policy, ServiceRecord};
use crate::registry::etcd::Kv;
use crate::registry::weight::INSTANCE;
use crate::source::entry::{self, Decoded};
use crate::source::newest::{Registered, newest};

/// The keys of one service.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// By the id in the key; a value may hold several. Boxed, since a node of the tree is half empty when ids come in
    /// their order.
    instances: BTreeMap<Arc<str>, Box<Entry<Vec<Instance>>>>,
    pub(super) policy: Option<Entry<Policy>>,
    addresses: Addresses,
}

/// How many registrations each address has, by a short hash: one that two addresses share costs a closer look.
#[derive(Debug, Default)]
struct Addresses {
    registrations: HashMap<u32, u32>,
    /// Those that have several.
    doubled: usize,
}

/// One key.
#[derive(Clone, Debug)]
pub(super) struct Entry<T> {
    /// Tells a rewritten key from one that was deleted and registered again.
    create_revision: i64,
    /// The last good reading.
    good: Option<Decoded<T>>,
    /// Why the present value is not the good one, or not all of it.
    bad: Vec<Issue>,
}

/// The keys of one service that events are about, as they were before.
#[derive(Debug, Default)]
pub(super) struct Before {
    instances: BTreeMap<Arc<str>, Option<Entry<Vec<Instance>>>>,
    policy: Option<PolicyBefore>,
}

/// `None`: there was none.
#[derive(Debug)]
struct PolicyBefore(Option<Entry<Policy>>);

impl Before {
    /// Remembers what is there before the first event about this key.
    pub(super) fn note(&mut self, key: &Key<'_>, entries: Option<&Entries>) {
        match key {
            Key::Instance { id, .. } if !self.instances.contains_key(*id) => {
                let entry = entries.and_then(|e| e.instance(id)).cloned();
                self.instances.insert((*id).into(), entry);
            }
            Key::Policy { .. } if self.policy.is_none() => {
                self.policy = Some(PolicyBefore(entries.and_then(|e| e.policy.clone())));
            }
            Key::Instance { .. } | Key::Policy { .. } => {}
        }
    }

    /// Whether one of them says something else now.
    pub(super) fn differs(&self, entries: Option<&Entries>) -> bool {
        fn changed<T: Clone + PartialEq>(before: Option<&Entry<T>>, now: Option<&Entry<T>>) -> bool {
            before.map(Entry::says) != now.map(Entry::says)
        }
        let instance_now = |id: &Arc<str>| entries.and_then(|e| e.instance(id));
        let policy_now = entries.and_then(|e| e.policy.as_ref());
        let mut instances = self.instances.iter();
        instances.any(|(id, before)| changed(before.as_ref(), instance_now(id)))
            || self
                .policy
                .as_ref()
                .is_some_and(|PolicyBefore(before)| changed(before.as_ref(), policy_now))
    }
}

fn short(address: SocketAddr) -> u32 {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or_default() // always fits
}

impl Addresses {
    fn add(&mut self, entry: &Entry<Vec<Instance>>) {
        for instance in entry.instances() {
            let registrations = self.registrations.entry(short(instance.address)).or_default();
            *registrations += 1;
            self.doubled += usize::from(*registrations == 2);
        }
    }

    fn remove(&mut self, entry: &Entry<Vec<Instance>>) {
        for address in entry.instances().map(|instance| instance.address) {
            let Some(registrations) = self.registrations.get_mut(&short(address)) else {
                continue;
            };
            *registrations -= 1;
            self.doubled -= usize::from(*registrations == 1);
            if *registrations == 0 {
                self.registrations.remove(&short(address));
            }
        }
    }
}

impl Entries {
    /// The key of this id.
    pub(super) fn instance(&self, id: &str) -> Option<&Entry<Vec<Instance>>> {
        self.instances.get(id).map(|entry| &**entry)
    }

    pub(super) fn put(&mut self, id: &str, entry: Entry<Vec<Instance>>) {
        let entry = self.share(entry);
        self.addresses.add(&entry);
        // Most have the id of their key.
        let same = entry.instances().find(|instance| &*instance.id == id);
        let id = same.map_or_else(|| id.into(), |instance| instance.id.clone());
        if let Some(old) = self.instances.insert(id, Box::new(entry)) {
            self.addresses.remove(&old);
        }
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Entry<Vec<Instance>>> {
        let old = self.instances.remove(id)?;
        self.addresses.remove(&old);
        Some(*old)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.policy.is_none()
    }

    /// What the keys say together. `name`: the key of an id, for messages.
    pub(super) fn record(&self, service: &str, name: impl Fn(&str) -> String) -> ServiceRecord {
        let mut record = ServiceRecord::default();
        if let Some(entry) = &self.policy {
            record.policy = entry.good.as_ref().map(|g| g.content.clone());
            record.unread.extend(record.policy.is_none().then(|| "".into()));
            entry.tell(&mut record.issues);
        }
        for (id, entry) in &self.instances {
            record.unread.extend(entry.good.is_none().then(|| id.clone()));
            entry.tell(&mut record.issues);
        }
        let entries = self.instances.iter();
        if self.addresses.doubled == 0 {
            let instances = entries.flat_map(|(_, entry)| entry.instances().cloned());
            record.instances = Vec::with_capacity(self.addresses.registrations.len());
            record.instances.extend(instances);
        } else {
            let registered = entries.flat_map(|(id, entry)| instances_of(id, entry));
            let (all, doubled) = newest(registered.collect(), |(_, id)| name(id));
            record.instances = all
                .into_iter()
                .map(|((instance, _), _)| instance.clone())
                .collect();
            record.issues.extend(entry::bounded(service, doubled));
        }
        // Ids of one value do not always sort as its key does.
        record.instances.sort_by(|a, b| a.id.cmp(&b.id));
        record
    }

    /// With the time of its registration, and in the order of ids: the same instances in another order say the same.
    /// Instances mostly declare the same: one allocation for all of them.
    fn share(&self, mut entry: Entry<Vec<Instance>>) -> Entry<Vec<Instance>> {
        let created = u64::try_from(entry.create_revision).unwrap_or_default();
        let mut others = self.instances.values().filter_map(|e| e.instances().next());
        let mut known = others.next().cloned();
        if let Some(good) = &mut entry.good {
            good.content.sort_by(|a, b| a.id.cmp(&b.id));
            good.content.shrink_to_fit();
        }
        for instance in entry.good.iter_mut().flat_map(|good| &mut good.content) {
            if instance.created != created {
                instance.created = created;
            }
            if let Some(known) = &known {
                instance.share(known);
            } else {
                known = Some(instance.clone());
            }
        }
        entry
    }
}

/// Those of one key, with its id.
fn instances_of<'a>(
    id: &'a Arc<str>,
    entry: &'a Entry<Vec<Instance>>,
) -> impl Iterator<Item = Registered<(&'a Instance, &'a Arc<str>)>> {
    entry.instances().map(move |instance| Registered {
        instance: (instance, id),
        created: instance.created,
    })
}

impl Entry<Vec<Instance>> {
    /// What it counts: one instance at least, which a value that cannot be read may become.
    pub(super) fn weight(&self) -> usize {
        let instances = self.good.as_ref().map_or(0, |good| good.content.len());
        instances.max(1).saturating_mul(INSTANCE)
    }

    fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.good.iter().flat_map(|good| &good.content)
    }

    /// Of the instances in one value some may be wrong: each of those keeps its own last good reading.
    pub(super) fn partly(
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
    pub(super) const fn good(kv: &Kv, decoded: Decoded<T>) -> Self {
        Self {
            create_revision: kv.create_revision,
            good: Some(decoded),
            bad: Vec::new(),
        }
    }

    pub(super) fn bad(name: &str, kv: &Kv, reason: &str, last: Option<&Self>) -> Self {
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

    /// All that its record has of it.
    const fn says(&self) -> (Option<&Decoded<T>>, &Vec<Issue>) {
        (self.good.as_ref(), &self.bad)
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

#[cfg(test)]
#[path = "entries_tests.rs"]
mod tests;
