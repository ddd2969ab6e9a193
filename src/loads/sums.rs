//! What clients count of a few clusters, for whoever compares versions of a service: sums that only grow, looked up and
//! not searched for. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::names::NameId;
use super::report::Counts;
use super::table::Table;
use super::who::Kind;

/// One end of one cluster, of the clients whose counts mean the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// Which of the clusters that were asked for.
    pub cluster: usize,
    /// `None`: the locality as a whole.
    pub address: Option<SocketAddr>,
    /// Region, zone and sub-zone, with slashes.
    pub locality: Arc<str>,
    /// What the counts mean.
    pub kind: Kind,
    /// `open`: now. The others only grow, for as long as the end is known.
    pub counts: Counts,
    /// Figures that servers report: name, requests that carried it, and its sum, from 0 to 1 a request.
    pub metrics: Vec<(Arc<str>, u64, f64)>,
}

/// All that is known of these clusters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// In no order.
    pub sums: Vec<Sum>,
    /// Connected clients whose last report lists one of them.
    pub clients: usize,
    /// Those of them that have reported as often as they should.
    pub reporting: usize,
    /// When the youngest of these reports came.
    pub last: Option<Duration>,
    /// The longest time between two reports that one of these clients measured.
    pub interval: Duration,
}

impl Table {
    /// Services that had requests, those with the most first: all requests that ended, and those that failed. A cluster of a
    /// version belongs to its service.
    #[must_use]
    pub fn busiest(&self) -> Vec<(Arc<str>, (u64, u64))> {
        let mut all: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for cluster in self.ends.clusters() {
            let name = self.names.get(cluster);
            let service = name.split_once('@').map_or(name, |(service, _)| service);
            let (ended, failed) = all.entry(service).or_default();
            for (_, tally) in self.ends.of(cluster).flat_map(|end| &end.tallies) {
                *failed = failed.saturating_add(tally.counts.errors);
                *ended = ended.saturating_add(tally.counts.errors.saturating_add(tally.counts.successes));
            }
        }
        let had = all.into_iter().filter(|(_, (ended, _))| *ended > 0);
        let mut busiest: Vec<_> = had.map(|(name, counts)| (name.into(), counts)).collect();
        // Of equals the first by name.
        busiest.sort_by_key(|(_, (ended, _))| std::cmp::Reverse(*ended));
        busiest
    }

    /// What is counted of these clusters. `late`: reports that are older are missing.
    #[must_use]
    pub fn sums(&self, clusters: &[Arc<str>], late: Duration) -> Sums {
        let ids: Vec<Option<NameId>> = clusters.iter().map(|name| self.names.find(name)).collect();
        let mut all = Sums::default();
        for (cluster, id) in ids.iter().enumerate() {
            let Some(id) = id else { continue };
            for end in self.ends.of(*id) {
                let locality: Arc<str> = self.names.get(end.key.place).into();
                all.sums.extend(end.tallies.iter().map(|(kind, tally)| {
                    Sum {
                        cluster,
                        address: end.key.address,
                        locality: locality.clone(),
                        kind: *kind,
                        counts: tally.counts,
                        metrics: tally
                            .metrics
                            .iter()
                            .map(|m| (self.names.get(m.name).into(), m.finished, m.part))
                            .collect(),
                    }
                }));
            }
        }
        let lists = |client: &&super::client::Client| {
            client.left.is_none() && ids.iter().flatten().any(|id| client.listed.contains(*id))
        };
        for client in self.clients.values().filter(lists) {
            all.clients += 1;
            all.reporting += usize::from(client.last.is_some_and(|last| last >= late));
            all.last = all.last.max(client.last);
            all.interval = all.interval.max(client.interval);
        }
        all
    }
}
