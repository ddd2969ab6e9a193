//! State of the world, listeners and clusters: each response is the whole set.

use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use super::super::client::Client;
use super::super::generation::Generation;
use super::super::kind::Kind;
use super::super::names::NameId;
use super::super::order::Way;
use super::super::resource::Resource;
use super::super::response::Response;
use super::super::subscription::{Subscription, Todo};
use super::answer::{NameOf, set_version, shut};
use super::doubts::{Offer, Viewer};
use super::{Stream, everything};

impl Stream {
    /// State of the world, a type whose response is always the whole set.
    pub(super) fn whole(
        &mut self,
        generation: &Generation,
        kind: Kind,
        way: Way,
        name_of: &impl NameOf,
        now: Duration,
    ) -> Option<Response> {
        let gate = self.gate(generation, kind, now);
        let waiting = self.next_waits(generation, kind, gate.as_ref());
        let found = self.changed(generation, kind, gate.as_ref(), waiting, now);
        let (client, fleet) = (self.client, self.fleet().to_owned());
        let viewer = (kind, client, fleet.as_str());
        let sub = self.types.get(kind);
        let gone: Vec<NameId> = sub
            .dirty
            .iter()
            .filter(|id| matches!(sub.judge(generation, kind, *id, (client, &fleet)), Todo::Gone))
            .collect();
        let ready = match way {
            Way::Up => sub.owed || !found.puts.is_empty() || sub.doubts.retry,
            Way::Down => !gone.is_empty() && !self.still_named(kind, now),
        };
        // One that waits for its clusters would be in the set: all of it waits, also a removal.
        if found.gated || waiting || !ready {
            return None;
        }
        // Rule 44: what is absent is removed; so a cluster stays in while a route may still name it.
        let stays = way == Way::Up && !gone.is_empty() && self.still_named(kind, now);
        let sub = self.types.get_mut(kind);
        let earlier = |id: NameId| {
            let sent = sub.doubts.sent(id, viewer)?;
            let doubted = sub.refused.get(&id) == Some(&sent.version) || sub.doubts.waits(id);
            let resource = if doubted {
                sub.doubts.good(id, viewer)?
            } else {
                sent
            };
            sub.held.contains(id).then(|| (id, resource.clone()))
        };
        let kept: Vec<(NameId, Arc<Resource>)> = if stays {
            gone.iter().filter_map(|id| earlier(*id)).collect()
        } else {
            Vec::new()
        };
        let mut ids: RoaringBitmap = sub.names.clone();
        if sub.wildcard {
            ids |= everything(generation, kind, &fleet);
        }
        // gRPC's own clients keep a listener that is gone: what they get in its place stays in the set.
        let holds = |id: &NameId| {
            client != Client::Envoy
                && sub.names.contains(*id)
                && (sub.held.contains(*id) || sub.claimed.contains(*id))
        };
        for id in gone.iter().copied().filter(holds).collect::<Vec<_>>() {
            if let Some(name) = name_of(id)
                && let Some(resource) = generation.gone(client, kind, id, &name)
            {
                sub.gone.insert(id, Arc::new(resource));
            }
        }
        // Nothing else changed: a set that the client has already needs no sending.
        let only_retried = !sub.owed && found.puts.is_empty() && gone.is_empty();
        sub.doubts.next_group();
        let (offer, set, withheld) = loop {
            let (mut offer, mut set, withheld) = sub.offer(generation, viewer, &ids);
            set.extend(kept.iter().cloned());
            offer.ids.extend(kept.iter().map(|(id, _)| *id));
            offer.other.extend(kept.iter().cloned());
            offer.set = set_version(&set);
            if !only_retried || !sub.doubts.is_good(offer.set) {
                break (offer, set, withheld);
            }
            if !sub.doubts.next_group() {
                sub.doubts.retry = false;
                return None;
            }
        };
        let (there, version) = (offer.ids.clone(), offer.set);
        let asked = std::mem::take(&mut sub.owed) || !sub.again.is_empty() || !gone.is_empty();
        // Also what was new in a set that was not sent, because it had been refused.
        let mut news = set.clone();
        news.retain(|(id, resource)| {
            let last = sub.doubts.sent(*id, viewer).map(|r| r.version);
            sub.again.contains(*id) || !sub.held.contains(*id) || last != Some(resource.version)
        });
        sub.dirty = kept.iter().map(|(id, _)| *id).collect();
        sub.again.clear();
        sub.absent = &sub.names - &there - withheld;
        if sub.refused_set == Some(version) || (sub.last_set == Some(version) && !asked) {
            // Each attempt takes a group out: this comes to an end.
            sub.doubts.retry = sub.doubts.has_more();
            return None;
        }
        // The content has changed since: what was refused may be tried again after this one,
        // whether or not this one is ever answered.
        sub.refused_set = None;
        sub.held = there;
        sub.held.optimize();
        if kind == Kind::Cluster {
            self.endpoints_follow(&news);
        }
        // A refusal means the one that the client has not accepted, where there is just one.
        let sub = self.types.get_mut(kind);
        let viewer = (kind, client, fleet.as_str());
        let accepted = |id| sub.doubts.good(id, viewer).map(|resource| resource.version);
        let mut fresh = set
            .iter()
            .filter(|(id, resource)| accepted(*id) != Some(resource.version));
        let only = match (fresh.next(), fresh.next()) {
            (Some((id, resource)), None) => Some((*id, resource.version)),
            _ => None,
        };
        sub.doubts.offer(offer);
        let missing = if self.is_envoy() {
            Vec::new()
        } else {
            self.types.get(kind).absent.iter().filter_map(name_of).collect()
        };
        let mut response = self.say(generation, kind, set, Vec::new(), false, false);
        response.missing = missing;
        if let Some(flight) = self.types.get_mut(kind).flight.back_mut() {
            flight.only = only;
        }
        Some(response)
    }
}

impl Stream {
    /// Whether something that is tried again after a refusal needs a cluster that is still on its way.
    fn next_waits(&self, generation: &Generation, kind: Kind, gate: Option<&RoaringBitmap>) -> bool {
        let (client, fleet, sub) = (self.client, self.fleet(), self.types.get(kind));
        let waits = |id| {
            let resource = sub.visible(generation, kind, id, (client, fleet));
            resource.is_some_and(|resource| shut(gate, resource))
        };
        sub.doubts.next().is_some_and(|group| group.iter().any(waits))
    }
}

/// The set, as it is offered and as it is sent, and what is left out of it because of a refusal.
type Composed = (Offer, Vec<(NameId, Arc<Resource>)>, RoaringBitmap);

impl Subscription {
    /// All of these that this client may see: what it refused, and what waits for its turn after a refusal, in
    /// the content that it accepted last.
    fn offer(&mut self, generation: &Generation, viewer: Viewer<'_>, ids: &RoaringBitmap) -> Composed {
        let (kind, client, fleet) = viewer;
        let mut offer = Offer {
            generation: generation.only(kind),
            ..Offer::default()
        };
        let (mut set, mut withheld) = (Vec::new(), RoaringBitmap::new());
        for id in ids {
            let present = self.visible(generation, kind, id, (client, fleet));
            let Some(present) = present else {
                if let Some(resource) = self.gone.get(&id) {
                    set.push((id, resource.clone()));
                    offer.other.insert(id, resource.clone());
                }
                continue;
            };
            self.gone.remove(&id);
            if self.refused.get(&id) != Some(&present.version) && !self.doubts.waits(id) {
                set.push((id, present.clone()));
            } else if let Some(good) = self.doubts.good(id, viewer) {
                set.push((id, good.clone()));
                offer.other.insert(id, good.clone());
            } else {
                withheld.insert(id);
            }
        }
        offer.ids = set.iter().map(|(id, _)| *id).collect();
        (offer, set, withheld)
    }
}
