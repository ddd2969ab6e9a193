//! Names of clusters, localities and metrics, each once for all clients, up to a bound. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

/// A name by its number.
pub(super) type NameId = u32;

/// All names.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: HashMap<Arc<str>, NameId>,
    slots: Vec<Option<Arc<str>>>,
    free: Vec<NameId>,
    bytes: usize,
}

impl Names {
    /// The number that a name most likely has, if it has it.
    pub(super) fn confirm(&self, likely: Option<NameId>, name: &str) -> Option<NameId> {
        likely.filter(|id| !name.is_empty() && self.get(*id) == name)
    }

    pub(super) fn find(&self, name: &str) -> Option<NameId> {
        self.ids.get(name).copied()
    }

    /// The number of a name, which may be new; `None`: there is no room for it.
    pub(super) fn take(&mut self, name: &str, most: usize, most_bytes: usize) -> Option<NameId> {
        if let Some(id) = self.find(name) {
            return Some(id);
        }
        if self.ids.len() >= most || self.bytes + name.len() > most_bytes {
            return None;
        }
        let name: Arc<str> = name.into();
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                NameId::try_from(self.slots.len() - 1).ok()?
            }
        };
        self.bytes += name.len();
        self.slots[id as usize] = Some(name.clone());
        self.ids.insert(name, id);
        Some(id)
    }

    /// Empty for what is no name.
    pub(super) fn get(&self, id: NameId) -> &str {
        self.slots
            .get(id as usize)
            .and_then(Option::as_deref)
            .unwrap_or_default()
    }

    /// Forgets all others.
    pub(super) fn retain(&mut self, used: &RoaringBitmap) {
        for (id, name) in (0..).zip(&mut self.slots) {
            if !used.contains(id)
                && let Some(name) = name.take()
            {
                self.bytes -= name.len();
                self.ids.remove(&name);
                self.free.push(id);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_forgotten() {
        let mut names = Names::default();
        let mut take = |name: &str| names.take(name, 3, 10);
        assert_eq!([take("a"), take("b"), take("a")], [Some(0), Some(1), Some(0)]);
        assert_eq!([take("123456789"), take("c"), take("d")], [None, Some(2), None]);
        names.retain(&[1].into_iter().collect());
        assert_eq!(
            (names.find("a"), names.find("b"), names.len()),
            (None, Some(1), 1)
        );
        assert_eq!((names.get(0), names.get(1), names.get(9)), ("", "b", ""));
        let id = names.take("123456789", 3, 10).unwrap();
        assert_eq!(names.get(id), "123456789");
    }
}
