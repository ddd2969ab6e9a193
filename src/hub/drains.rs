//! Instances that are drained, and how they are served at present.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::Hub;
use crate::model::{DrainRule, Drains, Effective, Health, OnAllUnhealthy};

/// Drains that are over, since their instances left or registered again: by service, id and the count of the
/// registration that was drained.
pub type Ended = BTreeSet<(Arc<str>, Arc<str>, u64)>;

/// How an instance is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `None`: it is not there.
    pub health: Option<Health>,
    /// Nobody else of its service is healthy.
    pub alone: bool,
    /// What becomes of requests then.
    pub all_unhealthy: OnAllUnhealthy,
    /// How long a request to its service may take, as far as it is declared.
    pub longest: Option<Duration>,
    /// How long a connection to one of its servers may take to be there.
    pub connecting: Duration,
    /// What holds for servers that go down.
    pub rule: DrainRule,
    /// The clusters of its service: its own and those of its versions; true: the instance is, or was, in it.
    pub clusters: Vec<(Arc<str>, bool)>,
}

/// What is asked and not answered yet, and what is reported.
#[derive(Debug, Default)]
pub(super) struct Draining {
    /// Answered with the next generation.
    waiting: Vec<(Arc<str>, SocketAddr, oneshot::Sender<Served>)>,
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
        let before = self.catalog.drains().clone();
        self.note_drains(&before, &drains);
        let touched = self.catalog.set_drains(drains);
        self.follow(touched);
        self.look_for_ended();
    }

    /// Tells which drains are over.
    pub(super) fn look_for_ended(&mut self) {
        let ended: Ended = self.catalog.ended_drains();
        self.draining
            .ended
            .send_if_modified(|known| std::mem::replace(known, ended) != *known);
    }

    /// Answers at once where nothing is to be published.
    pub(super) fn served(&mut self, service: Arc<str>, address: SocketAddr, reply: oneshot::Sender<Served>) {
        self.draining.waiting.push((service, address, reply));
        if self.settle.due().is_none() {
            self.answer_served();
        }
    }

    /// All that was known is published.
    pub(super) fn answer_served(&mut self) {
        for (name, address, reply) in std::mem::take(&mut self.draining.waiting) {
            let merged = self.catalog.service_after(&name, self.planner.elected(&name));
            let network = self.planner.network();
            let service = network.overrides.apply(merged.unwrap_or_default());
            let cluster = Effective::of(&service, &network.clusters).cluster;
            let health = service.at(address).map(|instance| {
                if self.planner.is_left_out(&name, instance) {
                    Health::Off
                } else {
                    instance.health
                }
            });
            let _ = reply.send(Served {
                health,
                alone: service.is_alone(address),
                all_unhealthy: cluster.all_unhealthy,
                longest: service.policy.longest_request(DrainRule::IN_FLIGHT),
                connecting: cluster.connect_timeout,
                rule: network.drain,
                clusters: self.planner.clusters(&name, address),
            });
        }
    }
}
