//! Instances that an operator drains, whatever their registry says of them. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Catalog, SourceState, Touched};
use crate::model::drain::is_same_registration;
use crate::model::{Condition, Drains, Health, Instance, Service};

impl Catalog {
    /// What is drained from now on.
    pub fn set_drains(&mut self, drains: Drains) -> Touched {
        if self.drains == drains {
            return Touched::default();
        }
        let before = std::mem::replace(&mut self.drains, drains);
        let differs = |name: &Arc<str>, instance: &Instance| {
            before.hold(name, instance) != self.drains.hold(name, instance)
        };
        let everywhere = before.nodes != self.drains.nodes || before.zones != self.drains.zones;
        let named =
            |name: &Arc<str>| before.instances.contains_key(name) || self.drains.instances.contains_key(name);
        let mut services = BTreeSet::new();
        for (_, state) in self.sources() {
            // Nodes and zones are looked for everywhere, instances where they are.
            let all = state.records().filter(|(name, _)| everywhere || named(name));
            let concerned = all.filter(|(name, record)| record.instances.iter().any(|i| differs(name, i)));
            services.extend(concerned.map(|(name, _)| name.clone()));
        }
        Touched {
            services,
            ..Touched::default()
        }
    }

    /// What is drained.
    #[must_use]
    pub const fn drains(&self) -> &Drains {
        &self.drains
    }

    /// Marks those of a service that are drained. An instance that is off stays off.
    pub(super) fn drain(&self, service: &mut Service) {
        if self.drains.is_empty() {
            return;
        }
        for instance in &mut service.instances {
            if matches!(instance.health, Health::Healthy | Health::Unhealthy)
                && self.drains.hold(&service.name, instance)
            {
                instance.health = Health::Draining;
            }
        }
    }

    /// Drains of instances that are not there any more, or that have registered again since: they are over. Not while
    /// a source cannot say who is there, and only where they were here: another bridge may see other services.
    pub fn ended_drains(&mut self) -> BTreeSet<(Arc<str>, Arc<str>, u64)> {
        let sure = |state: &SourceState| matches!(state.condition(), Condition::Live | Condition::Empty);
        if self.drains.instances.is_empty()
            || !self.sources().all(|(_, state)| sure(state) && state.delivered())
        {
            return BTreeSet::new();
        }
        let holds = |service: &str, id: &str, created: u64| {
            self.sources().any(|(_, state)| {
                let record = state.record(service);
                let instances = record.map(|record| &*record.instances).unwrap_or_default();
                let mut of_it = instances.iter().filter(|instance| *instance.id == *id);
                of_it.any(|instance| is_same_registration(created, instance.created))
            })
        };
        let (mut ended, mut here) = (BTreeSet::new(), BTreeSet::new());
        for (service, drained) in &self.drains.instances {
            for (id, created) in drained {
                let key = (service.clone(), id.clone(), *created);
                if holds(service, id, *created) {
                    here.insert(key);
                } else if self.drained.contains(&key) {
                    ended.insert(key);
                }
            }
        }
        here.extend(ended.iter().cloned());
        self.drained = here;
        ended
    }
}

#[cfg(test)]
#[path = "drained_tests.rs"]
mod tests;
