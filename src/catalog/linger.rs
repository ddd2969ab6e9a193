//! Instances that left their registry a moment ago: they stay as draining, so that nobody sends them a new request
//! while what is under way there ends, and load reports still tell of it. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::touched::{Left, Touched};
use crate::model::{Health, Instance, Service};

/// Of all services.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    /// For how long; zero: nobody.
    time: Duration,
    /// When somebody may go, at the earliest.
    due: Option<Duration>,
    by_service: BTreeMap<Arc<str>, BTreeMap<SocketAddr, Entry>>,
}

#[derive(Debug)]
struct Entry {
    instance: Instance,
    /// The priority of its source.
    priority: u32,
    until: Duration,
}

/// Those in `old` that are not in `new`, both in the order of their ids; one at another address left its old one.
pub(super) fn left<'a>(old: &'a [Instance], new: &[Instance]) -> Vec<&'a Instance> {
    let mut new = new.iter().peekable();
    let mut gone = Vec::new();
    for instance in old {
        while new.next_if(|other| other.id < instance.id).is_some() {}
        let same = |other: &&Instance| other.id == instance.id && other.address == instance.address;
        if new.next_if(same).is_none() {
            gone.push(instance);
        }
    }
    gone
}

impl Lingering {
    /// Another time from now on; it holds for those that leave later.
    pub(super) const fn set_time(&mut self, time: Duration) {
        self.time = time;
    }

    /// Takes those that left by an event; `priority`: of their source.
    pub(super) fn take(&mut self, touched: &mut Touched, priority: u32, now: Duration) {
        let left = std::mem::take(&mut touched.left);
        if self.time.is_zero() {
            return;
        }
        let until = now.saturating_add(self.time);
        for Left { service, instance } in left {
            // Only where requests may be under way.
            if !matches!(instance.health, Health::Healthy | Health::Draining) {
                continue;
            }
            let entry = Entry {
                instance,
                priority,
                until,
            };
            self.due = Some(self.due.map_or(until, |due| due.min(until)));
            let of_service = self.by_service.entry(service).or_default();
            of_service.insert(entry.instance.address, entry);
        }
    }

    /// When the first one goes, or somebody who registered again would have.
    pub(super) const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Lets those go whose time is over: their services.
    pub(super) fn release(&mut self, now: Duration) -> Vec<Arc<str>> {
        let mut touched = Vec::new();
        self.by_service.retain(|service, entries| {
            let before = entries.len();
            entries.retain(|_, entry| entry.until > now);
            if entries.len() < before {
                touched.push(service.clone());
            }
            !entries.is_empty()
        });
        let left = self.by_service.values().flat_map(BTreeMap::values);
        self.due = left.map(|entry| entry.until).min();
        touched
    }

    /// Adds those that linger to a service that goes on without them. The last one is not kept alive: where nobody
    /// serves, whoever left is gone. An address that is registered again is what its registration says.
    pub(super) fn join(&self, service: &mut Service) {
        let Some(entries) = self.by_service.get(&service.name) else {
            return;
        };
        if !service.instances.iter().any(|instance| instance.health.serves()) {
            return;
        }
        for (address, entry) in entries {
            let at = service
                .instances
                .binary_search_by_key(address, |instance| instance.address);
            let Err(at) = at else { continue };
            let mut instance = entry.instance.clone();
            instance.health = Health::Draining;
            service.instances.insert(at, instance);
            if entry.priority > 0 {
                service.behind.insert(*address, entry.priority);
            }
        }
    }
}

#[cfg(test)]
#[path = "linger_tests.rs"]
mod tests;
