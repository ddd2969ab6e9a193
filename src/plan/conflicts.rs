//! What is said of a service whose versions disagree. Pure.

use std::sync::Arc;

use crate::model::{Code, Conflict, Issue};

/// The sentence about a key that instances declare differently.
pub(super) fn disagreement(service: &str, conflict: &Conflict) -> Issue {
    let version = |version: &Arc<str>| match &**version {
        "" => "(none)".to_owned(),
        version => version.to_owned(),
    };
    let Conflict { key, winner, losers } = conflict;
    let reason = if *losers == [winner.clone()] {
        format!(
            "{key}: instances of version {} declare different values: the most common one is in force",
            version(winner)
        )
    } else {
        let losers: Vec<String> = losers.iter().map(version).collect();
        format!(
            "{key}: versions declare different values: that of {} is in force, not that of {}",
            version(winner),
            losers.join(", ")
        )
    };
    Issue::warning(service, reason).of_kind(Code::ValuesDisagree)
}
