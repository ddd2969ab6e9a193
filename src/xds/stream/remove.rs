//! Removals, once nothing refers to what is gone. How a client learns of each is in `removal.rs`.

use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use super::super::client::Client;
use super::super::generation::Generation;
use super::super::kind::Kind;
use super::super::names::{NameId, NameOf};
use super::super::removal::Removal;
use super::super::resource::Resource;
use super::super::response::{Missing, Response};
use super::Stream;

/// Bytes that a name takes on the wire besides itself, at most.
const NAME_OVERHEAD: usize = 20;

/// Names that are found at once: a response with many removals is split before it needs more.
const AT_ONCE: usize = 1_024;

/// A response with removals is full with this many bytes: it is made in one go, and other streams wait meanwhile.
const FULL: usize = 1 << 20;

/// And with this many names of what is gone.
const NAMES: usize = 4_096;

/// A response that removes.
#[derive(Default)]
struct Removals {
    empty: Vec<(NameId, Arc<Resource>)>,
    removed: Vec<Arc<str>>,
    missing: Vec<Missing>,
    /// Of these the client held.
    held: RoaringBitmap,
    bytes: usize,
}

impl Removals {
    fn push(
        &mut self,
        id: NameId,
        name: Arc<str>,
        removal: Removal,
        empty: impl FnOnce(&Arc<str>) -> Resource,
        missing: impl FnOnce(Arc<str>) -> Missing,
    ) {
        self.bytes += name.len() + NAME_OVERHEAD;
        match removal {
            Removal::Empty => {
                let empty = empty(&name);
                self.bytes += empty.len();
                self.empty.push((id, Arc::new(empty)));
            }
            Removal::Removed => self.removed.push(name),
            Removal::Missing => {
                let missing = missing(name);
                self.bytes += missing.why.len();
                self.missing.push(missing);
            }
        }
    }

    /// Empty resources and removed names go in different responses, so that a refusal of one leaves the
    /// other certain.
    fn would_mix(&self, removal: Removal) -> bool {
        match removal {
            Removal::Empty => !self.removed.is_empty(),
            Removal::Removed | Removal::Missing => !self.empty.is_empty(),
        }
    }

    fn is_empty(&self) -> bool {
        self.empty.is_empty() && self.removed.is_empty() && self.missing.is_empty()
    }
}

impl Stream {
    /// Removes what is gone, once nothing refers to it any more.
    pub(super) fn down(
        &mut self,
        generation: &Generation,
        kind: Kind,
        names: &impl NameOf,
        now: Duration,
    ) -> Option<Response> {
        if self.is_referred_to(kind, now) {
            return None;
        }
        let mut found = Removals::default();
        self.remove_unknown(kind, names, &mut found);
        self.remove_gone(generation, kind, names, &mut found);
        if found.is_empty() {
            return None;
        }
        let mut response = self.respond(generation, kind, found.empty, found.removed, false, false);
        response.missing = found.missing;
        if let Some(flight) = self.types.get_mut(kind).waiting.flight.back_mut() {
            flight.removed = found.held;
        }
        Some(response)
    }

    /// What the client claims to hold, or dropped, and never was served here.
    fn remove_unknown(&mut self, kind: Kind, names: &impl NameOf, found: &mut Removals) {
        let (client, variant, limit) = (
            self.viewer.client,
            self.variant,
            self.limits.response_bytes.min(FULL),
        );
        let sub = self.types.get_mut(kind);
        while found.bytes < limit
            && let Some(name) = sub.pending.too_long.pop_first()
        {
            found.bytes += name.len() + NAME_OVERHEAD;
            found.removed.push(name);
        }
        let removal = Removal::of(kind, client, variant, true);
        while found.bytes < limit && !found.would_mix(removal) && !sub.pending.unknown.is_empty() {
            let ids: Vec<NameId> = sub.pending.unknown.iter().take(AT_ONCE).collect();
            for (id, name) in ids.iter().copied().zip(names.names_of(&ids)) {
                if found.bytes >= limit {
                    break;
                }
                sub.pending.unknown.remove(id);
                sub.waiting.given_up.insert(id);
                if let Some(name) = name {
                    let empty = |name: &_| Resource::empty(kind, name);
                    found.push(id, name, removal, empty, |name| Missing {
                        name,
                        why: String::new(),
                    });
                }
            }
        }
    }

    /// What was served before, or is subscribed to by name and not served.
    fn remove_gone(
        &mut self,
        generation: &Generation,
        kind: Kind,
        names: &impl NameOf,
        found: &mut Removals,
    ) {
        let (viewer, limit) = (self.viewer.clone(), self.limits.response_bytes.min(FULL));
        let client = viewer.client;
        let (envoy, variant) = (self.is_envoy(), self.variant);
        let sub = self.types.get_mut(kind);
        let gone: Vec<NameId> = sub.gone(generation, kind, &viewer).take(NAMES).collect();
        for part in gone.chunks(AT_ONCE) {
            if found.bytes >= limit {
                break; // the rest, as that beyond these names, after the ACK of this part
            }
            for (id, name) in part.iter().copied().zip(names.names_of(part)) {
                if found.bytes >= limit {
                    break;
                }
                let held = sub.held.ids.contains(id) || (!envoy && sub.sotw.claimed.contains(id));
                let removal = Removal::of(kind, client, variant, held);
                if found.would_mix(removal) {
                    continue;
                }
                sub.pending.dirty.remove(id);
                sub.pending.again.remove(id);
                sub.held.refused.remove(&id);
                if sub.held.ids.remove(id) {
                    found.held.insert(id);
                }
                if sub.wanted.names.contains(id) {
                    sub.held.absent.insert(id);
                }
                if let Some(name) = name {
                    let empty = |name: &_| {
                        let gone = generation.gone(client, kind, id, name);
                        gone.unwrap_or_else(|| Resource::empty(kind, name))
                    };
                    let missing = |name| generation.missing(&viewer, kind, id, name);
                    found.push(id, name, removal, empty, missing);
                }
            }
        }
    }

    /// gRPC's own clients understand removals, and take an empty resource for a real one.
    pub(super) fn is_envoy(&self) -> bool {
        self.viewer.client == Client::Envoy
    }
}
