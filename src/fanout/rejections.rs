//! Versions that fleets reject, by the votes of their streams. One stream's refusal
//! changes nothing for the others; when most clients of a fleet that tried a version
//! refuse it, that is shown, and by option newcomers of the fleet get the last
//! content before it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use roaring::RoaringBitmap;

use super::{Fanout, Shared, lock};
use crate::xds::{Client, ClientId, Kind, NameId, PerKind, RejectionKey, Ruling, StreamId, Version, Viewer};

/// Maximum of polls that wait at one stream; it is not asked any further.
const POLLS: usize = 1_000;

/// A question to a stream: has it accepted this version?
#[derive(Clone, Debug)]
pub struct Poll {
    /// The resource, and the fleet whose streams are asked.
    pub key: RejectionKey,
    /// The version.
    pub version: Version,
}

/// A version that most clients of a fleet refuse.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The fleet.
    pub fleet: Arc<str>,
    /// The type.
    pub kind: Kind,
    /// The resource.
    pub name: Arc<str>,
    /// The version.
    pub version: Version,
    /// Streams that refused it.
    pub refused: u64,
    /// Streams that accepted it.
    pub accepted: u64,
    /// Newcomers get the content before it.
    pub held: bool,
    /// The message of the last refusal.
    pub message: String,
}

impl Fanout {
    /// A stream refused a version of one resource. Returns whether what is rejected changed.
    pub fn refused(
        &self,
        who: (ClientId, StreamId),
        key: &RejectionKey,
        version: Version,
        message: &str,
    ) -> bool {
        let mut shared = self.shared.lock();
        // Ignore refusals of superseded versions and of stand-ins.
        let present = shared.generation.get(key.kind, key.id);
        if present.is_none_or(|resource| resource.version != version) {
            return false;
        }
        let others = if shared.verdicts.fresh(key, version) {
            shared.poll(
                &Poll {
                    key: key.clone(),
                    version,
                },
                who.1,
            )
        } else {
            RoaringBitmap::new()
        };
        let ruling = shared.verdicts.refuse(key.clone(), version, who, message, others);
        self.has_refusals.store(true, Ordering::Release);
        self.rule(&mut shared, key, ruling)
    }

    /// A stream accepted these versions; costs nothing while none was refused.
    /// Returns whether what is rejected changed.
    pub fn accepted(
        &self,
        who: (ClientId, StreamId),
        fleet: &str,
        kind: Kind,
        names: &[(NameId, Version)],
    ) -> bool {
        if !self.has_refusals.load(Ordering::Acquire) {
            return false;
        }
        let mut shared = self.shared.lock();
        let fleet: Arc<str> = fleet.into();
        names.iter().fold(false, |changed, (id, version)| {
            let key = RejectionKey {
                fleet: fleet.clone(),
                kind,
                id: *id,
            };
            let ruling = shared.verdicts.vote(&key, *version, who, true);
            self.rule(&mut shared, &key, ruling) || changed
        })
    }

    /// A stream replies to a poll. Returns whether what is rejected changed.
    pub fn reply(&self, who: (ClientId, StreamId), poll: &Poll, accepted: bool) -> bool {
        let mut shared = self.shared.lock();
        let ruling = shared.verdicts.vote(&poll.key, poll.version, who, accepted);
        self.rule(&mut shared, &poll.key, ruling)
    }

    /// Versions that are rejected now.
    #[must_use]
    pub fn rejected(&self) -> Vec<Rejected> {
        let shared = self.shared.lock();
        let mut all: Vec<Rejected> = shared
            .verdicts
            .iter()
            .filter(|(_, candidate)| candidate.rejected())
            .filter_map(|(key, candidate)| {
                let present = shared.generation.get(key.kind, key.id)?;
                let given =
                    shared
                        .generation
                        .get_for(&Viewer::of(Client::Envoy, &key.fleet), key.kind, key.id)?;
                Some(Rejected {
                    fleet: key.fleet.clone(),
                    kind: key.kind,
                    name: present.name.clone(),
                    version: candidate.version,
                    refused: candidate.refused(),
                    accepted: candidate.accepted(),
                    held: given.version != present.version,
                    message: candidate.message.clone(),
                })
            })
            .collect();
        all.sort_by(|a, b| (a.kind, &a.name, &a.fleet).cmp(&(b.kind, &b.name, &b.fleet)));
        all
    }

    /// How many versions of each type are rejected now.
    #[must_use]
    pub fn rejected_by_type(&self) -> PerKind<usize> {
        let mut counts: PerKind<usize> = PerKind::default();
        for (key, _) in self
            .shared
            .lock()
            .verdicts
            .iter()
            .filter(|(_, candidate)| candidate.rejected())
        {
            *counts.get_mut(key.kind) += 1;
        }
        counts
    }

    /// Carries a ruling out: newcomers of a fleet that rejects a version get what was
    /// before, where that is kept (`on_rejected = "hold"`).
    pub(super) fn rule(&self, shared: &mut Shared, key: &RejectionKey, ruling: Ruling) -> bool {
        let generation = &shared.generation;
        let next = match ruling {
            Ruling::Same => return false,
            Ruling::Rejected => {
                log_rejected(shared, key);
                generation.stand_in(&key.fleet, key.kind, key.id)
            }
            Ruling::Cleared => generation.stand_down(&key.fleet, key.kind, key.id),
        };
        if let Some(next) = next {
            shared.generation = Arc::new(next);
            self.current.store(Some(shared.generation.clone()));
        }
        true
    }
}

fn log_rejected(shared: &Shared, key: &RejectionKey) {
    let Some(candidate) = shared.verdicts.candidate(key) else {
        return;
    };
    tracing::warn!(
        fleet = &*key.fleet,
        r#type = key.kind.short(),
        name = shared.names.name(key.id).map_or("", |name| &**name),
        version = %candidate.version,
        refused = candidate.refused(),
        accepted = candidate.accepted(),
        reason = candidate.message,
        "rejected: most clients of the fleet that tried this version refuse it"
    );
}

impl Shared {
    /// Polls the other streams of the fleet that subscribe to this name; returns them.
    fn poll(&self, poll: &Poll, but: StreamId) -> RoaringBitmap {
        let mut asked = self.clients_of(poll.key.kind, poll.key.id);
        match self.fleets.get(&poll.key.fleet) {
            Some(fleet) => asked &= fleet,
            None => asked.clear(),
        }
        asked.remove(but);
        let mut full = RoaringBitmap::new();
        for stream in &asked {
            let Some(subscriber) = self.subscriber(stream) else {
                continue;
            };
            let mut pending = lock(&subscriber.pending);
            if pending.polls.len() < POLLS {
                pending.polls.push(poll.clone());
            } else {
                full.insert(stream);
            }
            drop(pending);
            subscriber.wake.notify_one();
        }
        asked - full
    }
}
