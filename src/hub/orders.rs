//! What the hub is asked to do: by an operator (to believe removals, to end routes, to describe or explain), and by
//! a new configuration (sources that come and go, another network).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::list::{Listed, ServicePage};
use super::memory::Part;
use super::{Detail, Explanation, Hub, Served, SourceInfo, Versioned};
use crate::catalog::find::{Found, NotFound, Target};
use crate::catalog::{SourceState, Touched};
use crate::clock;
use crate::metrics::MAX_ENTRIES;
use crate::model::{Drains, Issue, Network, Rollouts, Secrets};
use crate::plan::preview::Scene;

/// A request to the hub. Whoever sent it may be gone when the reply comes.
#[derive(Debug)]
pub enum Order {
    /// Let removals through that are withheld.
    Accept {
        /// The source.
        source: String,
        /// How many instances were withheld; `None`: there is no such source.
        reply: oneshot::Sender<Option<usize>>,
    },
    /// End the routes that are kept of a service without instances.
    Forget {
        /// The service.
        service: String,
        /// What became of it.
        reply: oneshot::Sender<Forgotten>,
    },
    /// Look for instances.
    Find {
        /// Who is meant.
        target: Target,
        /// Those that are.
        reply: oneshot::Sender<Result<Vec<Found>, NotFound>>,
    },
    /// What operators drain.
    Drains {
        /// All of it.
        drains: Drains,
    },
    /// How rollouts share out the requests of services.
    Rollouts {
        /// All of them.
        rollouts: Rollouts,
    },
    /// How an instance is served. The reply comes once all that was known of it before the request is published.
    Served {
        /// Its service.
        service: Arc<str>,
        /// Where it listens: whoever is registered there counts.
        address: SocketAddr,
        /// How, and what its service is like.
        reply: oneshot::Sender<Served>,
    },
    /// Whose versions are followed beside those of services that want rollouts ([`Hub::versions`]).
    WatchVersions {
        /// All of them.
        services: BTreeSet<Arc<str>>,
    },
    /// The versions of one service, also of one that is not rolled out.
    Versions {
        /// The service.
        service: Arc<str>,
        /// `None`: it is unknown.
        reply: oneshot::Sender<Option<Versioned>>,
    },
    /// Describe everything.
    Describe {
        /// At most this number of each kind.
        most: usize,
        /// Where.
        reply: oneshot::Sender<Detail>,
    },
    /// Explain why one service is served as it is.
    Explain {
        /// The service.
        service: String,
        /// `None`: it is unknown.
        reply: oneshot::Sender<Option<Box<Explanation>>>,
    },
    /// Who asks for requests of a host and does not get them.
    Contested {
        /// In lower case, without a port.
        host: Arc<str>,
        /// A sentence for each.
        reply: oneshot::Sender<Vec<Issue>>,
    },
    /// Services by name.
    Services {
        /// Which part of the list.
        listed: Listed,
        /// The part.
        reply: oneshot::Sender<ServicePage>,
    },
    /// A source begins to deliver: a new one, or another run of one that is there. Sent before that run begins; what
    /// is served of an earlier run stays until this one has delivered.
    AddSource {
        /// Its name.
        name: Arc<str>,
        /// What the hub has to know of it.
        info: SourceInfo,
        /// It is awaited now.
        reply: oneshot::Sender<()>,
    },
    /// A source is gone from the configuration, and its task has ended: its services go at once. A service that
    /// another source has, too, stays.
    RemoveSource {
        /// Its name.
        name: Arc<str>,
        /// False: there is no such source, or it is the only one.
        reply: oneshot::Sender<bool>,
    },
    /// All that the plan of this moment is made of.
    Scene {
        /// Where.
        reply: oneshot::Sender<Scene>,
    },
    /// What the files of `[tls.NAME]` hold now.
    Secrets {
        /// All of them.
        secrets: Secrets,
    },
    /// Other exposures, listeners or defaults of clusters.
    Network {
        /// All of them.
        network: Box<Network>,
        /// They are in force with the next generation.
        reply: oneshot::Sender<()>,
    },
}

/// What became of [`Order::Forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// Its routes have ended.
    Ended,
    /// It has instances: nothing is kept.
    HasInstances,
    /// There is no such service.
    Unknown,
}

impl Hub {
    /// Does what is asked.
    pub fn obey(&mut self, order: Order) {
        match order {
            Order::Accept { source, reply } => drop(reply.send(self.accept(&source))),
            Order::Forget { service, reply } => drop(reply.send(self.forget(&service))),
            Order::Find { target, reply } => drop(reply.send(self.catalog.find(&target))),
            Order::Drains { drains } => self.set_drains(drains),
            Order::Rollouts { rollouts } => self.set_rollouts(rollouts),
            Order::Served {
                service,
                address,
                reply,
            } => self.served(service, address, reply),
            Order::WatchVersions { services } => self.watch_versions(services),
            Order::Versions { service, reply } => drop(reply.send(self.versioned(&service))),
            Order::Describe { most, reply } => drop(reply.send(self.detail(most))),
            Order::Explain { service, reply } => drop(reply.send(self.explain(&service).map(Box::new))),
            Order::Contested { host, reply } => {
                let issues = self.planner.contested_on(&host).take(MAX_ENTRIES).cloned();
                let _ = reply.send(issues.collect());
            }
            Order::Services { listed, reply } => drop(reply.send(self.list(&listed))),
            Order::AddSource { name, info, reply } => {
                self.add_source(name, info);
                let _ = reply.send(());
            }
            Order::RemoveSource { name, reply } => drop(reply.send(self.remove_source(&name))),
            Order::Scene { reply } => drop(reply.send(self.scene())),
            Order::Secrets { secrets } => {
                self.translator.set_secrets(secrets);
                if self.ready {
                    self.settle.note(clock::now());
                }
            }
            Order::Network { network, reply } => {
                self.set_network(*network);
                let _ = reply.send(());
            }
        }
    }

    /// Services of which rollouts say something new are planned again, and no others.
    fn set_rollouts(&mut self, rollouts: Rollouts) {
        let mut touched = Touched::default();
        touched.services.extend(self.planner.set_rollouts(rollouts));
        self.follow(touched);
    }

    fn scene(&self) -> Scene {
        let source = |(name, state): (&Arc<str>, &SourceState)| {
            let priority = self.catalog.priority(name);
            (name.clone(), (priority, state.snapshot()))
        };
        Scene {
            sources: self.catalog.sources().map(source).collect(),
            network: self.planner.network(),
            decisions: self.planner.decisions(self.now()),
            rollouts: self.planner.rollouts().clone(),
        }
    }

    /// Lets removals through that are withheld: how many instances that are; `None`: there is no such source.
    fn accept(&mut self, source: &str) -> Option<usize> {
        let withheld = self.withheld(source);
        let touched = self.catalog.accept(source)?;
        if !touched.services.is_empty() {
            tracing::warn!(
                source,
                services = touched.services.len(),
                "the operator accepts what was withheld"
            );
            self.note_order(None, format!("what {source} withholds is let go"));
            self.memory.changed(&Part::Source(source.into()));
            self.follow(touched);
        }
        Some(withheld)
    }

    /// Ends what is kept of a service without instances.
    fn forget(&mut self, service: &str) -> Forgotten {
        match self.planner.forget(service) {
            None => Forgotten::Unknown,
            Some(false) => Forgotten::HasInstances,
            Some(true) => {
                tracing::warn!(
                    service,
                    "the operator ends the routes of a service without instances"
                );
                self.note_order(Some(service), "its kept routes are ended".to_owned());
                self.pending.insert(service.into());
                self.settle.note(clock::now());
                Forgotten::Ended
            }
        }
    }
}
