//! The one service model that all sources are normalised into.
//!
//! Pure: no I/O, no clock, no locks, and of ours only `text` is imported. A source
//! parses what its registry said into [`Change`]s; the `catalog` merges them.

pub(crate) mod absent;
pub mod change;
pub mod cluster;
pub mod code;
pub mod declaration;
pub mod drain;
pub mod effective;
pub mod filters;
mod guard_rule;
pub mod holder;
pub mod instance;
pub mod issue;
pub mod key;
pub mod keys;
pub mod label;
pub mod listener;
pub mod locality;
pub mod network;
pub mod overlay;
pub mod overrides;
pub mod path;
pub mod pattern;
pub mod policy;
pub mod rollouts;
pub mod route;
pub mod secret;
pub mod service;
mod standing;
pub mod withheld;

pub use change::{Change, Condition, Event, Measured, Status};
pub use cluster::ClusterKeys;
pub use code::{CODES, Code, Level};
pub use declaration::Declared;
pub use drain::{DrainRule, Drains};
pub use effective::{Action, ClusterSettings, Effective, EffectiveRoute};
pub use guard_rule::GuardRule;
pub use holder::{Holder, Holders, Requests, Seniority};
pub use instance::{Facts, Health, Instance, MAX_WEIGHT, Own};
pub use issue::{Issue, Severity};
pub use key::Key;
pub use keys::Spelling;
pub use listener::{AccessLog, Bind, Listener, ListenerTls, LogFormat, LogTarget, Tracing, Traffic};
pub use locality::LocalityRule;
pub use network::{Clusters, Dns, Exposure, External, Fleet, Network, Owner};
pub use overlay::{Overlaid, Overlay};
pub use overrides::Overrides;
pub use path::Paths;
pub use policy::{Expose, InstanceKeys, OnAllUnhealthy, Policy, Protocol, State};
pub use rollouts::{RolloutKeys, Rollouts, Share, Shares};
pub use route::{Criterion, Extras, GrpcMethod, Matcher, Place, RouteRule, Target};
pub use secret::{Secret, Secrets};
pub use service::{Conflict, Service, ServiceRecord};
pub use standing::Standing;
