//! What a declaration or another configuration would change, before it is written. Pure: two plans of the same
//! moment, from nothing, and the difference of what they lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Claim, Decisions, Key, Planned, Planner, Step};
use crate::catalog::{Catalog, Settings};
use crate::model::change::What;
use crate::model::{Change, Event, Instance, Issue, Network, Policy, Rollouts, ServiceRecord};
use crate::xds::Audience;

/// Services of one source, by name.
pub type Records = Vec<(Arc<str>, Arc<ServiceRecord>)>;

/// All that a plan is made of, at one moment.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Each source with its priority and what is served of it.
    pub sources: BTreeMap<Arc<str>, (u32, Records)>,
    /// What the operator defines.
    pub network: Arc<Network>,
    /// Who has which requests.
    pub decisions: Decisions,
    /// How rollouts share out the requests of services.
    pub rollouts: Rollouts,
}

/// Something that is not registered yet.
#[derive(Clone, Debug)]
pub enum Proposal {
    /// A policy document, in the place of the one that is there.
    Policy(Box<Policy>),
    /// An instance, in the place of one with the same id.
    Instance(Instance),
}

/// Requests that another service would get, or that would be treated in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// Of which exposure.
    pub exposure: Arc<str>,
    /// Exact, `*.example.com` or `*`.
    pub host: Arc<str>,
    /// As they are declared: `path=/orders header=x-canary:1`.
    pub requests: String,
    /// Who has them; `None`: nobody, or whoever has a wider route.
    pub before: Option<Arc<str>>,
    /// Who would have them.
    pub after: Option<Arc<str>>,
    /// The fleets with a listener of the exposure, now or then; `*`: all Envoys, and none: no Envoy by a listener of the
    /// bridge.
    pub fleets: BTreeSet<Arc<str>>,
}

/// Whom a service is in sight of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SightChange {
    /// Which.
    pub service: Arc<str>,
    /// The rules and fleets whose Envoys see it; `None`: all do, or it is not there.
    pub before: Option<Arc<Audience>>,
    /// Those that would.
    pub after: Option<Arc<Audience>>,
}

/// What becomes of something with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It would be new.
    Added,
    /// It would be another one.
    Changed,
    /// It would be gone.
    Removed,
}

/// What would be different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// By exposure and host.
    pub routes: Vec<RouteChange>,
    /// By name.
    pub clusters: Vec<(Arc<str>, Fate)>,
    /// By name.
    pub listeners: Vec<(Arc<str>, Fate)>,
    /// Where fleets have views: by service.
    pub sight: Vec<SightChange>,
    /// What would be refused, lost or without effect, and is not so now.
    pub issues: Vec<Issue>,
}

impl Difference {
    /// Somebody would lose requests, or something would be refused.
    #[must_use]
    pub fn hurts(&self) -> bool {
        let loses = |route: &RouteChange| route.before.is_some() && route.before != route.after;
        !self.issues.is_empty() || self.routes.iter().any(loses)
    }
}

/// What a plan leads to.
#[derive(Default)]
struct Outcome {
    routes: BTreeMap<(Arc<str>, Arc<str>, String), Claim>,
    clusters: BTreeMap<Key, Planned>,
    /// Who sees a service, where fleets have views.
    sight: BTreeMap<Arc<str>, Arc<Audience>>,
    issues: BTreeSet<Issue>,
}

impl Scene {
    /// The same with something that is not registered yet. It goes where the service is, or to the first source.
    pub fn propose(&mut self, service: &Arc<str>, proposal: Proposal) {
        let knows = |(_, records): &&(u32, Records)| records.iter().any(|(name, _)| name == service);
        let documented = |(_, records): &&(u32, Records)| {
            records
                .iter()
                .any(|(name, record)| name == service && record.policy.is_some())
        };
        let sources = || self.sources.iter().map(|(name, of)| (name.clone(), of));
        let place = sources()
            .find(|(_, of)| documented(of))
            .or_else(|| sources().find(|(_, of)| knows(of)))
            .or_else(|| sources().min_by_key(|(_, (priority, _))| *priority))
            .map(|(name, _)| name);
        let Some((_, records)) = place.and_then(|name| self.sources.get_mut(&name)) else {
            return;
        };
        let at = records
            .iter()
            .position(|(name, _)| name == service)
            .unwrap_or_else(|| {
                records.push((service.clone(), Arc::default()));
                records.len() - 1
            });
        let record = Arc::make_mut(&mut records[at].1);
        match proposal {
            Proposal::Policy(policy) => record.policy = Some(*policy),
            Proposal::Instance(instance) => {
                record.instances.retain(|other| other.id != instance.id);
                record.instances.push(instance);
                record.instances.sort_by(|a, b| a.id.cmp(&b.id));
            }
        }
    }

    fn outcome(&self) -> Outcome {
        let now = Duration::ZERO;
        let mut catalog = Catalog::default();
        catalog.set_exposures(self.network.exposures.keys().cloned().collect(), now);
        let mut names = BTreeSet::new();
        for (source, (priority, records)) in &self.sources {
            let settings = Settings {
                priority: *priority,
                ..Settings::default()
            };
            catalog.add(source.clone(), &settings);
            names.extend(records.iter().map(|(name, _)| name.clone()));
            let services = records
                .iter()
                .map(|(name, record)| (name.clone(), Some((**record).clone())));
            let change = Change::new(services.collect(), true);
            let source = source.clone();
            let what = What::Change(change);
            catalog.apply(Event { source, what }, now);
        }
        let mut planner = Planner::new(self.network.clone());
        planner.remember(self.decisions.clone());
        planner.set_rollouts(self.rollouts.clone());
        let mut outcome = Outcome::default();
        for step in planner.plan(&catalog, &names, now) {
            match step {
                Step::Put(cluster @ (Planned::Cluster(..) | Planned::External(..))) => {
                    outcome.clusters.insert(cluster.key(), cluster);
                }
                Step::Seen {
                    service,
                    audience: Some(audience),
                } => drop(outcome.sight.insert(service, audience)),
                Step::Put(_) | Step::Remove(_) | Step::Seen { .. } => {}
                Step::Host {
                    exposure,
                    host,
                    claims,
                } => outcome.routes.extend(claims.into_iter().map(|claim| {
                    let requests = claim.requests();
                    ((exposure.clone(), host.clone(), requests), claim)
                })),
            }
        }
        let entries = catalog.sources().flat_map(|(_, state)| state.issues());
        outcome.issues = planner.issues().chain(entries).cloned().collect();
        outcome
    }
}

/// What is different between two scenes of the same moment.
#[must_use]
pub fn difference(before: &Scene, after: &Scene) -> Difference {
    let (old, new) = (before.outcome(), after.outcome());
    let keys: BTreeSet<_> = old.routes.keys().chain(new.routes.keys()).collect();
    let routes = keys.into_iter().filter_map(|key| {
        let (was, will) = (old.routes.get(key), new.routes.get(key));
        let same = match (was, will) {
            (Some(was), Some(will)) => {
                was.cluster == will.cluster && was.action == will.action && was.split == will.split
            }
            _ => false,
        };
        let (exposure, host, requests) = key.clone();
        (!same).then(|| RouteChange {
            exposure,
            host,
            requests,
            before: was.map(|claim| claim.cluster.clone()),
            after: will.map(|claim| claim.cluster.clone()),
            fleets: fleets(&[&before.network, &after.network], &key.0),
        })
    });
    let settings = |planned: &Planned| match planned {
        Planned::Cluster(_, settings) => Some((settings.clone(), None)),
        Planned::External(_, settings, external) => Some((settings.clone(), Some(external.clone()))),
        _ => None,
    };
    let clusters = fates(&old.clusters, &new.clusters, |a, b| settings(a) == settings(b));
    Difference {
        routes: routes.collect(),
        clusters: clusters.into_iter().map(|(key, fate)| (key.name, fate)).collect(),
        listeners: fates(&before.network.listeners, &after.network.listeners, |a, b| a == b),
        sight: sights(&old, &new),
        issues: new.issues.difference(&old.issues).cloned().collect(),
    }
}

/// Which fleets have a listener of an exposure.
fn fleets(networks: &[&Network], exposure: &Arc<str>) -> BTreeSet<Arc<str>> {
    let listeners = networks.iter().flat_map(|network| network.listeners.values());
    let of_it = listeners.filter(|listener| listener.exposure == *exposure);
    let all = of_it.flat_map(|listener| match &listener.fleets[..] {
        [] => vec![Arc::from("*")],
        fleets => fleets.to_vec(),
    });
    all.collect()
}

fn sights(old: &Outcome, new: &Outcome) -> Vec<SightChange> {
    let names: BTreeSet<&Arc<str>> = old.sight.keys().chain(new.sight.keys()).collect();
    let changes = names.into_iter().map(|name| SightChange {
        service: name.clone(),
        before: old.sight.get(name).cloned(),
        after: new.sight.get(name).cloned(),
    });
    changes.filter(|change| change.before != change.after).collect()
}

fn fates<K: Ord + Clone, V>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
) -> Vec<(K, Fate)> {
    let keys: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    let fate = |key: &K| match (old.get(key), new.get(key)) {
        (Some(was), Some(will)) => (!same(was, will)).then_some(Fate::Changed),
        (None, Some(_)) => Some(Fate::Added),
        (Some(_), None) => Some(Fate::Removed),
        (None, None) => None,
    };
    keys.into_iter()
        .filter_map(|key| Some((key.clone(), fate(key)?)))
        .collect()
}

#[cfg(test)]
#[path = "preview_tests.rs"]
mod tests;
