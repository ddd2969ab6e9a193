//! The names of all services, `/v1/catalog/services`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::subject::{Rules, Subject, Verdict};
use crate::config::ConsulSelection;
use crate::registry::consul::{Answer, Query};
use crate::source::consul::context::Context;
use crate::source::consul::decode::{self, Names};
use crate::source::consul::news::Fact;
use crate::source::consul::trust::canary::NO_CANARY;

/// `/v1/catalog/services`. That a name is gone is confirmed by its own health, not here.
pub(crate) struct NamesSubject {
    query: Query,
    selection: Arc<ConsulSelection>,
    /// The services of a peer, which Consul does not list.
    given: Option<BTreeSet<Arc<str>>>,
    /// Whether Consul's own service must be among the names.
    canary: bool,
    /// What was sent last, and how many times in a row.
    sent: Option<(Names, u32)>,
}

impl NamesSubject {
    pub(crate) fn new(context: &Context) -> Self {
        let scope = context.capacity.client().scope();
        Self {
            query: Query::Services,
            selection: context.selection.clone(),
            given: scope.peer.is_some().then(|| {
                let services = context.selection.services.iter();
                services.map(|name| name.as_str().into()).collect()
            }),
            canary: scope.holds_canary(),
            sent: None,
        }
    }
}

impl Subject for NamesSubject {
    const RULES: Rules = Rules {
        detects: true,
        ..Rules::STRICT
    };

    fn query(&self) -> &Query {
        &self.query
    }

    fn read(&mut self, answer: &Answer, _: bool) -> Verdict {
        match decode::services(&answer.body, &self.selection) {
            Ok(mut names) if names.canary || !self.canary => {
                if let Some(given) = &self.given {
                    names.names.clone_from(given);
                    names.listing = false;
                    names.stray.clear();
                }
                let times = match &self.sent {
                    Some((sent, times)) if *sent == names => times.saturating_add(1),
                    _ => 0,
                };
                self.sent = Some((names.clone(), times));
                Verdict::Send(Fact::Names(names))
            }
            Ok(_) => Verdict::Suspect(NO_CANARY.to_owned()),
            Err(error) => Verdict::Suspect(error.to_string()),
        }
    }

    fn unusable(&mut self, reason: String) -> Verdict {
        Verdict::Suspect(reason)
    }

    /// Each change of a tag or a weight moves the index of all names, and an answer holds all of them.
    fn repeats(&self) -> u32 {
        self.sent.as_ref().map_or(0, |(_, times)| *times)
    }
}
