//! What an event changed in the catalog: everything behind it works for that only. Pure.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::model::Instance;
use crate::model::issue::Issue;

/// One that left, as it was last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Its service.
    pub(super) service: Arc<str>,
    /// What was known of it.
    pub(super) instance: Instance,
}

/// What an event changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Services to be merged and translated again.
    pub services: BTreeSet<Arc<str>>,
    /// Issues that were not there before, and of which service.
    pub new_issues: Vec<(Option<Arc<str>>, Issue)>,
    /// Entries that could not be used as they were, and can be now: the service, and the instance (`""`: its
    /// policy document).
    pub repaired: Vec<(Arc<str>, Arc<str>)>,
    /// Some issue came or went.
    pub issues: bool,
    /// The source's status, note or first delivery changed.
    pub status: bool,
    /// Sources to be asked to verify what they hold, with the number of the request.
    pub ask: Vec<(Arc<str>, u64)>,
    /// Instances that left their registry by its word.
    pub(super) left: Vec<Left>,
    /// Withheld instances that are gone because nobody listens at their addresses.
    pub gone: usize,
}

impl Touched {
    /// Takes what another event changed.
    pub(super) fn merge(&mut self, other: Self) {
        self.services.extend(other.services);
        self.new_issues.extend(other.new_issues);
        self.repaired.extend(other.repaired);
        self.issues |= other.issues;
        self.status |= other.status;
        self.ask.extend(other.ask);
        self.gone += other.gone;
        self.left.extend(other.left);
    }

    /// Notes which issues of a service are new.
    pub(super) fn note_issues(&mut self, service: Option<&Arc<str>>, old: &[Issue], new: &[Issue]) {
        if old == new {
            return;
        }
        self.issues = true;
        // One service may have thousands, and each of its changes comes through here.
        let known: HashSet<&Issue> = old.iter().collect();
        self.new_issues.extend(
            new.iter()
                .filter(|i| !known.contains(i))
                .map(|i| (service.cloned(), i.clone())),
        );
    }
}
