//! Who is concerned by a changed name: an inverted index from names to streams,
//! so that a change costs what subscribes to it, not what exists.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::kind::{Kind, PerKind};
use super::names::NameId;

/// The number of a stream, used again after it ended.
pub type StreamId = u32;

/// All subscriptions of all streams, by name.
#[derive(Debug, Default)]
pub struct Index {
    kinds: PerKind<Subscribers>,
}

#[derive(Debug, Default)]
struct Subscribers {
    wildcard: RoaringBitmap,
    named: HashMap<NameId, RoaringBitmap>,
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

    /// A stream subscribes to a name.
    pub fn add(&mut self, kind: Kind, stream: StreamId, name: NameId) {
        self.kinds
            .get_mut(kind)
            .named
            .entry(name)
            .or_default()
            .insert(stream);
    }

    /// A stream no longer subscribes to a name.
    pub fn remove(&mut self, kind: Kind, stream: StreamId, name: NameId) {
        let named = &mut self.kinds.get_mut(kind).named;
        if let Some(streams) = named.get_mut(&name) {
            streams.remove(stream);
            if streams.is_empty() {
                named.remove(&name);
            }
        }
    }

    /// The streams that subscribe to `*` of a type.
    #[must_use]
    pub fn wildcards(&self, kind: Kind) -> &RoaringBitmap {
        &self.kinds.get(kind).wildcard
    }

    /// The streams that subscribe to this name.
    #[must_use]
    pub fn named(&self, kind: Kind, name: NameId) -> Option<&RoaringBitmap> {
        self.kinds.get(kind).named.get(&name)
    }
}
