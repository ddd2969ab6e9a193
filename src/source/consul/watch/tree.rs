//! Keys of another program, from `/v1/kv/ROOT?recurse`.

use std::collections::BTreeSet;

use super::subject::{Rules, Subject, Verdict};
use crate::registry::consul::{Answer, Query};
use crate::source::consul::decode;
use crate::source::consul::news::Fact;

/// All keys below a root with their values. A missing one is confirmed. A token without `key:read` has none.
pub(crate) struct TreeSubject {
    query: Query,
    /// The program's number.
    nth: usize,
    /// Those that were sent last; `None`: they were never read.
    held: Option<BTreeSet<String>>,
    /// The bytes of the last answer: each change of a key means to read all of them.
    size: usize,
    /// That they cannot be read was logged: once in a row.
    reported: bool,
}

/// An answer of this size is worth a rest, bytes.
const MUCH: usize = 1024 * 1024;

impl TreeSubject {
    pub(crate) const fn new(nth: usize, root: String) -> Self {
        Self {
            query: Query::Tree(root),
            nth,
            held: None,
            size: 0,
            reported: false,
        }
    }
}

impl Subject for TreeSubject {
    const RULES: Rules = Rules {
        may_be_refused: true,
        ..Rules::STRICT
    };

    fn query(&self) -> &Query {
        &self.query
    }

    fn read(&mut self, answer: &Answer, confirmed: bool) -> Verdict {
        let pairs = if answer.missing {
            Ok(Vec::new())
        } else {
            decode::pairs(&answer.body)
        };
        let pairs = match pairs {
            Ok(pairs) => pairs,
            Err(error) => return self.unusable(error.to_string()),
        };
        let named: BTreeSet<String> = pairs.iter().map(|(key, _)| key.clone()).collect();
        if !confirmed && self.held.as_ref().is_some_and(|held| !held.is_subset(&named)) {
            return Verdict::Confirm;
        }
        self.reported = false;
        self.held = Some(named);
        self.size = answer.body.len();
        Verdict::Send(Fact::Keys(self.nth, Some(pairs)))
    }

    /// At most as many as the longest answer has MiB.
    fn burden(&self) -> u32 {
        u32::try_from(self.size / MUCH).unwrap_or(u32::MAX)
    }

    /// Before the first read there are none to stay in force.
    fn unusable(&mut self, reason: String) -> Verdict {
        if self.held.is_some() {
            self.refused(reason)
        } else {
            Verdict::Suspect(format!("{} cannot be read: {reason}", self.query.subject()))
        }
    }

    fn refused(&mut self, reason: String) -> Verdict {
        if !std::mem::replace(&mut self.reported, true) {
            tracing::warn!(
                reason,
                "keys of another program cannot be read; those known stay in force"
            );
        }
        let fact = Fact::Keys(self.nth, None);
        if self.held.is_some() {
            Verdict::SendHidden(fact)
        } else {
            Verdict::SendUnusable(fact)
        }
    }
}
