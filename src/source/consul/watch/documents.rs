//! The policy documents, from `/v1/kv/xds/?keys`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::subject::{Rules, Subject, Verdict};
use crate::config::ConsulSelection;
use crate::registry::consul::{Answer, Query};
use crate::source::consul::context::Context;
use crate::source::consul::decode::document::PREFIX;
use crate::source::consul::decode::{self, Documents};
use crate::source::consul::news::Fact;

/// Policy documents that are read, at most: each change of one of them means to read all of them.
const MAX_DOCUMENTS: usize = 10_000;

/// The keys `/v1/kv/xds/?keys`, whose index moves with their values too. A missing document is confirmed. A token
/// without `key:read` has none.
pub(crate) struct DocumentsSubject {
    query: Query,
    selection: Arc<ConsulSelection>,
    /// Those in force.
    held: BTreeSet<Arc<str>>,
    /// Those in the list that was read last.
    listed: BTreeSet<Arc<str>>,
    /// They were read at least once.
    known: bool,
    /// That they cannot be read was logged: once in a row, not at each attempt.
    reported: bool,
}

impl DocumentsSubject {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            query: Query::Keys(PREFIX.to_owned()),
            selection: context.selection.clone(),
            held: BTreeSet::new(),
            listed: BTreeSet::new(),
            known: false,
            reported: false,
        }
    }
}

impl Subject for DocumentsSubject {
    const RULES: Rules = Rules {
        may_be_refused: true,
        ..Rules::STRICT
    };

    fn query(&self) -> &Query {
        &self.query
    }

    fn read(&mut self, answer: &Answer, confirmed: bool) -> Verdict {
        let named = if answer.missing {
            Ok(Vec::new())
        } else {
            decode::named(&answer.body)
        };
        let named: BTreeSet<_> = match named {
            Ok(named) => named
                .into_iter()
                .filter(|name| self.selection.names(name))
                .collect(),
            Err(error) => return self.unusable(error.to_string()),
        };
        if !confirmed && !self.held.is_subset(&named) {
            return Verdict::Confirm;
        }
        self.reported = false;
        self.known = true;
        // Those in force go first: no policy is dropped because others were written. One that is no longer listed is
        // read as well: what a token may not read is not listed, and its own read says so.
        let mut wanted: Vec<_> = self.held.iter().cloned().collect();
        wanted.extend(named.difference(&self.held).cloned());
        if wanted.len() > MAX_DOCUMENTS {
            let (read, left_out) = (MAX_DOCUMENTS, wanted.len() - MAX_DOCUMENTS);
            tracing::warn!(read, left_out, "too many policy documents; the rest is not read");
            wanted.truncate(MAX_DOCUMENTS);
        }
        self.listed = named;
        Verdict::ReadDocuments(wanted)
    }

    fn documents(&mut self, documents: &Documents) -> bool {
        self.held = documents.keys().cloned().collect();
        // Also one that was listed while it was readable.
        !self.held.is_subset(&self.listed) || documents.values().any(|document| document.refused)
    }

    /// Before the first read there are none to stay in force: a start without them would take their routes out of every
    /// Envoy, because of too many keys below `xds/`.
    fn unusable(&mut self, reason: String) -> Verdict {
        if self.known {
            self.refused(reason)
        } else {
            Verdict::Suspect(format!("policy documents cannot be read: {reason}"))
        }
    }

    fn refused(&mut self, reason: String) -> Verdict {
        if !std::mem::replace(&mut self.reported, true) {
            tracing::warn!(
                reason,
                "policy documents cannot be read; those known stay in force"
            );
        }
        let fact = Fact::Documents(None);
        if self.known {
            Verdict::SendHidden(fact)
        } else {
            Verdict::SendUnusable(fact)
        }
    }
}
