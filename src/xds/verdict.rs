//! What the clients of a fleet, together, think of a version: one client's refusal
//! never changes what others get, but when most of those that tried a version
//! refuse it, it is rejected there.
//!
//! Nothing is counted until somebody refuses: the cost is that of what is in doubt.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::index::StreamId;
use super::kind::Kind;
use super::names::NameId;
use super::resource::Version;

/// So many versions may be in doubt at once; further refusals are only counted and logged.
const MOST: usize = 1_000;

/// One version in one fleet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matter {
    /// The fleet.
    pub fleet: Arc<str>,
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub id: NameId,
}

/// What is known of a version in doubt.
#[derive(Clone, Debug)]
pub struct Doubt {
    /// The version.
    pub version: Version,
    /// The words of the last refusal.
    pub message: String,
    /// Who accepted it, and who did not: by node, since one that reconnects is still one.
    votes: HashMap<Voter, bool>,
    /// Streams that were asked, and have not answered yet.
    asked: RoaringBitmap,
}

/// A client, by a hash of its node id: what it thinks outlives its streams.
pub type Voter = u64;

/// So many clients are counted for one version; the others do not decide any more.
const VOTERS: usize = 4_096;

/// What an opinion changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing.
    Same,
    /// Most of those that tried it refuse it.
    Rejected,
    /// It no longer is rejected.
    Cleared,
}

/// All versions in doubt.
#[derive(Debug, Default)]
pub struct Verdicts {
    doubts: HashMap<Matter, Doubt>,
}

impl Doubt {
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

    fn vote(&mut self, voter: Voter, accepted: bool) {
        if self.votes.len() < VOTERS || self.votes.contains_key(&voter) {
            self.votes.insert(voter, accepted);
        }
    }

    /// Most of those that tried it refuse it; who has not answered yet is taken to have accepted it.
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
    /// Whether anything is in doubt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.doubts.is_empty()
    }

    /// All versions in doubt.
    pub fn iter(&self) -> impl Iterator<Item = (&Matter, &Doubt)> {
        self.doubts.iter()
    }

    /// Whether this would be the first refusal of a version: others should be asked then.
    #[must_use]
    pub fn fresh(&self, matter: &Matter, version: Version) -> bool {
        self.doubts
            .get(matter)
            .is_none_or(|doubt| doubt.version != version)
    }

    /// A stream refused a version. `others`: those to be asked, at the first refusal.
    pub fn refuse(
        &mut self,
        matter: Matter,
        version: Version,
        (voter, stream): (Voter, StreamId),
        message: &str,
        others: RoaringBitmap,
    ) -> Ruling {
        let fresh = self.fresh(&matter, version);
        if fresh && self.doubts.len() >= MOST {
            return Ruling::Same;
        }
        let doubt = self.doubts.entry(matter).or_insert_with(|| Doubt::new(version));
        if fresh {
            *doubt = Doubt {
                asked: others,
                ..Doubt::new(version)
            };
        }
        message.clone_into(&mut doubt.message);
        doubt.after(|doubt| {
            doubt.asked.remove(stream);
            doubt.vote(voter, false);
        })
    }

    /// What a stream thinks of a version: accepted, or (`false`) not tried. Counts only when that is in doubt.
    pub fn answer(
        &mut self,
        matter: &Matter,
        version: Version,
        (voter, stream): (Voter, StreamId),
        accepted: bool,
    ) -> Ruling {
        let Some(doubt) = self.doubts.get_mut(matter).filter(|d| d.version == version) else {
            return Ruling::Same;
        };
        doubt.after(|doubt| {
            doubt.asked.remove(stream);
            if accepted {
                doubt.vote(voter, true);
            }
        })
    }

    /// A stream has ended: it will not answer any more. What its client thought still counts.
    /// Returns what changed.
    pub fn leave(&mut self, stream: StreamId) -> Vec<(Matter, Ruling)> {
        let mut changed = Vec::new();
        for (matter, doubt) in &mut self.doubts {
            let ruling = doubt.after(|doubt| {
                doubt.asked.remove(stream);
            });
            if ruling != Ruling::Same {
                changed.push((matter.clone(), ruling));
            }
        }
        changed
    }

    /// What is known of a version.
    #[must_use]
    pub fn doubt(&self, matter: &Matter) -> Option<&Doubt> {
        self.doubts.get(matter)
    }

    /// The content of these names changed: what was thought of the old one is over.
    pub fn moved(&mut self, kind: Kind, names: &RoaringBitmap) {
        self.doubts
            .retain(|matter, _| matter.kind != kind || !names.contains(matter.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: Version = Version(1);

    fn matter(fleet: &str) -> Matter {
        Matter {
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
            verdicts.answer(&matter("edge"), V1, (1, 1), true),
            Ruling::Same,
            "not in doubt: not counted"
        );
        let first = verdicts.refuse(matter("edge"), V1, (2, 2), "bad", others(&[1, 3]));
        assert_eq!(first, Ruling::Same, "two others have not said anything yet");
        assert_eq!(verdicts.answer(&matter("edge"), V1, (1, 1), false), Ruling::Same);
        assert_eq!(
            verdicts.answer(&matter("edge"), V1, (3, 3), false),
            Ruling::Rejected,
            "only one tried it"
        );
        assert_eq!(
            verdicts.answer(&matter("edge"), V1, (3, 3), true),
            Ruling::Cleared,
            "one of two is not most"
        );
        assert_eq!(
            verdicts.refuse(matter("edge"), V1, (4, 4), "bad", others(&[])),
            Ruling::Rejected
        );
        assert_eq!(verdicts.leave(2), [], "what it thought still counts");
        assert!(verdicts.doubt(&matter("edge")).is_some_and(Doubt::rejected));
        assert!(
            verdicts.doubt(&matter("bff")).is_none(),
            "another fleet is another matter"
        );
    }

    #[test]
    fn one_client_is_one_vote_however_often_it_comes_back() {
        let mut verdicts = Verdicts::default();
        verdicts.refuse(matter("edge"), V1, (66, 1), "bad", others(&[2]));
        verdicts.answer(&matter("edge"), V1, (77, 2), true);
        for stream in 3..9 {
            assert_eq!(verdicts.leave(stream - 1), []);
            assert_eq!(
                verdicts.refuse(matter("edge"), V1, (66, stream), "bad", others(&[])),
                Ruling::Same
            );
        }
        assert_eq!(
            verdicts
                .doubt(&matter("edge"))
                .map(|d| (d.refused(), d.accepted())),
            Some((1, 1))
        );
    }

    #[test]
    fn a_stream_that_ends_need_not_answer() {
        let mut verdicts = Verdicts::default();
        verdicts.refuse(matter("edge"), V1, (2, 2), "bad", others(&[1]));
        assert_eq!(verdicts.leave(1), [(matter("edge"), Ruling::Rejected)]);
    }

    #[test]
    fn a_new_content_is_a_new_matter() {
        let mut verdicts = Verdicts::default();
        verdicts.refuse(matter("edge"), V1, (2, 2), "bad", others(&[]));
        verdicts.refuse(matter("edge"), Version(2), (3, 3), "bad", others(&[]));
        assert_eq!(verdicts.doubt(&matter("edge")).map(Doubt::refused), Some(1));
        verdicts.moved(Kind::Cluster, &[7].into_iter().collect());
        assert!(verdicts.is_empty());
    }
}
