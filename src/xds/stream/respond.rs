//! The next response: the steps of [`ORDER`], each looking only at names that may have
//! changed. Responses that always carry the whole set are in `whole`, removals in `remove`.

use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::generation::Generation;
use super::super::ids::{self, NameId};
use super::super::kind::Kind;
use super::super::names::NameOf;
use super::super::order::{ORDER, Way};
use super::super::resource::{Resource, Version};
use super::super::response::Response;
use super::super::subscription::Todo;
use super::super::subscription::parts::Flight;
use super::super::variant::Variant;
use super::Stream;

/// Whether something that this resource needs is not acknowledged yet.
pub(super) fn is_gated(gate: Option<&RoaringBitmap>, resource: &Resource) -> bool {
    gate.is_some_and(|gate| resource.needs.iter().any(|need| gate.contains(*need)))
}

/// What a step found to send.
#[derive(Default)]
pub(super) struct Found {
    pub(super) puts: Vec<(NameId, Arc<Resource>)>,
    /// Something waits for another type.
    pub(super) gated: bool,
    /// The response is full; more of the same follows.
    more: bool,
}

impl Stream {
    /// The next response, or `None` when there is nothing to send now. `now` counts from
    /// the beginning of the stream. Call it until it returns `None`.
    pub fn poll_response(
        &mut self,
        generation: &Generation,
        names: &impl NameOf,
        now: Duration,
    ) -> Option<Response> {
        self.follow_rules(generation);
        for step in ORDER {
            let variant = self.variant;
            let sub = self.types.get_mut(step.kind);
            if !sub.requested {
                continue;
            }
            if sub.is_idle() {
                // Nothing waits any more: the next wait starts from zero.
                (sub.waiting.gated, sub.waiting.parting) = (None, None);
                continue;
            }
            if sub.is_blocked(variant) {
                continue;
            }
            let response = match (self.variant, step.way) {
                (Variant::Sotw, _) if step.kind.full_state() => {
                    self.whole(generation, step.kind, step.way, names, now)
                }
                (_, Way::Up) => self.up(generation, step.kind, now),
                (_, Way::Down) => self.down(generation, step.kind, names, now),
            };
            debug_assert!(self.types.get(step.kind).holds_invariants());
            if response.is_some() {
                return response;
            }
        }
        None
    }

    /// When [`Self::poll_response`] has to be called again although nothing happened.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let waiting = self
            .types
            .iter()
            // What waits for an ACK is woken by that ACK: its timeout would pass unused, again and again.
            .filter(|(_, sub)| !sub.is_idle() && !sub.is_blocked(self.variant))
            .flat_map(|(_, sub)| [sub.waiting.gated, sub.waiting.parting])
            .flatten()
            .min()?;
        Some(waiting + self.limits.gate)
    }

    /// New and changed resources of a type.
    fn up(&mut self, generation: &Generation, kind: Kind, now: Duration) -> Option<Response> {
        let gate = self.gate(generation, kind, now);
        let (single, waiting) = self.suspect(generation, kind, gate.as_ref());
        if let Some(single) = single {
            let puts = vec![single];
            self.sent(kind, &puts);
            return Some(self.respond(generation, kind, puts, Vec::new(), false, true));
        }
        let mut found = self.changed(generation, kind, gate.as_ref(), waiting, now);
        let sub = self.types.get_mut(kind);
        sub.waiting.more = false; // set again below when this response is full
        let owed = sub.pending.owed && !found.gated;
        if found.puts.is_empty() && !owed {
            return None;
        }
        sub.pending.owed = false;
        self.sent(kind, &found.puts);
        let more = std::mem::take(&mut found.more);
        Some(self.respond(generation, kind, found.puts, Vec::new(), more, false))
    }

    /// These are now at the client, as far as can be known.
    fn sent(&mut self, kind: Kind, puts: &[(NameId, Arc<Resource>)]) {
        let sub = self.types.get_mut(kind);
        let sent = ids::set(puts.iter().map(|(id, _)| *id).collect());
        sub.pending.dirty -= &sent;
        sub.pending.again -= &sent;
        sub.held.absent -= &sent;
        // Mostly the client has them already: then nothing of a large set is written.
        if !sent.is_subset(&sub.held.ids) {
            sub.held.ids |= &sent;
            sub.held.ids.optimize();
        }
        sub.known(&sent);
        if !sub.held.refused.is_empty() {
            for (id, resource) in puts {
                if sub.held.refused.get(id).is_some_and(|v| *v != resource.version) {
                    sub.held.refused.remove(id);
                }
            }
        }
        self.send_followers(kind, puts);
    }

    /// One resource of a refused batch, to be sent alone so that the culprit is known; and whether
    /// another one waits for its clusters: its content may have changed since the refusal.
    fn suspect(
        &mut self,
        generation: &Generation,
        kind: Kind,
        gate: Option<&RoaringBitmap>,
    ) -> (Option<(NameId, Arc<Resource>)>, bool) {
        let viewer = self.viewer.clone();
        let sub = self.types.get_mut(kind);
        let mut waiting = false;
        for id in sub.pending.suspects.clone() {
            match sub.judge(generation, kind, id, &viewer) {
                Todo::Put(resource) if is_gated(gate, resource) => waiting = true,
                Todo::Put(resource) => {
                    sub.pending.suspects.remove(id);
                    return (Some((id, resource.clone())), waiting);
                }
                _ => drop(sub.pending.suspects.remove(id)),
            }
        }
        (None, waiting)
    }

    /// Looks at each dirty name: what is to be sent is returned, what is gone stays
    /// dirty for [`Self::down`], the rest is settled.
    pub(super) fn changed(
        &mut self,
        generation: &Generation,
        kind: Kind,
        gate: Option<&RoaringBitmap>,
        waiting: bool,
        now: Duration,
    ) -> Found {
        let viewer = self.viewer.clone();
        // A whole set is never split: each change in it counts.
        let whole = self.variant == Variant::Sotw && kind.full_state();
        let limit = if whole {
            usize::MAX
        } else {
            self.limits.response_bytes
        };
        let is_over = |since: &Duration| now >= *since + self.limits.gate;
        let sub = self.types.get_mut(kind);
        let mut found = Found::default();
        let mut settled = RoaringBitmap::new();
        let mut bytes = 0;
        for id in &sub.pending.dirty {
            match sub.judge(generation, kind, id, &viewer) {
                Todo::Put(_) if sub.pending.suspects.contains(id) => {} // goes alone
                Todo::Put(resource) if is_gated(gate, resource) => found.gated = true,
                Todo::Put(resource) => {
                    if bytes + resource.len() > limit && !found.puts.is_empty() {
                        found.more = true;
                        break;
                    }
                    bytes += resource.len();
                    found.puts.push((id, resource.clone()));
                }
                Todo::Gone => {}
                Todo::Nothing => {
                    settled.insert(id);
                }
            }
        }
        sub.pending.dirty -= &settled;
        sub.pending.again -= &settled;
        if !sub.held.refused.is_empty() {
            // What is gone and comes again is new content.
            let is_gone = |id: &NameId| sub.visible(generation, kind, *id, &viewer).is_none();
            let gone: Vec<NameId> = settled.iter().filter(is_gone).collect();
            for id in gone {
                sub.held.refused.remove(&id);
            }
        }
        sub.waiting.gated = if found.gated || waiting {
            // One wait is over, and what was never sent is waited for all the same.
            sub.waiting.gated.filter(|since| !is_over(since)).or(Some(now))
        } else {
            None
        };
        found
    }

    /// Rule 47: what a listener or route must wait for; `None`: no waiting (another type, or a client that asks for no
    /// clusters). An acknowledgement is waited for no longer than the gate; a cluster that the client was never sent,
    /// since it does not answer an earlier response, as long as that takes: it reads nothing else either.
    pub(super) fn gate(&self, generation: &Generation, kind: Kind, now: Duration) -> Option<RoaringBitmap> {
        let needed = kind.waits_for()?;
        let since = self.types.get(kind).waiting.gated;
        let expired = since.is_some_and(|since| now >= since + self.limits.gate);
        let sub = self.types.get(needed);
        if !sub.requested {
            return None;
        }
        // What is about to be removed is nothing to wait for.
        let unsettled = if expired { sub.unsent() } else { sub.unsettled() };
        let there = unsettled
            .iter()
            .filter(|id| generation.get(needed, *id).is_some());
        Some(there.collect())
    }

    /// Whether changes of what may refer to this type are still to be sent: until then nothing of this type is removed,
    /// no longer than the gate, unless the client does not answer what it was sent before them.
    pub(super) fn is_referred_to(&mut self, kind: Kind, now: Duration) -> bool {
        let above = kind.removed_after().iter().map(|above| self.types.get(*above));
        let changing = above.filter(|sub| sub.requested && sub.is_changing());
        let (mut pending, mut is_unanswered) = (false, false);
        for sub in changing {
            pending = true;
            is_unanswered |= sub.is_blocked(self.variant);
        }
        let sub = self.types.get_mut(kind);
        if !pending {
            sub.waiting.parting = None;
            return false;
        }
        let since = *sub.waiting.parting.get_or_insert(now);
        if now < since + self.limits.gate {
            return true;
        }
        sub.waiting.parting = is_unanswered.then_some(now);
        is_unanswered
    }

    /// Rule 45: each cluster that is sent is followed by its endpoints, changed or not:
    /// Envoy does not ask again, and would warm for 15 s.
    pub(super) fn send_followers(&mut self, kind: Kind, sent: &[(NameId, Arc<Resource>)]) {
        let Some(following) = kind.followed_by() else {
            return;
        };
        let sub = self.types.get_mut(following);
        if !sub.requested {
            return;
        }
        let needs = sent.iter().flat_map(|(_, resource)| resource.needs.iter());
        let wanted = |id: &NameId| sub.wanted.wildcard || sub.wanted.names.contains(*id);
        let following = ids::set(needs.copied().filter(wanted).collect());
        sub.send_all_again(&following);
    }

    /// A response with these resources and removals, which is outstanding from now on.
    pub(super) fn respond(
        &mut self,
        generation: &Generation,
        kind: Kind,
        puts: Vec<(NameId, Arc<Resource>)>,
        removed: Vec<Arc<str>>,
        more: bool,
        single: bool,
    ) -> Response {
        self.nonce += 1; // never 0, never empty, unique in the stream (rule 9)
        let set = set_version(&puts);
        let sub = self.types.get_mut(kind);
        let names: Vec<_> = puts.iter().map(|(id, r)| (*id, r.version)).collect();
        let only = if let [one] = names[..] { Some(one) } else { None };
        sub.waiting.flight.push_back(Flight {
            nonce: self.nonce,
            names,
            set,
            single,
            only,
            removed: RoaringBitmap::new(),
        });
        sub.sotw.last_nonce = self.nonce;
        sub.sotw.last_set = Some(set);
        // A state-of-the-world client answers only the newest nonce: its parts go one by one.
        sub.waiting.more = more && self.variant == Variant::Delta;
        Response {
            variant: self.variant,
            kind,
            nonce: self.nonce.to_string(),
            version: set.to_string(),
            pieces: generation.pieces(kind, self.variant, &puts),
            resources: puts.into_iter().map(|(_, resource)| resource).collect(),
            removed,
            missing: Vec::new(),
        }
    }
}

/// The version of a set: the same for the same names and versions, in whatever order.
pub(super) fn set_version(set: &[(NameId, Arc<Resource>)]) -> Version {
    let sum = set
        .iter()
        .map(|(_, r)| xxh3_64_with_seed(r.name.as_bytes(), r.version.0));
    Version(sum.fold(set.len() as u64, u64::wrapping_add))
}
