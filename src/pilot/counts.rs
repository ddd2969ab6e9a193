//! What this bridge counts of all services that are judged, and what it tells other bridges of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::counting::{Counting, Places};
use super::facts::{self, Here};
use crate::clock;
use crate::hub::Versions;
use crate::intake::{Loads, Quickened};
use crate::rollout::{Neighbours, Record, Row, Run, Sum};
use crate::state::{self, Counted, State};

/// Other services are looked at this often: that looks at all that is known.
const BESIDE: Duration = Duration::from_secs(1);
/// Other services, at most: those that have the most requests when they are looked at first.
const NEIGHBOURS: usize = 200;

/// All that is counted here.
#[derive(Debug)]
pub(super) struct Counts {
    loads: Arc<Loads>,
    /// Of this bridge, with its start.
    run: Arc<str>,
    /// Clients report quickly while this is held.
    quick: Option<Quickened>,
    services: BTreeMap<Arc<str>, Service>,
    shared: Option<state::Counting>,
    /// Services that found no room in what is shared, as it was logged.
    left: usize,
    beside: Neighbours,
    looked: Option<Instant>,
}

#[derive(Debug, Default)]
struct Service {
    counting: Counting,
    places: Places,
    here: Here,
}

impl Counts {
    pub(super) fn new(loads: Arc<Loads>, replica: &str) -> Self {
        Self {
            loads,
            run: facts::run_name(replica, clock::unix_millis()),
            quick: None,
            services: BTreeMap::new(),
            shared: None,
            left: 0,
            beside: Neighbours::default(),
            looked: None,
        }
    }

    /// Counts for these rollouts, and no others. `metric`: of each, the figure that is judged.
    pub(super) fn update<'a>(
        &mut self,
        running: impl Iterator<Item = (&'a Arc<str>, &'a Record)>,
        versions: &Versions,
        metric: impl Fn(&Arc<str>) -> Option<Arc<str>>,
    ) {
        let now = clock::unix_millis();
        let mut before = std::mem::take(&mut self.services);
        for (service, record) in running {
            let seen = versions.get(service);
            let mut counted = match before.remove(service) {
                Some(counted) => counted,
                // Nobody can say yet whose requests these are.
                None if seen.is_none() => continue,
                None => Service {
                    counting: Counting::new(now),
                    ..Service::default()
                },
            };
            let named = seen.iter().flat_map(|seen| seen.versions.keys());
            let rolled = record.rollout.iter().map(|rollout| &rollout.candidate);
            let mut all: Vec<Arc<str>> = named.chain(rolled).chain(&record.stable).cloned().collect();
            all.sort_unstable();
            all.dedup();
            let mut places = Places::of(service, all.into_iter());
            places.addresses = std::mem::take(&mut counted.places.addresses);
            if let Some(seen) = seen {
                let known = seen.addresses.iter();
                places
                    .addresses
                    .extend(known.map(|(address, version)| (*address, version.clone())));
            }
            counted.places = places;
            self.take(&mut counted, metric(service).as_deref(), now);
            self.services.insert(service.clone(), counted);
        }
        if self.services.is_empty() {
            self.quick = None;
            self.looked = None;
        } else if self.quick.is_none() {
            self.quick = Some(self.loads.quicken());
        }
    }

    fn take(&self, service: &mut Service, metric: Option<&str>, now: u64) {
        let clusters: Vec<Arc<str>> = service
            .places
            .clusters
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let sums = self.loads.sums(&clusters);
        service.counting.note(&service.places, &sums, metric);
        let ago = sums
            .last
            .map(|at| clock::now().saturating_duration_since(self.loads.instant(at)));
        let ago = ago.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
        let (interval, _) = self.loads.pace().borrow().interval(clock::now());
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        service.here = Here {
            run: Run {
                since: service.counting.since,
                counts: service.counting.counts(),
            },
            clients: facts::clients(&sums, ago, interval, now),
            stamp: sums.last.map_or(0, facts::stamp),
        };
    }

    /// Of one service; nothing where none is counted.
    pub(super) fn here(&self, service: &str) -> Here {
        self.services
            .get(service)
            .map_or_else(Here::default, |service| service.here.clone())
    }

    /// Zones and endpoints of one service.
    pub(super) fn rows(&self, service: &str) -> Vec<Row> {
        self.services
            .get(service)
            .map_or_else(Vec::new, |service| service.counting.rows())
    }

    /// Something is counted.
    pub(super) fn is_counting(&self) -> bool {
        !self.services.is_empty()
    }

    /// Shares what is counted with the bridge that leads, or no longer where this one does, or nobody else is there.
    pub(super) fn share(&mut self, state: &State, is_needed: bool) {
        if !is_needed || self.services.is_empty() {
            self.shared = None;
            return;
        }
        let services = self.services.iter();
        let counted = Counted {
            services: services
                .map(|(name, service)| (name.clone(), facts::shared(&service.here)))
                .collect(),
        };
        let shared = self.shared.get_or_insert_with(|| state.count());
        let left = shared.set(&counted);
        if left != self.left {
            self.left = left;
            tracing::warn!(
                services = left,
                "what this bridge counts of these services finds no room in shared state: it is not judged"
            );
        }
    }

    /// What services beside this one had, as this bridge counts them.
    pub(super) fn beside(&mut self, service: &Arc<str>) -> Neighbours {
        let now = clock::now();
        if self.looked.is_none_or(|looked| looked + BESIDE <= now) {
            self.looked = Some(now);
            self.beside.run = self.run.clone();
            for (name, (n, k)) in self.loads.busiest() {
                let known = self.beside.services.contains_key(&name);
                if known || self.beside.services.len() < NEIGHBOURS {
                    self.beside.services.insert(name, Sum { n, k });
                }
            }
        }
        let mut beside = self.beside.clone();
        beside.services.remove(service);
        beside
    }
}
