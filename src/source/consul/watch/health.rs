//! The health of one service, `/v1/health/service/NAME`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::subject::{Rules, Subject, Verdict};
use crate::config::ConsulSelection;
use crate::registry::consul::{Answer, Query, Right};
use crate::source::consul::context::Context;
use crate::source::consul::decode::{self, Found};
use crate::source::consul::news::{Fact, Finding, Hidden};
use crate::source::consul::trust::last_found::NO_ROOM;
use crate::source::consul::trust::loss::Loss;
use crate::text::list;

/// Rights that one message names, at most.
const MAX_NAMED: usize = 5;

/// One service. That an instance is gone is confirmed, and that we may read it; an empty service also needs the canary.
pub(crate) struct HealthSubject {
    query: Query,
    /// The same for the index alone.
    probe: Query,
    name: Arc<str>,
    context: Arc<Context>,
    /// What was held when the last answer was judged.
    before: Arc<Found>,
    /// What the last answer holds.
    found: Arc<Found>,
}

impl HealthSubject {
    pub(crate) fn new(context: &Arc<Context>, name: Arc<str>) -> Self {
        Self {
            query: Query::Health(name.to_string()),
            probe: Query::Probe(name.to_string()),
            name,
            context: context.clone(),
            before: Arc::default(),
            found: Arc::default(),
        }
    }

    fn selection(&self) -> &ConsulSelection {
        &self.context.selection
    }

    fn fact(&self, found: Result<Arc<Found>, String>, hidden: Option<Hidden>) -> Fact {
        let finding = Finding {
            found,
            before: self.before.clone(),
            hidden,
        };
        Fact::Service(self.name.clone(), finding)
    }

    /// Nothing of the answer can be used, for a reason that may go away without anything moving.
    fn all_hidden(&self, ids: BTreeSet<String>, reason: String) -> Verdict {
        Verdict::SendHidden(self.fact(Err(reason.clone()), Some(Hidden { ids, reason })))
    }

    /// Why something is hidden, and what would be right.
    fn explain(&self, lacking: &BTreeSet<Right>) -> String {
        if self.context.capacity.client().scope().peer.is_some() {
            return "what is missing is hidden: what a peer exports takes a token with service:read of all services \
                    and node:read of all nodes, or with service:write of any; what is known stays"
                .to_owned();
        }
        let rights = if lacking.is_empty() {
            format!("service:read of {} or node:read of its nodes", self.name)
        } else {
            list(lacking, MAX_NAMED, lacking.len())
        };
        format!("what is missing is hidden: the token lacks {rights}; what is known stays")
    }

    /// The rights without which what is missing may only be hidden: the service itself, and the nodes of the missing
    /// entries.
    fn rights(&self) -> Vec<Right> {
        let lost = self.before.ids.difference(&self.found.ids);
        let nodes: BTreeSet<Right> = lost.filter_map(|id| node_of(id)).collect();
        std::iter::once(Right::Service(self.name.to_string()))
            .chain(nodes)
            .collect()
    }
}

/// The right to read the node of an entry.
fn node_of(id: &str) -> Option<Right> {
    let (node, _) = id.split_once('/')?;
    Some(Right::Node(node.to_owned()))
}

impl Subject for HealthSubject {
    const RULES: Rules = Rules {
        may_be_swept: true,
        ..Rules::STRICT
    };

    fn query(&self) -> &Query {
        &self.query
    }

    fn read(&mut self, answer: &Answer, confirmed: bool) -> Verdict {
        let found = match decode::health(&self.name, &answer.body, self.selection()) {
            Ok(found) => found,
            Err(error) => return self.unusable(error.to_string()),
        };
        let scope = self.context.capacity.client().scope();
        let elsewhere = decode::elsewhere(&answer.body, scope.partition.as_deref(), scope.peer.as_deref());
        if let Some(reason) = elsewhere {
            return Verdict::Suspect(reason);
        }
        self.before = self.context.last_found.get(&self.name);
        let empty = found.ids.is_empty();
        let lacks = !found.ids.is_superset(&self.before.ids);
        // An unconfirmed answer follows a confirmed one: what was found before is of the same epoch.
        let same = found == *self.found;
        if !confirmed && (lacks || (empty && !same)) {
            return Verdict::Confirm;
        }
        let added = found.ids.difference(&self.before.ids).count();
        // Both are sets: what is in both is what was not added.
        let missing = self.before.ids.len() - (found.ids.len() - added);
        let room = &self.context.last_found;
        if !room.fits(&self.name, found.ids.len(), added, missing) {
            return self.unusable(NO_ROOM.to_owned());
        }
        if !same {
            self.found = Arc::new(found);
        }
        let fact = self.fact(Ok(self.found.clone()), None);
        if confirmed && (lacks || empty) {
            let loss = Loss {
                rights: self.rights(),
                empty,
                filtered: answer.filtered,
                known: !self.before.ids.is_empty(),
            };
            return Verdict::SendIfGone { fact, loss };
        }
        if !confirmed && same {
            return Verdict::SendIndex(fact);
        }
        Verdict::Send(fact)
    }

    /// What is missing on a node that can be read is gone; the rest stays.
    fn hidden(&mut self, lacking: &BTreeSet<Right>) -> Verdict {
        let reason = self.explain(lacking);
        let whole = lacking.is_empty() || lacking.contains(&Right::Service(self.name.to_string()));
        let before = &self.before.ids;
        let ids: BTreeSet<String> = before
            .difference(&self.found.ids)
            .filter(|id| whole || node_of(id).is_some_and(|node| lacking.contains(&node)))
            .cloned()
            .collect();
        if self.found.ids.is_empty() && ids.len() == before.len() {
            return self.all_hidden(ids, reason);
        }
        Verdict::SendHidden(self.fact(Ok(self.found.clone()), Some(Hidden { ids, reason })))
    }

    fn unclear(&mut self, reason: String) -> Verdict {
        self.all_hidden(BTreeSet::new(), reason)
    }

    fn unusable(&mut self, reason: String) -> Verdict {
        Verdict::SendUnusable(self.fact(Err(reason), None))
    }

    fn probe(&self) -> Option<&Query> {
        Some(&self.probe)
    }
}
