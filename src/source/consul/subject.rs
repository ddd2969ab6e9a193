//! The things that are followed: the names in the catalog, the health of one service, the policy
//! documents, and what tells that something changed at all. Each says what may not be believed without a confirmation.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::document::Documents;
use super::document::{self, PREFIX};
use super::gate::{Loss, NO_CANARY};
use super::known::{Known, NO_ROOM};
use super::link::{Fact, Hidden, Link};
use super::parse::{self, Found, Names};
use super::verdict::{Subject, Verdict};
use crate::config::ConsulSelection;
use crate::registry::consul::{Answer, Query, Right};

/// Rights that one message names.
const MAX_NAMED: usize = 5;
/// Policy documents that are read: each change of one of them means to read all of them.
const MAX_DOCUMENTS: usize = 10_000;

/// `/v1/catalog/services`. A name that is gone is confirmed by its own health, not here.
pub(super) struct NamesSubject {
    query: Query,
    selection: Arc<ConsulSelection>,
    /// The services of a peer, which Consul does not list.
    given: Option<BTreeSet<Arc<str>>>,
    /// Whether Consul's own service is among the names when all is well.
    canary: bool,
    /// What was told last, and how often in a row.
    told: Option<(Names, u32)>,
}

impl NamesSubject {
    pub(super) fn new(link: &Link) -> Self {
        let scope = link.client.scope();
        let given = || link.selection.services.iter().map(|name| name.as_str().into());
        Self {
            query: Query::Services,
            selection: link.selection.clone(),
            given: scope.peer.is_some().then(|| given().collect()),
            canary: scope.holds_canary(),
            told: None,
        }
    }
}

impl Subject for NamesSubject {
    fn query(&self) -> &Query {
        &self.query
    }

    fn read(&mut self, answer: &Answer, _: bool) -> Verdict {
        match parse::services(&answer.body, &self.selection) {
            Ok(mut names) if names.canary || !self.canary => {
                if let Some(given) = &self.given {
                    names.names.clone_from(given);
                    names.listing = false;
                    names.stray.clear();
                }
                let times = match &self.told {
                    Some((told, times)) if *told == names => times.saturating_add(1),
                    _ => 0,
                };
                self.told = Some((names.clone(), times));
                Verdict::Tell(Fact::Names(names))
            }
            Ok(_) => Verdict::Suspect(NO_CANARY.to_owned()),
            Err(error) => Verdict::Suspect(error.to_string()),
        }
    }

    fn unusable(&mut self, reason: String) -> Verdict {
        Verdict::Suspect(reason)
    }

    fn detects(&self) -> bool {
        true
    }

    /// Each change of a tag or a weight moves the index of all names, and an answer holds all of them.
    fn repeats(&self) -> u32 {
        self.told.as_ref().map_or(0, |(_, times)| *times)
    }
}

/// The index of all checks, or of all nodes: with that of the names, one of them moves whenever anything
/// of a service does. What moved, only reading tells.
pub(super) struct Detector(Query);

impl Detector {
    pub(super) const fn checks() -> Self {
        Self(Query::Checks)
    }

    pub(super) const fn nodes() -> Self {
        Self(Query::Nodes)
    }
}

impl Subject for Detector {
    fn query(&self) -> &Query {
        &self.0
    }

    fn read(&mut self, _: &Answer, _: bool) -> Verdict {
        Verdict::Moved
    }

    fn unusable(&mut self, _: String) -> Verdict {
        Verdict::Useless
    }

    fn may_be_refused(&self) -> bool {
        true
    }

    fn detects(&self) -> bool {
        true
    }

    fn unhurried(&self) -> bool {
        true
    }
}

/// `/v1/health/service/NAME`. A lost instance is confirmed, and that we may read it; an empty service
/// needs the canary too.
pub(super) struct HealthSubject {
    query: Query,
    /// The same for the index alone.
    probe: Query,
    name: Arc<str>,
    selection: Arc<ConsulSelection>,
    partition: Option<String>,
    peer: Option<String>,
    known: Arc<Known>,
    /// What is left once the loss is believed.
    left: Arc<BTreeSet<String>>,
    told: Arc<Found>,
}

impl HealthSubject {
    pub(super) fn new(link: &Link, name: Arc<str>) -> Self {
        Self {
            selection: link.selection.clone(),
            query: Query::Health(name.to_string()),
            probe: Query::Probe(name.to_string()),
            partition: link.client.scope().partition.clone(),
            peer: link.client.scope().peer.clone(),
            name,
            known: link.known.clone(),
            left: Arc::default(),
            told: Arc::default(),
        }
    }

    fn fact(&self, found: Result<Arc<Found>, String>, hidden: Option<Hidden>) -> Fact {
        Fact::Service {
            name: self.name.clone(),
            found,
            hidden,
        }
    }

    /// Why something is hidden, and what would be right.
    fn hides(&self, lacking: &BTreeSet<Right>) -> String {
        if self.peer.is_some() {
            return "what is missing is hidden: what a peer exports takes a token with service:read of all services \
                    and node:read of all nodes, or with service:write of any; what is known stays"
                .to_owned();
        }
        let mut names = lacking
            .iter()
            .take(MAX_NAMED)
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        if lacking.len() > MAX_NAMED {
            names.push(format!("{} more", lacking.len() - MAX_NAMED));
        }
        if names.is_empty() {
            names.push(format!("service:read of {} or node:read of its nodes", self.name));
        }
        format!(
            "what is missing is hidden: the token lacks {}; what is known stays",
            names.join(", ")
        )
    }

    /// What the token must give for the rest to be gone: the service itself, and the nodes of what is lost.
    fn rights(&self, known: &BTreeSet<String>) -> Vec<Right> {
        let lost = known.difference(&self.left).filter_map(|id| id.split_once('/'));
        let nodes: BTreeSet<Right> = lost.map(|(node, _)| Right::Node(node.to_owned())).collect();
        std::iter::once(Right::Service(self.name.to_string()))
            .chain(nodes)
            .collect()
    }
}

impl Subject for HealthSubject {
    fn query(&self) -> &Query {
        &self.query
    }

    fn read(&mut self, answer: &Answer, confirmed: bool) -> Verdict {
        let found = match parse::health(&self.name, &answer.body, &self.selection) {
            Ok(found) => found,
            Err(error) => return self.unusable(error.to_string()),
        };
        if let Some(reason) = parse::elsewhere(&answer.body, self.partition.as_deref(), self.peer.as_deref())
        {
            return Verdict::Suspect(reason);
        }
        let empty = found.ids.is_empty();
        let known = self.known.of(&self.name);
        let lacks = !found.ids.is_superset(&known);
        // What is not confirmed comes after something that was: `told` is of this epoch.
        let same = found == *self.told;
        if !confirmed && (lacks || (empty && !same)) {
            return Verdict::Confirm;
        }
        let adds = !known.is_superset(&found.ids);
        if !self.known.fits(&self.name, found.ids.len(), adds) {
            return self.unusable(NO_ROOM.to_owned());
        }
        self.left = if *known == found.ids {
            known.clone()
        } else {
            Arc::new(found.ids.clone())
        };
        if !same {
            self.told = Arc::new(found);
        }
        let fact = self.fact(Ok(self.told.clone()), None);
        if confirmed && (lacks || empty) {
            let loss = Loss {
                rights: self.rights(&known),
                empty,
                filtered: answer.filtered,
                known: !known.is_empty(),
            };
            return Verdict::TellIfGone { fact, loss };
        }
        if !confirmed && same {
            return Verdict::TellAgain(fact);
        }
        self.believed();
        Verdict::Tell(fact)
    }

    fn believed(&mut self) {
        self.known.hold(&self.name, self.left.clone());
    }

    /// What is lost on a node that can be read is gone; the rest stays.
    fn hidden(&mut self, lacking: &BTreeSet<Right>) -> Verdict {
        let reason = self.hides(lacking);
        let known = self.known.of(&self.name);
        let whole = lacking.is_empty() || lacking.contains(&Right::Service(self.name.to_string()));
        let denied = |id: &&String| {
            let node = id.split_once('/').map(|(node, _)| Right::Node(node.to_owned()));
            whole || node.is_some_and(|node| lacking.contains(&node))
        };
        let ids: BTreeSet<String> = known.difference(&self.left).filter(denied).cloned().collect();
        if self.left.is_empty() && ids.len() == known.len() {
            return Verdict::Hidden(self.fact(Err(reason.clone()), Some(Hidden { ids, reason })));
        }
        self.left = Arc::new(self.left.union(&ids).cloned().collect());
        self.believed();
        Verdict::Hidden(self.fact(Ok(self.told.clone()), Some(Hidden { ids, reason })))
    }

    fn probe(&self) -> Option<&Query> {
        Some(&self.probe)
    }

    fn may_be_swept(&self) -> bool {
        true
    }

    fn unclear(&mut self, reason: String) -> Verdict {
        let ids = BTreeSet::new();
        Verdict::Hidden(self.fact(Err(reason.clone()), Some(Hidden { ids, reason })))
    }

    fn unusable(&mut self, reason: String) -> Verdict {
        Verdict::Unusable(self.fact(Err(reason), None))
    }
}

/// The keys `/v1/kv/xds/?keys`, whose index moves with their values too. A lost document is
/// confirmed. A token without `key:read` has none.
pub(super) struct DocumentsSubject {
    query: Query,
    source: Arc<str>,
    selection: Arc<ConsulSelection>,
    held: BTreeSet<Arc<str>>,
    /// In the list that was read last.
    listed: BTreeSet<Arc<str>>,
    /// Read once.
    known: bool,
    /// Said once in a row, not at each try.
    said: bool,
}

impl DocumentsSubject {
    pub(super) fn new(link: &Link) -> Self {
        Self {
            query: Query::Keys(PREFIX.to_owned()),
            source: link.source.clone(),
            selection: link.selection.clone(),
            held: BTreeSet::new(),
            listed: BTreeSet::new(),
            known: false,
            said: false,
        }
    }
}

impl Subject for DocumentsSubject {
    fn query(&self) -> &Query {
        &self.query
    }

    fn read(&mut self, answer: &Answer, confirmed: bool) -> Verdict {
        let named = if answer.missing {
            Ok(Vec::new())
        } else {
            document::named(&answer.body)
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
        self.said = false;
        self.known = true;
        // Those known go first: nobody's policy falls out because others were put before it. One that is not
        // listed any more is asked for as well: what a token may not read is not listed, and says so itself.
        let mut wanted: Vec<_> = self.held.iter().cloned().collect();
        wanted.extend(named.difference(&self.held).cloned());
        if wanted.len() > MAX_DOCUMENTS {
            let (read, left_out) = (MAX_DOCUMENTS, wanted.len() - MAX_DOCUMENTS);
            tracing::warn!(source = %self.source, read, left_out, "more policy documents than are read");
            wanted.truncate(MAX_DOCUMENTS);
        }
        self.listed = named;
        Verdict::ReadDocuments(wanted)
    }

    fn documents(&mut self, documents: &Documents) -> bool {
        self.held = documents.keys().cloned().collect();
        // Also one that was listed while it could be read.
        !self.held.is_subset(&self.listed) || documents.values().any(|document| document.refused)
    }

    /// Before they were read once there are none to stay in force: a start without them would take
    /// their routes out of each Envoy, because somebody has put too much below `xds/`.
    fn unusable(&mut self, reason: String) -> Verdict {
        if self.known {
            self.refused(reason)
        } else {
            Verdict::Suspect(format!("policy documents cannot be read: {reason}"))
        }
    }

    fn refused(&mut self, reason: String) -> Verdict {
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!(source = %self.source, reason, "policy documents cannot be read; those known stay in force");
        }
        let fact = Fact::Documents(None);
        if self.known {
            Verdict::Hidden(fact)
        } else {
            Verdict::Unusable(fact)
        }
    }

    fn may_be_refused(&self) -> bool {
        true
    }
}
