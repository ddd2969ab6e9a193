//! What the clients of a fleet decide about a version: one client's refusal never changes
//! what others get, but when most of those that tried a version refuse it, it is rejected
//! in that fleet.
//!
//! Nothing is counted until a client refuses: only versions that were refused cost anything.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::index::StreamId;
use super::kind::Kind;
use super::names::NameId;
use super::resource::Version;

/// Maximum of refused versions that are tracked at once; further refusals are only counted and logged.
const MOST: usize = 1_000;

/// One resource in one fleet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RejectionKey {
    /// The fleet.
    pub fleet: Arc<str>,
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub id: NameId,
}

/// A version that some client refused, and the votes on it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The version.
    pub version: Version,
    /// The message of the last refusal.
    pub message: String,
    /// Whether each client accepted it: by node, because a client that reconnects is still one.
    votes: HashMap<ClientId, bool>,
    /// Streams that were polled, and have not replied yet.
    asked: RoaringBitmap,
}

/// A client, by a hash of its node id: its vote outlives its streams.
pub type ClientId = u64;

/// Maximum of clients whose votes on one version are counted.
const CLIENTS: usize = 4_096;

/// What a vote changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing.
    Same,
    /// Most of those that tried it refuse it.
    Rejected,
    /// It no longer is rejected.
    Cleared,
}

/// All versions that were refused.
#[derive(Debug, Default)]
pub struct Verdicts {
    candidates: HashMap<RejectionKey, Candidate>,
}

impl Candidate {
    fn new(version: Version) -> Self {
        Self {
            version,
            message: String::new(),
            votes: HashMap::new(),
            asked: RoaringBitmap::new(),
        }
    }

    /// Clients that refused it.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.votes.values().filter(|accepted| !**accepted).count() as u64
    }

    /// Clients that accepted it.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.votes.len() as u64 - self.refused()
    }

    fn vote(&mut self, client: ClientId, accepted: bool) {
        if self.votes.len() < CLIENTS || self.votes.contains_key(&client) {
            self.votes.insert(client, accepted);
        }
    }

    /// Most of those that tried it refuse it; streams that have not replied yet count as accepting it.
    #[must_use]
    pub fn rejected(&self) -> bool {
        self.refused() > self.accepted() + self.asked.len()
    }

    fn after(&mut self, change: impl FnOnce(&mut Self)) -> Ruling {
        let before = self.rejected();
        change(self);
        match (before, self.rejected()) {
            (false, true) => Ruling::Rejected,
            (true, false) => Ruling::Cleared,
            _ => Ruling::Same,
        }
    }
}

impl Verdicts {
    /// Whether no version was refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// All versions that were refused.
    pub fn iter(&self) -> impl Iterator<Item = (&RejectionKey, &Candidate)> {
        self.candidates.iter()
    }

    /// Whether this would be the first refusal of a version: others should be polled then.
    #[must_use]
    pub fn fresh(&self, key: &RejectionKey, version: Version) -> bool {
        self.candidates
            .get(key)
            .is_none_or(|candidate| candidate.version != version)
    }

    /// A stream refused a version. `others`: those polled, at the first refusal.
    pub fn refuse(
        &mut self,
        key: RejectionKey,
        version: Version,
        (client, stream): (ClientId, StreamId),
        message: &str,
        others: RoaringBitmap,
    ) -> Ruling {
        let fresh = self.fresh(&key, version);
        if fresh && self.candidates.len() >= MOST {
            return Ruling::Same;
        }
        let candidate = self
            .candidates
            .entry(key)
            .or_insert_with(|| Candidate::new(version));
        if fresh {
            *candidate = Candidate {
                asked: others,
                ..Candidate::new(version)
            };
        }
        message.clone_into(&mut candidate.message);
        candidate.after(|candidate| {
            candidate.asked.remove(stream);
            candidate.vote(client, false);
        })
    }

    /// A stream's vote on a version: accepted, or (`false`) not tried. Counts only when that was refused.
    pub fn vote(
        &mut self,
        key: &RejectionKey,
        version: Version,
        (client, stream): (ClientId, StreamId),
        accepted: bool,
    ) -> Ruling {
        let Some(candidate) = self.candidates.get_mut(key).filter(|d| d.version == version) else {
            return Ruling::Same;
        };
        candidate.after(|candidate| {
            candidate.asked.remove(stream);
            if accepted {
                candidate.vote(client, true);
            }
        })
    }

    /// A stream has ended: it will not reply any more. The vote of its client still counts.
    /// Returns what changed.
    pub fn leave(&mut self, stream: StreamId) -> Vec<(RejectionKey, Ruling)> {
        let mut changed = Vec::new();
        for (key, candidate) in &mut self.candidates {
            let ruling = candidate.after(|candidate| {
                candidate.asked.remove(stream);
            });
            if ruling != Ruling::Same {
                changed.push((key.clone(), ruling));
            }
        }
        changed
    }

    /// The votes on a version.
    #[must_use]
    pub fn candidate(&self, key: &RejectionKey) -> Option<&Candidate> {
        self.candidates.get(key)
    }

    /// The content of these names changed: votes on the old one are void.
    pub fn moved(&mut self, kind: Kind, names: &RoaringBitmap) {
        self.candidates
            .retain(|key, _| key.kind != kind || !names.contains(key.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: Version = Version(1);

    fn key(fleet: &str) -> RejectionKey {
        RejectionKey {
            fleet: fleet.into(),
            kind: Kind::Cluster,
            id: 7,
        }
    }

    fn others(streams: &[StreamId]) -> RoaringBitmap {
        streams.iter().copied().collect()
    }

    #[test]
    fn most_of_those_that_tried_it_decide() {
        let mut verdicts = Verdicts::default();
        assert_eq!(
            verdicts.vote(&key("edge"), V1, (1, 1), true),
            Ruling::Same,
            "not refused by anyone: not counted"
        );
        let first = verdicts.refuse(key("edge"), V1, (2, 2), "bad", others(&[1, 3]));
        assert_eq!(first, Ruling::Same, "two others have not replied yet");
        assert_eq!(verdicts.vote(&key("edge"), V1, (1, 1), false), Ruling::Same);
        assert_eq!(
            verdicts.vote(&key("edge"), V1, (3, 3), false),
            Ruling::Rejected,
            "only one tried it"
        );
        assert_eq!(
            verdicts.vote(&key("edge"), V1, (3, 3), true),
            Ruling::Cleared,
            "one of two is not most"
        );
        assert_eq!(
            verdicts.refuse(key("edge"), V1, (4, 4), "bad", others(&[])),
            Ruling::Rejected
        );
        assert_eq!(verdicts.leave(2), [], "its vote still counts");
        assert!(verdicts.candidate(&key("edge")).is_some_and(Candidate::rejected));
        assert!(
            verdicts.candidate(&key("bff")).is_none(),
            "another fleet has another key"
        );
    }

    #[test]
    fn one_client_is_one_vote_however_often_it_comes_back() {
        let mut verdicts = Verdicts::default();
        verdicts.refuse(key("edge"), V1, (66, 1), "bad", others(&[2]));
        verdicts.vote(&key("edge"), V1, (77, 2), true);
        for stream in 3..9 {
            assert_eq!(verdicts.leave(stream - 1), []);
            assert_eq!(
                verdicts.refuse(key("edge"), V1, (66, stream), "bad", others(&[])),
                Ruling::Same
            );
        }
        assert_eq!(
            verdicts
                .candidate(&key("edge"))
                .map(|d| (d.refused(), d.accepted())),
            Some((1, 1))
        );
    }

    #[test]
    fn a_stream_that_ends_need_not_reply() {
        let mut verdicts = Verdicts::default();
        verdicts.refuse(key("edge"), V1, (2, 2), "bad", others(&[1]));
        assert_eq!(verdicts.leave(1), [(key("edge"), Ruling::Rejected)]);
    }

    #[test]
    fn new_content_voids_the_votes() {
        let mut verdicts = Verdicts::default();
        verdicts.refuse(key("edge"), V1, (2, 2), "bad", others(&[]));
        verdicts.refuse(key("edge"), Version(2), (3, 3), "bad", others(&[]));
        assert_eq!(verdicts.candidate(&key("edge")).map(Candidate::refused), Some(1));
        verdicts.moved(Kind::Cluster, &[7].into_iter().collect());
        assert!(verdicts.is_empty());
    }
}
