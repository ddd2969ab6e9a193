//! What rollouts say of services: how the requests of each are shared among its versions. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

/// All of a service's requests, in parts of [`Shares::weights`].
pub const WHOLE: u32 = 10_000;

/// What is decided of each service that is rolled out; of the others nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollouts {
    /// By service.
    pub services: BTreeMap<Arc<str>, Shares>,
}

/// How the requests of one service are shared among its versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// By version: parts of [`WHOLE`], which they add up to. 0: only requests that ask for it by header get it. A version
    /// with instances that is not here gets no requests, not by header either, as long as another one serves.
    pub weights: BTreeMap<Arc<str>, u32>,
    /// Where requests go that the version of their turn cannot take, and where a failed one is tried again.
    pub stable: Arc<str>,
    /// Its requests also go to this version, whose answers nobody sees: millionths of them.
    pub mirror: Option<(Arc<str>, u32)>,
    /// Clients report each error while this is set: a rollout is being judged.
    pub watched: bool,
}
