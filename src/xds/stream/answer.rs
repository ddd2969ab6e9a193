//! What to say next: the steps of [`ORDER`], each looking only at names that may
//! have changed. Responses that always carry the whole set are in `whole`.

use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::generation::Generation;
use super::super::ids::{self, NameId};
use super::super::kind::Kind;
use super::super::order::{ORDER, Way};
use super::super::resource::{Resource, Version};
use super::super::response::Response;
use super::super::subscription::{Flight, Todo};
use super::{Stream, Variant};

/// Names by number; asked only for what is gone.
pub trait NameOf: Fn(NameId) -> Option<Arc<str>> {}
impl<F: Fn(NameId) -> Option<Arc<str>>> NameOf for F {}

/// Bytes that a name takes on the wire besides itself, at most.
const NAME_OVERHEAD: usize = 20;

/// Whether something that this resource needs is still on its way.
pub(super) fn shut(gate: Option<&RoaringBitmap>, resource: &Resource) -> bool {
    gate.is_some_and(|gate| resource.needs.iter().any(|need| gate.contains(*need)))
}

/// What a step found to say.
#[derive(Default)]
pub(super) struct Found {
    pub(super) puts: Vec<(NameId, Arc<Resource>)>,
    removed: Vec<Arc<str>>,
    /// State of the world, gRPC's own clients: there is none of this name.
    missing: Vec<Arc<str>>,
    /// Something waits for another type.
    pub(super) gated: bool,
    /// The response is full; more of the same follows.
    more: bool,
}

impl Stream {
    /// The next response, or `None` when there is nothing to say now. `now` counts from
    /// the beginning of the stream. Call it until it says `None`.
    pub fn next(
        &mut self,
        generation: &Generation,
        name_of: &impl NameOf,
        now: Duration,
    ) -> Option<Response> {
        for step in ORDER {
            let variant = self.variant;
            let sub = self.types.get_mut(step.kind);
            if sub.idle() {
                // Nothing waits any more: the next wait begins anew.
                (sub.gated, sub.parting) = (None, None);
            }
            if !sub.requested || sub.idle() || sub.blocked(variant) {
                continue;
            }
            let response = match (self.variant, step.way) {
                (Variant::Sotw, _) if step.kind.full_state() => {
                    self.whole(generation, step.kind, step.way, name_of, now)
                }
                (_, Way::Up) => self.up(generation, step.kind, now),
                (_, Way::Down) => self.down(generation, step.kind, name_of, now),
            };
            if response.is_some() {
                return response;
            }
        }
        None
    }

    /// When [`Self::next`] should be asked again although nothing happened.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let waiting = self
            .types
            .iter()
            // What waits for an answer is woken by that answer: a deadline would pass unused, for ever.
            .filter(|(_, sub)| !sub.idle() && !sub.blocked(self.variant))
            .flat_map(|(_, sub)| [sub.gated, sub.parting])
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
            return Some(self.say(generation, kind, puts, Vec::new(), false, true));
        }
        let mut found = self.changed(generation, kind, gate.as_ref(), waiting, now);
        let sub = self.types.get_mut(kind);
        sub.more = false; // set again below when this response is full
        let owed = sub.owed && !found.gated;
        if found.puts.is_empty() && !owed {
            return None;
        }
        sub.owed = false;
        self.sent(kind, &found.puts);
        let more = std::mem::take(&mut found.more);
        Some(self.say(generation, kind, found.puts, Vec::new(), more, false))
    }

    /// What is now at the client, as far as can be known.
    fn sent(&mut self, kind: Kind, puts: &[(NameId, Arc<Resource>)]) {
        let sub = self.types.get_mut(kind);
        let sent = ids::set(puts.iter().map(|(id, _)| *id).collect());
        sub.dirty -= &sent;
        sub.again -= &sent;
        sub.absent -= &sent;
        sub.held |= &sent;
        sub.held.optimize();
        sub.known(&sent);
        if !sub.refused.is_empty() {
            for (id, resource) in puts {
                if sub.refused.get(id).is_some_and(|v| *v != resource.version) {
                    sub.refused.remove(id);
                }
            }
        }
        if kind == Kind::Cluster {
            self.endpoints_follow(puts);
        }
    }

    /// One resource of a refused batch, to go alone, so that the culprit is known; and whether
    /// another one waits for its clusters: its content may have changed since the refusal.
    fn suspect(
        &mut self,
        generation: &Generation,
        kind: Kind,
        gate: Option<&RoaringBitmap>,
    ) -> (Option<(NameId, Arc<Resource>)>, bool) {
        let (client, fleet) = (self.client, self.fleet().to_owned());
        let sub = self.types.get_mut(kind);
        let mut waiting = false;
        for id in sub.suspects.clone() {
            match sub.judge(generation, kind, id, (client, &fleet)) {
                Todo::Put(resource) if shut(gate, resource) => waiting = true,
                Todo::Put(resource) => {
                    sub.suspects.remove(id);
                    return (Some((id, resource.clone())), waiting);
                }
                _ => drop(sub.suspects.remove(id)),
            }
        }
        (None, waiting)
    }

    /// Looks at each dirty name: what is to be sent is returned, what is gone stays
    /// dirty for the way down, the rest is settled.
    pub(super) fn changed(
        &mut self,
        generation: &Generation,
        kind: Kind,
        gate: Option<&RoaringBitmap>,
        waiting: bool,
        now: Duration,
    ) -> Found {
        let (client, fleet) = (self.client, self.fleet().to_owned());
        // A whole set is never split: each change in it counts.
        let whole = self.variant == Variant::Sotw && kind.full_state();
        let limit = if whole {
            usize::MAX
        } else {
            self.limits.response_bytes
        };
        let sub = self.types.get_mut(kind);
        let mut found = Found::default();
        let mut settled = RoaringBitmap::new();
        let mut bytes = 0;
        for id in &sub.dirty {
            match sub.judge(generation, kind, id, (client, &fleet)) {
                Todo::Put(_) if sub.suspects.contains(id) => {} // goes alone
                Todo::Put(resource) if shut(gate, resource) => found.gated = true,
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
        sub.dirty -= &settled;
        sub.again -= &settled;
        sub.gated = if found.gated || waiting {
            sub.gated.or(Some(now))
        } else {
            None
        };
        found
    }

    /// Rule 47: the clusters that a listener or route must wait for; `None`: no waiting
    /// (another type, a client that asks for no clusters, or it has waited long enough).
    pub(super) fn gate(&self, generation: &Generation, kind: Kind, now: Duration) -> Option<RoaringBitmap> {
        let clusters = self.types.get(Kind::Cluster);
        let waits = matches!(kind, Kind::Listener | Kind::Route) && clusters.requested;
        let expired = self
            .types
            .get(kind)
            .gated
            .is_some_and(|since| now >= since + self.limits.gate);
        if !waits || expired {
            return None;
        }
        // What is about to be removed is nothing to wait for.
        let unsettled = clusters.unsettled();
        let there = unsettled
            .iter()
            .filter(|id| generation.get(Kind::Cluster, *id).is_some());
        Some(there.collect())
    }

    /// What is gone, once nothing names it any more.
    fn down(
        &mut self,
        generation: &Generation,
        kind: Kind,
        name_of: &impl NameOf,
        now: Duration,
    ) -> Option<Response> {
        if self.still_named(kind, now) {
            return None;
        }
        let (client, fleet) = (self.client, self.fleet().to_owned());
        let (envoy, variant, limit) = (self.is_envoy(), self.variant, self.limits.response_bytes);
        let sub = self.types.get_mut(kind);
        let mut found = Found::default();
        let mut bytes = 0;
        while bytes < limit
            && let Some(name) = sub.too_long.pop_first()
        {
            bytes += name.len() + NAME_OVERHEAD;
            found.removed.push(name);
        }
        let by_empty = envoy && kind.empty_when_gone();
        while bytes < limit
            && (!by_empty || found.removed.is_empty())
            && let Some(id) = sub.unknown.min()
        {
            sub.unknown.remove(id);
            sub.given_up.push(id);
            let Some(name) = name_of(id) else { continue };
            bytes += name.len() + NAME_OVERHEAD;
            if by_empty {
                let empty = Resource::empty(kind, &name);
                bytes += empty.len();
                found.puts.push((id, Arc::new(empty)));
            } else {
                found.removed.push(name);
            }
        }
        let gone: Vec<NameId> = sub
            .dirty
            .iter()
            .filter(|id| matches!(sub.judge(generation, kind, *id, (client, &fleet)), Todo::Gone))
            .collect();
        for id in gone {
            if bytes >= limit {
                break; // the rest after the answer to this part
            }
            // Rules 33 to 36: Envoy ignores the removal of endpoints, and waits for a missing route
            // configuration; a missing assignment is told by state of the world in no other way. Nor can
            // gRPC's own clients be told in that variant that endpoints they hold are gone.
            let held = sub.held.contains(id) || (!envoy && sub.claimed.contains(id));
            let sotw = variant == Variant::Sotw;
            let by_empty = kind.empty_when_gone()
                && if envoy {
                    held || kind == Kind::Route || sotw
                } else {
                    held && kind == Kind::Endpoints && sotw
                };
            let mixed = if by_empty {
                !found.removed.is_empty()
            } else {
                !found.puts.is_empty()
            };
            if mixed {
                continue; // kept apart, so that a refusal of one leaves the other certain
            }
            sub.dirty.remove(id);
            sub.again.remove(id);
            sub.refused.remove(&id);
            sub.held.remove(id);
            if sub.names.contains(id) {
                sub.absent.insert(id);
            }
            let Some(name) = name_of(id) else { continue };
            bytes += name.len() + NAME_OVERHEAD;
            if by_empty {
                let gone = generation.gone(client, kind, id, &name);
                let empty = gone.unwrap_or_else(|| Resource::empty(kind, &name));
                bytes += empty.len();
                found.puts.push((id, Arc::new(empty)));
            } else if variant == Variant::Delta {
                found.removed.push(name);
            } else {
                found.missing.push(name);
            }
        }
        if found.puts.is_empty() && found.removed.is_empty() && found.missing.is_empty() {
            return None;
        }
        let mut response = self.say(generation, kind, found.puts, found.removed, false, false);
        response.missing = found.missing;
        Some(response)
    }

    /// Endpoints and clusters go only after the routes and listeners that named them are on their way.
    pub(super) fn still_named(&mut self, kind: Kind, now: Duration) -> bool {
        if !matches!(kind, Kind::Cluster | Kind::Endpoints) {
            return false;
        }
        let pending = [Kind::Listener, Kind::Route].into_iter().any(|above| {
            let sub = self.types.get(above);
            sub.requested && !sub.idle()
        });
        let sub = self.types.get_mut(kind);
        if !pending {
            sub.parting = None;
            return false;
        }
        let since = *sub.parting.get_or_insert(now);
        let waits = now < since + self.limits.gate;
        if !waits {
            sub.parting = None;
        }
        waits
    }

    /// Rule 45: each cluster that is sent is followed by its endpoints, changed or not:
    /// Envoy does not ask again, and would warm for 15 s.
    pub(super) fn endpoints_follow(&mut self, clusters: &[(NameId, Arc<Resource>)]) {
        let endpoints = self.types.get_mut(Kind::Endpoints);
        if !endpoints.requested {
            return;
        }
        let needs = clusters.iter().flat_map(|(_, cluster)| cluster.needs.iter());
        let wanted = |id: &NameId| endpoints.wildcard || endpoints.names.contains(*id);
        let following = ids::set(needs.copied().filter(wanted).collect());
        endpoints.ask_all_again(&following);
    }

    pub(super) fn say(
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
        sub.flight.push_back(Flight {
            nonce: self.nonce,
            names,
            set,
            single,
            only,
        });
        sub.last_nonce = self.nonce;
        sub.last_set = Some(set);
        // State of the world answers only the newest nonce: its parts go one by one.
        sub.more = more && self.variant == Variant::Delta;
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
