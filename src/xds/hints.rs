//! Numbers of names that were looked up beforehand, so that the table of names is held for a short
//! time only when many are needed at once. A hint is never trusted after any number came to mean
//! another name, unless the name is counted for the list itself: then its number keeps its meaning.

use std::sync::Arc;

use super::ids::is_name;
use super::names::{NameId, Names};

/// The numbers of a list of names, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    epoch: u64,
    ids: Vec<Place>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    Unknown,
    Found(NameId),
    /// Counted for the list.
    Kept(NameId),
}

/// The number of one name, maybe.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hint {
    epoch: u64,
    place: Place,
}

impl Hints {
    /// Of the name at this place of the list.
    pub(super) fn at(&self, place: usize) -> Hint {
        Hint {
            epoch: self.epoch,
            place: self.ids.get(place).copied().unwrap_or_default(),
        }
    }

    /// Whether the name at this place of the list was found in the table and is not counted for the list.
    pub(super) fn is_found(&self, place: usize) -> bool {
        matches!(self.ids.get(place), Some(Place::Found(_)))
    }

    /// Of a list of the names at these places.
    pub(super) fn of(&self, places: Vec<usize>) -> Self {
        let ids = places.into_iter().map(|at| self.at(at).place).collect();
        Self {
            epoch: self.epoch,
            ids,
        }
    }

    /// The numbers of names that are counted for the list; to be given back by [`Names::release`].
    pub fn kept(&self) -> impl Iterator<Item = NameId> + '_ {
        self.ids.iter().filter_map(|place| match place {
            Place::Kept(id) => Some(*id),
            _ => None,
        })
    }

    /// What was found may mean other names by now.
    fn renew(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            for place in &mut self.ids {
                if let Place::Found(_) = place {
                    *place = Place::Unknown;
                }
            }
        }
    }
}

impl Hint {
    fn get(self, names: &Names) -> Option<NameId> {
        match self.place {
            Place::Kept(id) => Some(id),
            Place::Found(id) if self.epoch == names.epoch() => Some(id),
            _ => None,
        }
    }
}

impl Names {
    /// Looks up the next names of a list.
    pub fn look_up(&self, names: &[&str], hints: &mut Hints) {
        hints.renew(self.epoch());
        let found = |name: &&str| self.find(name).map_or(Place::Unknown, Place::Found);
        hints.ids.extend(names.iter().map(found));
    }

    /// The same for names that a stream is about to subscribe to: those that are not served are counted for the list,
    /// new ones among them, as far as there is room for everybody. What the stream does then is short.
    pub fn look_up_and_keep(&mut self, names: &[&str], hints: &mut Hints) {
        hints.renew(self.epoch());
        let cost = names.iter().map(|name| Self::cost(name.len())).sum();
        let has_room = self.admits(cost, || usize::MAX);
        for name in names {
            let found = self.find(name);
            let place = match found {
                Some(id) if self.is_served(id) => Place::Found(id),
                _ if is_name(name) && (found.is_some() || has_room) => Place::Kept(self.ask(name)),
                Some(id) => Place::Found(id),
                None => Place::Unknown,
            };
            hints.ids.push(place);
        }
    }

    /// As [`Self::find`].
    pub(super) fn find_hinted(&self, name: &str, hint: Hint) -> Option<NameId> {
        hint.get(self).or_else(|| self.find(name))
    }

    /// As [`Self::publish`].
    pub(super) fn publish_hinted(&mut self, name: &Arc<str>, hint: Hint) -> NameId {
        match hint.get(self) {
            Some(id) => {
                self.publish_known(id);
                id
            }
            None => self.publish(name),
        }
    }

    /// As [`Self::ask`].
    pub(super) fn ask_hinted(&mut self, name: &str, hint: Hint) -> NameId {
        match hint.get(self) {
            Some(id) => {
                self.ask_known(id);
                id
            }
            None => self.ask(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_not_used_once_a_number_is_free() {
        let mut names = Names::default();
        let (a, b) = (names.ask("a"), names.ask("b"));
        let mut hints = Hints::default();
        names.look_up(&["a", "new"], &mut hints);
        names.look_up(&["b"], &mut hints);
        assert_eq!(names.find_hinted("a", hints.at(0)), Some(a));
        assert_eq!(names.find_hinted("new", hints.at(1)), None);
        assert_eq!(names.ask_hinted("b", hints.at(2)), b);
        names.release(a);
        assert_eq!(names.ask("c"), a, "the number is used again");
        assert_eq!(names.find_hinted("a", hints.at(0)), None);
        let d = names.ask_hinted("a", hints.at(0));
        assert_ne!(d, a);
        names.look_up(&["c"], &mut hints);
        assert_eq!(names.find_hinted("b", hints.at(2)), Some(b), "found again");
        assert_eq!(names.find_hinted("c", hints.at(3)), Some(a));
    }

    #[test]
    fn a_name_that_is_counted_for_the_list_keeps_its_number() {
        let mut names = Names::default();
        let served = names.publish(&"served".into());
        let (gone, other) = (names.ask("gone"), names.ask("other"));
        let mut hints = Hints::default();
        names.look_up_and_keep(&["served", "new", "other", "*", ""], &mut hints);
        names.release(gone);
        names.release(other);
        names.look_up_and_keep(&["new"], &mut hints);
        let new = names.find("new");
        assert_eq!(new, Some(gone + 2));
        assert_eq!(
            names.find_hinted("served", hints.at(0)),
            Some(served),
            "found again"
        );
        for (at, id) in [(1, new), (2, Some(other)), (5, new)] {
            assert_eq!(hints.at(at).get(&names), id);
        }
        assert_eq!((hints.at(3).get(&names), hints.at(4).get(&names)), (None, None));
        let kept: Vec<NameId> = hints.kept().collect();
        assert_eq!(kept.len(), 3);
        for id in kept {
            names.release(id);
        }
        assert_eq!(
            (names.find("new"), names.find("other"), names.len()),
            (None, None, 1)
        );
    }

    #[test]
    fn a_full_table_keeps_nothing_for_a_list() {
        let mut names = Names::default();
        let long = |n: usize| format!("{n:0500}");
        let many: Vec<String> = (0..120_000).map(long).collect();
        let list: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut hints = Hints::default();
        for part in list.chunks(1_000) {
            names.look_up_and_keep(part, &mut hints);
        }
        let kept = hints.kept().count();
        assert!(kept > 60_000 && kept < 100_000, "{kept}");
        assert_eq!(names.len(), kept);
    }
}
