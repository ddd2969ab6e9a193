//! Numbers of names that were looked up beforehand, so that the table of names is held for a short
//! time only when many are needed at once. A hint is never trusted after any number came to mean
//! another name.

use std::sync::Arc;

use super::names::{NameId, Names};

/// The numbers of a list of names, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    epoch: u64,
    ids: Vec<Option<NameId>>,
}

/// The number of one name, maybe.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hint {
    epoch: u64,
    id: Option<NameId>,
}

impl Hints {
    /// Of the name at this place of the list.
    pub(super) fn at(&self, place: usize) -> Hint {
        Hint {
            epoch: self.epoch,
            id: self.ids.get(place).copied().flatten(),
        }
    }
}

impl Hint {
    fn get(self, names: &Names) -> Option<NameId> {
        self.id.filter(|_| self.epoch == names.epoch())
    }
}

impl Names {
    /// Looks up the next names of a list.
    pub fn look_up(&self, names: &[&str], hints: &mut Hints) {
        if hints.epoch != self.epoch() {
            hints.ids.fill(None);
            hints.epoch = self.epoch();
        }
        hints.ids.extend(names.iter().map(|name| self.find(name)));
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
}
