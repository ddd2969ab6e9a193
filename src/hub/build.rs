//! What touched services mean for the resources: clusters, endpoints and gRPC listeners
//! of just those, and the route configurations of the exposures whose claims changed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::grpc::GrpcClients;
use super::standing::{News, Standing};
use crate::cache::Decisions;
use crate::model::{Catalog, Clusters, Conflict, Exposure, Holders, Issue, Listener};
use crate::translate::cluster::cluster;
use crate::translate::endpoints::endpoints;
use crate::translate::listener::{listener, reach};
use crate::translate::owners::{Contest, decide};
use crate::translate::route::route;
use crate::translate::slips::slips;
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
    /// What services declared until now, and what stays of those that have gone.
    standing: Standing,
    /// Who has which requests, by exposure.
    holders: BTreeMap<Arc<str>, Holders>,
    /// Services whose versions disagree, with a sentence about each key.
    conflicts: BTreeMap<Arc<str>, Vec<Issue>>,
    /// Claims that lost against equal ones, by exposure.
    contested: BTreeMap<Arc<str>, Vec<Issue>>,
    /// Services with failing instances and no healthy one.
    all_unhealthy: BTreeSet<Arc<str>>,
    /// Services all of whose instances are off.
    all_off: BTreeSet<Arc<str>>,
    /// Those that became so, or are so no longer, since this was last asked.
    off: Vec<(Arc<str>, bool)>,
    /// Those that became all unhealthy, or are so no longer, since this was last asked.
    health: Vec<(Arc<str>, bool)>,
    /// What gRPC clients dial.
    grpc: GrpcClients,
    started: bool,
    /// What [`Self::issues`] says may have changed.
    news: bool,
    /// What is to be remembered may have changed.
    unsaved: bool,
}

impl Builder {
    pub(super) const fn new(network: Network) -> Self {
        Self {
            standing: Standing::new(network.clusters.keep_routes),
            network,
            claimed: BTreeMap::new(),
            holders: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            contested: BTreeMap::new(),
            all_unhealthy: BTreeSet::new(),
            all_off: BTreeSet::new(),
            off: Vec::new(),
            health: Vec::new(),
            grpc: GrpcClients::new(),
            started: false,
            news: false,
            unsaved: false,
        }
    }

    /// What was decided before the bridge began.
    pub(super) fn remember(&mut self, decisions: Decisions) {
        self.standing.remember(decisions.services);
        self.holders = decisions.holders;
    }

    /// What is to be remembered, if it has changed since this was last asked.
    pub(super) fn take_unsaved(&mut self) -> bool {
        std::mem::take(&mut self.unsaved) | self.standing.take_changed()
    }

    /// All that was decided.
    pub(super) fn decisions(&self, now: Duration) -> Decisions {
        Decisions {
            services: self.standing.snapshot(now),
            holders: self.holders.clone(),
        }
    }

    /// How many services there are.
    pub(super) fn services(&self) -> usize {
        self.claimed.len() - self.kept().len()
    }

    /// Services without instances whose routes are kept, with the time that these end.
    pub(super) fn kept(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, Duration)> {
        self.standing.kept()
    }

    /// What became of services since this was last asked.
    pub(super) fn take_departures(&mut self) -> Vec<(Arc<str>, News)> {
        self.standing.take_news()
    }

    /// When services are to be looked at again although nothing of them changes.
    pub(super) fn due(&self) -> Option<Duration> {
        self.standing.due().filter(|_| self.started)
    }

    /// Which, now.
    pub(super) fn take_due(&mut self, now: Duration) -> BTreeSet<Arc<str>> {
        self.standing.take_due(now)
    }

    /// Ends what is kept of a service without instances. `None`: there is no such service; false: it has some.
    pub(super) fn forget(&mut self, service: &str) -> Option<bool> {
        let known = self.claimed.contains_key(service);
        known.then(|| self.standing.forget(service))
    }

    /// How many claims lost against others.
    pub(super) fn contested(&self) -> usize {
        self.contested.values().map(Vec::len).sum()
    }

    /// How many of them are in conflict with themselves.
    pub(super) fn conflicts(&self) -> usize {
        self.conflicts.len()
    }

    /// Services with failing instances and no healthy one.
    pub(super) const fn all_unhealthy(&self) -> &BTreeSet<Arc<str>> {
        &self.all_unhealthy
    }

    /// Services all of whose instances are off.
    pub(super) const fn all_off(&self) -> &BTreeSet<Arc<str>> {
        &self.all_off
    }

    /// Which of these are new (`true`), and which are no longer such.
    pub(super) fn take_off(&mut self) -> Vec<(Arc<str>, bool)> {
        std::mem::take(&mut self.off)
    }

    /// Which services have become all unhealthy (`true`), and which are so no longer.
    pub(super) fn take_health(&mut self) -> Vec<(Arc<str>, bool)> {
        std::mem::take(&mut self.health)
    }

    /// What is wrong with what services declare together.
    pub(super) fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.claimed
            .values()
            .flat_map(|c| &c.issues)
            .chain(self.conflicts.values().flatten())
            .chain(self.contested.values().flatten())
    }

    /// Whether [`Self::issues`] may have changed since this was last asked.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The updates for these services. The first call adds listeners and all route configurations.
    pub(super) fn build(
        &mut self,
        catalog: &Catalog,
        touched: &BTreeSet<Arc<str>>,
        now: Duration,
    ) -> Vec<Update> {
        let (mut updates, mut grpc_updates) = (Vec::new(), Vec::new());
        let mut exposures: BTreeSet<Arc<str>> = BTreeSet::new();
        let first = !std::mem::replace(&mut self.started, true);
        // Some may have left while there was no bridge.
        let remembered = self
            .standing
            .names()
            .filter(|name| first && !touched.contains(*name));
        let remembered: Vec<Arc<str>> = remembered.cloned().collect();
        for name in touched.iter().chain(&remembered) {
            let found = catalog.service_after(name, self.standing.elected(name));
            let service = self.standing.follow(name, found, now);
            if service.as_ref().is_some_and(|service| service.kept.is_some()) {
                // Its claims are as before; whether others may have its requests changes with time.
                let claims = self.claimed.get(name).map_or(&[][..], |c| &c.claims);
                exposures.extend(claims.iter().map(|c| c.exposure.clone()));
            }
            let claimed = service.map(|service| {
                updates.push(Update::Put(cluster(&service, &self.network.clusters)));
                let endpoints = endpoints(&service, &self.network.clusters);
                let grpc = self
                    .grpc
                    .follow(&service, &endpoints, &self.network, &mut grpc_updates);
                updates.push(Update::Put(endpoints));
                updates.append(&mut grpc_updates);
                self.note_conflicts(name, &service.conflicts);
                self.note_health(name, service.all_unhealthy());
                self.note_off(name, service.all_off());
                let mut claimed = claims(&service, &self.network.exposures);
                claimed.issues.extend(grpc);
                claimed.issues.extend(slips(&service, &self.network.exposures));
                if service.instances.is_empty() && service.kept.is_none() {
                    documents_alone(&mut claimed);
                }
                claimed
            });
            if claimed.is_none() {
                updates.push(Update::Remove(Kind::Endpoints, name.clone()));
                updates.push(Update::Remove(Kind::Cluster, name.clone()));
                self.note_conflicts(name, &[]);
                self.note_health(name, false);
                self.note_off(name, false);
                self.grpc.forget(name, &mut updates);
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
        if first {
            exposures.extend(self.network.exposures.keys().cloned());
            updates.extend(
                self.network
                    .listeners
                    .iter()
                    .map(|(name, l)| Update::Put(listener(name, l))),
            );
        }
        for exposure in exposures {
            self.routes(&exposure, catalog, now, &mut updates);
        }
        updates
    }

    /// One route configuration per listener, and one per exposure by its own name, for
    /// listeners that stay in Envoy's file.
    fn routes(&mut self, exposure: &Arc<str>, catalog: &Catalog, now: Duration, updates: &mut Vec<Update>) {
        let claims: Vec<&Claim> = self
            .claimed
            .values()
            .flat_map(|c| &c.claims)
            .filter(|c| c.exposure == *exposure)
            .collect();
        let nobody = Holders::new();
        let contest = Contest {
            holders: self.holders.get(exposure).unwrap_or(&nobody),
            now,
            seniority: &|service| catalog.seniority(service),
        };
        let decided = decide(&claims, &contest);
        let named = self
            .network
            .listeners
            .iter()
            .filter(|(_, l)| l.exposure == *exposure);
        let mut configurations: BTreeMap<&Arc<str>, Reach> = named.map(|(n, l)| (n, reach(l))).collect();
        if !self.network.listeners.contains_key(exposure) {
            configurations.insert(exposure, Reach::All);
        }
        for (name, reach) in configurations {
            let draft = route(name, &decided.claims, &self.network.clusters, reach);
            updates.push(Update::Put(draft));
        }
        if self.holders.get(exposure).unwrap_or(&nobody) != &decided.holders {
            self.holders.insert(exposure.clone(), decided.holders);
            self.unsaved = true;
        }
        if self.contested.get(exposure).map_or(&[][..], Vec::as_slice) != decided.issues {
            self.contested.insert(exposure.clone(), decided.issues);
            self.news = true;
        }
    }

    fn note_health(&mut self, name: &Arc<str>, all_unhealthy: bool) {
        let changed = if all_unhealthy {
            self.all_unhealthy.insert(name.clone())
        } else {
            self.all_unhealthy.remove(name)
        };
        if changed {
            self.health.push((name.clone(), all_unhealthy));
        }
    }

    fn note_off(&mut self, name: &Arc<str>, all_off: bool) {
        let changed = if all_off {
            self.all_off.insert(name.clone())
        } else {
            self.all_off.remove(name)
        };
        if changed {
            self.off.push((name.clone(), all_off));
        }
    }

    fn note_conflicts(&mut self, name: &Arc<str>, conflicts: &[Conflict]) {
        let issues: Vec<Issue> = conflicts
            .iter()
            .map(|conflict| disagreement(name, conflict))
            .collect();
        if self.conflicts.get(name).map_or(&[][..], Vec::as_slice) == issues {
            return;
        }
        self.news = true;
        if issues.is_empty() {
            self.conflicts.remove(name);
        } else {
            self.conflicts.insert(name.clone(), issues);
        }
    }
}

/// A policy document of a name that nobody registers takes nothing from a service with instances.
fn documents_alone(claimed: &mut Claimed) {
    for claim in &mut claimed.claims {
        (claim.documented, claim.kept) = (false, Some(Duration::ZERO));
    }
}

/// The sentence about a key that instances declare differently.
fn disagreement(service: &str, conflict: &Conflict) -> Issue {
    let version = |version: &Arc<str>| match &**version {
        "" => "(none)".to_owned(),
        version => version.to_owned(),
    };
    let Conflict { key, winner, losers } = conflict;
    let reason = if *losers == [winner.clone()] {
        format!(
            "{key}: instances of version {} declare different values: the most common one is in force",
            version(winner)
        )
    } else {
        let losers: Vec<String> = losers.iter().map(version).collect();
        format!(
            "{key}: versions declare different values: that of {} is in force, not that of {}",
            version(winner),
            losers.join(", ")
        )
    };
    Issue::warning(service, reason)
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
