//! Resource names as small numbers, so that what a stream subscribes to and
//! holds is a bitmap. Shared by all types and streams.
//!
//! A name that was ever published keeps its number for good: streams may still
//! hold it. A name that clients only asked for is counted, and its number is
//! used again when nobody asks any more: no client can make this table grow for good.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

/// The number of a name.
pub type NameId = u32;

/// A set of them, from a list in any order. At once: name by name costs a hundred times as much.
pub(super) fn set(mut ids: Vec<NameId>) -> RoaringBitmap {
    ids.sort_unstable();
    ids.dedup();
    // Sorted and unique: this cannot fail.
    RoaringBitmap::from_sorted_iter(ids).unwrap_or_default()
}

/// The table of names.
#[derive(Debug, Default)]
pub struct Names {
    ids: HashMap<Arc<str>, NameId>,
    entries: Vec<Entry>,
    free: Vec<NameId>,
    /// Bytes of names that are only asked for.
    unknown: usize,
    /// How many numbers were free when the table was last made smaller.
    tidied: usize,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    published: bool,
    asked: u32,
}

/// What a name that is only asked for takes besides its text.
const OVERHEAD: usize = 96;

/// All names that clients ask for and nobody serves, of all streams together.
const UNKNOWN: usize = 64 << 20;

/// Below this many free numbers the table stays as it is.
const FEW: usize = 4_096;

impl Names {
    /// Whether all of these could be stored if nobody serves them.
    #[must_use]
    pub fn have_room_for(&self, names: impl Iterator<Item = usize>) -> bool {
        let wanted = names.map(|length| length + OVERHEAD).sum::<usize>();
        self.unknown.saturating_add(wanted) <= UNKNOWN
    }

    /// The number of a published name, for good.
    pub fn publish(&mut self, name: &Arc<str>) -> NameId {
        let id = match canonical(name) {
            Cow::Borrowed(_) => self.intern(name),
            Cow::Owned(name) => self.intern(&name.into()),
        };
        if let Some(entry) = self.entries.get_mut(id as usize).filter(|e| !e.published) {
            entry.published = true;
            self.unknown = self.unknown.saturating_sub(entry.name.len() + OVERHEAD);
        }
        id
    }

    /// The number of a name that a stream subscribes to; give it back by [`Self::release`].
    pub fn ask(&mut self, name: &str) -> NameId {
        let name = canonical(name);
        let id = match self.ids.get(&*name) {
            Some(id) => *id,
            None => self.intern(&Arc::from(&*name)),
        };
        // A published name stays whoever asks; counting would only cost a write for each.
        if let Some(entry) = self.entries.get_mut(id as usize).filter(|e| !e.published) {
            entry.asked += 1;
        }
        id
    }

    /// One stream no longer subscribes to this name. `true`: nobody knows it any more,
    /// and its number may come to mean another name.
    pub fn release(&mut self, id: NameId) -> bool {
        let Some(entry) = self.entries.get_mut(id as usize).filter(|e| !e.published) else {
            return false;
        };
        entry.asked = entry.asked.saturating_sub(1);
        let forgotten = entry.asked == 0;
        if forgotten {
            let name = std::mem::replace(&mut entry.name, Arc::from(""));
            self.unknown = self.unknown.saturating_sub(name.len() + OVERHEAD);
            self.ids.remove(&name);
            self.free.push(id);
        }
        forgotten
    }

    /// The number of a name that is known.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NameId> {
        self.ids.get(&*canonical(name)).copied()
    }

    /// Whether this number means the same name for good.
    #[must_use]
    pub fn is_published(&self, id: NameId) -> bool {
        self.entries.get(id as usize).is_some_and(|e| e.published)
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

    /// Gives memory back once many names are gone; says how many numbers are in use at the most, if it did.
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
        self.ids.shrink_to_fit();
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
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let entry = Entry {
            name: name.clone(),
            published: false,
            asked: 0,
        };
        self.unknown += name.len() + OVERHEAD;
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
        self.ids.insert(name.clone(), id);
        id
    }
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
    fn what_nobody_asks_for_any_more_takes_no_memory() {
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
    fn unknown_names_have_a_bound() {
        let names = Names::default();
        assert!(names.have_room_for([UNKNOWN - OVERHEAD].into_iter()));
        assert!(!names.have_room_for([UNKNOWN].into_iter()));
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
