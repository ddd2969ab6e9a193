//! What can be followed, and what an answer to a read of it means. The rules by which it is read and believed are
//! those of `follow`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::document::Documents;
use super::gate::Loss;
use super::link::Fact;
use crate::registry::consul::{Answer, Query, Right};

/// Something that can be followed.
pub(super) trait Subject: Send {
    fn query(&self) -> &Query;
    /// Judges a good answer; `confirmed`: read by `?consistent`, at most as old as the question.
    fn read(&mut self, answer: &Answer, confirmed: bool) -> Verdict;
    /// The agent is well, but this answer is of no use.
    fn unusable(&mut self, reason: String) -> Verdict;
    /// What was lost is told.
    fn believed(&mut self) {}
    /// What is missing is hidden from the token; the rights that it lacks.
    fn hidden(&mut self, _: &BTreeSet<Right>) -> Verdict {
        Verdict::Useless
    }
    /// Whether what is missing is gone cannot be known.
    fn unclear(&mut self, reason: String) -> Verdict {
        self.unusable(reason)
    }
    /// These documents were read. Whether some of them are hidden from the token.
    fn documents(&mut self, _: &Documents) -> bool {
        false
    }
    /// Whether 403 says something of this subject only.
    fn may_be_refused(&self) -> bool {
        false
    }
    /// That 403.
    fn refused(&mut self, reason: String) -> Verdict {
        self.unusable(reason)
    }
    /// What tells by its index alone whether there is something to read.
    fn probe(&self) -> Option<&Query> {
        None
    }
    /// Whether it need not be watched where there is no room.
    fn may_be_swept(&self) -> bool {
        false
    }
    /// Whether its index tells that some service changed.
    fn detects(&self) -> bool {
        false
    }
    /// How often in a row the same was told though its index moved.
    fn repeats(&self) -> u32 {
        0
    }
    /// Whether to ask no more often than sweeps are made.
    fn unhurried(&self) -> bool {
        false
    }
}

/// What an answer means.
pub(super) enum Verdict {
    Tell(Fact),
    /// The keys of these services' policies are there: to be told with their values.
    ReadDocuments(Vec<Arc<str>>),
    /// Something got lost: to be told when that is certain.
    TellIfGone {
        fact: Fact,
        loss: Loss,
    },
    /// To be told, and to be read again soon: rights move no index.
    Hidden(Fact),
    /// To be told for the sake of its index: the same as before.
    TellAgain(Fact),
    /// Only that it moved.
    Moved,
    /// Nothing to tell; to be read again after a while.
    Useless,
    /// Something got lost: ask again by `?consistent`.
    Confirm,
    /// To be told, then to be read again after a while.
    Unusable(Fact),
    /// Not to be trusted.
    Suspect(String),
}
