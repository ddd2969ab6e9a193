//! What changes with `bridge.toml`: sources that come and go, and the network.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Hub, fleets};
use crate::catalog::Settings;
use crate::clock;
use crate::model::{GuardRule, Network};
use crate::overlay::Overlays;
use crate::plan::views::rules;

/// What the hub has to know of a source.
#[derive(Clone, Debug)]
pub struct SourceInfo {
    /// `file`, `etcd`, `consul`
    pub kind: &'static str,
    /// Its guard against mass removal, if any.
    pub guard: Option<GuardRule>,
    /// Which registry it is; `None`: its state is not kept.
    pub registry: Option<String>,
    /// 0: the first choice; its instances stand behind those of sources with a lower one.
    pub priority: u32,
    /// By which the hub requests verification; the number counts the requests.
    pub ask: Option<watch::Sender<u64>>,
}

impl SourceInfo {
    /// A source of this kind without anything that is optional.
    #[must_use]
    pub const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            guard: None,
            registry: None,
            priority: 0,
            ask: None,
        }
    }

    pub(super) const fn settings(&self) -> Settings {
        Settings {
            guard: self.guard,
            verifies: self.ask.is_some(),
            priority: self.priority,
        }
    }

    /// Both read the same registry.
    fn is_same_registry(&self, other: &Self) -> bool {
        (self.kind, &self.registry) == (other.kind, &other.registry)
    }
}

impl Hub {
    /// A source begins, or begins again.
    pub(super) fn add_source(&mut self, name: Arc<str>, info: SourceInfo) {
        let settings = info.settings();
        let (now, kind) = (self.now(), info.kind);
        let touched = match self.sources.insert(name.clone(), info) {
            None => {
                tracing::info!(source = %name, kind, "source added");
                self.catalog.add(name, &settings)
            }
            Some(before) => {
                let same = self.sources[&name].is_same_registry(&before);
                tracing::info!(source = %name, kind, same_registry = same, "source begins again");
                if !same {
                    self.memory.forget(&name);
                }
                if before.kind != kind {
                    self.gauges.forget(&name, before.kind);
                }
                self.catalog.replace(&name, &settings, same, now)
            }
        };
        self.uncounted = true;
        self.follow(touched);
    }

    /// A source is gone. False: there is no such source, or it is the only one.
    pub(super) fn remove_source(&mut self, name: &Arc<str>) -> bool {
        if self.sources.len() < 2 {
            return false; // nothing would be served, which no configuration asks for
        }
        let Some(info) = self.sources.remove(name) else {
            return false;
        };
        let touched = self.catalog.remove(name).unwrap_or_default();
        tracing::warn!(source = %name, services = touched.services.len(), "source removed, with what came from it only");
        for service in &touched.services {
            let others = self.catalog.service(service);
            if others.is_none_or(|service| service.instances.is_empty()) {
                self.planner.dismiss(service);
            }
        }
        self.memory.forget(name);
        self.gauges.forget(name, info.kind);
        self.uncounted = true;
        self.follow(touched);
        true
    }

    /// Other exposures, listeners or defaults: all services are planned again, and what differs is published.
    pub(super) fn set_network(&mut self, network: Network) {
        let network = Arc::new(network);
        tracing::info!(
            exposures = network.exposures.len(),
            listeners = network.listeners.len(),
            "exposures, listeners and defaults of clusters are replaced"
        );
        self.fanout.expect_fleets(fleets::expected(&network));
        let exposures = network.exposures.keys().cloned().collect();
        let touched = self.catalog.set_exposures(exposures, self.now());
        self.catalog.set_linger(network.drain.linger);
        self.fanout.set_grace(network.drain.grace);
        self.views = Arc::new(rules(&network));
        self.planner.set_network(network.clone());
        self.rolled.look_at_all = true;
        self.overlays = Overlays::new(&network.overlays);
        self.translator.set_network(network);
        self.uncounted |= touched.issues;
        let released = self.ready || self.catalog.ready();
        self.follow(touched);
        if released {
            self.settle.note(clock::now());
        }
    }
}
