//! The streams that a changed name concerns: an inverted index from names to streams,
//! so that a change costs what subscribes to it, not what exists.
//!
//! The Envoys of a fleet name the same thousands of clusters, each in one request. Streams
//! that named the same set are one crowd, entered and left as a whole; what one of them
//! gives up later is kept beside it, and a stream that has given up half of it leaves it. A stream is
//! in one crowd at most, and the number of these is bounded: no client can make the index cost
//! more than what is subscribed to. All other names are kept one by one.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::kind::{Kind, PerKind};
use super::names::NameId;

/// The number of a stream, used again after it ended.
pub type StreamId = u32;

/// Names in one request that make a crowd.
const CROWD: u64 = 64;

/// Maximum of crowds per type: a fleet or two makes a few.
const CROWDS: usize = 256;

/// All subscriptions of all streams, by name.
#[derive(Debug, Default)]
pub struct Index {
    kinds: PerKind<Subscribers>,
}

#[derive(Debug, Default)]
struct Subscribers {
    wildcard: RoaringBitmap,
    /// By the number of the name.
    named: Vec<RoaringBitmap>,
    crowds: Vec<Crowd>,
    /// Streams that are in one of them.
    crowded: RoaringBitmap,
}

/// Streams that named the same set in one request.
#[derive(Debug, Default)]
struct Crowd {
    names: RoaringBitmap,
    streams: RoaringBitmap,
    /// Streams that have given up a name since.
    without: HashMap<NameId, RoaringBitmap>,
    /// How many names each of these has given up.
    given_up: HashMap<StreamId, u64>,
}

impl Index {
    /// A stream subscribes to `*` of a type, or no longer does.
    pub fn wildcard(&mut self, kind: Kind, stream: StreamId, on: bool) {
        let wildcard = &mut self.kinds.get_mut(kind).wildcard;
        if on {
            wildcard.insert(stream);
        } else {
            wildcard.remove(stream);
        }
    }

    /// A stream subscribes to names that it did not subscribe to.
    pub fn add(&mut self, kind: Kind, stream: StreamId, names: &RoaringBitmap) {
        let subscribers = self.kinds.get_mut(kind);
        let at = (names.len() >= CROWD && !subscribers.crowded.contains(stream))
            .then(|| subscribers.crowd(names))
            .flatten();
        let Some(at) = at else {
            for name in names {
                subscribers.add(stream, name);
            }
            return;
        };
        subscribers.crowds[at].streams.insert(stream);
        subscribers.crowded.insert(stream);
    }

    /// A stream no longer subscribes to a name.
    pub fn remove(&mut self, kind: Kind, stream: StreamId, name: NameId) {
        let subscribers = self.kinds.get_mut(kind);
        if subscribers.drop_named(stream, name) || !subscribers.crowded.contains(stream) {
            return;
        }
        let Some(at) = subscribers.crowds.iter().position(|c| c.subscribes(stream, name)) else {
            return;
        };
        let crowd = &mut subscribers.crowds[at];
        crowd.without.entry(name).or_default().insert(stream);
        let given_up = crowd.given_up.entry(stream).or_default();
        *given_up += 1;
        if *given_up * 2 >= crowd.names.len() {
            subscribers.dissolve(at, stream);
        }
    }

    /// A stream has ended; `names`: all that it subscribed to.
    pub fn leave(&mut self, stream: StreamId, names: impl Iterator<Item = (Kind, NameId)>) {
        for kind in Kind::ALL {
            let subscribers = self.kinds.get_mut(kind);
            subscribers.wildcard.remove(stream);
            if subscribers.crowded.remove(stream) {
                subscribers.crowds.retain_mut(|crowd| {
                    if crowd.streams.remove(stream) {
                        crowd.take_back(stream);
                    }
                    !crowd.streams.is_empty()
                });
            }
        }
        for (kind, name) in names {
            self.kinds.get_mut(kind).drop_named(stream, name);
        }
    }

    /// No name has a number from here on.
    pub fn tidy(&mut self, used: usize) {
        for kind in Kind::ALL {
            let named = &mut self.kinds.get_mut(kind).named;
            named.truncate(used);
            named.shrink_to_fit();
        }
    }

    /// The streams that subscribe to `*` of a type.
    #[must_use]
    pub fn wildcards(&self, kind: Kind) -> &RoaringBitmap {
        &self.kinds.get(kind).wildcard
    }

    /// The streams that subscribe to this name, or to `*`.
    #[must_use]
    pub fn subscribers(&self, kind: Kind, name: NameId) -> RoaringBitmap {
        self.named(kind, name) | self.wildcards(kind)
    }

    /// Whether any stream subscribes to this name, of whatever type.
    #[must_use]
    pub fn is_named(&self, name: NameId) -> bool {
        Kind::ALL
            .into_iter()
            .any(|kind| !self.named(kind, name).is_empty())
    }

    /// The streams that subscribe to this name.
    #[must_use]
    pub fn named(&self, kind: Kind, name: NameId) -> RoaringBitmap {
        let subscribers = self.kinds.get(kind);
        let mut streams = subscribers.named.get(name as usize).cloned().unwrap_or_default();
        for crowd in subscribers.crowds.iter().filter(|c| c.names.contains(name)) {
            match crowd.without.get(&name) {
                Some(without) => streams |= &crowd.streams - without,
                None => streams |= &crowd.streams,
            }
        }
        streams
    }
}

impl Subscribers {
    /// The crowd of these names, old or new; `None`: there are too many already.
    fn crowd(&mut self, names: &RoaringBitmap) -> Option<usize> {
        if let Some(at) = self.crowds.iter().position(|c| c.names == *names) {
            return Some(at);
        }
        (self.crowds.len() < CROWDS).then(|| {
            self.crowds.push(Crowd {
                names: names.clone(),
                ..Crowd::default()
            });
            self.crowds.len() - 1
        })
    }

    /// A stream leaves a crowd; what it still subscribes to of it is kept name by name.
    fn dissolve(&mut self, at: usize, stream: StreamId) {
        let crowd = &mut self.crowds[at];
        let rest: Vec<NameId> = crowd
            .names
            .iter()
            .filter(|name| crowd.subscribes(stream, *name))
            .collect();
        crowd.streams.remove(stream);
        crowd.take_back(stream);
        if crowd.streams.is_empty() {
            self.crowds.swap_remove(at);
        }
        self.crowded.remove(stream);
        for name in rest {
            self.add(stream, name);
        }
    }

    fn add(&mut self, stream: StreamId, name: NameId) {
        for crowd in self.crowds.iter_mut().filter(|c| c.streams.contains(stream)) {
            let Some(without) = crowd.without.get_mut(&name) else {
                continue;
            };
            if without.remove(stream) {
                if without.is_empty() {
                    crowd.without.remove(&name);
                }
                if let Some(given_up) = crowd.given_up.get_mut(&stream) {
                    *given_up = given_up.saturating_sub(1);
                }
                return;
            }
        }
        let at = name as usize;
        if self.named.len() <= at {
            self.named.resize_with(at + 1, RoaringBitmap::default);
        }
        self.named[at].insert(stream);
    }

    fn drop_named(&mut self, stream: StreamId, name: NameId) -> bool {
        let Some(streams) = self.named.get_mut(name as usize) else {
            return false;
        };
        let was = streams.remove(stream);
        if was && streams.is_empty() {
            *streams = RoaringBitmap::default(); // its memory too
        }
        was
    }
}

impl Crowd {
    fn subscribes(&self, stream: StreamId, name: NameId) -> bool {
        self.names.contains(name)
            && self.streams.contains(stream)
            && !self.without.get(&name).is_some_and(|w| w.contains(stream))
    }

    /// This stream has given up nothing.
    fn take_back(&mut self, stream: StreamId) {
        if self.given_up.remove(&stream).is_none() {
            return;
        }
        self.without.retain(|_, streams| {
            streams.remove(stream);
            !streams.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Add(StreamId, BTreeSet<NameId>),
        Remove(StreamId, BTreeSet<NameId>),
        Leave(StreamId),
    }

    fn step() -> impl Strategy<Value = Step> {
        let range = (0..3_u32, 1..100_u32).prop_map(|(from, len)| (from..from + len).collect());
        let few = prop::collection::btree_set(0..110_u32, 1..4);
        let names = prop_oneof![range, few].boxed();
        let stream = 0..4_u32;
        prop_oneof![
            4 => (stream.clone(), names.clone()).prop_map(|(s, n)| Step::Add(s, n)),
            3 => (stream.clone(), names).prop_map(|(s, n)| Step::Remove(s, n)),
            1 => stream.prop_map(Step::Leave),
        ]
    }

    #[test]
    fn a_stream_that_changes_its_mind_leaves_nothing_behind() {
        let (mut index, kind) = (Index::default(), Kind::Endpoints);
        for round in 0..1_000_u32 {
            let names: RoaringBitmap = (round * 7..round * 7 + 100).collect();
            index.add(kind, 1, &names);
            assert!(index.kinds.get(kind).crowds.len() <= 1);
            for name in &names {
                index.remove(kind, 1, name);
            }
            assert!(names.iter().all(|name| index.named(kind, name).is_empty()));
        }
        let left = index.kinds.get(kind);
        assert!(left.crowds.is_empty() && left.crowded.is_empty());
    }

    proptest! {
        #[test]
        fn it_knows_what_a_plain_set_knows(steps in prop::collection::vec(step(), 1..40)) {
            let (mut index, kind) = (Index::default(), Kind::Endpoints);
            let mut plain: BTreeSet<(StreamId, NameId)> = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Add(stream, names) => {
                        let new: RoaringBitmap = names.into_iter().filter(|n| plain.insert((stream, *n))).collect();
                        index.add(kind, stream, &new);
                    }
                    Step::Remove(stream, names) => {
                        for name in names.into_iter().filter(|n| plain.remove(&(stream, *n))) {
                            index.remove(kind, stream, name);
                        }
                    }
                    Step::Leave(stream) => {
                        let of_stream = |(s, _): &&(StreamId, NameId)| *s == stream;
                        let names: Vec<_> = plain.iter().filter(of_stream).map(|(_, n)| (kind, *n)).collect();
                        plain.retain(|(s, _)| *s != stream);
                        index.leave(stream, names.into_iter());
                    }
                }
                for name in 0..110 {
                    let wanted: Vec<_> = plain.iter().filter(|(_, n)| *n == name).map(|(s, _)| *s).collect();
                    prop_assert_eq!(index.named(kind, name).iter().collect::<Vec<_>>(), wanted);
                }
            }
            for stream in 0..4 {
                index.leave(stream, plain.iter().filter(|(s, _)| *s == stream).map(|(_, n)| (kind, *n)));
            }
            prop_assert!(index.kinds.get(kind).crowds.is_empty());
        }
    }
}
