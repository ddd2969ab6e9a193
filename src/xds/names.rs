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
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    published: bool,
    asked: u32,
}

impl Names {
    /// The number of a published name, for good.
    pub fn publish(&mut self, name: &Arc<str>) -> NameId {
        let id = match canonical(name) {
            Cow::Borrowed(_) => self.intern(name),
            Cow::Owned(name) => self.intern(&name.into()),
        };
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.published = true;
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
    fn a_name_asked_first_and_published_later_stays() {
        let mut names = Names::default();
        let a = names.ask("a");
        assert_eq!(names.publish(&"a".into()), a);
        names.release(a);
        assert_eq!(names.find("a"), Some(a));
    }
}
