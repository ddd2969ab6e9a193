//! Which streams have acknowledged a content: the barrier of drains, and what an operator sees.
//!
//! A version is a hash and has no order, so a watch is for the content of a name *from now on*: a
//! client that skips it for newer content has it, too. A stream is done once its client accepted any
//! content published since the watch began, and stays done: no client goes back.
//!
//! Nothing is recorded while nobody watches. A stream knows by its own sets what its client has
//! acknowledged ([`super::Stream::has_acked`]); that answers for the moment at which a watch begins, and for
//! clients that are sent nothing because they reconnect with the newest content. ACKs do for the rest, so
//! a client that is always one change behind is done as well.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::client::Client;
use super::generation::{Changed, Generation};
use super::index::StreamId;
use super::kind::Kind;
use super::names::NameId;
use super::resource::Version;
use super::viewer::Viewer;

/// The number of a watch, never used again.
pub type WatchId = u64;

/// Versions that one watch remembers, of the newest contents. A client whose ACK means an older one
/// is done with its next.
const VERSIONS: usize = 256;

/// All watches.
#[derive(Debug, Default)]
pub struct Acks {
    watches: BTreeMap<WatchId, Watch>,
    last: WatchId,
}

#[derive(Debug)]
struct Watch {
    kind: Kind,
    id: NameId,
    /// Of the contents since it began, the oldest first.
    versions: Vec<Version>,
    done: RoaringBitmap,
}

impl Acks {
    /// Whether nobody watches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Watches the content that a name has in this generation, or later.
    pub fn watch(&mut self, kind: Kind, id: NameId, generation: &Generation) -> WatchId {
        let mut watch = Watch {
            kind,
            id,
            versions: Vec::new(),
            done: RoaringBitmap::new(),
        };
        watch.add(generation);
        self.last += 1;
        self.watches.insert(self.last, watch);
        self.last
    }

    /// Ends a watch; returns what was watched.
    pub fn unwatch(&mut self, watch: WatchId) -> Option<(Kind, NameId)> {
        self.watches.remove(&watch).map(|watch| (watch.kind, watch.id))
    }

    /// What is watched.
    #[must_use]
    pub fn watched(&self, watch: WatchId) -> Option<(Kind, NameId)> {
        self.watches.get(&watch).map(|watch| (watch.kind, watch.id))
    }

    /// Whether the number of a name is needed by a watch.
    #[must_use]
    pub fn needs(&self, id: NameId) -> bool {
        self.watches.values().any(|watch| watch.id == id)
    }

    /// These names have another content in this generation.
    pub fn published(&mut self, generation: &Generation, changed: &Changed) {
        for watch in self.watches.values_mut() {
            if changed.get(watch.kind).contains(watch.id) {
                watch.add(generation);
            }
        }
    }

    /// The client of a stream accepted these versions.
    pub fn accepted(&mut self, stream: StreamId, kind: Kind, names: &[(NameId, Version)]) {
        for watch in self.watches.values_mut().filter(|watch| watch.kind == kind) {
            let is_watched =
                |(id, version): &(NameId, Version)| *id == watch.id && watch.versions.contains(version);
            if names.iter().any(is_watched) {
                watch.done.insert(stream);
            }
        }
    }

    /// A stream knows by itself that its client has acknowledged what is watched.
    pub fn confirmed(&mut self, watch: WatchId, stream: StreamId) {
        if let Some(watch) = self.watches.get_mut(&watch) {
            watch.done.insert(stream);
        }
    }

    /// A stream ended: its number may come to mean another one.
    pub fn left(&mut self, stream: StreamId) {
        for watch in self.watches.values_mut() {
            watch.done.remove(stream);
        }
    }

    /// Which of the streams that subscribe to the name have not acknowledged it.
    #[must_use]
    pub fn lagging(&self, watch: WatchId, subscribed: &RoaringBitmap) -> RoaringBitmap {
        match self.watches.get(&watch) {
            Some(watch) => subscribed - &watch.done,
            None => RoaringBitmap::new(),
        }
    }

    /// Whether all streams that subscribe to the name have acknowledged it.
    #[must_use]
    pub fn acked_by_all(&self, watch: WatchId, subscribed: &RoaringBitmap) -> bool {
        self.watches
            .get(&watch)
            .is_none_or(|watch| subscribed.is_subset(&watch.done))
    }
}

impl Watch {
    /// The content of each kind of client counts.
    fn add(&mut self, generation: &Generation) {
        for client in [Client::Envoy].into_iter().chain(Client::GRPC) {
            let resource = generation.get_as(
                &Viewer::of(client, &std::sync::Arc::default()),
                self.kind,
                self.id,
            );
            if let Some(version) = resource.map(|resource| resource.version)
                && !self.versions.contains(&version)
            {
                if self.versions.len() >= VERSIONS {
                    self.versions.remove(0);
                }
                self.versions.push(version);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::names::Names;
    use super::super::resource::{Draft, Reach};
    use super::super::update::Update;
    use super::*;

    const KIND: Kind = Kind::Endpoints;
    const STREAMS: StreamId = 4;

    fn put(name: u8, content: u32) -> Update {
        Update::Put(Draft {
            kind: KIND,
            name: name.to_string().into(),
            body: content.to_le_bytes().to_vec(),
            needs: Vec::new(),
            reach: Reach::All,
            local: None,
        })
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// A further content of a name.
        Publish(u8),
        /// The client of a stream accepts the newest content of a name, or the one `n` before it.
        Ack(StreamId, u8, usize),
        Watch(u8),
        Unwatch(usize),
        Leave(StreamId),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (name, stream) = (0..3_u8, 0..STREAMS);
        prop_oneof![
            3 => name.clone().prop_map(Step::Publish),
            6 => (stream.clone(), name.clone(), 0..3_usize).prop_map(|(s, n, old)| Step::Ack(s, n, old)),
            2 => name.prop_map(Step::Watch),
            1 => (0..4_usize).prop_map(Step::Unwatch),
            1 => stream.prop_map(Step::Leave),
        ]
    }

    /// The naive model: all contents of each name in order, and for each stream and name the newest
    /// content that was ever accepted.
    #[derive(Default)]
    struct Model {
        contents: BTreeMap<u8, Vec<Version>>,
        accepted: BTreeMap<(StreamId, u8), usize>,
        /// Watch → name and the content at its beginning.
        watches: Vec<(WatchId, u8, usize)>,
    }

    impl Model {
        fn newest(&self, name: u8) -> usize {
            self.contents[&name].len() - 1
        }

        fn lagging(&self, name: u8, from: usize) -> Vec<StreamId> {
            let holds = |stream: &StreamId| {
                let accepted = self.accepted.get(&(*stream, name));
                accepted.is_some_and(|accepted| *accepted >= from)
            };
            (0..STREAMS).filter(|stream| !holds(stream)).collect()
        }
    }

    proptest! {
        #[test]
        fn it_knows_what_a_full_history_knows(steps in prop::collection::vec(step(), 1..60)) {
            let (mut names, mut acks, mut model) = (Names::default(), Acks::default(), Model::default());
            let first: Vec<Update> = (0..3).map(|name| put(name, 0)).collect();
            let (mut generation, _) = Generation::default().next(&mut names, &first);
            let id = |names: &Names, name: u8| names.find(&name.to_string()).unwrap();
            for name in 0..3 {
                let version = generation.get(KIND, id(&names, name)).unwrap().version;
                model.contents.insert(name, vec![version]);
            }
            let subscribed: RoaringBitmap = (0..STREAMS).collect();
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Publish(name) => {
                        let content = u32::try_from(at + 1).unwrap();
                        let (next, changed) = generation.next(&mut names, &[put(name, content)]);
                        generation = next;
                        acks.published(&generation, &changed);
                        let version = generation.get(KIND, id(&names, name)).unwrap().version;
                        model.contents.get_mut(&name).unwrap().push(version);
                    }
                    Step::Ack(stream, name, old) => {
                        let place = model.newest(name).saturating_sub(old);
                        let version = model.contents[&name][place];
                        acks.accepted(stream, KIND, &[(id(&names, name), version)]);
                        let accepted = model.accepted.entry((stream, name)).or_default();
                        *accepted = place.max(*accepted);
                    }
                    Step::Watch(name) => {
                        let watch = acks.watch(KIND, id(&names, name), &generation);
                        let from = model.newest(name);
                        // As the fan-out does it: streams that have it already are confirmed.
                        let lagging = model.lagging(name, from);
                        for stream in (0..STREAMS).filter(|stream| !lagging.contains(stream)) {
                            acks.confirmed(watch, stream);
                        }
                        model.watches.push((watch, name, from));
                    }
                    Step::Unwatch(place) if place < model.watches.len() => {
                        let (watch, name, _) = model.watches.remove(place);
                        prop_assert_eq!(acks.unwatch(watch), Some((KIND, id(&names, name))));
                    }
                    Step::Unwatch(_) => {}
                    Step::Leave(stream) => {
                        acks.left(stream);
                        model.accepted.retain(|(s, _), _| *s != stream);
                    }
                }
                for (watch, name, from) in &model.watches {
                    let lagging: Vec<_> = acks.lagging(*watch, &subscribed).iter().collect();
                    prop_assert_eq!(&lagging, &model.lagging(*name, *from));
                    prop_assert_eq!(acks.acked_by_all(*watch, &subscribed), lagging.is_empty());
                }
                prop_assert_eq!(acks.is_empty(), model.watches.is_empty());
            }
        }
    }
}
