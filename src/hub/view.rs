//! What the rest of the program sees of the hub.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::fanout::Unused;
use crate::model::{Condition, Issue, Key, Service, ServiceRecord};
use crate::plan::Explained;

/// How the sources and their services are, for `/readyz`; bounded, and refreshed with each generation.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// The first generation was published: streams are admitted.
    pub ready: bool,
    /// Each source.
    pub sources: Vec<SourceView>,
    /// Services with failing instances and no healthy one.
    pub all_unhealthy: usize,
    /// The first hundred of them.
    pub all_unhealthy_names: Vec<Arc<str>>,
    /// What is wrong with what services declare together, such as contested routes.
    pub declared: usize,
    /// Services all of whose instances are off: how many, and the first hundred.
    pub all_off: (usize, Vec<Arc<str>>),
    /// Services without instances whose routes are kept: how many, and the first hundred.
    pub kept: (usize, Vec<Kept>),
    /// Listeners that no connected Envoy is for.
    pub unused: Option<Unused>,
}

/// A service without instances whose routes are kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its name.
    pub service: Arc<str>,
    /// When its routes end.
    pub ends: Instant,
}

/// How one source is.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// Its name.
    pub name: Arc<str>,
    /// `file`, `etcd`, `consul`
    pub kind: &'static str,
    /// 0: the first choice.
    pub priority: u32,
    /// `connecting`, `live`, `empty`, `away`
    pub condition: Condition,
    /// Why it is away.
    pub reason: Option<String>,
    /// Since when it is connecting, reachable or away.
    pub since: Instant,
    /// What its operator should know of it beside that.
    pub note: Option<String>,
    /// Has delivered once.
    pub delivered: bool,
    /// Services that are served of it.
    pub services: usize,
    /// Instances that are served of it.
    pub instances: usize,
    /// Entries of it that are not served, and entries with something else wrong.
    pub entries: (usize, usize),
    /// Instances that it no longer knows, and that are served until that is certain.
    pub withheld: usize,
    /// Of those the addresses that accept connections.
    pub alive: usize,
    /// When the next of them are believed to be gone; `None`: nothing is withheld, or it is not reachable.
    pub believed_at: Option<Instant>,
    /// Its registry is being asked whether they are really gone.
    pub verifying: bool,
    /// How old the last known state is that is served of it.
    pub stale: Option<Duration>,
}

/// Everything, for `/sources`.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The short form.
    pub overview: Overview,
    /// Each source.
    pub sources: Vec<SourceDetail>,
    /// What is wrong with what services declare together: how many, and the first of them.
    pub declared: (usize, Vec<Issue>),
}

/// All about one source.
#[derive(Clone, Debug)]
pub struct SourceDetail {
    /// The short form.
    pub view: SourceView,
    /// When facts came from it last.
    pub last_delivery: Option<Instant>,
    /// What is withheld: how many services, and the first of them.
    pub held: (usize, Vec<Held>),
    /// Entries that are not served.
    pub rejected: usize,
    /// Entries that are served with a default.
    pub warnings: usize,
    /// The first of both.
    pub issues: Vec<Issue>,
    /// Values kept from an earlier declaration, since the present one cannot be read: how many, and the first
    /// of them.
    pub last_good: (usize, Vec<LastGood>),
}

/// A value that is in force although what is registered now cannot be read.
#[derive(Clone, Debug)]
pub struct LastGood {
    /// The service.
    pub service: Arc<str>,
    /// Id of the instance, `""` for the policy document.
    pub instance: Arc<str>,
    /// The key; `None`: the whole entry.
    pub key: Option<Key>,
}

/// A service of which instances are withheld.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its name.
    pub service: Arc<str>,
    /// How many are gone from the registry.
    pub instances: usize,
    /// Since when.
    pub since: Instant,
    /// When that is believed; `None`: the source is not reachable.
    pub believed_at: Option<Instant>,
}

/// Why one service is served as it is.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What each source delivers of it.
    pub sources: Vec<Delivered>,
    /// What they make together; `None`: no source knows it, its routes are only kept.
    pub merged: Option<Service>,
    /// What it is planned as; `None`: not yet, or nothing of it is served.
    pub planned: Option<Explained>,
    /// Its endpoints are too large for gRPC's own clients.
    pub oversized: Option<Issue>,
    /// It has no instances: when its routes end.
    pub kept_until: Option<Instant>,
}

/// What one source delivers of a service.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The source.
    pub source: Arc<str>,
    /// 0: the first choice.
    pub priority: u32,
    /// How the source is.
    pub condition: Condition,
    /// What is served of it.
    pub record: ServiceRecord,
    /// How many of these instances the source no longer knows.
    pub withheld: usize,
}
