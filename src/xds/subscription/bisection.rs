//! State of the world, types whose response is the whole set: finds the resources that a client refuses.
//!
//! A NACK refuses the whole set and says nothing of its parts. What was new in the set is sent again in halves,
//! beside what the client accepted before, until each resource was accepted, or refused when it alone was new. The
//! error message is a hint: what it names is sent last, so that usually the first attempt leaves nothing else out.
//! Never leaves out what was accepted: its last accepted content stays in the set.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::super::generation::Generation;
use super::super::kind::Kind;
use super::super::names::NameId;
use super::super::resource::{Resource, Version};
use super::super::viewer::Viewer;

/// Bytes of an error message that are searched for names of resources.
const READ: usize = 256 << 10;

/// What one type of one stream has accepted, and what is yet to be tried of a refused set.
#[derive(Debug, Default)]
pub(in crate::xds) struct Bisection {
    /// Accepted last.
    accepted: SentSet,
    /// Sent last. What of it is gone stays in the set while something that the client holds refers to it.
    sent: SentSet,
    /// To be tried, the last one next; no resource is in two.
    groups: Vec<RoaringBitmap>,
    /// Something of a refused set may be at the client, and is not in what it accepted last.
    uncertain: bool,
    /// A set is to be composed though nothing changed.
    pub(in crate::xds) retry: bool,
}

/// A whole set, without a copy of it.
#[derive(Clone, Debug, Default)]
pub(in crate::xds) struct SentSet {
    /// What it was made from; `None`: there is no set. Not in place: a stream has ten of these, which only whole sets
    /// need, and a generation is large.
    pub(in crate::xds) generation: Option<Arc<Generation>>,
    /// What was in it.
    pub(in crate::xds) ids: RoaringBitmap,
    /// Resources in it whose content is not that of the generation.
    pub(in crate::xds) other: BTreeMap<NameId, Arc<Resource>>,
    /// Its version.
    pub(in crate::xds) set: Version,
}

/// Whose view of a generation is meant.
pub(in crate::xds) type Look<'a> = (Kind, &'a Viewer);

impl SentSet {
    fn get(&self, id: NameId, (kind, viewer): Look<'_>) -> Option<&Arc<Resource>> {
        let there = self.ids.contains(id);
        let usual = || self.generation.as_ref()?.get_for(viewer, kind, id);
        self.other.get(&id).or_else(usual).filter(|_| there)
    }
}

impl Bisection {
    /// Whether there is more to try.
    pub(in crate::xds) fn has_more(&self) -> bool {
        !self.groups.is_empty()
    }

    /// The content of a resource that the client accepted last.
    pub(in crate::xds) fn accepted(&self, id: NameId, viewer: Look<'_>) -> Option<&Arc<Resource>> {
        self.accepted.get(id, viewer)
    }

    /// The content that was sent last.
    pub(in crate::xds) fn sent(&self, id: NameId, viewer: Look<'_>) -> Option<&Arc<Resource>> {
        self.sent.get(id, viewer)
    }

    /// Whether a resource was sent last in another content than the published one.
    pub(in crate::xds) fn sent_otherwise(&self, id: NameId) -> bool {
        self.sent.other.contains_key(&id)
    }

    /// Whether the client has exactly this set.
    pub(in crate::xds) fn is_accepted(&self, set: Version) -> bool {
        self.accepted.set == set && !self.uncertain
    }

    /// Whether a resource waits for its turn.
    pub(in crate::xds) fn waits(&self, id: NameId) -> bool {
        self.groups.iter().any(|group| group.contains(id))
    }

    /// All that wait.
    pub(in crate::xds) fn waiting(&self) -> RoaringBitmap {
        self.groups
            .iter()
            .fold(RoaringBitmap::new(), |all, group| all | group)
    }

    /// The group that is tried next.
    pub(in crate::xds) fn next(&self) -> Option<&RoaringBitmap> {
        self.groups.last()
    }

    /// The next group goes into the set. False: there is none.
    pub(in crate::xds) fn next_group(&mut self) -> bool {
        self.groups.pop().is_some()
    }

    /// This set is sent.
    pub(in crate::xds) fn send(&mut self, set: SentSet) {
        self.sent = set;
        self.retry = false;
    }

    /// The set sent last will not be acknowledged.
    pub(in crate::xds) fn lapse(&mut self) {
        self.retry |= !self.groups.is_empty();
    }

    /// The set sent last was accepted.
    pub(in crate::xds) fn accept(&mut self) {
        self.accepted = self.sent.clone();
        self.uncertain = false;
        self.retry |= !self.groups.is_empty();
    }

    /// The set sent last was refused, and the culprit is known.
    pub(in crate::xds) const fn refuse_one(&mut self) {
        self.retry = true;
    }

    /// The set sent last was refused; `new`: what of it the client had not accepted before.
    pub(in crate::xds) fn refuse(&mut self, new: &[(NameId, Version)], message: &str, viewer: Look<'_>) {
        self.retry = true;
        self.uncertain |= !new.is_empty();
        let words = words(message);
        let is_named = |id: &NameId| {
            let sent = self.sent.get(*id, viewer);
            sent.is_some_and(|sent| words.contains(&*sent.name))
        };
        let (named, others): (Vec<NameId>, Vec<NameId>) = new.iter().map(|(id, _)| *id).partition(is_named);
        let (named, others): (RoaringBitmap, RoaringBitmap) =
            (named.into_iter().collect(), others.into_iter().collect());
        if named.is_empty() || others.is_empty() {
            self.groups.extend(halves(named | others));
        } else {
            self.groups.extend(halves(named));
            self.groups.push(others);
        }
    }

    /// All numbers that occur here.
    pub(in crate::xds) fn all(&self) -> RoaringBitmap {
        let mut all = self.waiting();
        for set in [&self.accepted, &self.sent] {
            all |= &set.ids;
            all.extend(set.other.keys().copied());
        }
        all
    }

    /// Nothing is known of the client's copy any more.
    pub(in crate::xds) fn forget(&mut self, id: NameId) {
        for set in [&mut self.accepted, &mut self.sent] {
            set.ids.remove(id);
            set.other.remove(&id);
        }
        for group in &mut self.groups {
            group.remove(id);
        }
    }
}

fn halves(group: RoaringBitmap) -> impl Iterator<Item = RoaringBitmap> {
    let half = usize::try_from(group.len() / 2).unwrap_or_default();
    let first: RoaringBitmap = group.iter().take(half).collect();
    let rest = group - &first;
    [rest, first].into_iter().filter(|half| !half.is_empty())
}

/// What may be names of resources in an error message. It is only a hint and may be long, so it is split once
/// rather than searched for each resource, and no further than [`READ`].
fn words(message: &str) -> HashSet<&str> {
    let end = (0..=READ.min(message.len())).rfind(|end| message.is_char_boundary(*end));
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '.');
    message[..end.unwrap_or_default()]
        .split(|c| !in_name(c))
        .map(|word| word.trim_end_matches('.'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_word_only() {
        let text = "Error adding/updating cluster(s) web-2, api.x: malformed. cart.";
        for (name, wanted) in [
            ("web-2", true),
            ("web", false),
            ("api.x", true),
            ("api", false),
            ("cart", true),
            ("x", false),
        ] {
            assert_eq!(words(text).contains(name), wanted, "{name}");
        }
        let long = "ä".repeat(READ);
        assert_eq!(
            words(&format!("a {long} b")).len(),
            2,
            "and no further than a bound"
        );
    }

    #[test]
    fn a_group_is_halved_until_one_is_left() {
        let sizes = |n: u32| {
            halves((0..n).collect())
                .map(|half| half.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (sizes(5), sizes(2), sizes(1), sizes(0)),
            (vec![3, 2], vec![1, 1], vec![1], vec![])
        );
    }
}
