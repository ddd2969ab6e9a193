//! One type on one stream: what the client wants, what it holds, and what is still to be sent.
//! The fields stand in five parts, see `parts.rs`; this file has what concerns several of them.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::generation::Generation;
use super::ids::{NameId, set};
use super::kind::Kind;
use super::names::Names;
use super::resource::Resource;
use super::variant::Variant;
use super::viewer::Viewer;

pub(super) mod bisection;
pub(super) mod parts;

use bisection::Look;
use parts::{Flight, Held, Pending, Sotw, Waiting, Wanted};

/// The state of one (stream, type).
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// A request of this type was received: only then may anything be sent.
    pub(super) requested: bool,
    pub(super) wanted: Wanted,
    pub(super) held: Held,
    pub(super) pending: Pending,
    pub(super) waiting: Waiting,
    pub(super) sotw: Sotw,
}

/// Single resources of a refused batch that may be unacknowledged at once.
const SINGLES: usize = 16;

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
        viewer: &Viewer,
    ) -> Option<&'g Arc<Resource>> {
        let resource = generation.get_for(viewer, kind, id)?;
        let wanted = self.wanted.names.contains(id) || (self.wanted.wildcard && resource.reach.in_wildcard());
        (wanted && resource.reach.admits(viewer)).then_some(resource)
    }

    /// What a name that may have changed calls for.
    pub(super) fn judge<'g>(
        &self,
        generation: &'g Generation,
        kind: Kind,
        id: NameId,
        viewer: &Viewer,
    ) -> Todo<'g> {
        match self.visible(generation, kind, id, viewer) {
            Some(resource) if self.held.refused.get(&id) == Some(&resource.version) => Todo::Nothing,
            Some(resource) => Todo::Put(resource),
            None if self.held.ids.contains(id) => Todo::Gone,
            None if self.wanted.names.contains(id) && !self.held.absent.contains(id) => Todo::Gone,
            None => Todo::Nothing,
        }
    }

    /// What is gone and the client is still to be sent the removal of, among the names that may have changed.
    pub(super) fn gone(
        &self,
        generation: &Generation,
        kind: Kind,
        viewer: &Viewer,
    ) -> impl Iterator<Item = NameId> {
        let is_gone = move |id: &NameId| matches!(self.judge(generation, kind, *id, viewer), Todo::Gone);
        self.pending.dirty.iter().filter(is_gone)
    }

    /// A name is subscribed to (again): it, or its absence, is sent whatever was sent before.
    pub(super) fn send_again(&mut self, id: NameId) {
        self.pending.dirty.insert(id);
        self.pending.again.insert(id);
        self.held.absent.remove(id);
    }

    /// The same for many.
    pub(super) fn send_all_again(&mut self, ids: &RoaringBitmap) {
        self.pending.dirty |= ids;
        self.pending.again |= ids;
        self.held.absent -= ids;
    }

    /// Nothing is known of the client's copy any more.
    pub(super) fn forget(&mut self, id: NameId) {
        if self.held.ids.contains(id) {
            self.sotw.refused_set = None; // what is subscribed to again is sent again
        }
        for set in [
            &mut self.held.ids,
            &mut self.held.absent,
            &mut self.pending.dirty,
            &mut self.pending.again,
            &mut self.pending.suspects,
            &mut self.sotw.claimed,
        ] {
            set.remove(id);
        }
        self.sotw.gone.remove(&id);
        self.held.refused.remove(&id);
        self.sotw.bisection.forget(id);
    }

    /// The wildcard is no longer subscribed to, which holds these: what is not subscribed to by name, too, is no longer
    /// this client's.
    pub(super) fn forget_unnamed(&mut self, mut in_wildcard: RoaringBitmap) {
        in_wildcard |= &self.held.ids;
        in_wildcard -= &self.wanted.names;
        for id in in_wildcard {
            self.forget(id);
        }
    }

    /// Which of these numbers this client may still have a copy of, or is owed a response about. Nothing
    /// remains here of the others, whose resources are gone.
    pub(super) fn still_needs(&mut self, leaving: &RoaringBitmap) -> RoaringBitmap {
        let sets = [
            &self.wanted.names,
            &self.held.ids,
            &self.pending.suspects,
            &self.sotw.claimed,
            &self.pending.unknown,
            &self.waiting.given_up,
        ];
        let mut kept = sets
            .into_iter()
            .fold(RoaringBitmap::new(), |all, set| all | (set & leaving));
        kept |= self.sotw.bisection.all() & leaving;
        kept |= self.in_flight() & leaving;
        let gone = self.sotw.gone.keys().copied();
        kept.extend(gone.filter(|id| leaving.contains(*id)));
        let over = leaving - &kept;
        for set in [
            &mut self.held.absent,
            &mut self.pending.dirty,
            &mut self.pending.again,
        ] {
            *set -= &over;
        }
        self.held.refused.retain(|id, _| !over.contains(*id));
        kept
    }

    /// Numbers that something here means although they may come to mean other names: always none.
    pub(super) fn stray(&self, names: &Names) -> RoaringBitmap {
        let sets = [
            &self.held.ids,
            &self.held.absent,
            &self.pending.dirty,
            &self.pending.suspects,
            &self.sotw.claimed,
        ];
        let mut all = sets.into_iter().fold(self.in_flight(), |all, set| all | set);
        all |= self.sotw.bisection.all();
        all.extend(self.held.refused.keys().copied());
        all.extend(self.sotw.gone.keys().copied());
        let counted = &self.wanted.names | &self.pending.unknown | &self.waiting.given_up;
        (all - counted)
            .into_iter()
            .filter(|id| !names.is_served(*id))
            .collect()
    }

    /// These are no longer unknown, or no longer of interest.
    pub(super) fn known(&mut self, ids: &RoaringBitmap) {
        if !self.pending.unknown.is_empty() {
            let known = &self.pending.unknown & ids;
            self.pending.unknown -= &known;
            self.waiting.given_up |= known;
        }
    }

    /// What the responses carry whose ACK or NACK may still come.
    fn in_flight(&self) -> RoaringBitmap {
        let flights = || self.waiting.flight.iter().chain(&self.sotw.lapsed);
        let sent = flights().flat_map(|flight| &flight.names).map(|(id, _)| *id);
        flights().fold(set(sent.collect()), |all, flight| all | &flight.removed)
    }

    /// A name that the table counts for this, and that is neither subscribed to nor unknown any more.
    pub(super) fn give_up(&mut self, id: NameId, names: &mut Names) {
        if !self.waiting.given_up.insert(id) {
            let _ = names.release(id); // once is enough
        }
    }

    /// The client is owed the removal of a name that was given up.
    pub(super) fn owe_removal(&mut self, id: NameId, names: &mut Names) {
        if self.waiting.given_up.remove(id) && !self.pending.unknown.insert(id) {
            let _ = names.release(id);
        }
    }

    /// Gives the numbers back that were given up, once no answer of the client can mean them.
    pub(super) fn give_back(&mut self, names: &mut Names) {
        if self.waiting.given_up.is_empty() {
            return;
        }
        let in_flight = self.in_flight();
        let free = &self.waiting.given_up - &in_flight;
        self.waiting.given_up &= in_flight;
        for id in free {
            if !names.is_served(id) && !self.wanted.names.contains(id) {
                self.forget(id);
            }
            let _ = names.release(id);
        }
    }

    /// A further response has to wait for an ACK or NACK.
    pub(super) fn is_blocked(&self, variant: Variant) -> bool {
        let flight = &self.waiting.flight;
        // A state-of-the-world client answers only the newest nonce: the culprit would not be known.
        let singles = if variant == Variant::Delta { SINGLES } else { 1 };
        if !self.pending.suspects.is_empty() && flight.iter().all(|f| f.single) {
            return flight.len() >= singles;
        }
        !flight.is_empty() && !self.waiting.more
    }

    /// Whether there is nothing to look at.
    pub(super) fn is_idle(&self) -> bool {
        let pending = &self.pending;
        pending.dirty.is_empty()
            && !pending.owed
            && !self.sotw.bisection.retry
            && pending.suspects.is_empty()
            && pending.unknown.is_empty()
            && pending.too_long.is_empty()
    }

    /// Whether what the client holds may change: something is to be looked at, or waits for its turn after a
    /// refusal, so that the client has the content before it.
    pub(super) fn is_changing(&self) -> bool {
        !self.is_idle() || self.sotw.bisection.has_more()
    }

    /// What is unacknowledged or still to be sent: whatever needs one of these waits.
    pub(super) fn unsettled(&self) -> RoaringBitmap {
        let mut unsettled = self.pending.dirty.clone();
        let flight = self.waiting.flight.iter();
        unsettled.extend(flight.flat_map(|f| f.names.iter().map(|(id, _)| *id)));
        unsettled |= &self.pending.suspects;
        unsettled |= self.sotw.bisection.waiting();
        unsettled
    }

    /// What is still to be sent, and what the client has no earlier content of.
    pub(super) fn unsent(&self) -> RoaringBitmap {
        &self.pending.dirty - &self.held.ids
    }

    /// Whether one name is, without the set of all.
    pub(super) fn is_unsettled(&self, id: NameId) -> bool {
        self.pending.dirty.contains(id)
            || self.pending.suspects.contains(id)
            || self.sotw.bisection.waits(id)
            || self
                .waiting
                .flight
                .iter()
                .any(|f| f.names.iter().any(|(n, _)| *n == id))
    }

    /// A response was accepted.
    pub(super) fn accept(&mut self, flight: &Flight) {
        if !self.held.refused.is_empty() {
            for (id, _) in &flight.names {
                self.held.refused.remove(id);
            }
        }
        self.sotw.refused_set = None;
    }

    /// A delta response, or a partial state-of-the-world one, was refused: a batch is sent once
    /// more one by one, a single resource is not sent again in this version.
    pub(super) fn refuse(&mut self, flight: Flight) {
        let batch = flight.names.len() > 1 && !flight.single;
        for (id, version) in flight.names {
            if !self.wanted.wildcard && !self.wanted.names.contains(id) {
                continue; // unsubscribed meanwhile: nothing is kept of it
            }
            if batch {
                self.pending.suspects.insert(id);
            } else {
                self.held.refused.insert(id, version);
            }
        }
    }

    /// A whole set was accepted.
    pub(super) fn accept_whole(&mut self, flight: &Flight) {
        if !self.held.refused.is_empty() {
            for (id, _) in &flight.names {
                if !self.sotw.bisection.sent_otherwise(*id) {
                    self.held.refused.remove(id);
                }
            }
        }
        self.sotw.bisection.accept();
        self.sotw.refused_set = None;
    }

    /// A whole set was refused, with this message.
    pub(super) fn refuse_whole(&mut self, flight: &Flight, message: &str, viewer: Look<'_>) {
        let wanted = |id: NameId| self.wanted.wildcard || self.wanted.names.contains(id);
        let accepted = |id| {
            self.sotw
                .bisection
                .accepted(id, viewer)
                .map(|resource| resource.version)
        };
        let new = flight
            .names
            .iter()
            .filter(|(id, sent)| accepted(*id) != Some(*sent));
        let (new, dropped): (Vec<_>, Vec<_>) = new.copied().partition(|(id, _)| wanted(*id));
        // Subscribed to again, the same set may be meant to come again.
        let is_whole = flight.names.iter().all(|(id, _)| wanted(*id));
        self.sotw.refused_set = is_whole.then_some(flight.set);
        // What was unsubscribed meanwhile may be to blame as well.
        match new[..] {
            [(id, version)] if dropped.is_empty() => {
                self.held.refused.insert(id, version);
                self.sotw.bisection.refuse_one();
            }
            _ => self.sotw.bisection.refuse(&new, message, viewer),
        }
    }

    /// Invariants of the parts that are cheap to check, for debug builds and thereby for the property tests.
    pub(super) fn holds_invariants(&self) -> bool {
        let nonces = || self.waiting.flight.iter().map(|f| f.nonce);
        self.pending.again.is_subset(&self.pending.dirty)
            && self.pending.unknown.is_disjoint(&self.waiting.given_up)
            && nonces().zip(nonces().skip(1)).all(|(one, next)| one < next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are five in each stream, and a change looks at those of all streams: they have to fit the caches.
    #[test]
    fn what_is_kept_of_a_type_takes_less_than_a_kilobyte() {
        assert!(size_of::<Subscription>() <= 1024, "{}", size_of::<Subscription>());
    }
}
