//! The one service model that all sources are normalised into.
//!
//! Pure: no I/O, no clock, no locks, and nothing of ours is imported. A source
//! parses what its registry said into [`Change`]s; the [`Catalog`] merges them.

mod absent;
pub mod catalog;
pub mod change;
pub mod declaration;
pub mod effective;
pub mod guard;
mod history;
pub mod holder;
pub mod instance;
pub mod issue;
pub mod key;
pub mod keys;
pub mod last_good;
pub mod network;
pub mod path;
pub mod policy;
pub mod probe;
mod repaired;
pub mod route;
pub mod service;
pub mod source_state;
pub mod touched;
mod union;
mod vote;

pub use catalog::Catalog;
pub use change::{Change, Condition, Event, Measured, Status};
pub use declaration::Declared;
pub use effective::{Action, ClusterSettings, Effective, EffectiveRoute};
pub use guard::GuardRule;
pub use holder::{Holder, Holders, Requests, Seniority};
pub use instance::{Facts, Health, Instance, MAX_WEIGHT, Own};
pub use issue::{Issue, Severity};
pub use key::Key;
pub use keys::Spelling;
pub use network::{Bind, Clusters, Exposure, Listener, Network, Owner};
pub use path::Paths;
pub use policy::{Expose, InstanceKeys, OnAllUnhealthy, Policy, Protocol, State};
pub use route::{GrpcMethod, Matcher, RouteRule};
pub use service::{Service, ServiceRecord};
pub use source_state::SourceState;
pub use touched::Touched;
pub use vote::Conflict;
