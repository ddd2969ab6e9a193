//! What etcd holds below the prefix, decoded. Pure: events in, a [`Change`] out.
//!
//! Never answers with a service whose keys say what they said before, and applies the same events twice with the
//! same result. A value that went bad keeps its last good reading until the key is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::entries::{Before, Entries};
use super::foreign::{self, Read};
use super::kept::Entry;
use super::keys::{self, Key, Keys};
use super::room::{LeftOut, NoRoom, Room};
use super::value;
use crate::config::EtcdPrefix;
use crate::import::Layout;
use crate::model::{Change, Code, Issue, ServiceRecord};
use crate::registry::etcd::{Event, Kv};
use crate::registry::weight::SERVICE;

/// The number of keys that fit no pattern and are named one by one.
const MAX_STRAY: usize = 100;

/// The number that is kept, to be counted and to be taken back: below some prefixes are millions of others' keys.
const MAX_KEPT: usize = 10_000;

/// The number of bytes that are kept of a key that fits no pattern: more than one that fits can have.
const MAX_REMEMBERED: usize = 1024;

/// All that is known of one prefix.
#[derive(Debug)]
pub struct State {
    keys: Arc<Keys>,
    services: HashMap<Arc<str>, Entries>,
    room: Room,
    /// Since the last listing.
    left_out: LeftOut,
    /// Instead of services: all keys of another program.
    layout: Option<Layout>,
    /// Keys that fit no pattern, as [`remembered`]; their reasons are found again when they are shown.
    stray: BTreeSet<Box<[u8]>>,
}

/// A whole listing on its way in: the old state stays untouched until [`Relisting::finish`].
#[derive(Debug)]
pub struct Relisting {
    fresh: State,
    /// What is new and does not fit is left out; else the whole listing is not taken in.
    leaves_out: bool,
    /// What instances weigh that are known and have not been listed yet: new ones must leave them that.
    known: usize,
    full: bool,
}

impl State {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(prefix: &EtcdPrefix) -> Self {
        let layout = prefix.keys.clone().map(Layout::new);
        Self::of(Arc::new(Keys::new(prefix)), layout)
    }

    fn of(keys: Arc<Keys>, layout: Option<Layout>) -> Self {
        Self {
            keys,
            services: HashMap::new(),
            room: Room::default(),
            left_out: LeftOut::default(),
            layout,
            stray: BTreeSet::new(),
        }
    }

    /// Sets how much may be known from now on; what is known already stays.
    pub const fn bound(&mut self, most: usize) {
        self.room.most = most;
    }

    /// The weight of what is known.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.room.weight
    }

    /// Whether values were left out for which there is room, if `most` may be known: a listing would take them in.
    #[must_use]
    pub fn may_take_more(&self, most: usize) -> bool {
        self.left_out.fits(most.saturating_sub(self.room.weight))
    }

    /// Applies changes in their order.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Change {
        if self.layout.is_some() {
            return self.apply_to_layout(events);
        }
        let mut before: BTreeMap<Arc<str>, Before> = BTreeMap::new();
        let mut stray = false;
        let keys = self.keys.clone();
        for event in events {
            let (Event::Put(Kv { key, .. }) | Event::Delete { key, .. }) = &event;
            match keys.read(key) {
                Ok(None) => {}
                Err(_) if matches!(event, Event::Put(_)) => stray |= self.remember(key),
                Err(_) => stray |= self.stray.remove(&remembered(key)),
                Ok(Some(named)) => {
                    let service = before.entry(named.service().into()).or_default();
                    service.note(&named, self.services.get(named.service()));
                    let fits = match &event {
                        Event::Put(kv) => self.put(&named, kv, None),
                        Event::Delete { .. } => {
                            self.delete(&named);
                            Ok(())
                        }
                    };
                    let before = self.left_out.count();
                    self.left_out.note(key, fits);
                    stray |= before != self.left_out.count();
                }
            }
        }
        let changed = before
            .into_iter()
            .filter(|(name, before)| before.differs(self.services.get(name)));
        let record = |(name, _): (Arc<str>, Before)| {
            let record = self.record(&name);
            (name, record)
        };
        Change {
            services: changed.map(record).collect(),
            complete: false,
            stray: stray.then(|| self.stray_issues()),
        }
    }

    fn apply_to_layout(&mut self, events: impl IntoIterator<Item = Event>) -> Change {
        for event in events {
            match event {
                Event::Put(kv) => {
                    let fits = self.put_into_layout(&kv);
                    self.left_out.note(&kv.key, fits);
                }
                Event::Delete { key, .. } => {
                    if let Some(layout) = &mut self.layout {
                        self.room.give_back(layout.weight_of(&key));
                        layout.remove(&key);
                    }
                    self.left_out.note(&key, Ok(()));
                }
            }
        }
        self.change_of_layout(false)
    }

    fn put_into_layout(&mut self, kv: &Kv) -> Result<(), NoRoom> {
        let Some(layout) = &mut self.layout else {
            return Ok(());
        };
        // Of a value that is longer than what is read only the beginning is here.
        let value = if kv.size > kv.value.len() {
            &[]
        } else {
            &kv.value[..]
        };
        self.room
            .change(layout.weight_of(&kv.key), layout.weight(&kv.key, value))?;
        layout.put(&kv.key, value);
        Ok(())
    }

    fn change_of_layout(&mut self, complete: bool) -> Change {
        let change = self.layout.as_mut().map(|layout| layout.change(complete));
        let mut change = change.unwrap_or_default();
        let left_out = self.left_out();
        if let Some(stray) = &mut change.stray {
            stray.extend(left_out);
        }
        change
    }

    /// Takes a whole listing in; what it does not name is gone. `leaves_out`: there may be more than fits. What is
    /// known then goes first, and the rest is left out; otherwise such a listing is not taken in.
    #[must_use]
    pub fn relist(&self, leaves_out: bool) -> Relisting {
        let layout = self.layout.as_ref().map(Layout::fresh);
        let mut fresh = Self::of(self.keys.clone(), layout);
        fresh.bound(self.room.most);
        Relisting {
            fresh,
            leaves_out,
            known: self.room.weight,
            full: false,
        }
    }

    /// `elder` is where the last good reading is looked up, unless in `self`.
    fn put(&mut self, key: &Key<'_>, kv: &Kv, elder: Option<&Self>) -> Result<(), NoRoom> {
        let name = keys::shown(&kv.key);
        let elder = elder.unwrap_or(self).services.get(key.service());
        match key {
            Key::Instance { id, .. } => {
                let last = elder.and_then(|e| e.instance(id));
                let entry = match foreign::read(self.keys.format(), &name, id, kv) {
                    Ok(Read::Gone) => {
                        self.delete(key);
                        return Ok(());
                    }
                    Ok(Read::Here { decoded, bad }) => Entry::partly(&name, kv, decoded, bad, last.as_ref()),
                    Err(reason) => Entry::bad(&name, kv, &reason, last.as_ref()),
                };
                let known = self.services.get(key.service());
                let of_service = if known.is_some() { 0 } else { SERVICE };
                let before = known.and_then(|known| known.weight_of(id)).unwrap_or(0);
                self.room.change(before, entry.weight() + of_service)?;
                self.entries(key.service()).put(id, entry);
            }
            Key::Policy { .. } => {
                let last = elder.and_then(|e| e.policy.as_deref());
                let entry = match value::policy(&name, kv) {
                    Ok(decoded) => Entry::good(kv, decoded),
                    Err(reason) => Entry::bad(&name, kv, &reason, last),
                };
                if !self.services.contains_key(key.service()) {
                    self.room.change(0, SERVICE)?;
                }
                self.entries(key.service()).policy = Some(Box::new(entry));
            }
        }
        Ok(())
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
                let gone = entries.remove(id);
                self.room.give_back(gone.unwrap_or(0));
            }
            Key::Policy { .. } => entries.policy = None,
        }
        if entries.is_empty() {
            self.services.remove(key.service());
            self.room.give_back(SERVICE);
        }
    }

    /// What a known key weighs; `first`: with its service.
    fn weight_of(&self, key: &Key<'_>, first: bool) -> usize {
        let Some(entries) = self.services.get(key.service()) else {
            return 0;
        };
        let of_service = if first { SERVICE } else { 0 };
        match key {
            Key::Instance { id, .. } => entries.weight_of(id).map_or(0, |weight| weight + of_service),
            Key::Policy { .. } if entries.policy.is_some() => of_service,
            Key::Policy { .. } => 0,
        }
    }

    fn entries(&mut self, service: &str) -> &mut Entries {
        self.services.entry(service.into()).or_default()
    }

    fn record(&self, service: &str) -> Option<ServiceRecord> {
        let entries = self.services.get(service)?;
        Some(entries.record(service, |id| self.keys.name(service, id)))
    }

    fn stray_issues(&self) -> Vec<Issue> {
        let mut issues: Vec<Issue> = self
            .stray
            .iter()
            .take(MAX_STRAY)
            .map(|key| {
                let reason = self.keys.read(key).err();
                let reason = reason.unwrap_or_else(|| "the key is too long; ignored".to_owned());
                Issue::warning(keys::shown(key), reason).of_kind(Code::KeyMisplaced)
            })
            .collect();
        if let Some(rest) = self.stray.len().checked_sub(MAX_STRAY).filter(|rest| *rest > 0) {
            // To the power of ten: an exact count would be a new issue, and a log line, at each key.
            let at_least = 10_usize.pow(rest.ilog10());
            let reason = format!("{at_least} or more further keys fit no pattern");
            issues.push(Issue::warning(self.keys.prefix(), reason).of_kind(Code::KeyMisplaced));
        }
        issues.extend(self.left_out());
        issues
    }

    fn left_out(&self) -> Option<Issue> {
        let digits = self.left_out.count().checked_ilog10()?;
        let issue = Issue::rejected(
            self.keys.prefix(),
            format!(
                "{} or more values are left out: they are {}",
                10_usize.pow(digits),
                self.room
            ),
        );
        Some(issue.of_kind(Code::NoRoom))
    }
}

impl Relisting {
    /// Why the listing cannot be taken in.
    #[must_use]
    pub fn full(&self) -> Option<String> {
        self.full.then(|| self.fresh.room.to_string())
    }

    /// Sets how much may be known from now on.
    pub const fn bound(&mut self, most: usize) {
        self.fresh.bound(most);
    }

    /// Takes one listed key in; its last good reading is looked up in `old`.
    pub fn put(&mut self, old: &State, kv: &Kv) {
        if self.fresh.layout.is_some() {
            let fits = self.fresh.put_into_layout(kv);
            if self.leaves_out {
                self.fresh.left_out.note(&kv.key, fits);
            } else {
                self.full |= fits.is_err();
            }
            return;
        }
        let keys = self.fresh.keys.clone();
        match keys.read(&kv.key) {
            Ok(None) => {}
            Ok(Some(key)) => self.put_named(old, &key, kv),
            Err(_) => drop(self.fresh.remember(&kv.key)),
        }
    }

    fn put_named(&mut self, old: &State, key: &Key<'_>, kv: &Kv) {
        if !self.leaves_out {
            self.full |= self.fresh.put(key, kv, Some(old)).is_err();
            return;
        }
        let known = old.weight_of(key, !self.fresh.services.contains_key(key.service()));
        self.known = self.known.saturating_sub(known);
        let most = self.fresh.room.most;
        // The place of what is known and comes later in the listing is not for others.
        self.fresh.bound(most.saturating_sub(self.known));
        let fits = self.fresh.put(key, kv, Some(old));
        self.fresh.bound(most);
        if known == 0 {
            self.fresh.left_out.note(&kv.key, fits);
        } else {
            self.full |= fits.is_err();
        }
    }

    /// Swaps the new state in.
    pub fn finish(self, state: &mut State) -> Change {
        *state = self.fresh;
        if state.layout.is_some() {
            return state.change_of_layout(true);
        }
        let state = &*state;
        let record = |name: &Arc<str>| (name.clone(), state.record(name));
        Change {
            services: state.services.keys().map(record).collect(),
            complete: true,
            stray: Some(state.stray_issues()),
        }
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

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
