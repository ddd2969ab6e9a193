//! The keys of one service, decoded, and the record that they make together. Pure.
//!
//! A service may have ten thousands of instances, of which one changes: what is needed of all of them is kept, and
//! only the changed keys are compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;

use super::kept::{Entry, Kept};
use super::keys::Key;
use crate::model::{Instance, Policy, ServiceRecord};
use crate::source::entry;
use crate::source::newest::{Registered, newest};

/// The keys of one service.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// By the id in the key; a value may hold several.
    instances: BTreeSet<Kept>,
    /// Boxed, since most services have none.
    pub(super) policy: Option<Box<Entry<Policy>>>,
    addresses: Addresses,
}

/// How many registrations each address has, by a short hash: one that two addresses share costs a closer look.
#[derive(Debug, Default)]
struct Addresses {
    registrations: HashMap<u32, u32>,
    /// Those that have several.
    doubled: usize,
}

/// The keys of one service that events are about, as they were before.
#[derive(Debug, Default)]
pub(super) struct Before {
    instances: BTreeMap<Arc<str>, Option<Entry<Vec<Instance>>>>,
    policy: Option<PolicyBefore>,
}

/// `None`: there was none.
#[derive(Debug)]
struct PolicyBefore(Option<Box<Entry<Policy>>>);

impl Before {
    /// Remembers what is there before the first event about this key.
    pub(super) fn note(&mut self, key: &Key<'_>, entries: Option<&Entries>) {
        match key {
            Key::Instance { id, .. } if !self.instances.contains_key(*id) => {
                let entry = entries.and_then(|e| e.instance(id));
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
        let policy_now = entries.and_then(|e| e.policy.as_deref());
        let mut instances = self.instances.iter();
        instances.any(|(id, before)| changed(before.as_ref(), instance_now(id).as_ref()))
            || self
                .policy
                .as_ref()
                .is_some_and(|PolicyBefore(before)| changed(before.as_deref(), policy_now))
    }
}

fn short(address: SocketAddr) -> u32 {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or_default() // always fits
}

impl Addresses {
    fn add(&mut self, kept: &Kept) {
        for instance in kept.instances() {
            let registrations = self.registrations.entry(short(instance.address)).or_default();
            *registrations += 1;
            self.doubled += usize::from(*registrations == 2);
        }
    }

    fn remove(&mut self, kept: &Kept) {
        for address in kept.instances().iter().map(|instance| instance.address) {
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
    pub(super) fn instance(&self, id: &str) -> Option<Entry<Vec<Instance>>> {
        self.instances.get(id).map(Kept::entry)
    }

    /// What the key of this id weighs; `None`: there is none.
    pub(super) fn weight_of(&self, id: &str) -> Option<usize> {
        self.instances.get(id).map(Kept::weight)
    }

    pub(super) fn put(&mut self, id: &str, entry: Entry<Vec<Instance>>) {
        let kept = Kept::new(id, self.share(entry));
        self.addresses.add(&kept);
        if let Some(old) = self.instances.replace(kept) {
            self.addresses.remove(&old);
        }
    }

    /// What it weighed.
    pub(super) fn remove(&mut self, id: &str) -> Option<usize> {
        let old = self.instances.take(id)?;
        self.addresses.remove(&old);
        Some(old.weight())
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
        for (id, entry) in self.instances.iter().filter_map(Kept::odd) {
            record.unread.extend(entry.good.is_none().then(|| id.clone()));
            entry.tell(&mut record.issues);
        }
        let entries = self.instances.iter();
        if self.addresses.doubled == 0 {
            let instances = entries.flat_map(|kept| kept.instances().iter().cloned());
            record.instances = Vec::with_capacity(self.addresses.registrations.len());
            record.instances.extend(instances);
        } else {
            let registered = entries.flat_map(instances_of);
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
        let mut others = self.instances.iter().filter_map(|kept| kept.instances().first());
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
fn instances_of(kept: &Kept) -> impl Iterator<Item = Registered<(&Instance, &Arc<str>)>> {
    kept.instances().iter().map(|instance| Registered {
        instance: (instance, kept.id()),
        created: instance.created,
    })
}

#[cfg(test)]
#[path = "entries_tests.rs"]
mod tests;
