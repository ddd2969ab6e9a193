//! What was found and what was delivered. Pure; the keeper owns the only one.
//!
//! Never removes a service that the catalog still names, nor all its instances, nor one whose health
//! was not confirmed empty; never delivers before everything was heard once; never delivers the same twice.
//!
//! What got lost is delivered when all is confirmed that is to be confirmed, in one change: who
//! judges whether that is too much at once must see all of it. One by one, half of a wiped
//! catalog would look like many small removals.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::document::Documents;
use super::link::Hidden;
use super::parse::{Found, Names};
use crate::model::guard::kept;
use crate::model::{Change, Issue, ServiceRecord};

/// So many entries that cannot be read are named one by one.
const MAX_STRAY: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Names for which there was no room.
    left_out: usize,
    documents: Documents,
    /// The epochs in which these were heard last.
    names_epoch: u64,
    documents_epoch: u64,
    /// The newest epoch in which anything was heard.
    newest_epoch: u64,
    /// The names are no listing: a service without an instance is among them.
    configured: bool,
    /// To be heard of in the epoch of the names.
    waiting: HashSet<Arc<str>>,
    dirty: BTreeSet<Arc<str>>,
    /// Those that lost something, until all is heard.
    held: BTreeSet<Arc<str>>,
    /// Why a service's health cannot be read; what was found of it stays.
    unreadable: BTreeMap<Arc<str>, String>,
    /// Those of them that may be read again without anything moving: when a right comes back.
    hidden: BTreeSet<Arc<str>>,
    stray: Vec<Issue>,
    delivered_stray: Vec<Issue>,
    started: bool,
    forgotten: Vec<Arc<str>>,
}

const NO_ROOM_FOR_SERVICES: &str = "limits.source_memory allows no more to be known (a service counts 8 KiB and an \
     instance 1 KiB, three quarters of it in all)";

#[derive(Debug, Default)]
struct Entry {
    listed: bool,
    epoch: u64,
    index: u64,
    /// `None`: not heard yet.
    found: Option<Arc<Found>>,
    delivered: Option<ServiceRecord>,
}

impl Entry {
    /// Whether it was confirmed empty in this epoch.
    fn is_gone(&self, epoch: u64) -> bool {
        self.epoch == epoch && self.found.as_ref().is_some_and(|found| found.ids.is_empty())
    }

    /// A service that is in the catalog has an instance: what was found empty is hidden from us, or
    /// the names are about to tell that it is gone.
    fn is_contradicted(&self) -> bool {
        self.listed && self.found.as_ref().is_some_and(|found| found.ids.is_empty())
    }
}

/// What the names mean for the watches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diff {
    /// To be watched from now on.
    pub(super) started: Vec<Arc<str>>,
    /// To be read once: those no longer in the catalog, to be confirmed empty, and those that were
    /// confirmed empty and are back in it.
    pub(super) doubtful: Vec<Arc<str>>,
}

impl Ledger {
    /// The catalog's names, anew. `most`: of so many services; those that are known already stay.
    pub(super) fn names(&mut self, epoch: u64, names: Names, most: usize) -> Diff {
        let mut diff = Diff::default();
        self.names_epoch = epoch;
        self.newest_epoch = self.newest_epoch.max(epoch);
        self.stray = names.stray;
        self.configured = !names.listing;
        for (name, entry) in &mut self.entries {
            let was_listed = std::mem::replace(&mut entry.listed, names.names.contains(name));
            let gone = entry.is_gone(epoch);
            if !entry.listed {
                self.dirty.insert(name.clone());
            }
            if (!entry.listed && !gone) || (entry.listed && !was_listed && gone) {
                diff.doubtful.push(name.clone());
            }
        }
        self.left_out = 0;
        for name in &names.names {
            if !self.entries.contains_key(name) {
                if self.entries.len() >= most {
                    self.left_out += 1;
                    continue;
                }
                self.entries.insert(
                    name.clone(),
                    Entry {
                        listed: true,
                        ..Entry::default()
                    },
                );
                diff.started.push(name.clone());
            }
        }
        if self.left_out > 0 {
            let reason = format!("{} services are left out: {NO_ROOM_FOR_SERVICES}", self.left_out);
            self.stray.push(Issue::rejected("(all)", reason));
        }
        let unheard =
            |(name, entry): (&Arc<str>, &Entry)| (entry.listed && entry.epoch != epoch).then(|| name.clone());
        self.waiting = self.entries.iter().filter_map(unheard).collect();
        self.waiting.extend(diff.doubtful.iter().cloned());
        diff
    }

    /// One service, anew. What is older than what is known, or of a name nobody listed, counts for nothing.
    pub(super) fn service(
        &mut self,
        epoch: u64,
        index: u64,
        name: &Arc<str>,
        found: Result<Arc<Found>, String>,
    ) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        self.newest_epoch = self.newest_epoch.max(epoch);
        let fresh = found.is_err() || epoch != entry.epoch || index >= entry.index;
        self.waiting.remove(name);
        if !fresh {
            return;
        }
        self.hidden.remove(name);
        entry.epoch = epoch;
        match found {
            Ok(found) => {
                (entry.index, entry.found) = (index, Some(found));
                self.unreadable.remove(name);
            }
            Err(reason) => drop(self.unreadable.insert(name.clone(), reason)),
        }
        self.dirty.insert(name.clone());
    }

    /// One service of which something is hidden from the token: that stays as it was known.
    pub(super) fn hidden(
        &mut self,
        epoch: u64,
        index: u64,
        name: &Arc<str>,
        found: Result<Arc<Found>, String>,
        hidden: Hidden,
    ) {
        let held = self.entries.get(name).and_then(|entry| entry.found.clone());
        let found = found.map(|found| with_hidden(found, held.as_deref(), &hidden));
        self.service(epoch, index, name, found);
        if self.knows(name) {
            self.unreadable.insert(name.clone(), hidden.reason);
            self.hidden.insert(name.clone());
        }
    }

    /// The policy documents, anew; `None` leaves those known in force.
    pub(super) fn documents(&mut self, epoch: u64, documents: Option<Documents>) {
        self.documents_epoch = epoch;
        self.newest_epoch = self.newest_epoch.max(epoch);
        let Some(mut documents) = documents else { return };
        for (name, document) in documents.iter_mut().filter(|(_, d)| d.unread) {
            document.policy = self.documents.get(name).and_then(|known| known.policy.clone());
        }
        let concerned = self.documents.keys().chain(documents.keys());
        let changed = concerned
            .filter(|name| self.documents.get(*name) != documents.get(*name))
            .cloned();
        self.dirty.extend(changed.collect::<Vec<_>>());
        self.documents = documents;
    }

    /// Whether all that is held was confirmed in this epoch.
    pub(super) fn current(&self, epoch: u64) -> bool {
        self.names_epoch == epoch && self.documents_epoch == epoch && self.waiting.is_empty()
    }

    /// The index heard last of a service in this epoch; 0: none.
    pub(super) fn index(&self, epoch: u64, name: &str) -> u64 {
        let heard = self.entries.get(name).filter(|entry| entry.epoch == epoch);
        heard.map_or(0, |entry| entry.index)
    }

    /// Whether something else is held of the service.
    pub(super) fn differs(&self, name: &str, found: &Found) -> bool {
        let held = self.entries.get(name).and_then(|entry| entry.found.as_deref());
        held.is_some_and(|held| held != found)
    }

    /// Whether other names are held to be in the catalog.
    pub(super) fn names_differ(&self, names: &Names) -> bool {
        let mut listed = self.entries.iter().filter(|(_, entry)| entry.listed);
        if self.left_out > 0 {
            return listed.any(|(name, _)| !names.names.contains(name));
        }
        !listed.map(|(name, _)| name).eq(&names.names)
    }

    /// The service after this one, in the order of names; `None`: no further one.
    pub(super) fn after(&self, name: Option<&Arc<str>>) -> Option<Arc<str>> {
        let from = name.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        let mut rest = self.entries.range((from, Bound::Unbounded));
        rest.next().map(|(name, _)| name.clone())
    }

    /// A service of which something is hidden, after this one in the order of names, or the first.
    pub(super) fn hidden_after(&self, name: Option<&Arc<str>>) -> Option<Arc<str>> {
        let from = name.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
        let next = self.hidden.range((from, Bound::Unbounded)).next();
        next.or_else(|| self.hidden.first()).cloned()
    }

    /// How many services have something hidden.
    pub(super) fn hidden_services(&self) -> u32 {
        u32::try_from(self.hidden.len()).unwrap_or(u32::MAX)
    }

    /// How many services are known.
    pub(super) fn services(&self) -> usize {
        self.entries.len()
    }

    /// Whether the whole state was delivered once.
    pub(super) const fn started(&self) -> bool {
        self.started
    }

    /// Whether the service is known: in the catalog, or not yet confirmed to be gone.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Services forgotten by the last [`Self::take`], delivered before or not: no watch is needed.
    pub(super) fn forgotten(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.forgotten)
    }

    /// What is to be delivered now: everything at first, then what differs.
    pub(super) fn take(&mut self) -> Option<Change> {
        if !self.started && !self.current(self.names_epoch.max(1)) {
            return None;
        }
        let complete = !std::mem::replace(&mut self.started, true);
        let all_heard = self.current(self.newest_epoch);
        if all_heard {
            self.dirty.append(&mut self.held);
        }
        let dirty = std::mem::take(&mut self.dirty);
        let mut services = Vec::new();
        for name in dirty {
            let Some(entry) = self.entries.get(&name) else {
                continue;
            };
            let mut record = shown(entry, self.configured, self.documents.get(&name));
            let doubtful = !all_heard || (!self.configured && entry.is_contradicted());
            let delivered = entry.delivered.as_ref().filter(|_| doubtful);
            let held = delivered.map(|d| kept(d, record.as_ref()));
            let instances = |r: &Option<ServiceRecord>| r.as_ref().map_or(0, |r| r.instances.len());
            let later = instances(&held) > instances(&record);
            if later {
                record = held;
                if !all_heard {
                    self.held.insert(name.clone());
                }
            }
            if record != entry.delivered {
                services.push((name.clone(), record.clone()));
            }
            if !later && !entry.listed && entry.found.as_ref().is_none_or(|found| found.ids.is_empty()) {
                self.entries.remove(&name);
                self.unreadable.remove(&name);
                self.hidden.remove(&name);
                self.waiting.remove(&name); // what comes of it is of a name that nobody listed
                self.forgotten.push(name);
            } else if let Some(entry) = self.entries.get_mut(&name) {
                entry.delivered = record;
            }
        }
        let stray = self.all_stray();
        let stray = (stray != self.delivered_stray).then_some(stray);
        if let Some(stray) = &stray {
            self.delivered_stray.clone_from(stray);
        }
        (complete || !services.is_empty() || stray.is_some()).then_some(Change {
            services,
            complete,
            stray,
        })
    }

    fn all_stray(&self) -> Vec<Issue> {
        let named = self.unreadable.iter().take(MAX_STRAY);
        let named = named.map(|(name, reason)| Issue::rejected(&**name, reason.as_str()));
        // To the power of ten: an exact count would be a new issue, and a log line, at each change.
        let rest = self.unreadable.len().saturating_sub(MAX_STRAY).checked_ilog10();
        let rest = rest.map(|digits| {
            let reason = format!("{} or more further services cannot be read", 10_usize.pow(digits));
            Issue::rejected("(all)", reason)
        });
        self.stray.iter().cloned().chain(named).chain(rest).collect()
    }
}

/// What the hub should hold of a service. The emptiness of `found` is always a confirmed one.
fn shown(
    entry: &Entry,
    configured: bool,
    document: Option<&super::document::Document>,
) -> Option<ServiceRecord> {
    let found = entry.found.as_ref()?;
    if (configured || !entry.listed) && found.ids.is_empty() {
        return None;
    }
    let mut record = found.record.clone()?;
    if let Some(document) = document {
        record.policy.clone_from(&document.policy);
        record
            .unread
            .extend((document.unread && document.policy.is_none()).then(|| "".into()));
        record.issues.extend(document.issues.iter().cloned());
    }
    Some(record)
}

/// What was found, and of what is hidden what was known.
fn with_hidden(found: Arc<Found>, known: Option<&Found>, hidden: &Hidden) -> Arc<Found> {
    let Some(known) = known else { return found };
    let mut all = Arc::unwrap_or_clone(found);
    all.ids.extend(known.ids.intersection(&hidden.ids).cloned());
    let held = known.record.iter().flat_map(|record| &record.instances);
    let held = held
        .filter(|instance| hidden.ids.contains(&*instance.id))
        .cloned();
    let held: Vec<_> = held.collect();
    if !held.is_empty() {
        let record = all.record.get_or_insert_default();
        record.instances.extend(held);
        record.instances.sort_by(|a, b| a.id.cmp(&b.id));
    }
    Arc::new(all)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
