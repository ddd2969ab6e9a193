//! What is known, for an operator and for whoever compares versions. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use super::client::Client;
use super::ends::{End, Tally};
use super::names::NameId;
use super::report::Counts;
use super::table::Table;
use super::who::Kind;
use crate::xds::Release;

/// One client.
#[derive(Clone, Debug)]
pub struct ClientView {
    /// `node.id`
    pub node: String,
    /// `node.cluster`
    pub fleet: String,
    /// `node.user_agent_name`
    pub agent: String,
    /// Of Envoy, where it says so.
    pub release: Option<Release>,
    /// What its counts mean.
    pub kind: Kind,
    /// What its reports leave out has no requests in progress.
    pub is_sure: bool,
    /// When its stream began.
    pub since: Duration,
    /// When it left.
    pub left: Option<Duration>,
    /// When its last report came.
    pub last: Option<Duration>,
    /// Between its last two reports, as it measured that.
    pub interval: Duration,
    /// Clusters in the last report.
    pub clusters: u64,
    /// Its last report exceeds a bound.
    pub is_cut: bool,
    /// Endpoints with their requests.
    pub rows: Vec<RowView>,
}

/// One endpoint of one client.
#[derive(Clone, Debug)]
pub struct RowView {
    /// Its cluster.
    pub cluster: String,
    /// `None`: the locality as a whole.
    pub address: Option<SocketAddr>,
    /// Since its stream began; `open`: now.
    pub counts: Counts,
    /// Whether `open` is certain.
    pub is_known: bool,
}

/// One cluster.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Its name.
    pub cluster: String,
    /// Requests that clients did not send.
    pub dropped: u64,
    /// Those with a category.
    pub drops: Vec<(String, u64)>,
    /// What requests go to.
    pub ends: Vec<EndView>,
}

/// One endpoint, or a locality where clients name no endpoints.
#[derive(Clone, Debug)]
pub struct EndView {
    /// Region, zone and sub-zone, with slashes.
    pub locality: String,
    /// The priority of the locality.
    pub priority: u32,
    /// `None`: the locality as a whole.
    pub address: Option<SocketAddr>,
    /// By what the counts mean.
    pub totals: Vec<Totals>,
}

/// Sums over all clients whose counts mean the same. They only grow, but for `open`, for as long as the endpoint is
/// known: an hour after it was last named, it begins at zero again.
#[derive(Clone, Debug)]
pub struct Totals {
    /// What the counts mean.
    pub kind: Kind,
    /// `open`: now.
    pub counts: Counts,
    /// Figures that servers report: name, requests that carried it, and its sum.
    pub metrics: Vec<(String, u64, f64)>,
}

impl Table {
    /// The clients of this node, or all of them; in the order of their names, those that left last.
    #[must_use]
    pub fn clients(&self, node: Option<&str>, most: usize) -> (usize, Vec<ClientView>) {
        let mut found: Vec<&Client> = self
            .clients
            .values()
            .filter(|client| node.is_none_or(|node| *client.node == *node))
            .collect();
        let total = found.len();
        found.sort_by(|a, b| (a.left.is_some(), &a.node, a.since).cmp(&(b.left.is_some(), &b.node, b.since)));
        found.truncate(most);
        // Each endpoint only where one client is looked at.
        let rows = if node.is_some() { most } else { 0 };
        (
            total,
            found
                .into_iter()
                .map(|client| self.client(client, rows))
                .collect(),
        )
    }

    fn client(&self, client: &Client, most: usize) -> ClientView {
        let mut rows: Vec<RowView> = client
            .rows
            .iter()
            .take(most)
            .filter_map(|(id, row)| {
                let key = self.ends.get(*id)?.key;
                Some(RowView {
                    cluster: self.names.get(key.cluster).to_owned(),
                    address: key.address,
                    counts: row.counts,
                    is_known: row.is_known && client.who.has_endpoints(),
                })
            })
            .collect();
        rows.sort_by(|a, b| (&a.cluster, a.address).cmp(&(&b.cluster, b.address)));
        ClientView {
            node: client.who.node.clone(),
            fleet: client.who.fleet.clone(),
            agent: client.who.agent.clone(),
            release: client.who.release,
            kind: client.who.kind,
            is_sure: client.is_sure(),
            since: client.since,
            left: client.left,
            last: client.last,
            interval: client.interval,
            clusters: client.listed.len(),
            is_cut: client.is_cut,
            rows,
        }
    }

    /// The clusters of a service, one for each version, or all that have had requests.
    #[must_use]
    pub fn services(&self, service: Option<&str>, most: usize) -> Vec<ServiceView> {
        let is_of = |cluster: &str| service.is_none_or(|service| is_cluster_of(cluster, service));
        let mut ends: Vec<&End> = self.ends.iter().map(|(_, end)| end).collect();
        ends.retain(|end| is_of(self.names.get(end.key.cluster)));
        let name = |end: &End| self.names.get(end.key.cluster);
        ends.sort_by(|a, b| (name(a), a.key.address).cmp(&(name(b), b.key.address)));
        ends.truncate(most);
        let groups = ends.chunk_by(|a, b| a.key.cluster == b.key.cluster);
        groups
            .map(|ends| self.service(ends[0].key.cluster, ends))
            .collect()
    }

    fn service(&self, cluster: NameId, ends: &[&End]) -> ServiceView {
        let drops = self.drops.get(&cluster);
        let totals = |end: &&End| EndView {
            locality: self.names.get(end.key.place).to_owned(),
            priority: end.key.priority,
            address: end.key.address,
            totals: end
                .tallies
                .iter()
                .map(|(kind, tally)| self.totals(*kind, tally))
                .collect(),
        };
        ServiceView {
            cluster: self.names.get(cluster).to_owned(),
            dropped: drops.map_or(0, |drops| drops.total),
            drops: drops
                .iter()
                .flat_map(|drops| &drops.by)
                .map(|(category, n)| (category.to_string(), *n))
                .collect(),
            ends: ends.iter().map(totals).collect(),
        }
    }

    fn totals(&self, kind: Kind, tally: &Tally) -> Totals {
        let metrics = tally.metrics.iter();
        Totals {
            kind,
            counts: tally.counts,
            metrics: metrics
                .map(|m| (self.names.get(m.name).to_owned(), m.finished, m.sum))
                .collect(),
        }
    }
}

/// Whether requests to a locality of the cluster of one version went to another version, which stands behind it for
/// what fails: to the stable one. `locality`: region, zone and sub-zone, with slashes.
#[must_use]
pub fn is_spare(cluster: &str, locality: &str) -> bool {
    let sub_zone = locality.rsplit('/').next().unwrap_or_default();
    let rest = sub_zone.strip_prefix("stable");
    cluster.contains('@') && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// `orders` and its versions, such as `orders@9f31c2a`.
#[must_use]
pub fn is_cluster_of(cluster: &str, service: &str) -> bool {
    let rest = cluster.strip_prefix(service);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}
