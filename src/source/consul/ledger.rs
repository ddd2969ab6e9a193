//! What was found and what was delivered. Pure; the supervisor owns the only one.
//!
//! Never removes a service that the catalog still names, nor all its instances, nor one whose health was not confirmed
//! empty; never takes out an instance that the reader did not know of; never delivers before everything was read once;
//! never delivers the same twice.
//!
//! Losses are delivered once everything that is to be confirmed is confirmed, in one change: the guard, which judges
//! whether that is too much at once, must see all of them. One by one, half of a wiped catalog would look like many
//! small removals.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::decode::{Document, Documents, Found, Names, Pairs};
use super::keys::Keys;
use super::news::{Finding, Hidden};
use crate::config::KeysOf;
use crate::import::Commands;
use crate::model::withheld::kept;
use crate::model::{Change, Code, Issue, ServiceRecord};

/// The number of entries that cannot be read and are named one by one.
const MAX_STRAY: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Names for which there was no room.
    left_out: usize,
    documents: Documents,
    /// Of other programs.
    keys: Vec<Keys>,
    /// The commands that were about each service.
    obeyed: BTreeMap<Arc<str>, BTreeSet<usize>>,
    /// The epochs in which these were read last.
    names_epoch: u64,
    documents_epoch: u64,
    /// The newest epoch in which anything was read.
    newest_epoch: u64,
    /// The names are configured, not listed: a service without an instance is among them.
    configured: bool,
    /// To be read in the epoch of the names.
    waiting: HashSet<Arc<str>>,
    dirty: BTreeSet<Arc<str>>,
    /// Services that lost something, until everything was read.
    held: BTreeSet<Arc<str>>,
    /// Why a service's health cannot be read; what was found before stays.
    unreadable: BTreeMap<Arc<str>, String>,
    /// Those of them that may become readable without any index moving: when a right is restored.
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
    /// `None`: not read yet.
    found: Option<Arc<Found>>,
    delivered: Option<Arc<ServiceRecord>>,
}

impl Entry {
    /// Whether it was confirmed empty in this epoch.
    fn is_gone(&self, epoch: u64) -> bool {
        self.epoch == epoch && self.found.as_ref().is_some_and(|found| found.ids.is_empty())
    }

    /// A service that is in the catalog has an instance: one that was found empty is hidden from us, or the names are
    /// about to show that it is gone.
    fn is_contradicted(&self) -> bool {
        self.listed && self.found.as_ref().is_some_and(|found| found.ids.is_empty())
    }
}

/// What the names mean for the watches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diff {
    /// To be watched from now on.
    pub(super) started: Vec<Arc<str>>,
    /// To be read once: services that left the catalog, to be confirmed empty, and those that were confirmed empty and
    /// are back in it.
    pub(super) doubtful: Vec<Arc<str>>,
}

impl Ledger {
    /// `keys`: of other programs, beside the catalog.
    pub(super) fn new(keys: &[KeysOf]) -> Self {
        Self {
            keys: keys.iter().map(Keys::new).collect(),
            ..Self::default()
        }
    }

    /// The names in the catalog. `most`: services that may be known; those that are known already stay.
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
            self.stray
                .push(Issue::rejected("(all)", reason).of_kind(Code::NoRoom));
        }
        let unread = self.entries.iter();
        let unread = unread.filter(|(_, entry)| entry.listed && entry.epoch != epoch);
        self.waiting = unread.map(|(name, _)| name.clone()).collect();
        self.waiting.extend(diff.doubtful.iter().cloned());
        diff
    }

    /// A finding of one service. What is older than what is known, or of a name that is not listed, is ignored.
    ///
    /// False: it lacks entries that its reader did not know of, so that they are gone is not confirmed. It is not
    /// used; the service is to be read again.
    #[must_use]
    pub(super) fn finding(&mut self, epoch: u64, index: u64, name: &Arc<str>, finding: Finding) -> bool {
        let Some(entry) = self.entries.get_mut(name) else {
            return true;
        };
        let Finding {
            found,
            before,
            hidden,
        } = finding;
        let fresh = found.is_err() || epoch != entry.epoch || index >= entry.index;
        if let (true, Ok(found), Some(held)) = (fresh, &found, &entry.found)
            && lacks_unknown(held, found, &before)
        {
            return false;
        }
        self.newest_epoch = self.newest_epoch.max(epoch);
        self.waiting.remove(name);
        if fresh {
            self.hidden.remove(name);
            entry.epoch = epoch;
            match found {
                Ok(found) => {
                    let found = match &hidden {
                        Some(hidden) => with_hidden(found, entry.found.as_deref(), hidden),
                        None => found,
                    };
                    (entry.index, entry.found) = (index, Some(found));
                    self.unreadable.remove(name);
                }
                Err(reason) => drop(self.unreadable.insert(name.clone(), reason)),
            }
            self.dirty.insert(name.clone());
        }
        if let Some(hidden) = hidden {
            self.unreadable.insert(name.clone(), hidden.reason);
            self.hidden.insert(name.clone());
        }
        true
    }

    /// The policy documents; `None` leaves those known in force.
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

    /// The keys of the `nth` program; `None` leaves those known in force.
    pub(super) fn keys(&mut self, nth: usize, epoch: u64, pairs: Option<&Pairs>, most: usize) {
        self.newest_epoch = self.newest_epoch.max(epoch);
        let Some(keys) = self.keys.get_mut(nth) else {
            return;
        };
        let before = keys.commands().clone();
        self.dirty.extend(keys.read(epoch, pairs, most));
        let after = keys.commands();
        if before != *after {
            let concerned = |name: &&Arc<str>| before.concerns(name) || after.concerns(name);
            self.dirty.extend(self.entries.keys().filter(concerned).cloned());
        }
    }

    pub(super) fn keys_weight(&self) -> usize {
        self.keys.iter().map(Keys::weight).sum()
    }

    /// Whether all that is held was confirmed in this epoch.
    pub(super) fn current(&self, epoch: u64) -> bool {
        let rest = self.documents_epoch == epoch && self.keys.iter().all(|keys| keys.current(epoch));
        self.names_epoch == epoch && rest && self.waiting.is_empty()
    }

    /// The index read last of a service in this epoch; 0: none.
    pub(super) fn index(&self, epoch: u64, name: &str) -> u64 {
        let entry = self.entries.get(name).filter(|entry| entry.epoch == epoch);
        entry.map_or(0, |entry| entry.index)
    }

    /// What was found last of a service.
    pub(super) fn found(&self, name: &str) -> Option<Arc<Found>> {
        self.entries.get(name)?.found.clone()
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

    /// Services that [`Self::take`] has forgotten since this was called last: they need no watch.
    pub(super) fn forgotten(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.forgotten)
    }

    /// What is to be delivered now: everything at first, then the differences.
    pub(super) fn take(&mut self) -> Option<Change> {
        if !self.started && !self.current(self.names_epoch.max(1)) {
            return None;
        }
        let complete = !std::mem::replace(&mut self.started, true);
        let all_read = self.current(self.newest_epoch);
        if all_read {
            self.dirty.append(&mut self.held);
        }
        let dirty = std::mem::take(&mut self.dirty);
        let mut services = Vec::new();
        for name in dirty {
            let of_keys = self.keys.iter_mut().map(|keys| keys.take_changed(&name));
            let of_keys = of_keys.fold(false, |any, one| any | one);
            let joined = |record| {
                self.keys
                    .iter()
                    .fold(record, |record, keys| keys.joined(&name, record))
            };
            let Some(entry) = self.entries.get(&name) else {
                let record = joined(None).as_deref().cloned();
                services.extend(of_keys.then_some((name, record)));
                continue;
            };
            let of_catalog = shown(entry, self.configured, self.documents.get(&name));
            let (of_catalog, obeyed) = self.obeying(&name, entry, of_catalog);
            let mut record = joined(of_catalog);
            if obeyed.is_empty() {
                self.obeyed.remove(&name);
            } else {
                self.obeyed.insert(name.clone(), obeyed);
            }
            let doubtful = !all_read || (!self.configured && entry.is_contradicted());
            let delivered = entry.delivered.as_ref().filter(|_| doubtful);
            let held = delivered.map(|d| Arc::new(kept(d, record.as_deref())));
            let instances = |r: &Option<Arc<ServiceRecord>>| r.as_ref().map_or(0, |r| r.instances.len());
            let later = instances(&held) > instances(&record);
            if later {
                record = held;
                if !all_read {
                    self.held.insert(name.clone());
                }
            }
            if !same(record.as_ref(), entry.delivered.as_ref()) {
                services.push((name.clone(), record.as_deref().cloned()));
            }
            if !later && !entry.listed && entry.found.as_ref().is_none_or(|found| found.ids.is_empty()) {
                self.entries.remove(&name);
                self.unreadable.remove(&name);
                self.hidden.remove(&name);
                self.obeyed.remove(&name);
                self.waiting.remove(&name); // whatever is read of it later belongs to no listed name
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

    /// What commands make of a service that has tags for them, and those that are about it.
    fn obeying(
        &self,
        name: &str,
        entry: &Entry,
        record: Option<Arc<ServiceRecord>>,
    ) -> (Option<Arc<ServiceRecord>>, BTreeSet<usize>) {
        let placed = entry.found.as_ref().map(|found| &found.placed);
        let placed = placed.filter(|placed| !placed.is_empty());
        match (record, placed, self.commands()) {
            (Some(mut record), Some(placed), Some(commands)) => {
                let obeyed = commands.obey(name, Arc::make_mut(&mut record), placed);
                (Some(record), obeyed)
            }
            (record, ..) => (record, BTreeSet::new()),
        }
    }

    fn commands(&self) -> Option<&Commands> {
        let mut keys = self.keys.iter().filter(|keys| keys.is_of_commands());
        keys.next().map(|keys| &**keys.commands())
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
        let keys = self.keys.iter().flat_map(Keys::stray).cloned();
        let idle = self
            .commands()
            .map(|commands| commands.idle(self.obeyed.values().flatten()));
        self.stray
            .iter()
            .cloned()
            .chain(named)
            .chain(rest)
            .chain(keys)
            .chain(idle.into_iter().flatten())
            .collect()
    }
}

/// Whether held entries are missing that the reader did not know of.
fn lacks_unknown(held: &Arc<Found>, found: &Found, before: &Arc<Found>) -> bool {
    let lacks = || {
        let mut missing = held.ids.difference(&found.ids);
        missing.any(|id| !before.ids.contains(id))
    };
    !Arc::ptr_eq(held, before) && lacks()
}

/// Equal records are mostly the same one.
fn same(one: Option<&Arc<ServiceRecord>>, other: Option<&Arc<ServiceRecord>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (None, None) => true,
        _ => false,
    }
}

/// What the hub should hold of a service. That `found` is empty is always confirmed.
fn shown(entry: &Entry, configured: bool, document: Option<&Document>) -> Option<Arc<ServiceRecord>> {
    let found = entry.found.as_ref()?;
    if (configured || !entry.listed) && found.ids.is_empty() {
        return None;
    }
    let mut shown = found.record.clone()?;
    if let Some(document) = document {
        let record = Arc::make_mut(&mut shown);
        record.policy.clone_from(&document.policy);
        record
            .unread
            .extend((document.unread && document.policy.is_none()).then(|| "".into()));
        record.issues.extend(document.issues.iter().cloned());
    }
    Some(shown)
}

/// What was found, and what was known of the hidden entries.
fn with_hidden(found: Arc<Found>, known: Option<&Found>, hidden: &Hidden) -> Arc<Found> {
    let Some(known) = known else { return found };
    let mut all = Arc::unwrap_or_clone(found);
    all.ids.extend(known.ids.intersection(&hidden.ids).cloned());
    let placed = known.placed.iter().filter(|(id, _)| hidden.ids.contains(&***id));
    all.placed
        .extend(placed.map(|(id, placed)| (id.clone(), placed.clone())));
    let held = known.record.iter().flat_map(|record| &record.instances);
    let held = held
        .filter(|instance| hidden.ids.contains(&*instance.id))
        .cloned();
    let held: Vec<_> = held.collect();
    if !held.is_empty() {
        let record = Arc::make_mut(all.record.get_or_insert_default());
        record.instances.extend(held);
        record.instances.sort_by(|a, b| a.id.cmp(&b.id));
    }
    Arc::new(all)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
