//! What touched services mean for the resources: clusters and endpoints of just
//! those, and the route configurations of the exposures whose claims changed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Catalog, Clusters, Exposure, Issue, Listener};
use crate::translate::cluster::cluster;
use crate::translate::endpoints::endpoints;
use crate::translate::listener::{listener, reach};
use crate::translate::route::route;
use crate::translate::{Claim, Claimed, claims};
use crate::xds::{Kind, Reach, Update};

/// What the operator defined.
#[derive(Clone, Debug)]
pub struct Network {
    /// For each cluster.
    pub clusters: Clusters,
    /// By name.
    pub exposures: BTreeMap<Arc<str>, Exposure>,
    /// By name.
    pub listeners: BTreeMap<Arc<str>, Listener>,
}

/// Remembers what was derived from each service, to tell what changes.
#[derive(Debug)]
pub(super) struct Builder {
    network: Network,
    claimed: BTreeMap<Arc<str>, Claimed>,
    /// Services whose versions disagree, with the sentence about it.
    conflicts: BTreeMap<Arc<str>, Issue>,
    /// Claims that lost against equal ones.
    contested: Vec<Issue>,
    started: bool,
    /// What [`Self::issues`] says may have changed.
    news: bool,
}

impl Builder {
    pub(super) const fn new(network: Network) -> Self {
        Self {
            network,
            claimed: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            contested: Vec::new(),
            started: false,
            news: false,
        }
    }

    /// How many services there are.
    pub(super) fn services(&self) -> usize {
        self.claimed.len()
    }

    /// How many of them are in conflict with themselves.
    pub(super) fn conflicts(&self) -> usize {
        self.conflicts.len()
    }

    /// What is wrong with what services declare together.
    pub(super) fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.claimed
            .values()
            .flat_map(|c| &c.issues)
            .chain(self.conflicts.values())
            .chain(&self.contested)
    }

    /// Whether [`Self::issues`] may have changed since this was last asked.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The updates for these services. The first call adds listeners and all route configurations.
    pub(super) fn build(&mut self, catalog: &Catalog, touched: &BTreeSet<Arc<str>>) -> Vec<Update> {
        let mut updates = Vec::new();
        let mut exposures: BTreeSet<Arc<str>> = BTreeSet::new();
        for name in touched {
            let claimed = catalog.service(name).map(|service| {
                updates.push(Update::Put(cluster(&service, &self.network.clusters)));
                updates.push(Update::Put(endpoints(&service)));
                self.note_conflict(name, service.conflict.as_ref());
                claims(&service, &self.network.exposures)
            });
            if claimed.is_none() {
                updates.push(Update::Remove(Kind::Endpoints, name.clone()));
                updates.push(Update::Remove(Kind::Cluster, name.clone()));
                self.note_conflict(name, None);
            }
            let old = match &claimed {
                Some(claimed) if self.claimed.get(name) == Some(claimed) => continue,
                Some(claimed) => self.claimed.insert(name.clone(), claimed.clone()),
                None => self.claimed.remove(name),
            };
            self.news = true;
            let both = old.iter().chain(&claimed).flat_map(|c| &c.claims);
            exposures.extend(both.map(|c| c.exposure.clone()));
        }
        if !std::mem::replace(&mut self.started, true) {
            exposures.extend(self.network.exposures.keys().cloned());
            updates.extend(
                self.network
                    .listeners
                    .iter()
                    .map(|(name, l)| Update::Put(listener(name, l))),
            );
        }
        if !exposures.is_empty() {
            self.routes(&exposures, &mut updates);
        }
        updates
    }

    /// One route configuration per listener, and one per exposure by its own name, for
    /// listeners that stay in Envoy's file.
    fn routes(&mut self, exposures: &BTreeSet<Arc<str>>, updates: &mut Vec<Update>) {
        self.contested.clear();
        for exposure in self.network.exposures.keys() {
            let claims: Vec<&Claim> = self
                .claimed
                .values()
                .flat_map(|c| &c.claims)
                .filter(|c| c.exposure == *exposure)
                .collect();
            let named = self
                .network
                .listeners
                .iter()
                .filter(|(_, l)| l.exposure == *exposure);
            let mut configurations: BTreeMap<&Arc<str>, Reach> = named.map(|(n, l)| (n, reach(l))).collect();
            if !self.network.listeners.contains_key(exposure) {
                configurations.insert(exposure, Reach::All);
            }
            let mut contested = Vec::new();
            for (name, reach) in configurations {
                let (draft, lost) = route(name, &claims, &self.network.clusters, reach);
                contested = lost;
                if exposures.contains(exposure) {
                    updates.push(Update::Put(draft));
                }
            }
            self.contested.extend(contested);
        }
    }

    fn note_conflict(&mut self, name: &Arc<str>, conflict: Option<&crate::model::Conflict>) {
        let issue = conflict.map(|conflict| {
            let version = |v: &Arc<str>| {
                if v.is_empty() {
                    "(none)".to_owned()
                } else {
                    v.to_string()
                }
            };
            let losers: Vec<String> = conflict.losers.iter().map(version).collect();
            let reason = format!(
                "versions declare different policies: that of {} is in force, not that of {}",
                version(&conflict.winner),
                losers.join(", ")
            );
            Issue::warning(&**name, reason)
        });
        if self.conflicts.get(name) == issue.as_ref() {
            return;
        }
        self.news = true;
        match issue {
            Some(issue) => drop(self.conflicts.insert(name.clone(), issue)),
            None => drop(self.conflicts.remove(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::change::What;
    use crate::model::{Change, Event, Health, Instance, OnAllUnhealthy, Policy, ServiceRecord};

    fn event(name: &str, port: Option<u16>) -> Event {
        let record = port.map(|port| ServiceRecord {
            instances: vec![Instance {
                id: "1".into(),
                address: ([127, 0, 0, 1], port).into(),
                health: Health::Healthy,
                weight: 1,
                zone: "".into(),
                version: "".into(),
                policy: Arc::new(Policy::default()),
            }],
            ..ServiceRecord::default()
        });
        let change = Change {
            services: vec![(name.into(), record)],
            complete: false,
            stray: None,
        };
        Event {
            source: "s".into(),
            what: What::Change(change),
        }
    }

    fn kinds(updates: &[Update]) -> Vec<String> {
        let one = |u: &Update| match u {
            Update::Put(d) => format!("+{} {}", d.kind.short(), d.name),
            Update::Remove(kind, name) => format!("-{} {name}", kind.short()),
        };
        updates.iter().map(one).collect()
    }

    #[test]
    fn only_what_is_touched_is_built() {
        let clusters = Clusters {
            connect_timeout: Duration::from_secs(1),
            on_all_unhealthy: OnAllUnhealthy::Open,
            retries: 2,
        };
        let network = Network {
            clusters,
            exposures: BTreeMap::from([("internal".into(), Exposure::internal())]),
            listeners: BTreeMap::new(),
        };
        let mut catalog = Catalog::new([("s".into(), None)]);
        let mut builder = Builder::new(network);
        let mut step = |event: Event| {
            let touched = catalog.apply(event, Duration::ZERO);
            kinds(&builder.build(&catalog, &touched.services))
        };
        assert_eq!(step(event("a", Some(1))), ["+cds a", "+eds a", "+rds internal"]);
        assert_eq!(step(event("b", Some(1))), ["+cds b", "+eds b", "+rds internal"]);
        assert_eq!(
            step(event("a", Some(2))),
            ["+cds a", "+eds a"],
            "an address is no route"
        );
        assert_eq!(step(event("a", Some(2))), [""; 0]);
        assert_eq!(step(event("b", None)), ["-eds b", "-cds b", "+rds internal"]);
    }
}
