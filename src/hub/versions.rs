//! The versions of services that are rolled out: what their instances declare, and how many there are. Followed by whoever
//! decides about rollouts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::Hub;
use crate::model::rollouts::{Mode, RolloutKeys};
use crate::model::{Policy, Service};

/// The versions of services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Those that want rollouts, and those that somebody asked for; who has no instances is not here.
    pub services: BTreeMap<Arc<str>, Arc<Versioned>>,
    /// Those that somebody asked for ([`super::Order::WatchVersions`]).
    pub asked: Arc<BTreeSet<Arc<str>>>,
    /// All sources have delivered: before that nothing follows from what is not here.
    pub ready: bool,
}

impl Versions {
    /// One service. `None`: it has no instances, or does not want rollouts.
    #[must_use]
    pub fn get(&self, service: &str) -> Option<&Arc<Versioned>> {
        self.services.get(service)
    }
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versioned {
    /// New versions start by themselves, as far as the service decides that.
    pub auto: bool,
    /// What it declares about its rollouts.
    pub keys: RolloutKeys,
    /// By name; the empty name is that of instances without a version.
    pub versions: BTreeMap<Arc<str>, Version>,
    /// Whose address it is.
    pub addresses: BTreeMap<SocketAddr, Arc<str>>,
}

/// One version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Instances that take requests.
    pub healthy: u32,
    /// All of its instances.
    pub total: u32,
    /// The share that it declares, the smallest of its instances: parts of the whole.
    pub share: Option<u32>,
    /// The number of the data that it writes, the largest of its instances.
    pub data: Option<u64>,
    /// Those that it reads: what all of its instances do.
    pub reads: Option<(u64, u64)>,
    /// What it declares about rollouts by itself, where a policy document says nothing else.
    pub keys: RolloutKeys,
}

/// What is followed.
#[derive(Debug, Default)]
pub(super) struct Rolled {
    /// The configuration is another one.
    pub(super) look_at_all: bool,
    now: Versions,
    seen: watch::Sender<Arc<Versions>>,
}

impl Versioned {
    /// Of a service as it is served.
    #[must_use]
    pub fn of(service: &Service, default: Mode) -> Self {
        let keys = service.policy.rollout.clone();
        let mut all = Self {
            auto: keys.mode.unwrap_or(default) == Mode::Auto,
            keys,
            ..Self::default()
        };
        // Who stands apart is not rolled out.
        for instance in service.instances.iter().filter(|instance| !instance.is_apart()) {
            let version = all.versions.entry(instance.version.clone()).or_default();
            if version.total == 0 {
                version.keys = own(service, &instance.policy.rollout);
            }
            version.total += 1;
            version.healthy += u32::from(instance.health.serves());
            all.addresses.insert(instance.address, instance.version.clone());
            version.share = instance.declared_share().into_iter().chain(version.share).min();
            version.data = instance.data().into_iter().chain(version.data).max();
            version.reads = match (version.reads, instance.data_reads()) {
                (Some((a, b)), Some((c, d))) => Some((a.max(c), b.min(d))),
                (one, other) => one.or(other),
            };
        }
        all
    }
}

/// What an instance declares about rollouts, but for what stands above that for all of them.
fn own(service: &Service, declared: &RolloutKeys) -> RolloutKeys {
    fn one<T: Clone + PartialEq>(in_force: Option<&T>, elected: Option<&T>, own: Option<&T>) -> Option<T> {
        let counts = if in_force == elected { own } else { in_force };
        counts.cloned()
    }
    let (policy, elected) = (&service.policy.rollout, &service.elected.rollout);
    RolloutKeys {
        mode: policy.mode,
        steps: one(
            policy.steps.as_ref(),
            elected.steps.as_ref(),
            declared.steps.as_ref(),
        ),
        step_time: one(
            policy.step_time.as_ref(),
            elected.step_time.as_ref(),
            declared.step_time.as_ref(),
        ),
        min_requests: one(
            policy.min_requests.as_ref(),
            elected.min_requests.as_ref(),
            declared.min_requests.as_ref(),
        ),
        margin: one(
            policy.margin.as_ref(),
            elected.margin.as_ref(),
            declared.margin.as_ref(),
        ),
        deadline: one(
            policy.deadline.as_ref(),
            elected.deadline.as_ref(),
            declared.deadline.as_ref(),
        ),
        no_data: one(
            policy.no_data.as_ref(),
            elected.no_data.as_ref(),
            declared.no_data.as_ref(),
        ),
        gates: one(
            policy.gates.as_ref(),
            elected.gates.as_ref(),
            declared.gates.as_ref(),
        ),
        metric: one(
            policy.metric.as_ref(),
            elected.metric.as_ref(),
            declared.metric.as_ref(),
        ),
        header: policy.header.clone(),
        sticky: policy.sticky.clone(),
    }
}

impl Hub {
    /// The versions of services that are rolled out, as that changes.
    #[must_use]
    pub fn versions(&self) -> watch::Receiver<Arc<Versions>> {
        self.rolled.seen.subscribe()
    }

    /// Somebody follows the versions of these, whatever they declare.
    pub(super) fn watch_versions(&mut self, services: BTreeSet<Arc<str>>) {
        let before = std::mem::replace(&mut self.rolled.now.asked, Arc::new(services));
        let changed = before
            .symmetric_difference(&self.rolled.now.asked)
            .cloned()
            .collect();
        self.look_at(&changed);
        self.show_versions();
    }

    /// Looks at services that are published; after another configuration at all that may be concerned.
    pub(super) fn look_at_versions(&mut self, touched: &BTreeSet<Arc<str>>) {
        let mut changed = !std::mem::replace(&mut self.rolled.now.ready, true);
        if std::mem::take(&mut self.rolled.look_at_all) {
            let records = self.catalog.sources().flat_map(|(_, state)| state.records());
            let known = self.rolled.now.services.keys();
            let all = records.map(|(name, _)| name).chain(known).cloned().collect();
            changed |= self.look_at(&all);
        } else {
            changed |= self.look_at(touched);
        }
        if changed {
            self.show_versions();
        }
    }

    fn show_versions(&self) {
        self.rolled.seen.send_replace(Arc::new(self.rolled.now.clone()));
    }

    /// Whether anything is different.
    fn look_at(&mut self, names: &BTreeSet<Arc<str>>) -> bool {
        let mut changed = false;
        for name in names {
            let versioned = self.is_rolled(name).then(|| self.versioned(name)).flatten();
            let versioned = versioned.filter(|seen| !seen.versions.is_empty());
            let known = self.rolled.now.services.get(name);
            changed |= match versioned {
                Some(versioned) if known.is_some_and(|known| **known == versioned) => false,
                Some(versioned) => {
                    self.rolled.now.services.insert(name.clone(), Arc::new(versioned));
                    true
                }
                None => self.rolled.now.services.remove(name).is_some(),
            };
        }
        changed
    }

    /// One service, also one that is not rolled out. `None`: it is unknown.
    pub(super) fn versioned(&self, name: &Arc<str>) -> Option<Versioned> {
        let merged = self.catalog.service_after(name, self.planner.elected(name))?;
        let network = self.planner.network();
        let service = network.overrides.apply(merged);
        Some(Versioned::of(&service, network.clusters.rollout))
    }

    /// Whether it may be rolled out: most services are not, and need no second look.
    fn is_rolled(&self, name: &str) -> bool {
        let network = self.planner.network();
        if network.clusters.rollout == Mode::Auto || self.rolled.now.asked.contains(name) {
            return true;
        }
        let says = |policy: &Policy| policy.rollout.mode.is_some();
        let records = self.catalog.sources().filter_map(|(_, state)| state.record(name));
        let declared = records.into_iter().any(|record| {
            record.policy.as_ref().is_some_and(says)
                || record.instances.iter().any(|instance| says(&instance.policy))
        });
        declared || network.overrides.of(name).any(says)
    }
}
