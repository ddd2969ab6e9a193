//! How far each client is with each resource, for whoever asks for the status of clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fanout, StreamStatus, lock};
use crate::xds::{Given, Kind, NameId, Version};

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

impl Fanout {
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
