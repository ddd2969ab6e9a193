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
use super::super::subscription::Todo;
use super::answer::{NameOf, set_version};
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
        let found = self.changed(generation, kind, gate.as_ref(), false, now);
        let (client, fleet) = (self.client, self.fleet().to_owned());
        let sub = self.types.get(kind);
        let gone: Vec<NameId> = sub
            .dirty
            .iter()
            .filter(|id| matches!(sub.judge(generation, kind, *id, (client, &fleet)), Todo::Gone))
            .collect();
        let ready = match way {
            Way::Up => sub.owed || !found.puts.is_empty(),
            Way::Down => !gone.is_empty() && !self.still_named(kind, now),
        };
        // One that waits for its clusters would be in the set: all of it waits, also a removal.
        if found.gated || !ready {
            return None;
        }
        // Rule 44: what is absent is removed; so a cluster stays in while a route may still name it.
        let stays = way == Way::Up && !gone.is_empty() && self.still_named(kind, now);
        let sub = self.types.get_mut(kind);
        let earlier = |id: NameId| {
            let kept = sub.kept.iter().find(|(kept, _)| *kept == id).map(|(_, r)| r);
            // What was published last may have been for another fleet only, and never been sent here.
            let sent = || {
                sub.before
                    .get_for(&fleet, client, kind, id)
                    .filter(|r| r.reach.admits(&fleet))
            };
            let resource = kept.or_else(sent)?;
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
        let mut set: Vec<(NameId, Arc<Resource>)> = Vec::new();
        for id in &ids {
            if let Some(resource) = sub.visible(generation, kind, id, (client, &fleet)) {
                set.push((id, resource.clone()));
                sub.gone.remove(&id);
            } else if let Some(resource) = sub.gone.get(&id) {
                set.push((id, resource.clone()));
            }
        }
        set.extend(kept.iter().cloned());
        let there: RoaringBitmap = set.iter().map(|(id, _)| *id).collect();
        let version = set_version(&set);
        let asked = std::mem::take(&mut sub.owed) || !sub.again.is_empty() || !gone.is_empty();
        // Also what was new in a set that was not sent, because it had been refused.
        let mut news = set.clone();
        news.retain(|(id, resource)| {
            let before = sub.before.get_for(&fleet, client, kind, *id).map(|r| r.version);
            sub.again.contains(*id) || !sub.held.contains(*id) || before != Some(resource.version)
        });
        sub.dirty = kept.iter().map(|(id, _)| *id).collect();
        sub.again.clear();
        sub.absent = &sub.names - &there;
        if sub.refused_set == Some(version) || (sub.last_set == Some(version) && !asked) {
            return None;
        }
        // The content has changed since: what was refused may be tried again after this one,
        // whether or not this one is ever answered.
        sub.refused_set = None;
        sub.kept = kept; // only now: what was not sent replaces nothing that was
        sub.held = there;
        sub.held.optimize();
        if kind == Kind::Cluster {
            sub.before = generation.only(kind);
            self.endpoints_follow(&news);
        }
        let only = if let [(id, resource)] = &found.puts[..] {
            Some((*id, resource.version))
        } else {
            None
        };
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
