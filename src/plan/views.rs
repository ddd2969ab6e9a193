//! Which fleets see which services: those that the operator lists for a fleet, the service of the fleet's name with
//! those that it calls, and those that get requests of routes of any of these. Pure.
//!
//! A change of one service looks again at that one, and at those that it calls or sends requests to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::claims::Claim;
use crate::model::overrides::fits;
use crate::model::{Listener, Network, Policy};
use crate::xds::{Audience, ViewRules};

/// All services and who sees them.
#[derive(Debug, Default)]
pub(super) struct Views {
    rules: ViewRules,
    /// The rules that list services.
    listed: Vec<(Arc<str>, Vec<String>)>,
    services: BTreeMap<Arc<str>, Calls>,
    /// By what is called, whatever there is of that name.
    callers: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// By the target of routes.
    senders: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    audiences: BTreeMap<Arc<str>, Arc<Audience>>,
    stale: BTreeSet<Arc<str>>,
}

/// Whom a service calls.
#[derive(Debug, Default, PartialEq, Eq)]
struct Calls {
    /// As it declares.
    needs: BTreeSet<Arc<str>>,
    /// By splits and mirrors of its routes.
    targets: BTreeSet<Arc<str>>,
}

/// Which fleets have which view.
#[must_use]
pub fn rules(network: &Network) -> ViewRules {
    let fleets = network.fleets.iter();
    ViewRules::new(fleets.map(|(name, fleet)| (name.clone(), fleet.needs)))
}

impl Views {
    pub(super) fn new(network: &Network) -> Self {
        // Whoever has a listener sees what that sends to by itself.
        let exposures = network.exposures.values();
        let asked = exposures.flat_map(|exposure| exposure.filters.services());
        let own = network
            .listeners
            .values()
            .flat_map(Listener::services)
            .chain(asked);
        let own: BTreeSet<String> = own.map(ToString::to_string).collect();
        let listed = network.fleets.iter().map(|(name, fleet)| {
            let services = fleet.services.iter().chain(&own);
            (name.clone(), services.cloned().collect())
        });
        Self {
            rules: rules(network),
            listed: listed.collect(),
            ..Self::default()
        }
    }

    /// Another network: all services are looked at again.
    pub(super) fn renew(&mut self, network: &Network) {
        let before = std::mem::replace(self, Self::new(network));
        self.stale.extend(before.audiences.keys().cloned());
        self.stale.extend(before.services.keys().cloned());
        self.audiences = before.audiences;
        if !self.rules.is_empty() {
            for (name, calls) in before.services {
                self.set(&name, Some(calls));
            }
        }
    }

    /// A service is there, with what it declares and claims.
    pub(super) fn note(&mut self, name: &Arc<str>, policy: &Policy, claims: &[Claim]) {
        if self.rules.is_empty() {
            return;
        }
        let targets = claims.iter().flat_map(Claim::services);
        let calls = Calls {
            needs: policy.needs.iter().flatten().cloned().collect(),
            targets: targets.filter(|target| target != name).collect(),
        };
        if self.services.get(name) != Some(&calls) {
            self.set(name, Some(calls));
        }
    }

    /// It is gone.
    pub(super) fn remove(&mut self, name: &Arc<str>) {
        if self.services.contains_key(name) {
            self.set(name, None);
        }
    }

    fn set(&mut self, name: &Arc<str>, calls: Option<Calls>) {
        let calls_now = calls.is_some();
        let now = calls.unwrap_or_default();
        let before = self.services.remove(name).unwrap_or_default();
        self.stale.insert(name.clone());
        for (of, was, is) in [
            (&mut self.callers, &before.needs, &now.needs),
            (&mut self.senders, &before.targets, &now.targets),
        ] {
            for gone in was.difference(is) {
                if let Some(all) = of.get_mut(gone) {
                    all.remove(name);
                    if all.is_empty() {
                        of.remove(gone);
                    }
                }
                self.stale.insert(gone.clone());
            }
            for new in is.difference(was) {
                of.entry(new.clone()).or_default().insert(name.clone());
                self.stale.insert(new.clone());
            }
        }
        if calls_now {
            self.services.insert(name.clone(), now);
        }
    }

    /// Services that others see now than before, with these; `None`: the service is gone, or everybody sees it.
    pub(super) fn settle(&mut self) -> Vec<(Arc<str>, Option<Arc<Audience>>)> {
        let mut stale = std::mem::take(&mut self.stale);
        // Who sees a service sees the targets of its routes.
        let targets = stale.iter().filter_map(|name| self.services.get(name));
        let targets: Vec<Arc<str>> = targets.flat_map(|calls| calls.targets.iter().cloned()).collect();
        stale.extend(targets);
        let mut changed = Vec::new();
        for name in stale {
            let is_there = self.services.contains_key(&name) && !self.rules.is_empty();
            let now = is_there.then(|| self.audience(&name));
            if self.audiences.get(&name).map(|known| &**known) == now.as_ref() {
                continue;
            }
            let now = now.map(Arc::new);
            match &now {
                Some(now) => drop(self.audiences.insert(name.clone(), now.clone())),
                None => drop(self.audiences.remove(&name)),
            }
            changed.push((name, now));
        }
        changed
    }

    fn audience(&self, name: &Arc<str>) -> Audience {
        let (mut sections, mut fleets) = (Vec::new(), Vec::new());
        let senders = self.senders.get(name).into_iter().flatten();
        for name in senders.chain([name]) {
            let lists = |services: &[String]| services.iter().any(|pattern| fits(pattern, name));
            let listing = self.listed.iter().filter(|(_, services)| lists(services));
            sections.extend(listing.map(|(section, _)| section.clone()));
            let callers = self.callers.get(name).into_iter().flatten();
            let own = |fleet: &&Arc<str>| self.rules.of(fleet).is_some_and(|view| view.own);
            fleets.extend(callers.chain([name]).filter(own).cloned());
        }
        Audience::new(sections, fleets)
    }
}

#[cfg(test)]
#[path = "views_tests.rs"]
mod tests;
