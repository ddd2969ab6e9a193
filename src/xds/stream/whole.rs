//! State of the world, listeners and clusters: each response is the whole set.

use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use super::super::client::Client;
use super::super::generation::Generation;
use super::super::kind::Kind;
use super::super::names::{NameId, NameOf};
use super::super::order::Way;
use super::super::resource::Resource;
use super::super::response::{Missing, Response};
use super::super::subscription::Subscription;
use super::super::subscription::bisection::{Look, SentSet};
use super::Stream;
use super::respond::{is_gated, set_version};

/// Names that are missing in one response with a reason: the others come without one.
const REASONS: usize = 1_000;

impl Stream {
    /// State of the world, a type whose response is always the whole set.
    pub(super) fn whole(
        &mut self,
        generation: &Generation,
        kind: Kind,
        way: Way,
        names: &impl NameOf,
        now: Duration,
    ) -> Option<Response> {
        let gate = self.gate(generation, kind, now);
        let waiting = self.next_waits(generation, kind, gate.as_ref());
        let found = self.changed(generation, kind, gate.as_ref(), waiting, now);
        let seen_by = self.viewer.clone();
        let (client, viewer) = (seen_by.client, (kind, &*seen_by));
        let sub = self.types.get(kind);
        let gone: Vec<NameId> = sub.gone(generation, kind, &seen_by).collect();
        let ready = match way {
            Way::Up => sub.pending.owed || !found.puts.is_empty() || sub.sotw.bisection.retry,
            Way::Down => !gone.is_empty() && !self.is_referred_to(kind, now),
        };
        // A resource that waits for its clusters would be in the set: the whole set waits, also a removal.
        if found.gated || waiting || !ready {
            return None;
        }
        // Rule 44: what is absent is removed; so a cluster stays in while a route may still name it.
        let stays = way == Way::Up && !gone.is_empty() && self.is_referred_to(kind, now);
        let sub = self.types.get_mut(kind);
        let earlier = |id: NameId| {
            let sent = sub.sotw.bisection.sent(id, viewer)?;
            let is_refused = sub.held.refused.get(&id) == Some(&sent.version) || sub.sotw.bisection.waits(id);
            let resource = if is_refused {
                sub.sotw.bisection.accepted(id, viewer)?
            } else {
                sent
            };
            sub.held.ids.contains(id).then(|| (id, resource.clone()))
        };
        let kept: Vec<(NameId, Arc<Resource>)> = if stays {
            gone.iter().filter_map(|id| earlier(*id)).collect()
        } else {
            Vec::new()
        };
        let mut ids: RoaringBitmap = sub.wanted.names.clone();
        if sub.wanted.wildcard {
            ids |= generation.in_wildcard(kind, &seen_by);
        }
        // gRPC's own clients keep a listener that is gone: what they get in its place stays in the set.
        let holds = |id: &NameId| {
            client != Client::Envoy
                && sub.wanted.names.contains(*id)
                && (sub.held.ids.contains(*id) || sub.sotw.claimed.contains(*id))
        };
        let replaced: Vec<NameId> = gone.iter().copied().filter(holds).collect();
        for (id, name) in replaced.iter().copied().zip(names.names_of(&replaced)) {
            if let Some(name) = name
                && let Some(resource) = generation.gone(client, kind, id, &name)
            {
                sub.sotw.gone.insert(id, Arc::new(resource));
            }
        }
        // Nothing else changed: a set that the client has already needs no sending.
        let only_retried = !sub.pending.owed && found.puts.is_empty() && gone.is_empty();
        sub.sotw.bisection.next_group();
        let (sent_set, set, withheld) = loop {
            let (mut sent_set, mut set, withheld) = sub.compose(generation, viewer, &ids);
            set.extend(kept.iter().cloned());
            sent_set.ids.extend(kept.iter().map(|(id, _)| *id));
            sent_set.other.extend(kept.iter().cloned());
            sent_set.set = set_version(&set);
            if !only_retried || !sub.sotw.bisection.is_accepted(sent_set.set) {
                break (sent_set, set, withheld);
            }
            if !sub.sotw.bisection.next_group() {
                sub.sotw.bisection.retry = false;
                return None;
            }
        };
        let (there, version) = (sent_set.ids.clone(), sent_set.set);
        let asked =
            std::mem::take(&mut sub.pending.owed) || !sub.pending.again.is_empty() || !gone.is_empty();
        // Including what was new in a set that was not sent because it had been refused.
        let mut new = set.clone();
        new.retain(|(id, resource)| {
            let last = sub.sotw.bisection.sent(*id, viewer).map(|r| r.version);
            sub.pending.again.contains(*id) || !sub.held.ids.contains(*id) || last != Some(resource.version)
        });
        sub.pending.dirty = kept.iter().map(|(id, _)| *id).collect();
        sub.pending.again.clear();
        for id in gone.iter().filter(|id| !sub.pending.dirty.contains(**id)) {
            sub.held.refused.remove(id); // what comes again is new content
        }
        sub.held.absent = &sub.wanted.names - &there - withheld;
        if sub.sotw.refused_set == Some(version) || (sub.sotw.last_set == Some(version) && !asked) {
            // Each attempt takes a group out, so this ends.
            sub.sotw.bisection.retry = sub.sotw.bisection.has_more();
            return None;
        }
        // The content has changed since: what was refused may be tried again after this one,
        // whether or not this one is ever acknowledged.
        sub.sotw.refused_set = None;
        let removed = &sub.held.ids - &there;
        sub.held.ids = there;
        sub.held.ids.optimize();
        self.send_followers(kind, &new);
        // A refusal means the one that the client has not accepted, where there is just one.
        let sub = self.types.get_mut(kind);
        let accepted = |id| {
            sub.sotw
                .bisection
                .accepted(id, viewer)
                .map(|resource| resource.version)
        };
        let mut fresh = set
            .iter()
            .filter(|(id, resource)| accepted(*id) != Some(resource.version));
        let only = match (fresh.next(), fresh.next()) {
            (Some((id, resource)), None) => Some((*id, resource.version)),
            _ => None,
        };
        sub.sotw.bisection.send(sent_set);
        let missing = if self.is_envoy() {
            Vec::new()
        } else {
            let absent: Vec<NameId> = self.types.get(kind).held.absent.iter().collect();
            let pairs = absent.iter().zip(names.names_of(&absent));
            let missing = pairs.filter_map(|(id, name)| Some((*id, name?)));
            let missing = missing.enumerate().map(|(at, (id, name))| {
                let reason = (at < REASONS).then(|| generation.missing(&seen_by, kind, id, name.clone()));
                reason.unwrap_or(Missing {
                    name,
                    why: String::new(),
                })
            });
            missing.collect()
        };
        let mut response = self.respond(generation, kind, set, Vec::new(), false, false);
        response.missing = missing;
        if let Some(flight) = self.types.get_mut(kind).waiting.flight.back_mut() {
            flight.only = only;
            flight.removed = removed;
        }
        Some(response)
    }
}

impl Stream {
    /// Whether a resource that is tried again after a refusal needs a cluster that is not acknowledged yet.
    fn next_waits(&self, generation: &Generation, kind: Kind, gate: Option<&RoaringBitmap>) -> bool {
        let sub = self.types.get(kind);
        let waits = |id| {
            let resource = sub.visible(generation, kind, id, &self.viewer);
            resource.is_some_and(|resource| is_gated(gate, resource))
        };
        sub.sotw
            .bisection
            .next()
            .is_some_and(|group| group.iter().any(waits))
    }
}

/// The set, as it is remembered and as it is sent, and what is left out of it because of a refusal.
type Composed = (SentSet, Vec<(NameId, Arc<Resource>)>, RoaringBitmap);

impl Subscription {
    /// All of these that this client may see: what it refused, and what waits for its turn after a refusal, in
    /// the content that it accepted last.
    fn compose(&mut self, generation: &Generation, viewer: Look<'_>, ids: &RoaringBitmap) -> Composed {
        let (kind, seen_by) = viewer;
        let mut sent_set = SentSet {
            generation: Some(Arc::new(generation.only(kind))),
            ..SentSet::default()
        };
        let (mut set, mut withheld) = (Vec::new(), RoaringBitmap::new());
        for id in ids {
            let present = self.visible(generation, kind, id, seen_by);
            let Some(present) = present else {
                if let Some(resource) = self.sotw.gone.get(&id) {
                    set.push((id, resource.clone()));
                    sent_set.other.insert(id, resource.clone());
                }
                continue;
            };
            self.sotw.gone.remove(&id);
            if self.held.refused.get(&id) != Some(&present.version) && !self.sotw.bisection.waits(id) {
                set.push((id, present.clone()));
            } else if let Some(accepted) = self.sotw.bisection.accepted(id, viewer) {
                set.push((id, accepted.clone()));
                sent_set.other.insert(id, accepted.clone());
            } else {
                withheld.insert(id);
            }
        }
        sent_set.ids = set.iter().map(|(id, _)| *id).collect();
        (sent_set, set, withheld)
    }
}
