//! Who has which requests: what decides, beside the claims themselves, between services that claim the same. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::path::Paths;
use super::route::Criterion;

/// The requests of a route. Two routes for the same ones cannot both count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requests {
    /// A host, `*.example.com` or `*`.
    pub host: String,
    /// Which paths of it.
    pub paths: Paths,
    /// What else must hold, sorted.
    pub criteria: Vec<Criterion>,
}

/// Who has some requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The service that has them.
    pub service: Arc<str>,
    /// Services that claimed them too while it had instances, by name.
    pub others: Vec<Arc<str>>,
}

/// Who has what on one exposure. The route that a service has by its own name is not listed while nobody else
/// claims it.
pub type Holders = BTreeMap<Requests, Holder>;

/// Which of two services was registered first: the lower one. A registry counts its registrations (Consul's
/// `CreateIndex`, etcd's create revision); between registries their order in the configuration decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seniority {
    /// Of the source.
    pub priority: u32,
    /// The number of the source among all, by name.
    pub source: usize,
    /// When its oldest instance was registered, in the registry's own count.
    pub created: u64,
}

impl Seniority {
    /// Of a service without instances.
    pub const LAST: Self = Self {
        priority: u32::MAX,
        source: usize::MAX,
        created: u64::MAX,
    };
}
