//! The difference between two plans, as data.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::claims::Claim;
use super::versions::Split;
use crate::model::{ClusterSettings, External, LocalityRule, OnAllUnhealthy, Service};
use crate::xds::{Audience, Client, Kind};

/// One thing to publish.
#[derive(Clone, Debug)]
pub enum Step {
    /// A resource is there, or what it is made of may have changed.
    Put(Planned),
    /// A resource is owned by nobody any more.
    Remove(Key),
    /// Only these fleets with a view see a service, from here on; `None`: it is gone, or everybody sees it.
    Seen {
        /// Whose resources, and whose part of routes.
        service: Arc<str>,
        /// Who sees it.
        audience: Option<Arc<Audience>>,
    },
    /// The claims that count on one host of an exposure, the most specific first. None: the host is gone.
    Host {
        /// The exposure's name.
        exposure: Arc<str>,
        /// Exact, `*.example.com` or `*`; lower case.
        host: Arc<str>,
        /// In the order in which they are to be tried.
        claims: Vec<Claim>,
    },
}

/// What one resource is called, and for whom it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its type.
    pub kind: Kind,
    /// [`Client::Envoy`]: everybody, but those who get something else.
    pub client: Client,
    /// Unique within the type.
    pub name: Arc<str>,
}

/// Whom of a service gRPC's own clients are to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callees {
    /// Those that are healthy.
    Healthy,
    /// None is healthy, and all that are there get calls, as Envoy does it by its panic threshold.
    All,
    /// Nobody, because of this.
    Nobody(String),
}

/// A resource that a service owns, and what it is made of.
#[derive(Clone, Debug)]
pub enum Planned {
    /// Its cluster.
    Cluster(Arc<str>, ClusterSettings),
    /// Its cluster as these clients of gRPC get it instead.
    ClusterFor(Client, Arc<str>, ClusterSettings),
    /// The cluster of what no registry knows, with its addresses.
    External(Arc<str>, ClusterSettings, Arc<External>),
    /// Its instances.
    Endpoints {
        /// Whose.
        service: Arc<Service>,
        /// What happens when none of them is healthy.
        on_all_unhealthy: OnAllUnhealthy,
        /// gRPC's own clients get them, too.
        api_listener: bool,
        /// Whether clients that say where they are get near ones first.
        locality: LocalityRule,
    },
    /// Its instances as these clients of gRPC get them instead.
    EndpointsFor(Client, Arc<Service>, Callees, LocalityRule),
    /// What gRPC's own clients dial, with how its calls are shared out among versions.
    ApiListener(Arc<str>, Option<Arc<Split>>),
    /// The same for these clients while there is nobody to call, because of this.
    Stopped(Client, Arc<str>, Option<Arc<Split>>, String),
}

impl Planned {
    /// What it is called.
    #[must_use]
    pub fn key(&self) -> Key {
        let (kind, client, name) = match self {
            Self::Cluster(name, _) | Self::External(name, ..) => (Kind::Cluster, Client::Envoy, name),
            Self::ClusterFor(client, name, _) => (Kind::Cluster, *client, name),
            Self::Endpoints { service, .. } => (Kind::Endpoints, Client::Envoy, &service.name),
            Self::EndpointsFor(client, service, ..) => (Kind::Endpoints, *client, &service.name),
            Self::ApiListener(name, _) => (Kind::Listener, Client::Envoy, name),
            Self::Stopped(client, name, ..) => (Kind::Listener, *client, name),
        };
        Key {
            kind,
            client,
            name: name.clone(),
        }
    }
}

/// Of two services that a resource goes from one to the other of: what is put is not removed.
pub(super) fn settle(steps: &mut Vec<Step>) {
    let put = |step: &Step| match step {
        Step::Put(planned) => Some(planned.key()),
        _ => None,
    };
    let all: BTreeSet<Key> = steps.iter().filter_map(put).collect();
    steps.retain(|step| !matches!(step, Step::Remove(key) if all.contains(key)));
}

/// The resources of one service in their order, each with what it was made of last, where that is small enough to
/// compare. They are few: a tree would take a kilobyte for two of them.
#[derive(Debug, Default)]
pub(super) struct Owned(Box<[(Key, Option<Inputs>)]>);

/// What a resource is made of, when that is little.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Inputs {
    Cluster(ClusterSettings),
    Shares(Option<Arc<Split>>),
    Reason(Option<Arc<Split>>, String),
}

impl Inputs {
    fn of(planned: &Planned) -> Option<Self> {
        Some(match planned {
            Planned::Cluster(_, settings) | Planned::ClusterFor(_, _, settings) => {
                Self::Cluster(settings.clone())
            }
            Planned::ApiListener(_, split) => Self::Shares(split.clone()),
            Planned::Stopped(_, _, split, why) => Self::Reason(split.clone(), why.clone()),
            Planned::External(..) | Planned::Endpoints { .. } | Planned::EndpointsFor(..) => return None,
        })
    }
}

impl Owned {
    /// What they are called.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().map(|(key, _)| key)
    }

    /// Each is to be made again, whatever it was made of.
    pub(super) fn forget(&mut self) {
        for (_, inputs) in &mut self.0 {
            *inputs = None;
        }
    }

    /// Each of them is to be published again: what is made of it is laid over by something else.
    pub(super) fn publish_again(&mut self) {
        for (_, inputs) in &mut self.0 {
            *inputs = None;
        }
    }

    /// The service owns these now, and nothing else: what that changes.
    pub(super) fn replace(&mut self, planned: Vec<Planned>, steps: &mut Vec<Step>) {
        let mut before = std::mem::take(&mut self.0).into_vec();
        let mut now = Vec::with_capacity(planned.len());
        for planned in planned {
            let (key, inputs) = (planned.key(), Inputs::of(&planned));
            let at = before.iter().position(|(old, _)| *old == key);
            let old = at.and_then(|at| before.remove(at).1);
            if old.is_none() || old != inputs {
                steps.push(Step::Put(planned));
            }
            now.push((key, inputs));
        }
        now.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.0 = now.into();
        // What replaced the others' content goes before that content.
        steps.extend(before.into_iter().rev().map(|(key, _)| Step::Remove(key)));
    }
}
