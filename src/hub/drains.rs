//! Instances that are drained, and how they are served at present.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::Hub;
use crate::model::{DrainRule, Drains, Health};

/// Drains that are over, since their instances left or registered again: by service, id and the count of the
/// registration that was drained.
pub type Ended = BTreeSet<(Arc<str>, Arc<str>, u64)>;

/// How an instance is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `None`: it is not there.
    pub health: Option<Health>,
    /// How long a request to its service may take, as far as it is declared.
    pub longest: Option<Duration>,
    /// What holds for servers that go down.
    pub rule: DrainRule,
}

/// What is asked and not answered yet, and what is reported.
#[derive(Debug, Default)]
pub(super) struct Draining {
    /// Answered with the next generation.
    waiting: Vec<(Arc<str>, Arc<str>, oneshot::Sender<Served>)>,
    /// Drains of instances that are over.
    ended: watch::Sender<Ended>,
}

impl Hub {
    /// Drains that are over: whoever keeps them is to delete them.
    #[must_use]
    pub fn ended_drains(&self) -> watch::Receiver<Ended> {
        self.draining.ended.subscribe()
    }

    /// Operators drain these, and nothing else.
    pub(super) fn set_drains(&mut self, drains: Drains) {
        let touched = self.catalog.set_drains(drains);
        self.follow(touched);
        self.look_for_ended();
    }

    /// Tells which drains are over.
    pub(super) fn look_for_ended(&self) {
        let ended: Ended = self.catalog.ended_drains();
        self.draining
            .ended
            .send_if_modified(|known| std::mem::replace(known, ended) != *known);
    }

    /// Answers at once where nothing is to be published.
    pub(super) fn served(&mut self, service: Arc<str>, id: Arc<str>, reply: oneshot::Sender<Served>) {
        self.draining.waiting.push((service, id, reply));
        if self.settle.due().is_none() {
            self.answer_served();
        }
    }

    /// All that was known is published.
    pub(super) fn answer_served(&mut self) {
        for (service, id, reply) in std::mem::take(&mut self.draining.waiting) {
            let merged = self
                .catalog
                .service_after(&service, self.planner.elected(&service));
            let instances = merged.iter().flat_map(|service| &service.instances);
            // Of one id at two addresses the one that serves counts: it is the one to be waited for.
            let health = instances.filter(|i| i.id == id).map(|i| i.health).min();
            let longest = merged
                .as_ref()
                .and_then(|service| service.policy.longest_request());
            let rule = self.planner.network().drain;
            let _ = reply.send(Served {
                health,
                longest,
                rule,
            });
        }
    }
}
