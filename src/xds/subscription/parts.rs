//! The parts of a subscription, each with the invariant that holds between requests. Sets hold
//! name numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use super::super::names::NameId;
use super::super::resource::{Resource, Version};
use super::bisection::Bisection;

/// What the client subscribes to.
///
/// Invariant: the table of names counts each id in `names` once for this subscription, and
/// `bytes` is their length in all.
#[derive(Debug, Default)]
pub(in crate::xds) struct Wanted {
    /// Everything that `*` holds.
    pub(in crate::xds) wildcard: bool,
    /// Subscribed by name.
    pub(in crate::xds) names: RoaringBitmap,
    /// Length of these names.
    pub(in crate::xds) bytes: usize,
}

/// What the client has, as far as that can be known.
///
/// Invariant: an id in both `ids` and `absent` counts as held: the client may have it although a removal
/// was sent or refused.
#[derive(Debug, Default)]
pub(in crate::xds) struct Held {
    /// Resources of which some version was sent, or claimed by the client on connecting.
    pub(in crate::xds) ids: RoaringBitmap,
    /// Names whose absence was sent.
    pub(in crate::xds) absent: RoaringBitmap,
    /// Versions that this client refused: never sent to it again.
    pub(in crate::xds) refused: HashMap<NameId, Version>,
}

/// What is still to be sent.
///
/// Invariant: `again` is a subset of `dirty`; the table of names counts each id in `unknown` once for
/// this, as if subscribed to, so that it keeps its meaning.
#[derive(Debug, Default)]
pub(in crate::xds) struct Pending {
    /// Changed, subscribed or removed since it was last looked at.
    pub(in crate::xds) dirty: RoaringBitmap,
    /// To be sent although it did not change.
    pub(in crate::xds) again: RoaringBitmap,
    /// A response is owed even if it is empty.
    pub(in crate::xds) owed: bool,
    /// Resources of a refused batch, to be sent once more, one by one.
    pub(in crate::xds) suspects: RoaringBitmap,
    /// Names that the client claims to hold and that were never published here, or that it just
    /// dropped under a wildcard: it is owed their removal.
    pub(in crate::xds) unknown: RoaringBitmap,
    /// The same as `unknown`, for names that are too long for the table.
    pub(in crate::xds) too_long: BTreeSet<Arc<str>>,
}

/// What the client has not acknowledged, and since when something is held back.
///
/// Invariant: nonces in `flight` ascend; `gated` and `parting` are set only while something of this
/// type is pending; the table of names counts each id in `given_up` once for this, and none of them is
/// in `pending.unknown`.
#[derive(Debug, Default)]
pub(in crate::xds) struct Waiting {
    /// Responses without an ACK or NACK, oldest first.
    pub(in crate::xds) flight: VecDeque<Flight>,
    /// Unserved names that the client dropped, or whose removal was sent. A response in `flight` may
    /// carry their numbers, which mean the same until it is answered, and are given back then.
    pub(in crate::xds) given_up: RoaringBitmap,
    /// The last response is the first part of more that belongs to it: the next need not wait for an ACK.
    pub(in crate::xds) more: bool,
    /// Since when an addition waits for a cluster to be acknowledged.
    pub(in crate::xds) gated: Option<Duration>,
    /// Since when a removal waits for what still refers to it.
    pub(in crate::xds) parting: Option<Duration>,
}

impl Waiting {
    /// The client has answered a response. What refers to what is gone may have waited for that, so the time for it begins
    /// again: a client that is slow to answer for new clusters keeps the old ones that its routes still name.
    pub(in crate::xds) const fn answered(&mut self) {
        self.parting = None;
    }
}

/// What only a state-of-the-world stream needs, because its requests repeat the whole subscription
/// and its responses the whole set.
///
/// Invariant: on a delta stream nothing but `last_nonce` and `last_set` is ever set.
#[derive(Debug, Default)]
pub(in crate::xds) struct Sotw {
    /// Names were listed once, so an empty list no longer means everything.
    pub(in crate::xds) named_once: bool,
    /// The list of names that was last applied, hashed.
    pub(in crate::xds) last_list: Option<u128>,
    /// The nonce last sent: the only one whose ACK counts.
    pub(in crate::xds) last_nonce: u64,
    /// The version last sent.
    pub(in crate::xds) last_set: Option<Version>,
    /// The newest response, where a request with an empty nonce overtook its ACK.
    pub(in crate::xds) lapsed: Option<Flight>,
    /// The whole response that was refused.
    pub(in crate::xds) refused_set: Option<Version>,
    /// Names in the first request of a client that held resources of this type before: maybe these.
    pub(in crate::xds) claimed: RoaringBitmap,
    /// gRPC's own clients: what was sent in place of listeners that are gone.
    pub(in crate::xds) gone: BTreeMap<NameId, Arc<Resource>>,
    /// Which resource of a refused set is to blame.
    pub(in crate::xds) bisection: Bisection,
}

/// A response that the client has neither accepted nor refused.
#[derive(Debug)]
pub(in crate::xds) struct Flight {
    pub(in crate::xds) nonce: u64,
    pub(in crate::xds) names: Vec<(NameId, Version)>,
    /// Of the whole response, in state of the world.
    pub(in crate::xds) set: Version,
    /// It was a single resource of a refused batch.
    pub(in crate::xds) single: bool,
    /// The one resource that was new in it, where just one was: a refusal means that.
    pub(in crate::xds) only: Option<(NameId, Version)>,
    /// Resources that the client held and that it removes.
    pub(in crate::xds) removed: RoaringBitmap,
}
