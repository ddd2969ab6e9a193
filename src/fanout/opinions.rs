//! What fleets think of versions, gathered across streams, and what each stream
//! is seen to be. One stream's refusal changes nothing for the others; when most
//! of a fleet that tried a version refuse it, that is shown, and by option
//! newcomers of the fleet get the last content before it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use roaring::RoaringBitmap;
use tokio::time::Instant;

use super::{Fanout, Shared, lock};
use crate::xds::{Client, Kind, Matter, NameId, PerKind, Ruling, StreamId, Version, Voter};

/// So many questions wait at one stream; further ones are not asked of it.
const POLLS: usize = 1_000;

/// A question to a stream: has it accepted this version?
#[derive(Clone, Debug)]
pub struct Poll {
    /// Asked of streams of this fleet.
    pub matter: Matter,
    /// The version.
    pub version: Version,
}

/// A stream as an operator sees it.
#[derive(Clone, Debug, Default)]
pub struct StreamStatus {
    /// `node.id`
    pub node: String,
    /// `node.cluster`
    pub fleet: String,
    /// `node.user_agent_name`
    pub agent: String,
    /// `delta` or `sotw`
    pub variant: &'static str,
    /// When it was opened.
    pub since: Option<Instant>,
    /// Each type it asked for.
    pub types: PerKind<TypeStatus>,
    /// The last response it refused.
    pub last_nack: Option<LastNack>,
}

/// One type of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeStatus {
    /// A request was seen.
    pub requested: bool,
    /// Subscribed to everything.
    pub wildcard: bool,
    /// Names subscribed to.
    pub names: u64,
    /// Responses accepted.
    pub acks: u64,
    /// Responses refused.
    pub nacks: u64,
}

/// A refusal.
#[derive(Clone, Debug)]
pub struct LastNack {
    /// Of which type.
    pub kind: Kind,
    /// Which resource, where that is known.
    pub name: Option<Arc<str>>,
    /// The client's words.
    pub message: String,
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
    /// The words of the last refusal.
    pub message: String,
}

impl Fanout {
    /// A stream refused a version of one resource. Says whether what is rejected changed.
    pub fn refused(&self, who: (Voter, StreamId), matter: &Matter, version: Version, message: &str) -> bool {
        let mut shared = lock(&self.shared);
        // What is over, and what stands in for the present version, is nobody's matter.
        let present = shared.generation.get(matter.kind, matter.id);
        if present.is_none_or(|resource| resource.version != version) {
            return false;
        }
        let others = if shared.verdicts.fresh(matter, version) {
            shared.poll(
                &Poll {
                    matter: matter.clone(),
                    version,
                },
                who.1,
            )
        } else {
            RoaringBitmap::new()
        };
        let ruling = shared
            .verdicts
            .refuse(matter.clone(), version, who, message, others);
        self.doubting.store(true, Ordering::Release);
        self.rule(&mut shared, matter, ruling)
    }

    /// A stream accepted these versions; costs nothing while none is in doubt.
    /// Says whether what is rejected changed.
    pub fn accepted(
        &self,
        who: (Voter, StreamId),
        fleet: &str,
        kind: Kind,
        names: &[(NameId, Version)],
    ) -> bool {
        if !self.doubting.load(Ordering::Acquire) {
            return false;
        }
        let mut shared = lock(&self.shared);
        let fleet: Arc<str> = fleet.into();
        names.iter().fold(false, |changed, (id, version)| {
            let matter = Matter {
                fleet: fleet.clone(),
                kind,
                id: *id,
            };
            let ruling = shared.verdicts.answer(&matter, *version, who, true);
            self.rule(&mut shared, &matter, ruling) || changed
        })
    }

    /// A stream answers a question. Says whether what is rejected changed.
    pub fn answer(&self, who: (Voter, StreamId), poll: &Poll, accepted: bool) -> bool {
        let mut shared = lock(&self.shared);
        let ruling = shared.verdicts.answer(&poll.matter, poll.version, who, accepted);
        self.rule(&mut shared, &poll.matter, ruling)
    }

    /// Versions that are rejected now.
    #[must_use]
    pub fn rejected(&self) -> Vec<Rejected> {
        let shared = lock(&self.shared);
        let mut all: Vec<Rejected> = shared
            .verdicts
            .iter()
            .filter(|(_, doubt)| doubt.rejected())
            .filter_map(|(matter, doubt)| {
                let present = shared.generation.get(matter.kind, matter.id)?;
                let given =
                    shared
                        .generation
                        .get_for(&matter.fleet, Client::Envoy, matter.kind, matter.id)?;
                Some(Rejected {
                    fleet: matter.fleet.clone(),
                    kind: matter.kind,
                    name: present.name.clone(),
                    version: doubt.version,
                    refused: doubt.refused(),
                    accepted: doubt.accepted(),
                    held: given.version != present.version,
                    message: doubt.message.clone(),
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
        for (matter, _) in lock(&self.shared)
            .verdicts
            .iter()
            .filter(|(_, doubt)| doubt.rejected())
        {
            *counts.get_mut(matter.kind) += 1;
        }
        counts
    }

    /// Each open stream.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamStatus> {
        let mailboxes: Vec<_> = lock(&self.shared).mailboxes.iter().flatten().cloned().collect();
        mailboxes
            .iter()
            .map(|mailbox| lock(&mailbox.status).clone())
            .collect()
    }

    /// Carries a ruling out: newcomers of a fleet that rejects a version get what was
    /// before, where that is kept (`on_rejected = "hold"`).
    pub(super) fn rule(&self, shared: &mut Shared, matter: &Matter, ruling: Ruling) -> bool {
        let generation = &shared.generation;
        let next = match ruling {
            Ruling::Same => return false,
            Ruling::Rejected => {
                log_rejected(shared, matter);
                generation.stand_in(&matter.fleet, matter.kind, matter.id)
            }
            Ruling::Cleared => generation.stand_down(&matter.fleet, matter.kind, matter.id),
        };
        if let Some(next) = next {
            shared.generation = Arc::new(next);
            self.current.store(Some(shared.generation.clone()));
        }
        true
    }
}

fn log_rejected(shared: &Shared, matter: &Matter) {
    let Some(doubt) = shared.verdicts.doubt(matter) else {
        return;
    };
    tracing::warn!(
        fleet = &*matter.fleet,
        r#type = matter.kind.short(),
        name = shared.names.name(matter.id).map_or("", |name| &**name),
        version = %doubt.version,
        refused = doubt.refused(),
        accepted = doubt.accepted(),
        reason = doubt.message,
        "rejected: most clients of the fleet that tried this version refuse it"
    );
}

impl Shared {
    /// Asks the other streams of the fleet that subscribe to this name what they think of it; returns whom.
    fn poll(&self, poll: &Poll, but: StreamId) -> RoaringBitmap {
        let mut asked = self.index.wildcards(poll.matter.kind).clone();
        asked |= self.index.named(poll.matter.kind, poll.matter.id);
        match self.fleets.get(&poll.matter.fleet) {
            Some(fleet) => asked &= fleet,
            None => asked.clear(),
        }
        asked.remove(but);
        let mut full = RoaringBitmap::new();
        for stream in &asked {
            let Some(mailbox) = self.mailboxes.get(stream as usize).and_then(Option::as_ref) else {
                continue;
            };
            let mut letters = lock(&mailbox.letters);
            if letters.polls.len() < POLLS {
                letters.polls.push(poll.clone());
            } else {
                full.insert(stream);
            }
            drop(letters);
            mailbox.wake.notify_one();
        }
        asked - full
    }
}
