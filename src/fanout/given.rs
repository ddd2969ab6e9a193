//! How far each client is with each resource, for whoever asks for the status of clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fanout, StreamStatus, lock};
use crate::xds::{Given, Kind, NameId, RejectionKey, Version};

/// A client, with what it asks for.
#[derive(Clone, Debug, Default)]
pub struct ClientState {
    /// Who it is; of several streams that of the first.
    pub status: StreamStatus,
    /// What it asks for or has: what it does not have first, then by type.
    pub resources: Vec<(Given, Kind, Arc<str>, Option<Version>)>,
    /// Resources that found no room in the list.
    pub more: usize,
}

/// A client that asks for a resource and does not have its present content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    /// How far it is; those that refuse it come first.
    pub given: Given,
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// `node.id`
    pub node: String,
    /// `node.cluster`
    pub fleet: String,
    /// The words of a refusal.
    pub message: Option<String>,
}

impl Fanout {
    /// Clients without the present content of some of these resources. Each stream that asks for one is looked at by
    /// itself.
    #[must_use]
    pub fn lacking(&self, wanted: &[(Kind, Arc<str>)]) -> Vec<Lacking> {
        let shared = self.shared.lock();
        let generation = shared.generation.clone();
        let mut asked = Vec::new();
        for (kind, name) in wanted {
            let Some(id) = shared.names.find(name) else {
                continue;
            };
            let streams = shared.clients_of(*kind, id);
            let streams = streams
                .iter()
                .filter_map(|stream| shared.subscriber(stream).cloned());
            asked.extend(streams.map(|subscriber| (*kind, name, id, subscriber)));
        }
        drop(shared);
        let mut found = Vec::new();
        for (kind, name, id, subscriber) in asked {
            let stream = subscriber.stream();
            let is_changed = lock(&subscriber.pending).changed.get(kind).contains(id);
            let (given, version) = stream.given_of(&generation, kind, id, is_changed);
            drop(stream);
            if matches!(given, Given::Synced | Given::Missing) {
                continue;
            }
            let status = lock(&subscriber.status).clone();
            let words = || self.words_of(&status, kind, name, (id, version));
            found.push(Lacking {
                given,
                kind,
                name: name.clone(),
                message: (given == Given::Refused).then(words).flatten(),
                node: status.node,
                fleet: status.fleet,
            });
        }
        found.sort();
        found.dedup();
        found
    }

    /// Why a client refuses a resource: by what it said last, or else by what its fleet did.
    fn words_of(
        &self,
        status: &StreamStatus,
        kind: Kind,
        name: &Arc<str>,
        (id, version): (NameId, Option<Version>),
    ) -> Option<String> {
        let of_it = |named: &Option<Arc<str>>| named.as_ref().is_none_or(|named| named == name);
        let last = status.last_nack.as_ref();
        if let Some(nack) = last.filter(|nack| nack.kind == kind && of_it(&nack.name)) {
            return Some(nack.message.clone());
        }
        let fleet = status.fleet.as_str().into();
        let shared = self.shared.lock();
        let candidate = shared.verdicts.candidate(&RejectionKey { fleet, kind, id })?;
        (Some(candidate.version) == version).then(|| candidate.message.clone())
    }

    /// The clients that are wanted, by fleet and id, each with this number of resources at most. Each stream is looked
    /// at by itself. `None`: they have more than `in_all`.
    #[must_use]
    pub fn client_states(
        &self,
        wanted: impl Fn(&StreamStatus) -> bool,
        most: usize,
        in_all: usize,
    ) -> Option<Vec<ClientState>> {
        let Some(generation) = self.current() else {
            return Some(Vec::new());
        };
        let mut found = 0;
        let subscribers = self.shared.lock().clients();
        let mut clients: BTreeMap<(String, String), (StreamStatus, Vec<Row>)> = BTreeMap::new();
        for subscriber in subscribers {
            let status = lock(&subscriber.status).clone();
            if !wanted(&status) {
                continue;
            }
            let stream = subscriber.stream();
            let pending = lock(&subscriber.pending);
            let rows = Kind::ALL.into_iter().flat_map(|kind| {
                let given = stream.given(&generation, kind, pending.changed.get(kind));
                given
                    .into_iter()
                    .map(move |(id, given, version)| (given, kind, id, version))
            });
            let rows: Vec<Row> = rows.collect();
            drop((pending, stream));
            found += rows.len().min(most);
            if found > in_all {
                return None;
            }
            let key = (status.fleet.clone(), status.node.clone());
            let (_, all) = clients.entry(key).or_insert_with(|| (status, Vec::new()));
            all.extend(rows);
        }
        let clients = clients.into_values();
        let named = clients.map(|(status, rows)| self.named(status, rows, most));
        Some(named.collect())
    }

    fn named(&self, status: StreamStatus, mut rows: Vec<Row>, most: usize) -> ClientState {
        rows.sort_unstable_by_key(|(given, kind, id, _)| (*given, kind.short(), *id));
        let more = rows.len().saturating_sub(most);
        rows.truncate(most);
        let shared = self.shared.lock();
        let named = rows.into_iter().filter_map(|(given, kind, id, version)| {
            Some((given, kind, shared.names.name(id)?.clone(), version))
        });
        ClientState {
            status,
            resources: named.collect(),
            more,
        }
    }
}

type Row = (Given, Kind, NameId, Option<Version>);
