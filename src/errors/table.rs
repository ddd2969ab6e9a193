//! What all access logs add up to: errors by cluster and kind. What finds no room is counted nevertheless. Pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::entry::Entry;
use super::line::{ClusterErrors, Line, TOOK, Took};
use super::status::{Flags, Status};
use super::template::method;
use crate::loads::is_cluster_of;
use crate::text::{clip_to, head};

/// Characters that are kept of a message.
const MESSAGE: usize = 200;

/// Bytes of a message that are looked at.
const LOOKED_AT: usize = 2_000;

/// The longest name of a cluster, bytes.
const NAME: usize = 512;

/// What a line takes beside its texts, bytes.
const LINE: usize = 256;

/// How often old lines are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clusters with errors.
    pub clusters: usize,
    /// Lines of each.
    pub lines: usize,
    /// Bytes of all.
    pub bytes: usize,
    /// Lines that have not changed for this time go.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clusters: 2_000,
            lines: 200,
            bytes: 16 << 20,
            age: Duration::from_secs(6 * 3_600),
        }
    }
}

/// Lines that one stream may begin: a few hundred at once, and then one a second. Whoever invents methods must not fill
/// the room of all.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    left: u32,
    at: Duration,
}

impl Allowance {
    const MOST: u32 = 300;

    /// Of a stream that begins.
    #[must_use]
    pub const fn new(now: Duration) -> Self {
        Self {
            left: Self::MOST,
            at: now,
        }
    }

    fn take(&mut self, now: Duration) -> bool {
        let seconds = now.saturating_sub(self.at).as_secs();
        self.at += Duration::from_secs(seconds);
        let more = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(Self::MOST);
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    method: Box<str>,
    status: Status,
    flags: Flags,
    upstream: Option<std::net::SocketAddr>,
}

#[derive(Debug)]
struct Row {
    message: Box<str>,
    count: u64,
    /// Of the count: what came before the present rollout.
    before: u64,
    first: Duration,
    /// The first of the present rollout.
    began: Duration,
    last: Duration,
    took: Took,
}

#[derive(Debug)]
struct Cluster {
    rows: HashMap<Key, Row>,
    total: u64,
    other: u64,
    first: Duration,
    last: Duration,
}

/// What clients are asked to log of one service.
#[derive(Debug)]
struct Expected {
    /// Which rollout: when it started.
    rollout: u64,
    clusters: BTreeSet<Arc<str>>,
}

/// All errors.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    clusters: HashMap<Arc<str>, Cluster>,
    expected: HashMap<Arc<str>, Expected>,
    bytes: usize,
    /// Of clusters without a place.
    lost: u64,
    swept: Duration,
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            clusters: HashMap::new(),
            expected: HashMap::new(),
            bytes: 0,
            lost: 0,
            swept: Duration::ZERO,
        }
    }

    /// A rollout of a service is judged, the one that started then: clients log errors of these clusters. What is there of
    /// an earlier one stays, and is not counted for this one.
    pub fn expect(&mut self, service: &Arc<str>, rollout: u64, clusters: BTreeSet<Arc<str>>) {
        let before = self
            .expected
            .insert(service.clone(), Expected { rollout, clusters });
        if before.is_some_and(|before| before.rollout == rollout) {
            return;
        }
        let of_it = self
            .clusters
            .iter_mut()
            .filter(|(name, _)| is_cluster_of(name, service));
        for row in of_it.flat_map(|(_, cluster)| cluster.rows.values_mut()) {
            row.before = row.count;
        }
    }

    /// Rollouts of all other services are over.
    pub fn expect_only(&mut self, services: &BTreeSet<Arc<str>>) {
        let known = &self.clusters;
        self.expected.retain(|service, expected| {
            if !services.contains(service) {
                expected.clusters.clear();
            }
            // Which rollout its lines are of is remembered as long as they are.
            !expected.clusters.is_empty() || known.keys().any(|name| is_cluster_of(name, service))
        });
    }

    /// Whether anybody was asked to log errors of this cluster: an invented one takes no room. What is there already may
    /// come late.
    #[must_use]
    pub fn is_expected(&self, cluster: &str) -> bool {
        let mut services = cluster
            .match_indices('@')
            .map(|(at, _)| &cluster[..at])
            .chain([cluster]);
        let is_of = |service: &str| {
            let expected = self.expected.get(service);
            expected.is_some_and(|expected| expected.clusters.contains(cluster))
        };
        self.clusters.contains_key(cluster) || services.any(is_of)
    }

    /// An error that is in no line.
    pub const fn lose(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }

    /// One more error, that a stream reports. Returns false when it found no line of its own.
    pub fn record(&mut self, allowance: &mut Allowance, entry: &Entry<'_>, now: Duration) -> bool {
        self.sweep(now);
        if !self.clusters.contains_key(entry.cluster) {
            let cost = entry.cluster.len() + LINE;
            let has_room = entry.cluster.len() <= NAME
                && self.clusters.len() < self.limits.clusters
                && self.bytes + cost <= self.limits.bytes;
            if !has_room || !allowance.take(now) {
                self.lose();
                return false;
            }
            self.bytes += cost;
        }
        let cluster = self
            .clusters
            .entry(entry.cluster.into())
            .or_insert_with(|| Cluster {
                rows: HashMap::new(),
                total: 0,
                other: 0,
                first: now,
                last: now,
            });
        cluster.total = cluster.total.saturating_add(1);
        cluster.last = now;
        let key = Key {
            method: method(entry.verb, entry.path, entry.is_grpc()).into(),
            status: entry.status,
            flags: entry.flags,
            upstream: entry.upstream,
        };
        let full = cluster.rows.len() >= self.limits.lines;
        match cluster.rows.get_mut(&key) {
            Some(row) => {
                if row.count == row.before {
                    row.began = now;
                    // What an earlier rollout's servers said is no example of it.
                    let message = said(entry.message);
                    let bytes = (self.bytes + message.len()).saturating_sub(row.message.len());
                    if bytes <= self.limits.bytes {
                        (row.message, self.bytes) = (message, bytes);
                    }
                }
                row.count = row.count.saturating_add(1);
                row.last = now;
                row.add(entry.took);
                return true;
            }
            None if full => {}
            None => {
                let message = said(entry.message);
                let cost = cost(&key, &message);
                if self.bytes + cost <= self.limits.bytes && allowance.take(now) {
                    let mut row = Row {
                        message,
                        count: 1,
                        before: 0,
                        first: now,
                        began: now,
                        last: now,
                        took: Took::default(),
                    };
                    row.add(entry.took);
                    cluster.rows.insert(key, row);
                    self.bytes += cost;
                    return true;
                }
            }
        }
        cluster.other = cluster.other.saturating_add(1);
        false
    }

    /// Forgets what is old.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        let age = self.limits.age;
        let bytes = &mut self.bytes;
        self.clusters.retain(|name, cluster| {
            cluster.rows.retain(|key, row| {
                let stays = now.saturating_sub(row.last) < age;
                if !stays {
                    *bytes = bytes.saturating_sub(cost(key, &row.message));
                }
                stays
            });
            let stays = now.saturating_sub(cluster.last) < age;
            if !stays {
                *bytes = bytes.saturating_sub(name.len() + LINE);
            }
            stays
        });
    }

    /// The clusters of a service, one for each version; of each the lines of the present rollout, or the last one.
    #[must_use]
    pub fn of_rollout(&self, service: &str) -> Vec<ClusterErrors> {
        let of_it = self
            .clusters
            .iter()
            .filter(|(name, _)| is_cluster_of(name, service));
        of_it.map(|(name, cluster)| cluster.view_since(name)).collect()
    }

    /// The clusters of a service, one for each version, or all; of each at most `most` lines.
    #[must_use]
    pub fn errors(&self, service: Option<&str>, most: usize) -> Vec<ClusterErrors> {
        let is_of = |cluster: &str| service.is_none_or(|service| is_cluster_of(cluster, service));
        let all = self.clusters.iter().filter(|(name, _)| is_of(name));
        let mut views: Vec<ClusterErrors> = all.map(|(name, cluster)| cluster.view(name, most)).collect();
        views.sort_by(|a, b| a.cluster.cmp(&b.cluster));
        views
    }

    /// Errors of clusters that found no place.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

impl Cluster {
    /// How long attempts took is of all rollouts.
    fn view_since(&self, name: &Arc<str>) -> ClusterErrors {
        let fresh = self.rows.iter().filter(|(_, row)| row.count > row.before);
        let line = |(key, row): (&Key, &Row)| Line {
            count: row.count - row.before,
            first: row.began,
            ..row.line(key)
        };
        ClusterErrors {
            cluster: name.clone(),
            total: self.total,
            other: self.other,
            first: self.first,
            last: self.last,
            lines: fresh.map(line).collect(),
        }
    }

    fn view(&self, name: &Arc<str>, most: usize) -> ClusterErrors {
        let mut lines: Vec<Line> = self.rows.iter().map(|(key, row)| row.line(key)).collect();
        let place = |line: &Line| (line.method.clone(), line.status, line.flags, line.upstream);
        lines.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| place(a).cmp(&place(b))));
        lines.truncate(most);
        ClusterErrors {
            cluster: name.clone(),
            total: self.total,
            other: self.other,
            first: self.first,
            last: self.last,
            lines,
        }
    }
}

impl Row {
    fn line(&self, key: &Key) -> Line {
        Line {
            method: key.method.clone(),
            status: key.status,
            flags: key.flags,
            upstream: key.upstream,
            message: self.message.clone(),
            count: self.count,
            first: self.first,
            last: self.last,
            took: self.took,
        }
    }

    fn add(&mut self, took: Duration) {
        let millis = took.as_millis();
        let at = TOOK.iter().position(|most| millis <= u128::from(*most));
        let bucket = &mut self.took[at.unwrap_or(TOOK.len())];
        *bucket = bucket.saturating_add(1);
    }
}

fn cost(key: &Key, message: &str) -> usize {
    LINE + key.method.len() + message.len()
}

/// A message as a person reads it.
fn said(message: &str) -> Box<str> {
    let decoded = percent_decode_str(head(message, LOOKED_AT)).decode_utf8_lossy();
    clip_to(decoded.trim(), MESSAGE).into()
}
