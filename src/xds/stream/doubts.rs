//! State of the world, types whose response is the whole set: which of its resources a client does not take.
//!
//! A refusal says nothing of the others in the set. What was new in it is tried again in halves, beside what the
//! client accepted before, until each resource was accepted, or refused where it alone was new. The client's words
//! are a hint: what they name is tried last, so that mostly the first attempt leaves nothing else out.
//! Never leaves out what was accepted: its last accepted content stays in the set.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::super::client::Client;
use super::super::generation::Generation;
use super::super::kind::Kind;
use super::super::names::NameId;
use super::super::resource::{Resource, Version};
use super::super::subscription::{Flight, Subscription};

/// So many bytes of a refusal's words are looked at for names of resources.
const READ: usize = 256 << 10;

/// What one type of one stream has accepted, and what is in doubt.
#[derive(Debug, Default)]
pub(in crate::xds) struct Doubts {
    /// Accepted last.
    good: Offer,
    /// Sent last. What of it is gone stays in the set while something that the client holds names it.
    sent: Offer,
    /// To be tried, the last one next; no resource is in two.
    groups: Vec<RoaringBitmap>,
    /// Something of a refused set may be at the client, and is not in what it accepted last.
    uncertain: bool,
    /// A set is to be made though nothing changed.
    pub(in crate::xds) retry: bool,
}

/// A whole set, without a copy of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Offer {
    /// What it was made from.
    pub(super) generation: Generation,
    /// What was in it.
    pub(super) ids: RoaringBitmap,
    /// What of it is not as the generation has it.
    pub(super) other: BTreeMap<NameId, Arc<Resource>>,
    pub(super) set: Version,
}

/// Whose view of a generation is meant.
pub(super) type Viewer<'a> = (Kind, Client, &'a str);

impl Offer {
    fn get(&self, id: NameId, (kind, client, fleet): Viewer<'_>) -> Option<&Arc<Resource>> {
        let there = self.ids.contains(id);
        let usual = || self.generation.get_for(fleet, client, kind, id);
        self.other.get(&id).or_else(usual).filter(|_| there)
    }
}

impl Doubts {
    /// Whether there is more to try.
    pub(super) fn has_more(&self) -> bool {
        !self.groups.is_empty()
    }

    /// The content of a resource that the client accepted last.
    pub(super) fn good(&self, id: NameId, viewer: Viewer<'_>) -> Option<&Arc<Resource>> {
        self.good.get(id, viewer)
    }

    /// The content that was sent last.
    pub(super) fn sent(&self, id: NameId, viewer: Viewer<'_>) -> Option<&Arc<Resource>> {
        self.sent.get(id, viewer)
    }

    /// Whether the client has exactly this set.
    pub(super) fn is_good(&self, set: Version) -> bool {
        self.good.set == set && !self.uncertain
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
    pub(super) fn next(&self) -> Option<&RoaringBitmap> {
        self.groups.last()
    }

    /// The next group goes into the set. False: there is none.
    pub(super) fn next_group(&mut self) -> bool {
        self.groups.pop().is_some()
    }

    pub(super) fn offer(&mut self, offer: Offer) {
        self.sent = offer;
        self.retry = false;
    }

    /// What was sent last counts as never answered.
    pub(super) fn lapse(&mut self) {
        self.retry |= !self.groups.is_empty();
    }

    /// All numbers that stand here.
    pub(in crate::xds) fn all(&self) -> RoaringBitmap {
        let mut all = self.waiting();
        for offer in [&self.good, &self.sent] {
            all |= &offer.ids;
            all.extend(offer.other.keys().copied());
        }
        all
    }

    /// Nothing is known of the client's copy any more.
    pub(in crate::xds) fn forget(&mut self, id: NameId) {
        for offer in [&mut self.good, &mut self.sent] {
            offer.ids.remove(id);
            offer.other.remove(&id);
        }
        for group in &mut self.groups {
            group.remove(id);
        }
    }
}

impl Subscription {
    /// A whole set was accepted.
    pub(super) fn accepted_whole(&mut self, flight: &Flight) {
        if !self.refused.is_empty() {
            let as_published = |id: &NameId| !self.doubts.sent.other.contains_key(id);
            for (id, _) in flight.names.iter().filter(|(id, _)| as_published(id)) {
                self.refused.remove(id);
            }
        }
        self.doubts.good = self.doubts.sent.clone();
        self.doubts.uncertain = false;
        self.refused_set = None;
        self.doubts.retry |= !self.doubts.groups.is_empty();
    }

    /// A whole set was refused, with these words.
    pub(super) fn refuse_whole(&mut self, flight: &Flight, words: &str, viewer: Viewer<'_>) {
        self.refused_set = Some(flight.set);
        let wanted = |id: NameId| self.wildcard || self.names.contains(id);
        let good = &self.doubts.good;
        let version = |id| good.get(id, viewer).map(|resource| resource.version);
        let news: Vec<(NameId, Version)> = flight
            .names
            .iter()
            .filter(|(id, sent)| wanted(*id) && version(*id) != Some(*sent))
            .copied()
            .collect();
        self.doubts.retry = true;
        if let [(id, version)] = news[..] {
            self.refused.insert(id, version);
            return;
        }
        self.doubts.uncertain |= !news.is_empty();
        let sent = &self.doubts.sent;
        let said = said(words);
        let is_named = |id: &NameId| {
            sent.get(*id, viewer)
                .is_some_and(|sent| said.contains(&*sent.name))
        };
        let all = news.iter().map(|(id, _)| *id);
        let (named, others): (RoaringBitmap, RoaringBitmap) = {
            let (named, others): (Vec<NameId>, Vec<NameId>) = all.partition(is_named);
            (named.into_iter().collect(), others.into_iter().collect())
        };
        let groups = &mut self.doubts.groups;
        if named.is_empty() || others.is_empty() {
            groups.extend(halves(named | others));
        } else {
            groups.extend(halves(named));
            groups.push(others);
        }
    }
}

fn halves(group: RoaringBitmap) -> impl Iterator<Item = RoaringBitmap> {
    let half = usize::try_from(group.len() / 2).unwrap_or_default();
    let first: RoaringBitmap = group.iter().take(half).collect();
    let rest = group - &first;
    [rest, first].into_iter().filter(|half| !half.is_empty())
}

/// What may be names of resources in the words of a client. They are a hint only, and may be long: they are looked
/// at once and not for each resource, and no further than [`READ`].
fn said(words: &str) -> HashSet<&str> {
    let end = (0..=READ.min(words.len())).rfind(|end| words.is_char_boundary(*end));
    let part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '.');
    words[..end.unwrap_or_default()]
        .split(|c| !part(c))
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
            assert_eq!(said(text).contains(name), wanted, "{name}");
        }
        let long = "ä".repeat(READ);
        assert_eq!(
            said(&format!("a {long} b")).len(),
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
