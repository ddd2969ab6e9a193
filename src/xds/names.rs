//! Resource names as small numbers, so that what a stream subscribes to and
//! holds is a bitmap. Shared by all types and streams.
//!
//! A name that clients only asked for is counted, and its number is used again when
//! no client asks for it any more. A name that was published keeps its number until a
//! sweep (`retired.rs`) finds that no stream needs it: neither clients nor services that
//! come and go can make this table grow for good.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::HashTable;
use roaring::RoaringBitmap;

pub use super::ids::NameId;
use super::ids::set;
use super::place::Places;
use super::retired::Retired;

/// The table of names.
#[derive(Debug, Default)]
pub struct Names {
    /// By the hash of the name, which its entry keeps: when the table grows, tens of thousands of long names are
    /// hashed a second time otherwise, and all streams wait.
    ids: HashTable<NameId>,
    hasher: RandomState,
    entries: Vec<Entry>,
    free: Vec<NameId>,
    /// Bytes of names that are only asked for.
    unknown: usize,
    /// How many numbers were free when the table was last made smaller.
    tidied: usize,
    retired: Retired,
    /// Open streams, which share what is left when there are many unknown names.
    streams: usize,
    /// How many numbers were freed.
    epoch: u64,
    /// The places of clients, which are numbered as well.
    pub(super) places: Places,
}

/// Finds the names of numbers, only needed for what is gone: several at once, because a table that is
/// shared between streams is locked for it.
pub trait NameOf {
    /// The names of these numbers, in this order.
    fn names_of(&self, ids: &[NameId]) -> Vec<Option<Arc<str>>>;
}

impl NameOf for Names {
    fn names_of(&self, ids: &[NameId]) -> Vec<Option<Arc<str>>> {
        ids.iter().map(|id| self.name(*id).cloned()).collect()
    }
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    hash: u64,
    published: bool,
    asked: u32,
}

/// What a name that is only asked for takes besides its text.
const OVERHEAD: usize = 96;

/// Bytes of names that clients ask for and that are not served, of all streams together: first come, first served.
const COMMON: usize = 48 << 20;

/// Bytes beyond [`COMMON`] for streams that ask for little: each may have an equal share of it.
const SHARED: usize = 16 << 20;

/// Bytes that a stream may ask for however full the table is.
const FREE: usize = 4 << 10;

/// Below this many free numbers the table stays as it is.
const FEW: usize = 4_096;

impl Names {
    /// Whether a stream may ask for names that need `new` bytes in this table. `own`: the bytes of all names of
    /// this stream that are not served, the new ones among them; only looked at when the table is nearly full.
    #[must_use]
    pub fn admits(&self, new: usize, own: impl FnOnce() -> usize) -> bool {
        let all = self.unknown.saturating_add(new);
        if new == 0 || all <= COMMON {
            return true;
        }
        let own = own();
        own <= FREE || (own <= SHARED / self.streams.max(1) && all <= COMMON + SHARED)
    }

    /// Bytes that a name takes in this table while it is not served.
    #[must_use]
    pub const fn cost(length: usize) -> usize {
        length + OVERHEAD
    }

    /// Bytes that a name takes beside those that are served.
    #[must_use]
    pub fn cost_of(&self, id: NameId) -> usize {
        let unserved = self.entries.get(id as usize).filter(|e| !e.published);
        unserved.map_or(0, |entry| Self::cost(entry.name.len()))
    }

    /// One more stream has a share.
    pub const fn stream_opened(&mut self) {
        self.streams += 1;
    }

    /// One stream less.
    pub const fn stream_closed(&mut self) {
        self.streams = self.streams.saturating_sub(1);
    }

    /// The number of a published name.
    pub fn publish(&mut self, name: &Arc<str>) -> NameId {
        let id = match canonical(name) {
            Cow::Borrowed(_) => self.intern(name),
            Cow::Owned(name) => self.intern(&name.into()),
        };
        self.publish_known(id);
        id
    }

    /// The same for a number that was found just now.
    pub(super) fn publish_known(&mut self, id: NameId) {
        if let Some(entry) = self.entries.get_mut(id as usize).filter(|e| !e.published) {
            entry.published = true;
            self.unknown = self.unknown.saturating_sub(Self::cost(entry.name.len()));
        }
        self.retired.served(id);
    }

    /// The number of a name that a stream subscribes to; give it back by [`Self::release`].
    pub fn ask(&mut self, name: &str) -> NameId {
        let name = canonical(name);
        let hash = self.hasher.hash_one(&*name);
        let id = self
            .find_hashed(hash, &name)
            .unwrap_or_else(|| self.insert(hash, Arc::from(&*name)));
        self.ask_known(id);
        id
    }

    /// The same for a number that was found just now.
    pub(super) fn ask_known(&mut self, id: NameId) {
        self.retired.needed(id);
        // A published name stays while the index has it; counting would only cost a write for each.
        if let Some(entry) = self.entries.get_mut(id as usize).filter(|e| !e.published) {
            entry.asked += 1;
        }
    }

    /// While this is the same, each number means the same name.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// One stream no longer subscribes to this name. `true`: it is forgotten, and its number may
    /// come to mean another name.
    pub fn release(&mut self, id: NameId) -> bool {
        let Some(entry) = self.entries.get_mut(id as usize).filter(|e| !e.published) else {
            return false;
        };
        entry.asked = entry.asked.saturating_sub(1);
        let forgotten = entry.asked == 0;
        if forgotten {
            self.unknown = self.unknown.saturating_sub(Self::cost(entry.name.len()));
            self.forget(id);
        }
        forgotten
    }

    fn forget(&mut self, id: NameId) {
        if let Some(entry) = self.entries.get_mut(id as usize)
            && let Ok(place) = self.ids.find_entry(entry.hash, |other| *other == id)
        {
            place.remove();
            entry.name = Arc::default();
            self.free.push(id);
            self.epoch += 1;
        }
    }

    /// A resource of this name, or one that needed it, is gone: maybe it is not served any more.
    pub fn gone(&mut self, id: NameId) {
        self.retired.note(id);
    }

    /// Whether enough names may be out of use for a sweep to pay.
    #[must_use]
    pub fn is_sweep_due(&self) -> bool {
        self.retired.is_due(self.entries.len())
    }

    /// Begins to forget what is neither among `used` nor subscribed to. Between this and [`Self::end_sweep`]
    /// each stream that is open now has to be asked once ([`super::Stream::still_needs`]).
    pub fn begin_sweep(&mut self, used: &RoaringBitmap, subscribed: impl Fn(NameId) -> bool) {
        self.retired.begin(used, subscribed);
    }

    /// The numbers that are about to be forgotten.
    #[must_use]
    pub const fn leaving(&self) -> &RoaringBitmap {
        self.retired.leaving()
    }

    /// A stream still needs these.
    pub fn keep(&mut self, ids: &RoaringBitmap) {
        self.retired.keep(ids);
    }

    /// Forgets what no stream needs; returns how many names that were.
    pub fn end_sweep(&mut self) -> u64 {
        let leaving = self.retired.end();
        for id in &leaving {
            self.forget(id);
        }
        leaving.len()
    }

    /// The number of a name that is known.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NameId> {
        let name = canonical(name);
        self.find_hashed(self.hasher.hash_one(&*name), &name)
    }

    fn find_hashed(&self, hash: u64, name: &str) -> Option<NameId> {
        let is_it = |id: &NameId| {
            let entry = self.entries.get(*id as usize);
            entry.is_some_and(|entry| entry.hash == hash && *entry.name == *name)
        };
        self.ids.find(hash, is_it).copied()
    }

    /// A stream claims to hold a resource of this number. False: it may come to mean another name, as far as
    /// this claim is concerned.
    pub fn claim(&mut self, id: NameId) -> bool {
        self.retired.needed(id);
        self.is_served(id)
    }

    /// Whether the number is that of a published name: it keeps its meaning without being counted.
    #[must_use]
    pub fn is_served(&self, id: NameId) -> bool {
        self.entries.get(id as usize).is_some_and(|entry| entry.published)
    }

    /// The name of a number.
    #[must_use]
    pub fn name(&self, id: NameId) -> Option<&Arc<str>> {
        self.entries.get(id as usize).map(|e| &e.name)
    }

    /// The length of a name, in bytes.
    #[must_use]
    pub fn len_of(&self, id: NameId) -> usize {
        self.name(id).map_or(0, |name| name.len())
    }

    /// Gives memory back once many names are gone; returns the bound of the numbers in use, if it did.
    pub fn tidy(&mut self) -> Option<usize> {
        if self.free.len() < 2 * self.tidied + FEW || self.free.len() * 2 < self.entries.len() {
            return None;
        }
        let free = set(std::mem::take(&mut self.free));
        while let Some(last) = self.entries.len().checked_sub(1)
            && NameId::try_from(last).is_ok_and(|last| free.contains(last))
        {
            self.entries.pop();
        }
        let used = self.entries.len();
        self.free = free.iter().filter(|id| (*id as usize) < used).collect();
        self.tidied = self.free.len();
        self.entries.shrink_to_fit();
        let Self { ids, entries, .. } = self;
        ids.shrink_to_fit(|id| hash_of(entries, *id));
        Some(used)
    }

    /// How many names are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn intern(&mut self, name: &Arc<str>) -> NameId {
        let hash = self.hasher.hash_one(&**name);
        self.find_hashed(hash, name)
            .unwrap_or_else(|| self.insert(hash, name.clone()))
    }

    /// A name that is not there.
    fn insert(&mut self, hash: u64, name: Arc<str>) -> NameId {
        self.unknown += Self::cost(name.len());
        let entry = Entry {
            name,
            hash,
            published: false,
            asked: 0,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                // 2^32 names are beyond any memory; saturating keeps this total.
                NameId::try_from(self.entries.len() - 1).unwrap_or(NameId::MAX)
            }
        };
        let Self { ids, entries, .. } = self;
        ids.insert_unique(hash, id, |id| hash_of(entries, *id));
        id
    }
}

fn hash_of(entries: &[Entry], id: NameId) -> u64 {
    entries.get(id as usize).map_or(0, |entry| entry.hash)
}

/// Rule 31: `xdstp://` names are equal when their context parameters are, in whatever order.
fn canonical(name: &str) -> Cow<'_, str> {
    if !name.starts_with("xdstp://") {
        return Cow::Borrowed(name);
    }
    let (locator, directives) = match name.find('#') {
        Some(at) => name.split_at(at),
        None => (name, ""),
    };
    let Some((path, context)) = locator.split_once('?') else {
        return Cow::Borrowed(name);
    };
    let mut parameters: Vec<&str> = context.split('&').collect();
    if parameters.is_sorted() {
        return Cow::Borrowed(name);
    }
    parameters.sort_unstable();
    Cow::Owned(format!("{path}?{}{directives}", parameters.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_31_context_parameters_have_no_order() {
        let mut names = Names::default();
        let one = names.ask("xdstp://a/t/x?b=2&a=1&c");
        assert_eq!(names.ask("xdstp://a/t/x?a=1&b=2&c"), one);
        assert_eq!(names.find("xdstp://a/t/x?c&b=2&a=1"), Some(one));
        assert_eq!(names.publish(&"xdstp://a/t/x?c&a=1&b=2".into()), one);
        assert_ne!(names.ask("xdstp://a/t/x?a=1&b=3&c"), one);
        assert_ne!(names.ask("xdstp://a/t/x?a=1&b=2&c#e"), one);
        assert_ne!(
            names.ask("x?b&a"),
            names.ask("x?a&b"),
            "of other names each letter counts"
        );
    }

    #[test]
    fn asked_names_are_forgotten_and_published_ones_are_not() {
        let mut names = Names::default();
        let a = names.ask("a");
        assert_eq!(names.ask("a"), a);
        let b = names.publish(&"b".into());
        names.release(a);
        assert_eq!(names.find("a"), Some(a));
        names.release(a);
        assert_eq!(names.find("a"), None);
        names.ask("b");
        names.release(b);
        assert_eq!(names.find("b"), Some(b));
        assert_eq!(names.ask("c"), a, "the number is used again");
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn names_that_are_not_asked_for_any_more_take_no_memory() {
        let mut names = Names::default();
        let a = names.publish(&"a".into());
        let ids: Vec<NameId> = (0..10_000).map(|n| names.ask(&format!("unknown-{n}"))).collect();
        let b = names.publish(&"b".into());
        let more: Vec<NameId> = (0..10_000).map(|n| names.ask(&format!("more-{n}"))).collect();
        assert!(names.unknown > 20_000 * OVERHEAD && names.tidy().is_none());
        for id in ids.into_iter().chain(more) {
            assert!(names.release(id));
        }
        assert_eq!(names.unknown, 0);
        let used = names.tidy().unwrap();
        assert_eq!(used, b as usize + 1);
        assert!(names.entries.capacity() <= used && names.ids.capacity() < 100);
        assert_eq!((names.find("a"), names.find("b")), (Some(a), Some(b)));
        assert!(names.tidy().is_none(), "once");
        assert!(names.ask("c") < b, "a number that is free");
    }

    #[test]
    fn a_full_table_has_room_for_streams_that_ask_for_little() {
        let mut names = Names::default();
        assert!(names.admits(COMMON, || unreachable!()));
        assert!(
            !names.admits(COMMON + SHARED + 1, || SHARED),
            "more than there is"
        );
        names.unknown = COMMON;
        (0..4).for_each(|_| names.stream_opened());
        assert!(names.admits(0, || usize::MAX), "nothing new");
        assert!(names.admits(1, || SHARED / 4) && !names.admits(1, || SHARED / 4 + 1));
        names.stream_closed();
        assert!(names.admits(1, || SHARED / 4 + 1), "a larger share");
        names.unknown = COMMON + SHARED;
        assert!(names.admits(FREE, || FREE) && !names.admits(1, || FREE + 1));
    }

    #[test]
    fn a_name_that_is_not_served_any_more_is_forgotten_unless_a_stream_needs_it() {
        let mut names = Names::default();
        let all = ["used", "named", "asked", "put", "over"];
        let ids = all.map(|name| names.publish(&name.into()));
        let [used, bound, asked, put, over] = ids;
        for id in ids {
            names.gone(id);
        }
        names.begin_sweep(&set(vec![used]), |id| id == bound);
        assert_eq!(*names.leaving(), set(vec![asked, put, over]));
        assert_eq!(names.ask("asked"), asked);
        assert_eq!(names.publish(&"put".into()), put);
        assert_eq!(names.end_sweep(), 1);
        assert_eq!((names.find("over"), names.len()), (None, 4));
        assert_eq!(names.publish(&"other".into()), over, "the number is used again");
        let used = set(vec![used, put, over]);
        names.begin_sweep(&used, |_| false);
        assert_eq!(*names.leaving(), set(vec![bound, asked]), "`put` is served again");
        names.keep(&set(vec![asked]));
        assert_eq!(names.end_sweep(), 1);
        names.begin_sweep(&used, |_| false);
        assert_eq!(names.end_sweep(), 1, "no stream needs it any more");
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn a_name_asked_first_and_published_later_stays() {
        let mut names = Names::default();
        let a = names.ask("a");
        assert_eq!(names.publish(&"a".into()), a);
        names.release(a);
        assert_eq!(names.find("a"), Some(a));
    }
}
