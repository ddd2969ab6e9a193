//! What else has the name of a service: a section `[external]` of bridge.toml, or the cluster of a version of another
//! service. Who has a name keeps it; a newcomer never takes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Planner;
use super::called::Owner;
use crate::catalog::Catalog;
use crate::model::{Code, Effective, External, Issue, Seniority, Service};
use crate::plan::claims::{Claimed, Relation, claims};
use crate::plan::hosts::Touched;
use crate::plan::routed::share_out;
use crate::plan::step::{Planned, Step};

/// What the name of a cluster may be a version of: `a` and `a@b` for `a@b@c`.
fn services(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('@').map(|(at, _)| &name[..at])
}

/// What is to be looked at when the versions of a service have other clusters: services of their names, and those whose
/// versions may want them.
pub(super) fn renamed(
    service: &str,
    before: &BTreeSet<Arc<str>>,
    after: &BTreeSet<Arc<str>>,
    catalog: &Catalog,
) -> BTreeSet<Arc<str>> {
    let mut all = BTreeSet::new();
    for name in before.symmetric_difference(after) {
        let others = services(name).filter(|other| *other != service);
        all.extend(others.map(Arc::from));
        all.insert(name.clone());
    }
    all.retain(|name| catalog.service_after(name, None).is_some());
    all
}

impl Planner {
    /// What the operator defines comes before what is registered by the same name.
    pub(super) fn external(
        &mut self,
        name: &Arc<str>,
        external: &External,
        registered: bool,
        steps: &mut Vec<Step>,
        hosts: &mut Touched,
    ) {
        let service = Service {
            name: name.clone(),
            policy: external.policy.clone(),
            documented: true,
            ..Service::default()
        };
        let effective = Effective::of(&service, &self.network.clusters);
        let mut claimed = claims(&service, &effective, &self.network.exposures);
        share_out(&mut claimed, None, &BTreeMap::new());
        let mut planned = Vec::new();
        if external.addresses.is_empty() {
            // Without servers it is nobody to be called by its name.
            claimed
                .claims
                .retain(|claim| claim.relation > Relation::Namesake || claim.relation < Relation::Own);
            claimed
                .issues
                .retain(|issue| !issue.reason.starts_with("the name is no host name"));
        } else {
            planned.push(Planned::External(
                name.clone(),
                effective.cluster,
                Arc::new(external.clone()),
            ));
        }
        if registered {
            let reason =
                "the name is that of a section [external] in bridge.toml: its instances get no requests";
            claimed
                .issues
                .push(Issue::warning(&**name, reason).of_kind(Code::NameTaken));
        }
        self.views.note(name, &external.policy, &claimed.claims);
        self.detours.note(name, Some(&external.policy));
        let known = self.services.entry(name.clone()).or_default();
        (known.split, known.versions) = (None, Vec::new());
        known.owned.replace(planned, steps);
        if known.claimed != claimed {
            self.hosts
                .replace(name, &known.claimed.claims, &claimed.claims, hosts);
            known.claimed = claimed;
            self.news = true;
        }
    }

    /// The services that have to be looked at, too, after these: those whose versions may have clusters of such names, and
    /// those whose names versions had or have.
    pub(super) fn namesakes<'a>(
        &mut self,
        looked_at: impl Iterator<Item = &'a Arc<str>>,
    ) -> BTreeSet<Arc<str>> {
        let split = looked_at
            .flat_map(|name| services(name))
            .filter(|name| self.services.contains_key(*name))
            .map(Arc::from);
        let mut all: BTreeSet<Arc<str>> = split.collect();
        all.append(&mut self.renamed);
        all
    }

    /// The service a version of which has a cluster of this name.
    pub(super) fn version_called(&self, name: &str) -> Option<Arc<str>> {
        let has_it = |service: &&str| {
            let known = self.services.get(*service);
            known.is_some_and(|known| known.versions.iter().any(|version| *version.name == *name))
        };
        services(name).find(has_it).map(Arc::from)
    }

    /// The clusters of versions, and whose each is.
    pub(super) fn names_of_versions(&self) -> BTreeMap<Arc<str>, Arc<str>> {
        let all = self.services.iter();
        let parts =
            all.flat_map(|(name, known)| known.versions.iter().map(move |version| (&version.name, name)));
        let now = parts.map(|(cluster, name)| (cluster.clone(), name.clone()));
        // What is not settled yet is not forgotten by another restart.
        self.called.versions().chain(now).collect()
    }

    /// Whose version has the name of this service, or had it before the bridge began and may not be split yet.
    pub(super) fn is_refused(&self, name: &Arc<str>, catalog: &Catalog) -> Option<Arc<str>> {
        let had = || match self.called.owner(name) {
            Some(Owner::VersionOf(of)) => {
                let version = name.get(of.len() + 1..)?;
                let service = catalog.service_after(of, None)?;
                let is_there = service
                    .instances
                    .iter()
                    .any(|instance| *instance.version == *version);
                is_there.then(|| of.clone())
            }
            _ => None,
        };
        self.version_called(name).or_else(had)
    }

    /// Whether a version of a service cannot have this cluster: something else has it, or was there first.
    pub(super) fn is_taken(&self, cluster: &Arc<str>, service: &Service, catalog: &Catalog) -> bool {
        if self.network.externals.contains_key(cluster) {
            return true;
        }
        // Two services may have versions of one name: `a` the version `b@c`, and `a@b` the version `c`.
        if let Some(other) = self.version_called(cluster) {
            return other != service.name;
        }
        let exists =
            || self.standing.elected(cluster).is_some() || catalog.service_after(cluster, None).is_some();
        match self.called.owner(cluster) {
            Some(Owner::VersionOf(of)) if *of != service.name => return true,
            Some(Owner::VersionOf(_)) => return self.is_served(cluster),
            Some(Owner::Itself) if exists() => return true,
            _ if !exists() => return false,
            _ => {}
        }
        // Of a version its first instance counts, not the first one of the service.
        let version = cluster.get(service.name.len() + 1..).unwrap_or_default();
        let instances = service.instances.iter().filter(|i| *i.version == *version);
        let whole = catalog.seniority(&service.name);
        let version = Seniority {
            created: instances.map(|i| i.created).min().unwrap_or(whole.created),
            ..whole
        };
        self.is_served(cluster) || catalog.seniority(cluster) < version
    }

    fn is_served(&self, name: &str) -> bool {
        let known = self.services.get(name);
        known.is_some_and(|known| known.owned.keys().next().is_some())
    }

    /// A service has the name that a version of another one has already.
    pub(super) fn refuse(
        &mut self,
        name: &Arc<str>,
        other: &str,
        steps: &mut Vec<Step>,
        hosts: &mut Touched,
    ) {
        self.views.remove(name);
        self.detours.note(name, None);
        let reason = format!(
            "is the name of the cluster of a version of `{other}`, which had it first: its instances get no requests; \
             register it under another name"
        );
        let claimed = Claimed {
            issues: vec![Issue::warning(&**name, reason).of_kind(Code::NameTaken)],
            ..Claimed::default()
        };
        let known = self.services.entry(name.clone()).or_default();
        (known.split, known.versions) = (None, Vec::new());
        known.owned.replace(Vec::new(), steps);
        if known.claimed != claimed {
            self.hosts.replace(name, &known.claimed.claims, &[], hosts);
            known.claimed = claimed;
            self.news = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::change::What;
    use crate::model::{Change, Event, Facts, Instance, Network, Rollouts, ServiceRecord, Shares};

    struct Scene {
        catalog: Catalog,
        planner: Planner,
    }

    impl Scene {
        /// `orders` is rolled out, from the beginning.
        fn new() -> Self {
            let shares = Shares {
                stable: "1".into(),
                weights: BTreeMap::from([("1".into(), 1_000_000)]),
                ..Shares::default()
            };
            let mut planner = Planner::new(Arc::new(Network::default()));
            planner.set_rollouts(Rollouts {
                services: [("orders".into(), shares)].into(),
            });
            let mut scene = Self {
                catalog: Catalog::new([("s".into(), None)]),
                planner,
            };
            scene.plan(&BTreeSet::new());
            scene
        }

        fn plan(&mut self, touched: &BTreeSet<Arc<str>>) {
            self.planner.plan(&self.catalog, touched, Duration::ZERO);
        }

        /// Registrations: name, and each instance's version and create index; none: it is gone. All are planned at once.
        fn register(&mut self, all: &[(&str, &[(&str, u64)])]) -> &mut Self {
            let mut touched = BTreeSet::new();
            for (name, instances) in all {
                let instance = |(version, created): &(&str, u64)| {
                    let port = 1_000 + u16::try_from(*created).unwrap();
                    Instance::from(Facts {
                        version: (*version).into(),
                        created: *created,
                        ..Facts::new(*version, ([127, 0, 0, 1], port).into())
                    })
                };
                let record = (!instances.is_empty()).then(|| ServiceRecord {
                    instances: instances.iter().map(instance).collect(),
                    ..ServiceRecord::default()
                });
                let event = Event {
                    source: "s".into(),
                    what: What::Change(Change::new(vec![((*name).into(), record)], false)),
                };
                touched.extend(self.catalog.apply(event, Duration::ZERO).services);
            }
            self.plan(&touched);
            self
        }

        /// Whether versions have their clusters, and whether the service `orders@2` has its own.
        fn have(&self) -> (bool, bool) {
            let has_split = self
                .planner
                .explain("orders")
                .is_some_and(|known| known.split.is_some());
            let other = self.planner.explain("orders@2");
            let is_served = other.as_ref().is_some_and(|known| !known.resources.is_empty());
            let said = other.is_some_and(|known| {
                known
                    .issues
                    .iter()
                    .any(|issue| issue.reason.contains("`orders`, which had it first"))
            });
            assert!(
                !(is_served && said),
                "either it is served or an issue says why not"
            );
            (has_split, is_served)
        }
    }

    const BOTH: (&str, &[(&str, u64)]) = ("orders", &[("1", 10), ("2", 20)]);

    #[test]
    fn a_version_that_has_its_cluster_keeps_it_against_a_service_of_that_name() {
        let mut scene = Scene::new();
        assert_eq!(scene.register(&[BOTH]).have(), (true, false));
        // Also one that says that it was there first.
        for created in [5, 30] {
            assert_eq!(
                scene.register(&[("orders@2", &[("", created)])]).have(),
                (true, false)
            );
            assert!(
                scene.planner.explain("orders@2").unwrap().issues[0]
                    .reason
                    .contains("register it under another name")
            );
        }
        // The version is gone: the name is free.
        assert_eq!(scene.register(&[("orders", &[("1", 10)])]).have(), (true, true));
        // It comes back, and the service has the name.
        assert_eq!(scene.register(&[BOTH]).have(), (false, true));
        // Its routes are kept for a while after it has gone.
        assert_eq!(scene.register(&[("orders@2", &[])]).have(), (false, true));
        scene.planner.forget("orders@2");
        scene.plan(&BTreeSet::from(["orders@2".into()]));
        assert_eq!(scene.have(), (true, false));
    }

    #[test]
    fn a_service_that_has_its_name_keeps_it_against_a_version() {
        let mut scene = Scene::new();
        scene.register(&[("orders", &[("1", 10)]), ("orders@2", &[("", 30)])]);
        assert_eq!(scene.have(), (true, true));
        assert_eq!(scene.register(&[BOTH]).have(), (false, true));
    }

    #[test]
    fn of_two_that_come_at_once_the_one_that_registered_first_has_the_name() {
        // Of `orders@2` its first instance, of `orders` that of version 2.
        for (created, expected) in [(5, (false, true)), (15, (false, true)), (30, (true, false))] {
            for turned in [false, true] {
                let mut scene = Scene::new();
                let other: [(&str, u64); 1] = [("", created)];
                let mut all = [BOTH, ("orders@2", &other[..])];
                if turned {
                    all.reverse();
                }
                assert_eq!(scene.register(&all).have(), expected, "{created} {turned}");
            }
        }
    }

    /// As it goes on after a restart: what was decided is remembered, and all comes at once.
    fn again(scene: &Scene, all: &[(&str, &[(&str, u64)])], late: bool) -> Scene {
        let mut again = Scene::new();
        let rollouts = again.planner.rollouts().clone();
        again.planner = Planner::new(Arc::new(Network::default()));
        again.planner.remember(scene.planner.decisions(Duration::ZERO));
        if !late {
            again.planner.set_rollouts(rollouts.clone());
        }
        again.register(all);
        if late {
            // Shares come after the first plan.
            let touched = again.planner.set_rollouts(rollouts);
            again.plan(&touched);
        }
        again
    }

    #[test]
    fn who_had_a_name_has_it_after_a_restart() {
        // Whatever their registrations say of who came first.
        for created in [5, 30] {
            for late in [false, true] {
                let other: (&str, &[(&str, u64)]) = ("orders@2", &[("", created)]);
                let mut scene = Scene::new();
                scene.register(&[BOTH]).register(&[other]);
                assert_eq!(scene.have(), (true, false));
                let mut twice = again(&scene, &[BOTH, other], late);
                assert_eq!(twice.have(), (true, false), "{created} {late}");
                twice = again(&twice, &[BOTH, other], late);
                assert_eq!(twice.have(), (true, false), "{created} {late}");
                // The version has gone meanwhile: the name is free.
                let mut gone = again(&scene, &[("orders", &[("1", 10)]), other], late);
                assert_eq!(gone.have(), (true, true), "{created} {late}");
                assert_eq!(gone.register(&[BOTH]).have(), (false, true));

                let mut scene = Scene::new();
                scene
                    .register(&[("orders", &[("1", 10)]), other])
                    .register(&[BOTH]);
                assert_eq!(scene.have(), (false, true));
                let twice = again(&scene, &[BOTH, other], late);
                assert_eq!(twice.have(), (false, true), "{created} {late}");
            }
        }
    }

    #[test]
    fn a_name_that_was_a_version_s_is_free_when_nobody_splits_the_service_any_more() {
        let other: (&str, &[(&str, u64)]) = ("orders@2", &[("", 30)]);
        let mut scene = Scene::new();
        scene.register(&[BOTH, other]);
        let mut again = Scene::new();
        again.planner = Planner::new(Arc::new(Network::default()));
        again.planner.remember(scene.planner.decisions(Duration::ZERO));
        again.register(&[BOTH, other]);
        assert_eq!(again.have(), (false, false), "the shares may still come");
        let due = again.planner.due().unwrap();
        let touched = again.planner.take_due(due);
        again.planner.plan(&again.catalog, &touched, due);
        assert_eq!(again.have(), (false, true));
    }

    #[test]
    fn two_versions_never_have_one_cluster() {
        let mut scene = Scene::new();
        let shares = |stable: &str| Shares {
            stable: stable.into(),
            weights: BTreeMap::from([(stable.into(), 1_000_000)]),
            ..Shares::default()
        };
        let services = [("orders".into(), shares("2@x")), ("orders@2".into(), shares("x"))].into();
        scene.planner.set_rollouts(Rollouts { services });
        scene.register(&[("orders", &[("2@x", 10)]), ("orders@2", &[("x", 20)])]);
        let split = |scene: &Scene, name: &str| scene.planner.explain(name).unwrap().split.is_some();
        assert_eq!(
            (split(&scene, "orders"), split(&scene, "orders@2")),
            (true, false)
        );
        // The name is free.
        scene.register(&[("orders", &[("1", 40)])]);
        assert_eq!((split(&scene, "orders"), split(&scene, "orders@2")), (true, true));
    }

    #[test]
    fn a_version_may_have_the_sign_in_its_name() {
        assert_eq!(services("a@b@c").collect::<Vec<_>>(), ["a", "a@b"]);
        let mut scene = Scene::new();
        scene.register(&[("orders", &[("1", 10), ("2@x", 20)])]);
        scene.register(&[("orders@2@x", &[("", 30)])]);
        assert!(scene.planner.explain("orders").unwrap().split.is_some());
        assert!(scene.planner.explain("orders@2@x").unwrap().resources.is_empty());
    }
}
