//! What all clients report: requests in progress of each client to each endpoint, and sums over all of them. Bounded;
//! what finds no room is unknown, never zero. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use super::client::{Client, Present, Row, Rows};
use super::ends::{self, Ends, Key};
use super::flight::Flight;
use super::names::{NameId, Names};
use super::report::{Cluster, Counts, Locality, Metric, Report};
use super::who::Who;

/// A stream by its number, which is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names of clusters, localities and metrics.
    pub names: usize,
    /// Bytes of these.
    pub name_bytes: usize,
    /// Endpoints, of all clients.
    pub ends: usize,
    /// Endpoints of one client.
    pub rows_of_client: usize,
    /// Endpoints of each client, in all.
    pub rows: usize,
    /// Clusters of each client, in all.
    pub listed: u64,
    /// Clients that have left.
    pub left: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: 200_000,
            name_bytes: 16 << 20,
            ends: 200_000,
            rows_of_client: 50_000,
            rows: 500_000,
            listed: 10_000_000,
            left: 1_000,
        }
    }
}

/// How often it is looked for what can be forgotten, at most.
const SWEEP: Duration = Duration::from_secs(60);

/// A client that has left, and an endpoint that a client names no longer, are forgotten after this.
const FORGET: Duration = Duration::from_secs(600);

/// The sums of an endpoint that nobody names any longer are forgotten after this.
const FORGET_SUMS: Duration = Duration::from_secs(3_600);

/// Categories of dropped requests that are kept of one cluster.
const CATEGORIES: usize = 8;

/// All that is known.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    pub(super) names: Names,
    pub(super) ends: Ends,
    pub(super) clients: HashMap<ClientId, Client>,
    pub(super) drops: HashMap<NameId, Drops>,
    next: u64,
    /// Of all clients.
    rows: usize,
    listed: u64,
    swept: Duration,
    /// When room was made last.
    pub(super) relieved: Duration,
}

/// Requests that clients did not send.
#[derive(Clone, Debug, Default)]
pub(super) struct Drops {
    pub(super) total: u64,
    pub(super) by: Vec<(Arc<str>, u64)>,
}

/// What a report is added to while it is taken in.
struct Taking {
    client: Client,
    present: Present,
    /// The locality before.
    place: Option<NameId>,
    text: String,
    /// Ends named so far.
    named: usize,
    now: Duration,
}

impl Table {
    /// Nothing is known.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            names: Names::default(),
            ends: Ends::default(),
            clients: HashMap::new(),
            drops: HashMap::new(),
            next: 0,
            rows: 0,
            listed: 0,
            swept: Duration::ZERO,
            relieved: Duration::ZERO,
        }
    }

    /// A client begins to report. What it was before it left is forgotten.
    pub fn join(&mut self, who: Who, now: Duration) -> ClientId {
        let again: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, client)| client.left.is_some() && *client.node == *who.node)
            .map(|(id, _)| *id)
            .collect();
        for id in again {
            self.forget(id);
        }
        let id = ClientId(self.next);
        self.next += 1;
        self.clients.insert(id, Client::new(who, now));
        id
    }

    /// Its stream has ended. That it was there is known for a while.
    pub fn leave(&mut self, id: ClientId, now: Duration) {
        let Some(mut client) = self.clients.remove(&id) else {
            return;
        };
        self.drop_rows(&mut client, |_| false);
        client.rows = Rows::default();
        client.order = Vec::new();
        client.sequence = Vec::new();
        client.left = Some(now);
        if client.last.is_some() {
            self.clients.insert(id, client);
        }
    }

    /// Takes a report in. Returns false when it, or all together, exceed a bound.
    pub fn report(&mut self, id: ClientId, report: &Report<'_>, now: Duration) -> bool {
        if now >= self.swept + SWEEP {
            self.sweep(now);
        }
        let Some(mut client) = self.clients.remove(&id) else {
            return true;
        };
        // The first request of a client that starts has nothing to say yet.
        if client.last.is_none() && client.seq == 0 && report.clusters.is_empty() {
            client.seq = 1;
            self.clients.insert(id, client);
            return true;
        }
        if client.left_out {
            client.last = Some(now);
            self.clients.insert(id, client);
            return false;
        }
        if !client.can_claim(report.claims(), now) {
            // As if it had not come: nothing of it counts, and what it has in progress is unknown.
            client.is_cut = true;
            self.clients.insert(id, client);
            return false;
        }
        client.seq = client.seq.wrapping_add(1);
        client.is_cut = report.is_cut;
        client.last = Some(now);
        client.bytes = report.bytes;
        client.interval = report
            .clusters
            .iter()
            .map(|c| c.interval)
            .max()
            .unwrap_or_default();
        let mut taking = Taking {
            client,
            present: Present::new(),
            place: None,
            text: String::new(),
            named: 0,
            now,
        };
        let mut order = std::mem::take(&mut taking.client.order);
        let (mut listed, mut is_same) = (0, true);
        for cluster in &report.clusters {
            let likely = order.get(listed).copied();
            let name = match self.names.confirm(likely, cluster.name) {
                Some(name) => name,
                None => {
                    is_same = false;
                    let Some(name) = self.name(cluster.name) else {
                        taking.client.is_cut = true;
                        continue;
                    };
                    put(&mut order, listed, name);
                    name
                }
            };
            listed += 1;
            self.cluster(&mut taking, name, cluster, report);
        }
        is_same &= listed == order.len() && !taking.client.listed.is_empty();
        order.truncate(listed);
        let Taking {
            mut client,
            present,
            named,
            ..
        } = taking;
        client.sequence.truncate(named);
        if !is_same {
            self.list(&mut client, order.iter().copied().collect());
        }
        client.order = order;
        client.settle(present, &mut self.ends);
        let whole = !client.is_cut;
        self.clients.insert(id, client);
        if !whole && !report.is_cut {
            self.make_room(now);
        }
        whole
    }

    /// What each client has in progress to one endpoint of these clusters.
    #[must_use]
    pub fn in_flight(&self, clusters: &[Arc<str>], address: SocketAddr) -> Vec<Flight> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let clusters: Vec<NameId> = clusters.iter().filter_map(|name| self.names.find(name)).collect();
        let ends: Vec<_> = clusters
            .iter()
            .flat_map(|cluster| self.ends.find(*cluster, Some(address)))
            .copied()
            .collect();
        let clients = self.clients.values();
        let mut flights: Vec<Flight> = clients
            .filter_map(|client| client.flight(&clusters, &ends, &self.ends))
            .collect();
        flights.sort_by(|a, b| a.node.cmp(&b.node));
        flights
    }

    /// Bytes of the last report of each client that is connected.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let connected = self.clients.values().filter(|client| client.left.is_none());
        connected.map(|client| client.bytes).sum()
    }

    /// Endpoints of each client, in all.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    fn name(&mut self, name: &str) -> Option<NameId> {
        self.names.take(name, self.limits.names, self.limits.name_bytes)
    }

    fn cluster(&mut self, taking: &mut Taking, name: NameId, cluster: &Cluster<'_>, report: &Report<'_>) {
        let categories = report.drops(cluster);
        if cluster.dropped > 0 || !categories.is_empty() {
            let drops = self.drops.entry(name).or_default();
            drops.total = drops.total.saturating_add(cluster.dropped);
            for (category, n) in categories {
                let has_room = drops.by.len() < CATEGORIES;
                match drops.by.iter_mut().find(|(known, _)| **known == **category) {
                    Some((_, sum)) => *sum = sum.saturating_add(*n),
                    None if has_room => drops.by.push(((*category).into(), *n)),
                    None => {}
                }
            }
        }
        for locality in report.localities(cluster) {
            taking.text.clear();
            for part in [locality.region, "/", locality.zone, "/", locality.sub_zone] {
                taking.text.push_str(part);
            }
            let place = self.names.confirm(taking.place, &taking.text);
            taking.place = place.or_else(|| self.name(&taking.text));
            match taking.place {
                Some(place) => self.locality(taking, (name, place), locality, report),
                None => taking.client.is_cut = true,
            }
        }
    }

    fn locality(
        &mut self,
        taking: &mut Taking,
        (cluster, place): (NameId, NameId),
        locality: &Locality<'_>,
        report: &Report<'_>,
    ) {
        let priority = locality.priority;
        taking.present.push((cluster, place, priority));
        taking.client.shows_open |= locality.counts.open > 0 && locality.counts.issued == 0;
        let key = |address| Key {
            cluster,
            place,
            priority,
            address,
        };
        let mut rest = locality.counts;
        for endpoint in report.endpoints(locality) {
            rest = rest.without(endpoint.counts);
            let metrics = report.metrics(endpoint);
            self.count(taking, key(Some(endpoint.address)), endpoint.counts, metrics);
        }
        if rest != Counts::default() {
            let none_named = report.endpoints(locality).is_empty();
            let metrics = if none_named { report.sums(locality) } else { &[] };
            self.count(taking, key(None), rest, metrics);
        }
    }

    fn count(&mut self, taking: &mut Taking, key: Key, counts: Counts, metrics: &[Metric<'_>]) {
        let Taking {
            client, named, now, ..
        } = taking;
        let likely = client.sequence.get(*named).copied();
        let Some(id) = self.ends.take(key, likely, self.limits.ends, *now) else {
            client.is_cut = true;
            return;
        };
        put(&mut client.sequence, *named, id);
        *named += 1;
        let metrics: Vec<(NameId, &Metric<'_>)> = metrics
            .iter()
            .filter_map(|metric| Some((self.name(metric.name)?, metric)))
            .collect();
        let Some(end) = self.ends.get_mut(id) else { return };
        let tally = end.tally(client.who.kind);
        tally.add(counts);
        for (name, metric) in metrics {
            tally.add_metric(name, metric);
        }
        let full = client.rows.len() >= self.limits.rows_of_client || self.rows >= self.limits.rows;
        if full && !client.rows.contains_key(&id) {
            client.is_cut = true;
            return;
        }
        let rows = client.rows.len();
        let row: &mut Row = client.rows.entry(id).or_default();
        let before = row.counts.open;
        // The same address twice in one report.
        let others = if row.seq == client.seq { before } else { 0 };
        row.counts.open = others.saturating_add(counts.open);
        tally.reopen(before, row.counts.open);
        ends::add(&mut row.counts, counts);
        row.is_known = true;
        row.seq = client.seq;
        row.at = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        self.rows += client.rows.len() - rows;
    }

    /// The clusters of the last report, in place of those of the one before.
    pub(super) fn list(&mut self, client: &mut Client, listed: RoaringBitmap) {
        self.listed -= client.listed.len();
        if self.listed + listed.len() > self.limits.listed {
            client.listed = RoaringBitmap::new();
            client.is_cut = true;
        } else {
            self.listed += listed.len();
            client.listed = listed;
        }
    }

    /// Forgets the rows of which this is false.
    pub(super) fn drop_rows(&mut self, client: &mut Client, keep: impl Fn(&Row) -> bool) {
        let (kind, ends) = (client.who.kind, &mut self.ends);
        let before = client.rows.len();
        client.rows.retain(|id, row| {
            let kept = keep(row);
            if !kept && let Some(end) = ends.get_mut(*id) {
                end.tally(kind).reopen(row.counts.open, 0);
            }
            kept
        });
        self.rows -= before - client.rows.len();
    }

    fn forget(&mut self, id: ClientId) {
        if let Some(mut client) = self.clients.remove(&id) {
            self.drop_rows(&mut client, |_| false);
            self.list(&mut client, RoaringBitmap::new());
        }
    }

    /// Forgets what is old, and the names that nothing has any more.
    fn sweep(&mut self, now: Duration) {
        self.swept = now;
        let mut left: Vec<(Duration, ClientId)> = self
            .clients
            .iter()
            .filter_map(|(id, client)| Some((client.left?, *id)))
            .collect();
        left.sort_unstable();
        let too_many = left.len().saturating_sub(self.limits.left);
        for (n, (at, id)) in left.into_iter().enumerate() {
            if n < too_many || at + FORGET <= now {
                self.forget(id);
            }
        }
        let old = u32::try_from(now.saturating_sub(FORGET).as_secs()).unwrap_or(u32::MAX);
        let mut named = RoaringBitmap::new();
        for mut client in std::mem::take(&mut self.clients) {
            // Requests in progress are kept for as long as the client is there.
            self.drop_rows(&mut client.1, |row| {
                row.at >= old || (row.is_known && row.counts.open > 0)
            });
            named.extend(client.1.rows.keys());
            client.1.left_out = false;
            self.clients.insert(client.0, client.1);
        }
        self.ends
            .retain(|id, end| named.contains(id) || end.seen + FORGET_SUMS > now);
        self.forget_names();
    }
}

/// What was at this place, or is the first beyond the end, is this now.
fn put(list: &mut Vec<u32>, at: usize, id: u32) {
    match list.get_mut(at) {
        Some(place) => *place = id,
        None => list.push(id),
    }
}
