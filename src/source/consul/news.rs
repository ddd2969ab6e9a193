//! What readers send to the supervisor.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decode::{Documents, Found, Names, Pairs};

/// Something read; it counts while its epoch holds.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) epoch: u64,
    pub(crate) index: u64,
    pub(crate) fact: Fact,
    /// Read beside the watch.
    pub(crate) audit: Option<Audited>,
}

/// What was held when an audit began its read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Audited {
    pub(crate) epoch: u64,
    pub(crate) index: u64,
}

#[derive(Debug)]
pub(crate) enum Fact {
    Names(Names),
    Service(Arc<str>, Finding),
    /// `None`: they cannot be read; those known stay.
    Documents(Option<Documents>),
    /// All keys of another program, by its number. `None`: they cannot be read; those known stay.
    Keys(usize, Option<Pairs>),
}

/// What was read of one service.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// `Err`: the agent is well, but this answer cannot be read.
    pub(crate) found: Result<Arc<Found>, String>,
    /// What was held of the service when this was judged: what is missing from it was confirmed to be gone, or is in
    /// `hidden`.
    pub(crate) before: Arc<Found>,
    /// What is missing because the token may not read it.
    pub(crate) hidden: Option<Hidden>,
}

/// Entries of a service that were known and cannot be read any more; they stay as they were.
#[derive(Clone, Debug)]
pub(crate) struct Hidden {
    /// `<node>/<service id>` of each.
    pub(crate) ids: BTreeSet<String>,
    /// For people.
    pub(crate) reason: String,
}
