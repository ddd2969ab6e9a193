//! What one client wants of one type, what it holds, and what is still to be said.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use super::client::Client;
use super::generation::Generation;
use super::kind::Kind;
use super::names::NameId;
use super::resource::{Resource, Version};
use super::stream::Doubts;
use super::variant::Variant;

/// The state of one (stream, type). Sets hold name numbers.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // independent facts, not one state
pub(super) struct Subscription {
    /// A request of this type was seen: only then may anything be sent.
    pub(super) requested: bool,
    /// Everything that `*` holds.
    pub(super) wildcard: bool,
    /// State of the world: names were given once, so an empty list no longer means everything.
    pub(super) named_once: bool,
    /// Subscribed by name.
    pub(super) names: RoaringBitmap,
    /// Their length in all.
    pub(super) name_bytes: usize,
    /// The client has some version of it from us.
    pub(super) held: RoaringBitmap,
    /// The client was told that there is none.
    pub(super) absent: RoaringBitmap,
    /// Changed, subscribed or removed since it was last looked at.
    pub(super) dirty: RoaringBitmap,
    /// To be sent although it did not change.
    pub(super) again: RoaringBitmap,
    /// Owed an answer even if that is empty.
    pub(super) owed: bool,
    /// State of the world, gRPC's own clients: what was sent in place of listeners that are gone.
    pub(super) gone: BTreeMap<NameId, Arc<Resource>>,
    /// State of the world: named when the stream began by a client that holds resources of this type from an
    /// earlier one, so maybe these.
    pub(super) claimed: RoaringBitmap,
    /// Versions this client refused.
    pub(super) refused: HashMap<NameId, Version>,
    /// State of the world: the whole response that was refused.
    pub(super) refused_set: Option<Version>,
    /// State of the world: what of the refused ones is to blame.
    pub(super) doubts: Doubts,
    /// Responses not yet answered, oldest first.
    pub(super) flight: VecDeque<Flight>,
    /// State of the world: the newest response, where a request with an empty nonce overtook its answer.
    pub(super) lapsed: Option<Flight>,
    /// The last response is the first part of more that belongs to it.
    pub(super) more: bool,
    /// Names of a refused batch, to be sent once more, one by one.
    pub(super) suspects: RoaringBitmap,
    /// The client holds these, or asked for them, and nobody serves them: it is owed their removal. They have
    /// numbers in the table, as if subscribed to.
    pub(super) unknown: RoaringBitmap,
    /// Of these the removal was sent: the numbers are given back with the next request.
    pub(super) given_up: Vec<NameId>,
    /// The same for names that are too long for the table.
    pub(super) too_long: BTreeSet<Arc<str>>,
    /// State of the world: the list of names that was last taken over, hashed.
    pub(super) last_list: Option<u128>,
    /// State of the world: nonce and version last sent.
    pub(super) last_nonce: u64,
    pub(super) last_set: Option<Version>,
    /// Since when something of this type waits for a cluster to be accepted.
    pub(super) gated: Option<Duration>,
    /// Since when a removal waits for what still names it.
    pub(super) parting: Option<Duration>,
}

/// So many single resources of a refused batch may be unanswered at once.
const SINGLES: usize = 16;

/// A response that the client has not answered.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) nonce: u64,
    pub(super) names: Vec<(NameId, Version)>,
    /// Of the whole response, in state of the world.
    pub(super) set: Version,
    /// It was a single resource of a refused batch.
    pub(super) single: bool,
    /// The one resource that was new in it, where just one was: a refusal means that.
    pub(super) only: Option<(NameId, Version)>,
}

/// What is to be done about one name.
#[derive(Debug)]
pub(super) enum Todo<'g> {
    /// Send this.
    Put(&'g Arc<Resource>),
    /// It is gone, or was never there.
    Gone,
    /// Nothing.
    Nothing,
}

impl Subscription {
    /// The resource as this client may see it.
    pub(super) fn visible<'g>(
        &self,
        generation: &'g Generation,
        kind: Kind,
        id: NameId,
        (client, fleet): (Client, &str),
    ) -> Option<&'g Arc<Resource>> {
        let resource = generation.get_for(fleet, client, kind, id)?;
        let wanted = self.names.contains(id) || (self.wildcard && resource.reach.in_wildcard());
        (wanted && resource.reach.admits(fleet)).then_some(resource)
    }

    /// What a name that may have changed calls for.
    pub(super) fn judge<'g>(
        &self,
        generation: &'g Generation,
        kind: Kind,
        id: NameId,
        who: (Client, &str),
    ) -> Todo<'g> {
        match self.visible(generation, kind, id, who) {
            Some(resource) if self.refused.get(&id) == Some(&resource.version) => Todo::Nothing,
            Some(resource) => Todo::Put(resource),
            None if self.held.contains(id) => Todo::Gone,
            None if self.names.contains(id) && !self.absent.contains(id) => Todo::Gone,
            None => Todo::Nothing,
        }
    }

    /// A name is subscribed to (again): it is sent, or told to be missing, whatever was before.
    pub(super) fn ask_again(&mut self, id: NameId) {
        self.dirty.insert(id);
        self.again.insert(id);
        self.absent.remove(id);
    }

    /// The same for many.
    pub(super) fn ask_all_again(&mut self, ids: &RoaringBitmap) {
        self.dirty |= ids;
        self.again |= ids;
        self.absent -= ids;
    }

    /// Nothing is known of the client's copy any more.
    pub(super) fn forget(&mut self, id: NameId) {
        for set in [&mut self.held, &mut self.absent, &mut self.dirty, &mut self.again] {
            set.remove(id);
        }
        self.claimed.remove(id);
        self.gone.remove(&id);
        self.refused.remove(&id);
        self.suspects.remove(id);
        self.doubts.forget(id);
    }

    /// Which of these numbers this client may still have a copy of, or is about to hear of. Of the others, whose
    /// resources are gone, nothing remains here.
    pub(super) fn keeps(&mut self, leaving: &RoaringBitmap) -> RoaringBitmap {
        let sets = [
            &self.names,
            &self.held,
            &self.suspects,
            &self.claimed,
            &self.unknown,
        ];
        let mut kept = sets
            .into_iter()
            .fold(RoaringBitmap::new(), |all, set| all | (set & leaving));
        kept |= self.doubts.all() & leaving;
        let flights = self.flight.iter().chain(&self.lapsed);
        let sent = flights.flat_map(|flight| &flight.names).map(|(id, _)| *id);
        let others = sent
            .chain(self.gone.keys().copied())
            .chain(self.given_up.iter().copied());
        kept.extend(others.filter(|id| leaving.contains(*id)));
        let over = leaving - &kept;
        for set in [&mut self.absent, &mut self.dirty, &mut self.again] {
            *set -= &over;
        }
        self.refused.retain(|id, _| !over.contains(*id));
        kept
    }

    /// These are no longer unknown, or no longer of interest.
    pub(super) fn known(&mut self, ids: &RoaringBitmap) {
        if !self.unknown.is_empty() {
            let known = &self.unknown & ids;
            self.unknown -= &known;
            self.given_up.extend(known);
        }
    }

    /// A further response has to wait for an answer.
    pub(super) fn blocked(&self, variant: Variant) -> bool {
        // State of the world answers only the newest nonce: the culprit would not be known.
        let singles = if variant == Variant::Delta { SINGLES } else { 1 };
        if !self.suspects.is_empty() && self.flight.iter().all(|f| f.single) {
            return self.flight.len() >= singles;
        }
        !self.flight.is_empty() && !self.more
    }

    /// Whether there is anything to look at.
    pub(super) fn idle(&self) -> bool {
        self.dirty.is_empty()
            && !self.owed
            && !self.doubts.retry
            && self.suspects.is_empty()
            && self.unknown.is_empty()
            && self.too_long.is_empty()
    }

    /// What is on its way or still to be sent: whatever needs one of these waits.
    pub(super) fn unsettled(&self) -> RoaringBitmap {
        let mut unsettled = self.dirty.clone();
        unsettled.extend(self.flight.iter().flat_map(|f| f.names.iter().map(|(id, _)| *id)));
        unsettled |= &self.suspects;
        unsettled |= self.doubts.waiting();
        unsettled
    }

    /// A response was answered well.
    pub(super) fn accepted(&mut self, flight: &Flight) {
        if !self.refused.is_empty() {
            for (id, _) in &flight.names {
                self.refused.remove(id);
            }
        }
        self.refused_set = None;
    }

    /// A delta response, or a partial state-of-the-world one, was refused: a batch is
    /// tried once more one by one, a single resource is not sent again in this version.
    pub(super) fn refuse(&mut self, flight: Flight) {
        let batch = flight.names.len() > 1 && !flight.single;
        for (id, version) in flight.names {
            if !self.wildcard && !self.names.contains(id) {
                continue; // unsubscribed meanwhile: nothing is kept of it
            }
            if batch {
                self.suspects.insert(id);
            } else {
                self.refused.insert(id, version);
            }
        }
    }
}
