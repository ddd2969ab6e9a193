//! Resource names as small numbers, so that what a stream subscribes to and
//! holds is a bitmap. Shared by all types and streams.
//!
//! A name that was ever published keeps its number for good: streams may still
//! hold it. A name that clients only asked for is counted, and its number is
//! used again when nobody asks any more: no client can make this table grow for good.

use std::collections::HashMap;
use std::sync::Arc;

/// The number of a name.
pub type NameId = u32;

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
        let id = self.intern(name);
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.published = true;
        }
        id
    }

    /// The number of a name that a stream subscribes to; give it back by [`Self::release`].
    pub fn ask(&mut self, name: &str) -> NameId {
        let id = match self.ids.get(name) {
            Some(id) => *id,
            None => self.intern(&Arc::from(name)),
        };
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.asked += 1;
        }
        id
    }

    /// One stream no longer subscribes to this name. `true`: nobody knows it any more,
    /// and its number may come to mean another name.
    pub fn release(&mut self, id: NameId) -> bool {
        let Some(entry) = self.entries.get_mut(id as usize) else {
            return false;
        };
        entry.asked = entry.asked.saturating_sub(1);
        let forgotten = entry.asked == 0 && !entry.published;
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
        self.ids.get(name).copied()
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

#[cfg(test)]
mod tests {
    use super::*;

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
