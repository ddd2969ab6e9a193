//! What can be followed, and what an answer to a read of it means. How it is read and believed is up to `follow` and
//! `step`, the same for all.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::registry::consul::{Answer, Query, Right};
use crate::source::consul::decode::Documents;
use crate::source::consul::news::Fact;
use crate::source::consul::trust::loss::Loss;

/// How a subject is followed, whatever its answers hold.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent of each other, and named where they are set"
)]
pub(crate) struct Rules {
    /// A 403 concerns this subject alone; others may still be readable.
    pub(crate) may_be_refused: bool,
    /// It need not be watched where there is no room: it can be swept.
    pub(crate) may_be_swept: bool,
    /// Its index moves when some service changes.
    pub(crate) detects: bool,
    /// It is read no more often than sweeps are made.
    pub(crate) unhurried: bool,
}

impl Rules {
    /// A subject without which nothing is trusted.
    pub(crate) const STRICT: Self = Self {
        may_be_refused: false,
        may_be_swept: false,
        detects: false,
        unhurried: false,
    };
}

/// Something that can be followed.
pub(crate) trait Subject: Send {
    const RULES: Rules;

    fn query(&self) -> &Query;

    /// Judges a good answer; `confirmed`: read by `?consistent`, no older than the request.
    fn read(&mut self, answer: &Answer, confirmed: bool) -> Verdict;

    /// The agent is well, but this answer is of no use.
    fn unusable(&mut self, reason: String) -> Verdict;

    /// What is missing is hidden from the token, which lacks these rights.
    fn hidden(&mut self, _: &BTreeSet<Right>) -> Verdict {
        Verdict::Useless
    }

    /// Whether what is missing is gone cannot be known.
    fn unclear(&mut self, reason: String) -> Verdict {
        self.unusable(reason)
    }

    /// A 403, where [`Rules::may_be_refused`].
    fn refused(&mut self, reason: String) -> Verdict {
        self.unusable(reason)
    }

    /// These documents were read. True: some are hidden from the token.
    fn documents(&mut self, _: &Documents) -> bool {
        false
    }

    /// A small read whose index alone shows whether there is something to read.
    fn probe(&self) -> Option<&Query> {
        None
    }

    /// How many times in a row the same content was sent although its index moved.
    fn repeats(&self) -> u32 {
        0
    }

    /// How many paces to rest after an answer that is much to read, beside that.
    fn burden(&self) -> u32 {
        0
    }
}

/// What an answer means.
pub(crate) enum Verdict {
    Send(Fact),
    /// Send it, for its index: the content is the same as before.
    SendIndex(Fact),
    /// Something is missing: send it when that is certain to be gone.
    SendIfGone {
        fact: Fact,
        loss: Loss,
    },
    /// Send it, and read again soon: a change of rights moves no index.
    SendHidden(Fact),
    /// Send it, and read again after a while.
    SendUnusable(Fact),
    /// The policies of these services exist: send them with their content.
    ReadDocuments(Vec<Arc<str>>),
    /// Nothing to send but that it moved.
    Moved,
    /// Nothing to send; read again after a while.
    Useless,
    /// Something is missing: read again by `?consistent`.
    Confirm,
    /// Not to be trusted.
    Suspect(String),
}
