//! What stays in Envoy's file and why, what changes, and the counts. Pure.

use serde::Serialize;

/// A field that keeps something in Envoy's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rest {
    /// `static_resources.listeners[0].filter_chains[0]`…
    pub at: String,
    /// Why.
    pub why: String,
}

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Where it stands in Envoy's file.
    pub at: String,
    /// What changes, and what keeps it as it was.
    pub what: String,
}

/// What became of one route, cluster or listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Where it stands in Envoy's file.
    pub at: String,
    /// As a person calls it: the name of a cluster, the match of a route.
    pub name: String,
    /// Where it went: `policies/orders.json route-2`, `[external.maps]`, `registry: orders`. None: it stays.
    pub to: Option<String>,
    /// Why it stays.
    pub rests: Vec<Rest>,
}

/// All that there is to say of an adoption.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Routes of HTTP listeners.
    pub routes: Vec<Item>,
    /// Filter chains that take connections whole.
    pub connections: Vec<Item>,
    /// Clusters.
    pub clusters: Vec<Item>,
    /// Listeners.
    pub listeners: Vec<Item>,
    /// What else stays: parts of the file that are not static resources.
    pub others: Vec<Rest>,
    /// What changes in behaviour.
    pub changes: Vec<Change>,
    /// Routes that no request ever reached, because one before takes the same.
    pub unreached: Vec<Rest>,
}

impl Report {
    /// `118 of 118 routes, 31 of 40 clusters, 2 of 3 listeners`
    #[must_use]
    pub fn counts(&self) -> String {
        let count = |items: &[Item], what: &str| {
            let moved = items.iter().filter(|item| item.to.is_some()).count();
            format!("{moved} of {} {what}", items.len())
        };
        let connections = count(&self.connections, "TCP routes");
        let all = [
            Some(count(&self.routes, "routes")),
            Some(connections).filter(|_| !self.connections.is_empty()),
            Some(count(&self.clusters, "clusters")),
            Some(count(&self.listeners, "listeners")),
        ];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
