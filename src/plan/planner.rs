//! The plan of all services, and what a change of some makes different in it.

mod called;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use called::Called;

use super::conflicts::disagreement;
use super::detours::Detours;
use super::hosts::{Hosts, Touched};
use super::resources::{ApiListener, resources};
use super::routed::share_out;
use super::slips::slips;
use super::standing::{News, Standing};
use super::states::Services;
use super::step::{Key, Owned, Step};
use super::versions::{Split, Versions};
use super::views::Views;
use super::{Claim, Claimed, Decisions, claims, guards};
use crate::catalog::Catalog;
use crate::model::{Conflict, Effective, Instance, Issue, Network, Policy, Rollouts, Service};

/// Remembers what was derived from each service, to tell what changes.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is news of its own, asked for by itself"
)]
pub struct Planner {
    network: Arc<Network>,
    services: BTreeMap<Arc<str>, Known>,
    /// What services declared until now, and what stays of those that have gone.
    standing: Standing,
    pub(super) hosts: Hosts,
    detours: Detours,
    /// Who sees them.
    views: Views,
    /// How rollouts share out the requests of services.
    rollouts: Rollouts,
    /// Services whose versions disagree, with a sentence about each key.
    conflicts: BTreeMap<Arc<str>, Vec<Issue>>,
    /// With failing instances and no healthy one.
    all_unhealthy: Services,
    /// All of whose instances are off.
    all_off: Services,
    /// Clusters of versions that have come or gone: services of these names are to be looked at.
    renamed: BTreeSet<Arc<str>>,
    /// Who had such a name before the bridge began.
    called: Called,
    started: bool,
    /// The network is another one than at the last plan: each service and each host is to be looked at.
    renewed: bool,
    /// What [`Self::issues`] says may have changed.
    news: bool,
    /// What is to be remembered may have changed.
    unsaved: bool,
}

/// One service.
#[derive(Debug, Default)]
struct Known {
    owned: Owned,
    claimed: Claimed,
    api_listener: ApiListener,
    split: Option<Arc<Split>>,
    /// What the clusters of its versions are made of.
    versions: Vec<Arc<Service>>,
}

/// What one service is planned as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The requests that it may have, unless another service has them.
    pub claims: Vec<Claim>,
    /// The resources that it owns.
    pub resources: Vec<Key>,
    /// How its requests are shared out among its versions, where it is split by version.
    pub split: Option<Arc<Split>>,
    /// The number of the stored data: instances that cannot read it get nothing.
    pub stored: Option<u32>,
    /// What is wrong with what it declares: refused and lost claims, conflicts between versions, slips.
    pub issues: Vec<Issue>,
}

impl Planner {
    /// For services on this network.
    #[must_use]
    pub fn new(network: Arc<Network>) -> Self {
        Self {
            standing: Standing::new(network.clusters.keep_routes),
            views: Views::new(&network),
            network,
            rollouts: Rollouts::default(),
            services: BTreeMap::new(),
            hosts: Hosts::default(),
            detours: Detours::default(),
            conflicts: BTreeMap::new(),
            all_unhealthy: Services::default(),
            all_off: Services::default(),
            renamed: BTreeSet::new(),
            called: Called::default(),
            started: false,
            renewed: false,
            news: false,
            unsaved: false,
        }
    }

    /// What the operator defines.
    pub fn network(&self) -> Arc<Network> {
        self.network.clone()
    }

    /// Plans for this network from now on. The next plan looks at all services again.
    pub fn set_network(&mut self, network: Arc<Network>) {
        self.standing.set_keep(network.clusters.keep_routes);
        self.views.renew(&network);
        if network.overlays != self.network.overlays {
            let services = self.services.values_mut();
            services.for_each(|known| known.owned.publish_again());
        }
        self.network = network;
        self.renewed = true;
    }

    /// What rollouts say from now on. The services of which they say something else are to be planned again.
    pub fn set_rollouts(&mut self, rollouts: Rollouts) -> BTreeSet<Arc<str>> {
        let before = std::mem::replace(&mut self.rollouts, rollouts);
        let (old, new) = (&before.services, &self.rollouts.services);
        let differs = |name: &&Arc<str>| old.get(*name) != new.get(*name);
        old.keys().chain(new.keys()).filter(differs).cloned().collect()
    }

    /// What rollouts say.
    pub const fn rollouts(&self) -> &Rollouts {
        &self.rollouts
    }

    /// The clusters of a service: its own first, and those of its versions; with each, whether whoever listens there
    /// is in it.
    pub fn clusters(&self, service: &str, address: SocketAddr) -> Vec<(Arc<str>, bool)> {
        let versions = self
            .services
            .get(service)
            .map_or(&[][..], |known| &known.versions);
        let of_versions = versions.iter().map(|version| {
            let is_there = version.health_at(address).is_some();
            (version.name.clone(), is_there)
        });
        [(service.into(), true)].into_iter().chain(of_versions).collect()
    }

    /// The number of the stored data of a service that is rolled out: instances that cannot read it get nothing.
    fn stored(&self, service: &str) -> Option<u32> {
        self.rollouts
            .services
            .get(service)
            .and_then(|shares| shares.stored)
    }

    /// Whether an instance gets nothing whatever its health is: it cannot read what is stored, or something else has the
    /// name of its service.
    pub fn is_left_out(&self, service: &str, instance: &Instance) -> bool {
        let is_barred = self
            .stored(service)
            .is_some_and(|stored| !instance.can_read(stored));
        let known = self.services.get(service);
        is_barred || known.is_some_and(|known| known.owned.keys().next().is_none())
    }

    /// What was decided before the bridge began.
    pub fn remember(&mut self, decisions: Decisions) {
        if let Some(names) = decisions.names {
            self.called = Called::new(names, decisions.services.keys());
        }
        self.standing.remember(decisions.services);
        self.hosts.remember(decisions.holders);
    }

    /// What is to be remembered, if it has changed since this was last asked.
    pub fn take_unsaved(&mut self) -> bool {
        std::mem::take(&mut self.unsaved) | self.standing.take_changed()
    }

    /// All that was decided.
    pub fn decisions(&self, now: Duration) -> Decisions {
        Decisions {
            services: self.standing.snapshot(now),
            holders: self.hosts.holders(),
            names: Some(self.names_of_versions()),
        }
    }

    /// How many services there are.
    pub fn services(&self) -> usize {
        self.services.len() - self.kept().len()
    }

    /// Services without instances whose routes are kept, with the time that these end.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, Duration)> {
        self.standing.kept()
    }

    /// What became of services since this was last asked.
    pub fn take_departures(&mut self) -> Vec<(Arc<str>, News)> {
        self.standing.take_news()
    }

    /// When services are to be looked at again although nothing of them changes.
    pub fn due(&self) -> Option<Duration> {
        let due = self.standing.due().into_iter().chain(self.called.due());
        due.min().filter(|_| self.started)
    }

    /// Which, now.
    pub fn take_due(&mut self, now: Duration) -> BTreeSet<Arc<str>> {
        let mut due = self.standing.take_due(now);
        due.extend(self.called.take_due(now));
        due
    }

    /// Ends what is kept of a service without instances. `None`: there is no such service; false: it has some.
    pub fn forget(&mut self, service: &str) -> Option<bool> {
        let known = self.services.contains_key(service);
        known.then(|| self.standing.forget(service))
    }

    /// The operator has taken away where a service came from: once it is planned again and has no instances, nothing
    /// is kept of it.
    pub fn dismiss(&mut self, service: &str) {
        self.standing.dismiss(service);
    }

    /// What the instances of a service declared until now: a tie keeps it.
    pub fn elected(&self, service: &str) -> Option<&Policy> {
        self.standing.elected(service)
    }

    /// What a service is planned as, and why. `None`: it is not planned.
    pub fn explain(&self, service: &str) -> Option<Explained> {
        let known = self.services.get(service)?;
        let claims = &known.claimed.claims;
        let conflicts = self.conflicts.get(service).into_iter().flatten();
        let issues = known.claimed.issues.iter().chain(conflicts);
        let contested = self.hosts.issues_of(claims, service);
        Some(Explained {
            claims: claims.clone(),
            resources: known.owned.keys().cloned().collect(),
            split: known.split.clone(),
            stored: self.stored(service),
            issues: issues.chain(contested).cloned().collect(),
        })
    }

    /// How many claims lost against others.
    pub fn contested(&self) -> usize {
        self.hosts.contested()
    }

    /// How many of them are in conflict with themselves.
    pub fn conflicts(&self) -> usize {
        self.conflicts.len()
    }

    /// Services with failing instances and no healthy one.
    pub const fn all_unhealthy(&self) -> &BTreeSet<Arc<str>> {
        &self.all_unhealthy.now
    }

    /// Services all of whose instances are off.
    pub const fn all_off(&self) -> &BTreeSet<Arc<str>> {
        &self.all_off.now
    }

    /// Which of these are new (`true`), and which are no longer such.
    pub fn take_off(&mut self) -> Vec<(Arc<str>, bool)> {
        std::mem::take(&mut self.all_off.news)
    }

    /// Which services have become all unhealthy (`true`), and which are so no longer.
    pub fn take_health(&mut self) -> Vec<(Arc<str>, bool)> {
        std::mem::take(&mut self.all_unhealthy.news)
    }

    /// What is wrong with what services declare together.
    pub fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.services
            .values()
            .flat_map(|known| &known.claimed.issues)
            .chain(self.conflicts.values().flatten())
            .chain(self.hosts.issues())
            .chain(self.detours.issues())
    }

    /// Whether [`Self::issues`] may have changed since this was last asked.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The difference to the plan before, now that something of these services has changed.
    pub fn plan(&mut self, catalog: &Catalog, touched: &BTreeSet<Arc<str>>, now: Duration) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut hosts = Touched::new();
        let first = !std::mem::replace(&mut self.started, true);
        let renewed = std::mem::take(&mut self.renewed);
        // Some may have left while there was no bridge.
        let remembered = self.standing.names().filter(|_| first);
        let planned = self.services.keys().filter(|_| renewed);
        let network = self.network.clone();
        let mut others: BTreeSet<Arc<str>> = remembered.chain(planned).cloned().collect();
        others.extend(network.externals.keys().filter(|_| first || renewed).cloned());
        let mut fresh: BTreeSet<&Arc<str>> = BTreeSet::new();
        for name in touched.union(&others) {
            fresh.extend((!self.services.contains_key(name)).then_some(name));
            self.look_at(name, catalog, now, &mut steps, &mut hosts);
        }
        let mut namesakes = self.namesakes(touched.union(&others));
        while !namesakes.is_empty() {
            for name in std::mem::take(&mut namesakes) {
                self.look_at(&name, catalog, now, &mut steps, &mut hosts);
            }
            super::step::settle(&mut steps);
            namesakes.append(&mut self.renamed);
        }
        let mut seen = Vec::new();
        for (service, audience) in self.views.settle() {
            // Its resources and its part of routes are for others now.
            if let Some(known) = self.services.get_mut(&service) {
                let all = known.claimed.claims.iter();
                hosts.extend(all.map(|c| (c.exposure.clone(), c.host.as_str().into())));
                if !fresh.contains(&service) {
                    known.owned.forget();
                    self.look_at(&service, catalog, now, &mut steps, &mut hosts);
                }
            }
            seen.push(Step::Seen { service, audience });
        }
        if first {
            hosts.extend(self.hosts.all());
        }
        let all = self.services.values().flat_map(|known| &known.claimed.claims);
        self.detours.touch(all, &mut hosts);
        hosts.extend(self.hosts.names_of(&hosts));
        // Before what is for them.
        seen.append(&mut steps);
        let mut steps = seen;
        for (exposure, host) in hosts {
            let claims =
                |service: &Arc<str>| self.services.get(service).map_or(&[][..], |s| &s.claimed.claims);
            let seniority = |service: &str| catalog.seniority(service);
            let outcome = self.hosts.decide((&exposure, &host), claims, now, &seniority);
            self.unsaved |= outcome.holders_changed;
            self.news |= outcome.issues_changed;
            let checked = self.network.exposures.get(&exposure);
            let checked = checked.is_some_and(|exposure| !exposure.filters.any_caller);
            let (claims, news) = self.detours.refuse((&exposure, &host), checked, outcome.claims);
            self.news |= news;
            steps.push(Step::Host {
                exposure,
                host,
                claims,
            });
        }
        steps
    }

    /// What one service is now.
    fn look_at(
        &mut self,
        name: &Arc<str>,
        catalog: &Catalog,
        now: Duration,
        steps: &mut Vec<Step>,
        hosts: &mut Touched,
    ) {
        let network = self.network.clone();
        if let Some(external) = network.externals.get(name) {
            let registered = catalog.service_after(name, None);
            let registered = registered.is_some_and(|service| !service.instances.is_empty());
            self.external(name, external, registered, steps, hosts);
            return;
        }
        let found = catalog.service_after(name, self.standing.elected(name));
        let service = self.standing.follow(name, found, now);
        let service = service.map(|service| {
            let mut service = self.network.overrides.apply(service);
            service.addressed = service.names_servers();
            Arc::new(service)
        });
        self.note_conflicts(name, service.as_ref().map_or(&[], |service| &service.conflicts));
        let is = |state: fn(&Service) -> bool| service.as_deref().is_some_and(state);
        self.all_unhealthy.note(name, is(Service::all_unhealthy));
        self.all_off.note(name, is(Service::all_off));
        match service {
            Some(_) if let Some(other) = self.is_refused(name, catalog) => {
                self.refuse(name, &other, steps, hosts);
            }
            Some(service) => self.follow(&service, catalog, steps, hosts),
            None => self.forgotten(name, steps, hosts),
        }
    }

    fn follow(
        &mut self,
        service: &Arc<Service>,
        catalog: &Catalog,
        steps: &mut Vec<Step>,
        hosts: &mut Touched,
    ) {
        let name = &service.name;
        let effective = Effective::of(service, &self.network.clusters);
        let shares = self.rollouts.services.get(name);
        let taken = |cluster: &Arc<str>| self.is_taken(cluster, service, catalog);
        let split = self.services.get(name).and_then(|known| known.split.as_deref());
        let versions = Versions::of(service, &effective, shares, &taken, split);
        let known = self.services.entry(name.clone()).or_default();
        let (network, api_listener) = (&self.network, &mut known.api_listener);
        let (planned, grpc) = resources(service, versions.as_ref(), &effective, network, api_listener);
        known.owned.replace(planned, steps);
        let mut claimed = claims(service, &effective, &self.network.exposures);
        claimed.issues.extend(grpc);
        let versions = versions.unwrap_or_default();
        claimed.issues.extend(versions.issue);
        share_out(&mut claimed, versions.split.as_ref(), &versions.routed);
        let names = |versions: &[Arc<Service>]| -> BTreeSet<Arc<str>> {
            versions.iter().map(|version| version.name.clone()).collect()
        };
        let (before, after) = (names(&known.versions), names(&versions.services));
        if before != after {
            self.renamed
                .extend(names::renamed(name, &before, &after, catalog));
            self.unsaved = true;
        }
        if !after.is_empty() {
            // From now on it is known who has these names.
            self.called.settle(name);
        }
        (known.split, known.versions) = (versions.split, versions.services);
        claimed.issues.extend(guards::passed_by(service, &self.network));
        claimed.issues.extend(slips(
            service,
            &self.network.exposures,
            &self.network.clusters.secrets,
        ));
        if service.instances.is_empty() && service.kept.is_none() {
            claimed.is_documents_alone();
        }
        self.views.note(name, &service.policy, &claimed.claims);
        self.detours.note(name, Some(&service.policy));
        if service.kept.is_some() {
            // Its claims are as before; whether others may have its requests changes with time.
            let all = known.claimed.claims.iter();
            hosts.extend(all.map(|c| (c.exposure.clone(), c.host.as_str().into())));
        }
        if known.claimed != claimed {
            self.hosts
                .replace(name, &known.claimed.claims, &claimed.claims, hosts);
            claimed.claims.shrink_to_fit(); // most services have one, and room for four was made
            known.claimed = claimed;
            self.news = true;
        }
    }

    fn forgotten(&mut self, name: &Arc<str>, steps: &mut Vec<Step>, hosts: &mut Touched) {
        let Some(mut known) = self.services.remove(name) else {
            return;
        };
        self.views.remove(name);
        self.detours.note(name, None);
        known.owned.replace(Vec::new(), steps);
        self.hosts.replace(name, &known.claimed.claims, &[], hosts);
        self.news = true;
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
